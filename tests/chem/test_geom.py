"""Files in each of GEOM's forms, built with the real classes, and read back."""

import io
import json
import pickle
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from rdkit import Chem
from torch_geometric.data import Data

from egi.chem import geom
from egi.chem.collect import Outputs, collect
from egi.chem.conformers import sample_conformers
from egi.chem.filters import HARTREE
from egi.chem.geom import list_folder, list_items, load_items, load_molecule, molecule_id
from egi.chem.unpickle import load
from egi.cli import UserError
from egi.config import SPLITS, GeomSettings
from egi.data.storage import Reader

ROOT = Path(__file__).parents[2]
SMILES = ["CC[C@H](C)O", "NCC(=O)OC", "C/C=C/CO"]


def molecules():
    """SMILES, all-atom molecule, energies in hartree and weights of three molecules with 4, 3 and 2 conformers."""
    for k, smiles in enumerate(SMILES):
        mol, energies = sample_conformers(Chem.MolFromSmiles(smiles), 4 - k, 1)
        count = mol.GetNumConformers()
        yield smiles, mol, energies / HARTREE - 100, np.linspace(0.9, 0.1, count)


def single(mol, k):
    return Chem.Mol(mol, False, mol.GetConformers()[k].GetId())


def fields(smiles, mol, k, energy, weight):
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    return {
        "atom_type": torch.tensor([a.GetAtomicNum() for a in mol.GetAtoms()]),
        "pos": torch.tensor(single(mol, k).GetConformer().GetPositions(), dtype=torch.float32),
        "edge_index": torch.tensor(bonds).T,
        "edge_type": torch.ones(len(bonds), dtype=torch.long),
        "rdmol": single(mol, k),
        "smiles": smiles,
        "totalenergy": torch.tensor([energy]),
        "boltzmannweight": torch.tensor([weight]),
        "nx": networkx.Graph(bonds),
        "idx": torch.tensor([k]),
    }


def as_pyg2(given):
    return Data(**given)


def as_pyg1(given):
    """Attributes in the object's own dict, as PyTorch Geometric 1.x had them."""
    data = Data.__new__(Data)
    data.__dict__.update(given, x=None, edge_attr=None, y=None, face=None, normal=None)
    return data


def conformers(kind=dict):
    return [
        kind(fields(smiles, mol, k, energies[k], weights[k]))
        for smiles, mol, energies, weights in molecules()
        for k in range(mol.GetNumConformers())
    ]


def folder_of(path, subset="qm9"):
    (path / subset).mkdir(parents=True)
    summary = {}
    for smiles, mol, energies, weights in molecules():
        name = f"{subset}/{smiles.replace('/', '_')}.pickle"
        listed = [
            {"geom_id": k, "rd_mol": single(mol, k), "totalenergy": energies[k], "boltzmannweight": float(weights[k])}
            for k in range(mol.GetNumConformers())
        ]
        content = {"smiles": smiles, "charge": 0, "totalconfs": len(listed), "conformers": listed}
        (path / name).write_bytes(pickle.dumps(content))
        summary[smiles] = {"pickle_path": name, "charge": 0}
    (path / f"summary_{subset}.json").write_text(json.dumps(summary))
    return path


def archive_of(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname="rdkit_folder")
    return path


def stored(source, path, tmp_path, dataset="qm9", **more):
    """Molecules that pass, by SMILES: record, positions, energies or None."""
    out = tmp_path / f"out-{source}-{path.suffix}"
    settings = GeomSettings(source=source, files={"all": str(path)}, elements=["C", "N", "O"], workers=1, **more)
    outputs = Outputs({s: out / f"{s}.h5" for s in SPLITS}, out / "rejects.csv", out / "counts.csv")
    collect({"all": path}, settings, 0, outputs, dataset)
    found = {}
    for split in SPLITS:
        with Reader(out / f"{split}.h5", "egi-conformers") as reader:
            for molecule in reader.ids:
                group = reader.group(molecule)
                arrays = {name: group[name][...] for name in ("positions", "energies", "weights") if name in group}
                found[reader.record(molecule).smiles] = reader.record(molecule), arrays
    return found, (out / "rejects.csv").read_text().splitlines()[1:]


def check(found, with_quantities=True):
    assert set(found) == {Chem.CanonSmiles(smiles) for smiles in SMILES}
    for smiles, mol, energies, weights in molecules():
        record, arrays = found[Chem.CanonSmiles(smiles)]
        expected = np.stack([c.GetPositions() for c in mol.GetConformers()])
        np.testing.assert_allclose(arrays["positions"], expected, atol=2e-4)
        assert record.modelled.tolist() == [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
        if with_quantities:
            np.testing.assert_allclose(arrays["energies"], energies * HARTREE, rtol=1e-6)
            np.testing.assert_allclose(arrays["weights"], weights, rtol=1e-6)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", [dict, as_pyg1, as_pyg2])
def test_geodiff_lists(tmp_path, kind, protocol):
    path = tmp_path / "train_data_40k.pkl"
    path.write_bytes(pickle.dumps(conformers(kind), protocol))
    listed = list(list_items(path))
    assert [smiles for smiles, _ in listed] == SMILES
    for (smiles, mol, energies, weights), (_, items) in zip(molecules(), listed, strict=True):
        candidate = load_items(smiles, items)
        assert candidate.id == molecule_id(smiles)
        np.testing.assert_allclose(candidate.positions, [c.GetPositions() for c in mol.GetConformers()], atol=1e-6)
        np.testing.assert_allclose(candidate.energies, energies * HARTREE, rtol=1e-6)
        np.testing.assert_allclose(candidate.weights, weights, rtol=1e-6)


def test_geodiff_packed_conformers(tmp_path):
    packed = []
    for smiles, mol, _, _ in molecules():
        given = fields(smiles, mol, 0, 0.0, 1.0)
        all_positions = np.concatenate([c.GetPositions() for c in mol.GetConformers()])
        given |= {"pos_ref": torch.tensor(all_positions), "num_pos_ref": torch.tensor([mol.GetNumConformers()])}
        packed.append(Data(**given))
    path = tmp_path / "test_data_1k.pkl"
    path.write_bytes(pickle.dumps(packed))
    found, rejects = stored("geodiff", path, tmp_path)
    check(found, with_quantities=False)
    assert rejects == []


def test_conformers_of_a_molecule_in_two_places_are_said_and_listed(tmp_path, caplog):
    items = conformers()
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([*items[1:], items[0]]))
    found, rejects = stored("geodiff", path, tmp_path)
    assert len(found["CC[C@H](C)O"][1]["positions"]) == 3
    assert [row.split(",")[4] for row in rejects] == ["duplicate"]
    assert "conformers of CC[C@H](C)O stand in several places; the first place counts" in caplog.text


def test_every_form_gives_the_same_storage(tmp_path):
    geodiff = tmp_path / "all.pkl"
    geodiff.write_bytes(pickle.dumps(conformers(as_pyg2)))
    folder = folder_of(tmp_path / "rdkit_folder")
    sdf = tmp_path / "all.sdf"
    with Chem.SDWriter(str(sdf)) as writer:
        for smiles, mol, energies, _ in molecules():
            mol.SetProp("_Name", molecule_id(smiles))
            for conformer, energy in zip(mol.GetConformers(), energies, strict=True):
                mol.SetProp("energy", repr(float(energy * HARTREE)))
                writer.write(mol, confId=conformer.GetId())
    forms = [("geodiff", geodiff), ("rdkit_folder", folder), ("sdf", sdf)]
    forms.append(("rdkit_folder", archive_of(folder, tmp_path / "rdkit_folder.tar.gz")))
    results = []
    for source, path in forms:
        found, rejects = stored(source, path, tmp_path)
        assert rejects == []
        check(found, with_quantities=source != "sdf")
        results.append(found)
    for other in results[1:]:
        for smiles, (record, _) in results[0].items():
            assert other[smiles][0].id == record.id
            for name in ("atomic_numbers", "features", "edge_index", "edge_type", "modelled"):
                np.testing.assert_allclose(getattr(other[smiles][0], name), getattr(record, name), atol=1e-6)


def test_most_probable_conformers_are_kept(tmp_path):
    found, _ = stored("rdkit_folder", folder_of(tmp_path / "rdkit_folder"), tmp_path, conformers=2)
    assert all(len(arrays["positions"]) == 2 and arrays["weights"][0] == 0.9 for _, arrays in found.values())


def test_subset_follows_from_the_name_of_the_dataset(tmp_path):
    folder = folder_of(tmp_path / "rdkit_folder", "drugs")
    assert len(list(list_folder(folder, "drugs-small"))) == 3
    with pytest.raises(UserError, match=r"holds no summary_qm9\.json; it has summary_drugs\.json"):
        list(list_folder(folder, "qm9"))
    with pytest.raises(UserError, match=r"dataset 'mine': .* holds qm9 and drugs; wanted a name that starts so"):
        list(list_folder(folder, "mine"))
    with pytest.raises(UserError, match="holds no molecules of qm9"):
        list(list_folder(archive_of(folder, tmp_path / "a.tar.gz"), "qm9"))


# --- bad input


def test_one_bad_molecule_does_not_stop_the_others(tmp_path):
    folder = folder_of(tmp_path / "rdkit_folder")
    summary = json.loads((folder / "summary_qm9.json").read_text())
    summary |= {
        "CCC": {"charge": 0},
        "CCCC": {"pickle_path": "qm9/gone.pickle"},
        "CCCCC": {"pickle_path": "qm9/cut.pickle"},
        "CCCCCC": {"pickle_path": "qm9/evil.pickle"},
    }
    whole = (folder / "qm9" / f"{SMILES[0]}.pickle").read_bytes()
    (folder / "qm9" / "cut.pickle").write_bytes(whole[: len(whole) // 2])
    (folder / "qm9" / "evil.pickle").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    (folder / "summary_qm9.json").write_text(json.dumps(summary))
    found, rejects = stored("rdkit_folder", folder, tmp_path, max_failed_fraction=0.6)
    check(found)
    assert len(rejects) == 4
    for row, detail in zip(rejects, ("names no pickle", "No such file", "pickle is damaged", "os.system"), strict=True):
        assert ",conformers,source," in row and detail in row


def test_coordinates_that_do_not_fit(tmp_path):
    items = conformers()
    items[0]["pos"] = items[0]["pos"][:-1]
    items[1]["pos"] = items[1]["pos"] * float("nan")
    items[2]["pos"] = items[2]["pos"] * 0
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(items))
    found, rejects = stored("geodiff", path, tmp_path)
    assert [row.split(",")[2] + row.split(",")[4] for row in rejects] == [f"{k}coordinates" for k in range(3)]
    assert len(found["CC[C@H](C)O"][1]["positions"]) == 1
    assert "positions of shape (14, 3) for 15 atoms" in rejects[0]


def test_packed_coordinates_that_do_not_fit():
    smiles, mol, _, _ = next(molecules())
    item = pickle.dumps({**fields(smiles, mol, 0, 0.0, 1.0), "pos_ref": torch.zeros(20, 3)})
    with pytest.raises(ValueError, match=r"pos_ref has shape \(20, 3\) for 1 conformers of 15 atoms"):
        load_items(smiles, [load(io.BytesIO(item))])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "pickle holds dict; wanted a list"),
        ([1, 2], "after 0 conformers: item is int without a SMILES"),
        ([{"pos": 1}], "item is dict without a SMILES"),
        ([], "holds no conformers"),
    ],
)
def test_files_that_are_no_geodiff_list(tmp_path, value, message):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match=rf"a\.pkl.*{message}"):
        list(list_items(path))


def test_cut_off_files_say_how_far_they_go(tmp_path):
    path = tmp_path / "a.pkl"
    raw = pickle.dumps(conformers())
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match=r"a\.pkl, after \d+ conformers: pickle is damaged"):
        list(list_items(path))
    whole = archive_of(folder_of(tmp_path / "rdkit_folder"), tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"archive .*b\.tar\.gz is damaged or cut off after \d molecules of qm9"):
        list(list_folder(tmp_path / "b.tar.gz", "qm9"))


def test_molecule_pickle_of_another_kind():
    with pytest.raises(ValueError, match="holds no dict with a list 'conformers'"):
        load_molecule("CC", pickle.dumps({"a": 1}))


def test_a_pickle_too_large_for_one_molecule_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(geom, "_LARGEST_PICKLE", 1000)
    (tmp_path / "a.pickle").write_bytes(bytes(5000))
    for content in (tmp_path / "a.pickle", bytes(1001)):
        with pytest.raises(ValueError, match="pickle is larger than 1000 bytes"):
            load_molecule("CC", content)


def test_memory_does_not_grow_with_the_archive(tmp_path):
    peaks = []
    for count in (1000, 6000):
        path = tmp_path / f"{count}.tar.gz"
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for k in range(count):
                member = tarfile.TarInfo(f"rdkit_folder/qm9/{k}.pickle")
                member.size = 100
                archive.addfile(member, io.BytesIO(bytes(100)))
        tracemalloc.start()
        assert sum(1 for _ in list_folder(path, "qm9")) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("name", ["a.csv", "a.smi", "a.sdf", "a.pkl", "a.tar.gz"])
def test_two_gigabytes_of_nothing_are_one_error_in_little_memory(tmp_path, name):
    source = {"csv": "smiles", "smi": "smiles", "sdf": "sdf", "pkl": "geodiff", "gz": "rdkit_folder"}
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**31)
    code = f"""
import resource
from pathlib import Path
from egi.chem.readers import SOURCES
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(SOURCES[{source[name.rsplit(".")[-1]]!r}].list(Path({str(tmp_path / name)!r}), "qm9"))
except ValueError as error:
    print(type(error).__name__, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    error, grown = ended.stdout.splitlines()
    assert error.startswith("UserError") and name in error and int(grown) < 100
