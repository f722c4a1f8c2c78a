"""`egi refine` on files of one's own."""

from __future__ import annotations

import csv
import json
import logging

import mdtraj
import numpy as np
from rdkit import Chem

from egi.__main__ import main as command
from egi.chem.molecules import modelled_atoms
from egi.md.frames import write_frames


def write_user_files(folder, record, positions, charges) -> list[str]:
    mol = modelled_atoms(record.mol)[0]
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(positions[3].astype(float))
    mol.AddConformer(conformer)
    Chem.MolToMolFile(mol, str(folder / "mol.sdf"))
    np.save(folder / "frames.npy", positions)
    (folder / "charges.json").write_text(json.dumps({"charges": charges.tolist()}))
    return ["refine", "--input", str(folder / "frames.npy"), "--topology", str(folder / "mol.sdf"), "--charges-file",
            str(folder / "charges.json"), "--output", str(folder / "out")]  # fmt: skip


def test_command(tmp_path, molecule, refined):
    record, _, charges = molecule
    frames = refined[0][:4].copy()
    frames[1] = np.nan
    frames[2, :, 0] *= -1
    flags = write_user_files(tmp_path, record, frames, charges)
    assert command([*flags, "--interval-ps", "2"]) == 0
    read = mdtraj.load(tmp_path / "out" / "refined.xtc", top=tmp_path / "out" / "topology.pdb")
    assert (read.n_frames, read.n_atoms) == (3, record.mol.GetNumAtoms())
    np.testing.assert_allclose(read.time, [0, 4, 6])
    with (tmp_path / "out" / "refined.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "not_finite", "ok", "ok"]
    assert [row["reflected"] for row in rows] == ["False", "False", "True", "False"]
    summary = json.loads((tmp_path / "out" / "refined.json").read_text())
    assert (summary["frames"], summary["refined"], summary["reflected"]) == (4, 3, 1)


def test_command_keeps_the_times_of_the_file(tmp_path, molecule, refined):
    record, _, charges = molecule
    frames = refined[0][:3].copy()
    flags = write_user_files(tmp_path, record, np.concatenate([frames, frames]), charges)
    write_frames(tmp_path / "frames.xtc", frames * 0.1, np.arange(3) * 2.5, np.zeros((3, 3, 3)))
    flags[flags.index("--input") + 1] = str(tmp_path / "frames.xtc")
    assert command(flags) == 0
    read = mdtraj.load(tmp_path / "out" / "refined.xtc", top=tmp_path / "out" / "topology.pdb")
    np.testing.assert_allclose(read.time, [0, 2.5, 5])


def test_command_names_what_is_wrong(tmp_path, molecule, refined, caplog):
    record, _, charges = molecule
    flags = write_user_files(tmp_path, record, refined[0][:4], charges)
    with caplog.at_level(logging.ERROR):
        assert command([*flags, "--stiff", "300"]) == 2
        assert "--stiff 300: Value error, needs a value with a unit" in caplog.text
        assert command([*flags, "--force-field", "openff-0.0.7"]) == 2
        assert "--force-field openff-0.0.7: Can't load" in caplog.text
        np.save(tmp_path / "frames.npy", refined[0][:4, :-1])
        assert command(flags) == 2
        assert "has 6 atoms" in caplog.text
