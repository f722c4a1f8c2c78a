"""The command line of `egi`: trajectories of a user's molecule, and errors in one line."""

from __future__ import annotations

import json

import mdtraj
import numpy as np
import pytest
import torch
from rdkit import Chem

from egi import models
from egi.__main__ import main
from egi.chem.conformers import sample_conformers
from egi.config import DiffusionSettings, ModelSettings

SMILES = "CC[C@@H](O)CC#N"
HEAVY = ["C", "C", "C", "O", "C", "C", "N"]


def checkpoint(folder, method, task, frames=4):
    torch.manual_seed(0)
    model = models.build(method, ModelSettings(hidden=8, layers=1, temporal_frequencies=2))
    extra = {"task": task, "frames": frames, "interval_ps": 0.4, "diffusion": DiffusionSettings().plain()}
    models.save(folder / f"{method}_{task}.ckpt", model, extra=extra)
    return str(folder / f"{method}_{task}.ckpt")


def generate(folder, model, *flags):
    common = ["--smiles", SMILES, "--sampler", "dpm", "--steps", "3", "--threads", "1", "--device", "cpu"]
    return main(["generate", "--checkpoint", model, "--output", str(folder / "out"), *common, *flags])


def load(folder, number=0):
    out = folder / "out"
    return mdtraj.load(out / f"molecule_{number}.xtc", top=out / f"molecule_{number}.pdb")


@pytest.mark.parametrize(
    ("method", "task", "asked", "wanted"),
    [
        ("egi", "unconditional", ["--frames", "6"], 6),
        ("egi", "forward", ["--frames", "8"], 8),
        ("egi", "interpolation", [], 4),
        ("ar_et", "forward", ["--frames", "5"], 5),
        ("ar_egnn", "unconditional", [], 4),
    ],
)
def test_trajectories_of_every_task(tmp_path, method, task, asked, wanted):
    assert generate(tmp_path, checkpoint(tmp_path, method, task), "--samples", "2", *asked) == 0
    for number in (0, 1):
        read = load(tmp_path, number)
        assert [atom.element.symbol for atom in read.top.atoms] == HEAVY
        assert read.n_frames == wanted and read.top.n_bonds == 6
        np.testing.assert_allclose(read.time, 0.4 * np.arange(wanted), atol=1e-5)
    entries = list(Chem.SDMolSupplier(str(tmp_path / "out" / "molecule_1.sdf"), sanitize=False))
    np.testing.assert_allclose(entries[-1].GetConformer().GetPositions(), read.xyz[-1] * 10, atol=0.01)
    summary = json.loads((tmp_path / "out" / "molecule.json").read_text(encoding="utf-8"))
    assert (summary["smiles"], summary["frames"], summary["task"]) == (SMILES, wanted, task)


def test_forward_starts_from_the_conformer_of_the_file(tmp_path):
    mol, _ = sample_conformers(Chem.MolFromSmiles(SMILES), 2, 1)
    with Chem.SDWriter(str(tmp_path / "start.sdf")) as writer:
        writer.write(mol, confId=0)
    model = checkpoint(tmp_path, "egi", "forward")
    assert generate(tmp_path, model, "--conformer", str(tmp_path / "start.sdf")) == 0
    heavy = mol.GetConformer(0).GetPositions()[[atom.GetAtomicNum() > 1 for atom in mol.GetAtoms()]]
    np.testing.assert_allclose(load(tmp_path).xyz[0] * 10, heavy - heavy.mean(0), atol=0.011)


def test_conformers_as_sdf(tmp_path):
    assert generate(tmp_path, checkpoint(tmp_path, "basices", "conformers", 1), "--samples", "5") == 0
    assert len(Chem.SDMolSupplier(str(tmp_path / "out" / "molecule.sdf"), sanitize=False)) == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--smiles", "C1CC"], "--smiles C1CC: SMILES 'C1CC' gives no valid molecule"),
        (["--smiles", "C[Se]C"], "has element Se, which has no place"),
        (["--conformer", "missing.sdf"], "--conformer missing.sdf does not exist"),
        (["--frames", "1"], "--frames 1 is nothing for forward"),
        (["--samples", "0"], "samples = 0: Input should be greater than 0"),
    ],
)
def test_errors_are_one_line(tmp_path, caplog, flags, message):
    assert generate(tmp_path, checkpoint(tmp_path, "egi", "forward"), *flags) == 2
    assert message in caplog.text
    assert not (tmp_path / "out").exists()


def test_conformer_of_another_molecule(tmp_path, caplog):
    mol, _ = sample_conformers(Chem.MolFromSmiles("CCO"), 1, 1)
    Chem.MolToMolFile(mol, str(tmp_path / "other.sdf"))
    model = checkpoint(tmp_path, "egi", "forward")
    assert generate(tmp_path, model, "--conformer", str(tmp_path / "other.sdf")) == 2
    assert "entry 1 is CCO; wanted CCC(O)CC#N of --smiles" in caplog.text


def test_checkpoints_that_do_not_serve(tmp_path, caplog):
    (tmp_path / "text.ckpt").write_text("no tensors", encoding="utf-8")
    assert generate(tmp_path, str(tmp_path / "text.ckpt")) == 2
    models.save(tmp_path / "bare.ckpt", models.build("geotdm", ModelSettings(hidden=8, layers=1)))
    assert generate(tmp_path, str(tmp_path / "bare.ckpt")) == 2
    assert "cannot be read as a checkpoint" in caplog.text and "does not say its task" in caplog.text
