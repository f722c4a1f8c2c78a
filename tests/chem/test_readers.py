import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from egi.chem.conformers import sample_conformers
from egi.chem.readers import SOURCES, molecule_ids
from egi.cli import UserError
from egi.config import GeomSettings


def geom(source, **more):
    return GeomSettings(source=source, files={"all": "x"}, elements=["C", "N", "O"], **more)


def entries(path, source="smiles"):
    return list(SOURCES[source].list(path, "mine"))


def test_csv_with_any_column_order_and_case(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("\ufeffName,extra,SMILES\nbutan-2-ol,1,CCC(C)O\n,2,CCO\nbutan-2-ol,3,CCCCO\n", encoding="utf-8")
    found = entries(path)
    assert [(e.id, e.smiles) for e in found] == [
        ("butan-2-ol", "CCC(C)O"), ("mol-000001", "CCO"), ("butan-2-ol-2", "CCCCO"),
    ]  # fmt: skip


def test_smi_with_names_and_comments(tmp_path):
    path = tmp_path / "m.smi"
    path.write_text("# mine\nCCO ethanol (dry)\n\nCC\n")
    assert [(e.id, e.smiles) for e in entries(path)] == [("ethanol-dry", "CCO"), ("mol-000001", "CC")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"molecule file .*m\.csv is empty"),
        ("smiles,name\n", r"molecule file .*m\.csv holds no molecules"),
        ("structure,name\nCCO,a\n", r"m\.csv has columns structure, name; wanted one named 'smiles'"),
        ("smiles\n" + "C" * 200_000, r"m\.csv: line 2 has 100000 or more characters"),
        ('smiles\nCC\n"' + "C\n" * 70_000, r"m\.csv is no CSV: field larger than field limit"),
    ],
)
def test_csv_that_is_no_molecule_file(tmp_path, text, message):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        entries(path)


@pytest.mark.parametrize("name", ["m.csv", "m.smi"])
def test_text_in_another_encoding(tmp_path, name):
    (tmp_path / name).write_bytes("smiles\nCCO é\n".encode("utf-16"))
    with pytest.raises(UserError, match=rf"molecule file .*{name} is no UTF-8 text"):
        entries(tmp_path / name)


def test_cut_off_sdf_loses_its_last_record_only(tmp_path):
    path = tmp_path / "m.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for smiles in ("CCO", "CCN", "CCC"):
            writer.write(sample_conformers(Chem.MolFromSmiles(smiles), 1, 1)[0])
    text = path.read_text()
    path.write_text(text[: text.rindex("V2000") + 100])
    found = entries(path, "sdf")
    assert [entry.smiles for entry in found] == ["CCO", "CCN", ""]
    with pytest.raises(ValueError, match="RDKit cannot read the record"):
        SOURCES["sdf"].load(found[2], geom("sdf"), 0)


def test_empty_sdf(tmp_path):
    path = tmp_path / "m.sdf"
    path.write_text("")
    with pytest.raises(UserError, match="holds no molecules"):
        entries(path, "sdf")


@given(st.lists(st.text(max_size=60), max_size=12))
@settings(deadline=None)
def test_ids_are_unique_and_safe(names):
    unique = molecule_ids()
    ids = [unique(name, index) for index, name in enumerate(names)]
    assert len(set(ids)) == len(ids)
    assert all(i and i.isascii() and i.replace("-", "").isalnum() and len(i) <= 60 for i in ids)


def test_smiles_conformers_follow_from_seed_and_id(tmp_path):
    path = tmp_path / "m.smi"
    path.write_text("CCCO a\nCCCO b\n")
    one, other = entries(path)
    load = SOURCES["smiles"].load
    first, again = (load(one, geom("smiles", conformers=4), 1) for _ in range(2))
    different = load(other, geom("smiles", conformers=4), 1)
    assert len(first.conformers) == 4 and first.energies.shape == (4,)
    np.testing.assert_array_equal(first.conformers[2].GetConformer().GetPositions(),
                                  again.conformers[2].GetConformer().GetPositions())  # fmt: skip
    assert not np.array_equal(first.conformers[0].GetConformer().GetPositions(),
                              different.conformers[0].GetConformer().GetPositions())  # fmt: skip


def test_sdf_groups_conformers_of_a_molecule(tmp_path):
    path = tmp_path / "m.sdf"
    expected = {}
    with Chem.SDWriter(str(path)) as writer:
        for name, smiles, count in (("one", "CC[C@H](C)O", 3), ("two", "CCCN", 2)):
            mol, energies = sample_conformers(Chem.MolFromSmiles(smiles), count, 1)
            mol.SetProp("_Name", name)
            expected[name] = np.stack([c.GetPositions() for c in mol.GetConformers()]), energies
            for conformer, energy in zip(mol.GetConformers(), energies, strict=True):
                mol.SetProp("energy", repr(float(energy)))
                writer.write(mol, confId=conformer.GetId())
    found = entries(path, "sdf")
    assert [(e.id, e.smiles, len(e.content)) for e in found] == [("one", "CCC(C)O", 3), ("two", "CCCN", 2)]
    for entry in found:
        candidate = SOURCES["sdf"].load(entry, geom("sdf"), 0)
        positions = np.stack([m.GetConformer().GetPositions() for m in candidate.conformers])
        np.testing.assert_allclose(positions, expected[entry.id][0], atol=1e-4)
        np.testing.assert_allclose(candidate.energies, expected[entry.id][1])
