"""Released trajectories: folders as published, built here, mapped to our molecules by graph and 3D."""

from __future__ import annotations

import csv
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.molecules import canonical_smiles
from egi.cli import UserError
from egi.md.frames import read_frames, write_frames
from egi.md.manifest import read_jobs, write_manifest
from egi.md.quality import assess, write_quality
from egi.md.released import find_folders, whole
from egi.md.released_import import Release
from egi.md.subsample import Picker, model_frames

ROOT = Path(__file__).parents[2]
FRAMES, INTERVAL = 50, 0.08
CONFIG = """
datasets:
  mine:
    geom: {source: smiles, files: {all: x}, elements: [C, N, O]}
    selection: {molecules: {train: 2, val: 1, test: 1}}
    simulation: {production: 4 ps, frame_interval: 0.08 ps, segment: 0.8 ps, max_failed_fraction: 0.3}
    subsample: {interval: 0.16 ps}
    pretraining: {steps: 1}
    tasks: {}
    evaluation: {coverage_threshold: 0.5 angstrom, tica_lag: 10.4 ps, msm_lag: 52 ps}
"""
ALCOHOL, MIRRORED = "CC[C@H](C)O", "CC[C@@H](C)O"


def molecule(smiles, seed=5):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=seed)
    AllChem.MMFFOptimizeMolecule(mol)
    return mol


def write_pdb(mol, path, ions, waters):
    lines = [
        line.replace("UNL", "MOL")
        for line in Chem.MolToPDBBlock(mol, flavor=4).splitlines()
        if line.startswith(("HETATM", "ATOM", "CONECT"))
    ]
    extra = [("NA", "NA", "NA")] * ions + [("O", "HOH", "O"), ("H1", "HOH", "H"), ("H2", "HOH", "H")] * waters
    serial, atoms = mol.GetNumAtoms(), []
    for k, (name, residue, element) in enumerate(extra):
        number = 2 + (k if k < ions else ions + (k - ions) // 3)
        place = "".join(f"{x:8.3f}" for x in (10.0 + k, 10.0, 10.0))
        atoms.append(f"HETATM{serial + k + 1:5d} {name:<4} {residue:>3} A{number:4d}    {place}  1.00  0.00"
                     f"          {element:>2}")  # fmt: skip
    bonds = [line for line in lines if line.startswith("CONECT")]
    path.write_text("\n".join([*lines[: mol.GetNumAtoms()], *atoms, *bonds, "END"]) + "\n")


def release(root, name, mol, frames=FRAMES, ions=0, waters=2, saved=None, smiles=None, change=None):
    """One published folder; the frames jitter about the conformer by 0.02 Å. Returns its positions in nm."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "mol.pkl").write_bytes(pickle.dumps(Chem.Mol(mol)))
    (folder / "smiles.txt").write_text(canonical_smiles(mol) if smiles is None else smiles)
    write_pdb(mol, folder / "system.pdb", ions, waters)
    positions = 0.1 * (mol if saved is None else saved).GetConformer().GetPositions()
    positions = positions + np.random.default_rng(1).normal(scale=0.002, size=(frames, *positions.shape))
    positions = positions if change is None else change(positions)
    dry = np.concatenate([positions, np.full((frames, ions, 3), 3.0)], axis=1)
    boxes = np.broadcast_to(4.0 * np.eye(3), (frames, 3, 3))
    write_frames(folder / "traj.xtc", dry, np.arange(1, frames + 1) * INTERVAL, boxes)
    return positions


@pytest.fixture
def ours(tmp_path, md):
    """Our selected molecules; `take` imports what is below ``released``."""
    jobs = [md.job(ALCOHOL, 2, "a"), md.job("CCO", 2, "b"), md.job("CNC(=O)C", 1, "c", split="val")]
    table, paths = md.inputs(tmp_path / "ours", jobs)
    jobs = read_jobs(table, dict(zip(("train", "val", "test"), paths, strict=True)), 0, 1)

    def take(shard=0, shards=1):
        return Release(tmp_path / "released", md.settings(), tmp_path / "md").take(jobs, shard, shards)

    take.jobs = {job.id: job for job in jobs}
    return take


@pytest.fixture
def root(tmp_path):
    return tmp_path / "released"


def reasons(folders):
    return {row["folder"].rsplit("/", 1)[1]: row["reason"] for row in folders if row["status"] == "rejected"}


def test_replicas_come_over_in_our_atom_order_without_ions(root, ours, tmp_path):
    mol = molecule(ALCOHOL)
    order = np.random.default_rng(3).permutation(mol.GetNumAtoms()).tolist()
    plain = release(root, "train/3_results/x_9", mol, ions=1)
    release(root, "train/3_results/x_10", Chem.RenumberAtoms(mol, order))
    release(root, "val/0_results/y_0", molecule("CNC(=O)C"))
    rows, folders = ours()
    status = {(row["molecule"], row["replica"]): (row["status"], row.get("reason", "")) for row in rows}
    missing = ("rejected", "there is no released trajectory of it")
    assert status == {("a", 0): ("ok", ""), ("a", 1): ("ok", ""), ("b", 0): missing, ("b", 1): missing,
                      ("c", 0): ("ok", "")}  # fmt: skip
    assert [row["folder"] for row in folders] == [
        "train/3_results/x_9", "train/3_results/x_10", "val/0_results/y_0"
    ]  # fmt: skip
    first, times, _ = read_frames(tmp_path / "md" / rows[0]["trajectory"])
    np.testing.assert_allclose(first, plain, atol=1e-3)
    np.testing.assert_allclose(times, np.arange(1, FRAMES + 1) * INTERVAL, rtol=1e-5)
    second = read_frames(tmp_path / "md/a/replica_1.xtc")[0]
    heavy = [a.GetIdx() for a in ours.jobs["a"].mol.GetAtoms() if a.GetAtomicNum() > 1]
    np.testing.assert_allclose(second[:, heavy].mean(0), plain[:, heavy].mean(0), atol=2e-3)
    assert model_frames(tmp_path / "md/a/replica_1.xtc", np.array(heavy), 15, Picker(5, FRAMES)).shape == (1, 5, 10, 3)
    topology = Chem.MolFromPDBFile(str(tmp_path / "md/a/topology.pdb"), removeHs=False)
    assert [a.GetSymbol() for a in topology.GetAtoms()] == [a.GetSymbol() for a in ours.jobs["a"].mol.GetAtoms()]


def test_a_rerun_keeps_what_is_there_and_shards_share_the_molecules(root, ours, tmp_path):
    release(root, "train/0_results/x_0", molecule(ALCOHOL))
    release(root, "train/0_results/y_0", molecule("CCO"))
    release(root, "train/0_results/z_0", molecule("CCN"))
    first, _ = ours()
    written = (tmp_path / "md/a/replica_0.xtc").stat().st_mtime_ns
    rows, tables = zip(*(ours(k, 2) for k in (0, 1)), strict=True)
    assert (tmp_path / "md/a/replica_0.xtc").stat().st_mtime_ns == written
    key = ["molecule", "replica"]
    assert sorted([r[k] for k in key] for part in rows for r in part) == sorted([r[k] for k in key] for r in first)
    assert [row["folder"][-3:] for row in (*tables[0], *tables[1])] == ["z_0", "x_0", "y_0"]
    write_manifest(first, tmp_path / "md/shard_0.csv", 0.9)
    with (tmp_path / "md/shard_0.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)].count("ok") == 2


def test_what_cannot_be_mapped_is_rejected_with_its_reason(root, ours):
    alcohol = molecule(ALCOHOL)
    swapped = Chem.RenumberAtoms(alcohol, [1, 0, *range(2, alcohol.GetNumAtoms())])
    release(root, "train/0_results/mirrored_0", molecule(MIRRORED))
    release(root, "train/0_results/other_0", molecule("CCCCO"))
    release(root, "test/0_results/split_0", molecule("CCO"))
    release(root, "train/0_results/order_0", alcohol, saved=swapped)
    release(root, "train/0_results/hydrogens_0", Chem.RemoveHs(alcohol))
    release(root, "train/0_results/smiles_0", molecule("CCO"), smiles="CCN")
    release(root, "train/0_results/notes_0", molecule("CCO"), smiles="CCO_undefined stereo")
    release(root, "train/0_results/elements_0", molecule("CCO"))
    write_pdb(Chem.RenumberAtoms(molecule("CCO"), [2, 0, 1, *range(3, 9)]),
              root / "train/0_results/elements_0/system.pdb", 0, 0)  # fmt: skip
    release(root, "train/0_results/atoms_0", molecule("CCO"))
    write_pdb(molecule("CO"), root / "train/0_results/atoms_0/system.pdb", 0, 0)
    release(root, "train/0_results/evil_0", molecule("CCO"))
    (root / "train/0_results/evil_0/mol.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    release(root, "train/0_results/lost_0", molecule("CCO"))
    (root / "train/0_results/lost_0/mol.pkl").unlink()
    release(root, "train/0_results/cut_0", molecule("CCO"))
    (root / "train/0_results/cut_0/traj.xtc").write_bytes(b"no trajectory")
    rows, folders = ours()
    found = reasons(folders)
    for name, reason in {
        "mirrored_0": f"its configuration in 3D is {Chem.CanonSmiles(MIRRORED)}; selected: {Chem.CanonSmiles(ALCOHOL)}",
        "other_0": "none of the selected molecules has the graph CCCCO",
        "split_0": "it stands in test, its molecule b is in our train",
        "order_0": "bonds in the first frame are not those of mol.pkl",
        "hydrogens_0": "mol.pkl lacks hydrogens",
        "smiles_0": "mol.pkl is CCO, smiles.txt says CCN",
        "elements_0": "system.pdb has O as atom 0 of the molecule, mol.pkl C",
        "atoms_0": "traj.xtc has 9 atoms, system.pdb 6 with and 6 without water",
        "evil_0": "os.system, which is not allowed",
        "lost_0": "No such file",
        "cut_0": "traj.xtc cannot be read",
    }.items():
        assert reason in found.pop(name)
    assert found == {}
    assert [row["molecule"] for row in rows if row["status"] == "ok"] == ["b"]  # notes_0


def test_quality_of_released_replicas_is_that_of_their_structure(root, ours, tmp_path, md):
    mol = molecule(ALCOHOL)

    def torn(positions):
        positions[20:, 0] += 0.1
        return positions

    def reflected(positions):
        positions[20:] *= [1, 1, -1]
        return positions

    for name, change in (("sound_0", None), ("torn_1", torn), ("reflected_2", reflected)):
        release(root, f"train/{name}/a", mol, change=change)
    settings = md.settings(source="released", released_path=str(root))
    found = {row["folder"]: assess({**row, "path": tmp_path / f"md/a/replica_{row['replica']}.xtc"},
             ours.jobs["a"].mol, settings) for row in ours()[1]}  # fmt: skip
    assert {name.split("/")[1]: row["reasons"] for name, row in found.items()} == {
        "sound_0": "", "torn_1": "3 bonds broke", "reflected_2": "1 stereocentres changed hand"
    }  # fmt: skip
    write_quality(list(found.values()), tmp_path / "md_quality.csv")


def test_frames_that_are_not_those_of_the_config(root, ours):
    release(root, "train/0_results/short_0", molecule("CCO"), frames=FRAMES - 1)
    rows, folders = ours()
    assert reasons(folders)["short_0"] == "traj.xtc has 49 frames; production and frame_interval give 50"
    assert all(row["status"] == "rejected" for row in rows)
    write_frames(root / "train/0_results/short_0/traj.xtc", 0.1 * molecule("CCO").GetConformer().GetPositions()
                 + np.zeros((FRAMES, 1, 1)), np.arange(FRAMES) * 0.4, np.zeros((FRAMES, 3, 3)))  # fmt: skip
    assert "frames of traj.xtc are not 0.08 ps apart" in reasons(ours()[1])["short_0"]


def test_a_molecule_across_the_boundary_is_made_whole(root, ours, tmp_path):
    kept = []

    def wrapped(positions):
        kept.append(positions)
        return np.mod(positions, 4.0)

    release(root, "train/0_results/x_0", molecule("CCO"), change=wrapped)
    rows, _ = ours()
    assert [row["status"] for row in rows if row["molecule"] == "b"] == ["ok", "rejected"]
    frames = read_frames(tmp_path / "md/b/replica_0.xtc")[0]
    bonds = [[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for b in molecule("CCO").GetBonds()]
    one, two = (x[:, np.array(bonds)] for x in (frames, kept[0]))
    np.testing.assert_allclose(*(np.diff(x, axis=2) for x in (one, two)), atol=3e-3)


def test_whole_in_a_skewed_box():
    mol = molecule("CCOC(C)CC#N")
    rng = np.random.default_rng(0)
    boxes = np.array([[2.0, 0, 0], [0.0, 2.0, 0], [1.0, 1.0, 2**0.5]]) * rng.uniform(0.9, 1.1, (7, 1, 1))
    positions = 0.1 * mol.GetConformer().GetPositions() + rng.normal(size=(7, 1, 3))
    images = rng.integers(-1, 2, size=positions.shape) @ boxes
    again = whole(positions + images, boxes, mol)
    np.testing.assert_allclose(again - again[:, :1], positions - positions[:, :1], atol=1e-12)
    assert whole(positions, None, mol) is positions


def test_list_of_molecules_and_an_empty_folder(root, tmp_path, md):
    made = Release(root, md.settings(), tmp_path)
    with pytest.raises(UserError, match=r"has no traj\.xtc below train, val, test"):
        made.smiles()
    for k, smiles in enumerate([ALCOHOL, ALCOHOL, "CCO"]):
        release(root, f"train/0_results/x_{k}", molecule(smiles))
    release(root, "val/a/deeper/x_2", molecule(MIRRORED))
    assert made.smiles() == [Chem.CanonSmiles(s) for s in (ALCOHOL, "CCO", MIRRORED)]
    assert [split for split, _ in find_folders(root)] == ["train"] * 3 + ["val"]


def script(tmp_path, *flags):
    (tmp_path / "config.yaml").write_text(CONFIG)
    command = [sys.executable, str(ROOT / "workflow/scripts/import_released.py"), "--config", tmp_path / "config.yaml",
               "--dataset", "mine", *flags]  # fmt: skip
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})


def test_script_lists_and_imports(root, ours, tmp_path):
    for k in range(2):
        release(root, f"train/0_results/x_{k}", molecule(ALCOHOL))
        release(root, f"train/0_results/y_{k}", molecule("CCO"))
    listed = script(tmp_path, "--released", root, "--list", "--output", tmp_path / "list.smi")
    assert listed.returncode == 0, listed.stderr
    assert (tmp_path / "list.smi").read_text() == f"{Chem.CanonSmiles(ALCOHOL)}\nCCO\n"
    files = ["--conformers", *(tmp_path / f"ours/{split}.h5" for split in ("train", "val", "test"))]
    flags = ["--molecules", tmp_path / "ours/molecules.csv", *files, "--output", tmp_path / "md/shard_0.csv"]
    made = script(tmp_path, "--released", root, *flags)
    assert made.returncode == 0 and "4 released replicas of 5 asked for" in made.stderr, made.stderr
    with (tmp_path / "md/released_shard_0.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["ok"] * 4
    assert "give --released, or simulation.released_path" in script(tmp_path, *flags).stderr
    assert "give either --list, or --molecules and --conformers" in script(tmp_path, *flags[-2:]).stderr
    none = script(tmp_path, "--released", root, *flags, "--shard=2", "--shards=2")
    assert none.returncode == 2 and "allowed: 0 to 1 of 2 shards" in none.stderr
