import logging

import numpy as np
import pytest
from rdkit import Chem

from egi.chem.molecules import record_of
from egi.cli import UserError
from egi.config import SPLITS, SelectionSettings
from egi.data.selection import COLUMNS, select_molecules, write_molecules
from egi.data.storage import create

SMILES = {
    "train": ["CCO", "CCCO", "CCCCO", "CCN", "CCCN", "CCCCCCCC"],
    "val": ["CC=O", "CCC=O"],
    "test": ["CC[C@H](C)O"],
}


@pytest.fixture
def paths(tmp_path):
    made = {}
    for split in SPLITS:
        made[split] = tmp_path / f"{split}.h5"
        with create(made[split], "egi-conformers", {}) as writer:
            for k, smiles in enumerate(SMILES[split]):
                record = record_of(Chem.AddHs(Chem.MolFromSmiles(smiles)), f"{split}{k}")
                writer.add(record, {"positions": np.zeros((4, record.mol.GetNumAtoms(), 3))})
    return made


def settings(train=3, val=1, test=1, **more):
    return SelectionSettings(molecules={"train": train, "val": val, "test": test}, **more)


def test_rows_say_what_the_molecule_is(paths, tmp_path):
    rows = select_molecules(paths, settings(), 0)
    assert [r["split"] for r in rows] == ["train"] * 3 + ["val", "test"]
    last = rows[-1]
    assert last | {"start_conformers": ""} == {
        "id": "test0", "smiles": "CC[C@H](C)O", "split": "test", "formula": "C4H10O", "atoms": 15, "heavy_atoms": 5,
        "modelled_atoms": 5, "start_conformers": "", "reason": "drawn 1 of 1, seed 0",
    }  # fmt: skip
    write_molecules(tmp_path / "m.csv", rows)
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS) and len(lines) == 6


def test_smaller_selection_is_contained_in_larger(paths):
    small = [r["id"] for r in select_molecules(paths, settings(train=2), 3)]
    large = [r["id"] for r in select_molecules(paths, settings(train=5), 3)]
    assert set(small) < set(large)
    assert small != [r["id"] for r in select_molecules(paths, settings(train=2), 4)]


def test_too_few_molecules_are_all_taken_and_said(paths, caplog):
    with caplog.at_level(logging.WARNING):
        rows = select_molecules(paths, settings(train=50), 0)
    assert sum(r["split"] == "train" for r in rows) == 6
    assert "train: 6 molecules selected of 6 there, 50 were asked for" in caplog.text


def test_most_atoms_counts_hydrogens(paths):
    atoms = Chem.AddHs(Chem.MolFromSmiles("CCCCCCCC")).GetNumAtoms()
    assert len(select_molecules(paths, settings(train=6, max_atoms=atoms), 0)) == 8
    rows = select_molecules(paths, settings(train=6, max_atoms=atoms - 1), 0)
    assert len(rows) == 7 and "CCCCCCCC" not in {r["smiles"] for r in rows}


@pytest.mark.parametrize(("replicas", "different"), [(3, 3), (4, 4), (6, 4)])
def test_start_conformers(paths, replicas, different):
    for row in select_molecules(paths, settings(replicas=replicas), 0):
        starts = row["start_conformers"].split()
        assert len(starts) == replicas and len(set(starts)) == different and set(starts) <= set("0123")


def test_molecule_list(paths, tmp_path, caplog):
    listed = tmp_path / "list.smi"
    listed.write_text("OCC ethanol\nO=CC\nC[C@@H](CC)O\nC[C@H](CC)O\n")
    rows = select_molecules(paths, settings(molecule_list=str(listed)), 0)
    assert {r["smiles"] for r in rows} == {"CCO", "CC=O", "CC[C@H](C)O"}
    assert {r["reason"] for r in rows} == {"in the molecule list"}
    assert "1 molecules of the list are not there or too large: CC[C@@H](C)O" in caplog.text


def test_molecules_of_another_run_are_a_list(paths, tmp_path):
    rows = select_molecules(paths, settings(train=2), 3)
    write_molecules(tmp_path / "molecules.csv", rows)
    again = select_molecules(paths, settings(train=0, val=0, molecule_list=str(tmp_path / "molecules.csv")), 99)
    assert {(r["id"], r["split"]) for r in again} == {(r["id"], r["split"]) for r in rows}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        ("C(\n", r"'C\(' gives no valid"),
        ("CCCBr\n", "none of its 1 molecules"),
    ],
)
def test_bad_molecule_list(paths, tmp_path, text, message):
    listed = tmp_path / "list.smi"
    if text is not None:
        listed.write_text(text)
    with pytest.raises(UserError, match=message):
        select_molecules(paths, settings(molecule_list=str(listed)), 0)
