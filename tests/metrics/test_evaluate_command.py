"""`egi evaluate` on files as users have them."""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
import pytest
from mdtraj.formats import XTCTrajectoryFile
from rdkit import Chem

from egi.commands import evaluate as command


@pytest.fixture(scope="module")
def files(tmp_path_factory, synthetic):
    """A topology and three trajectories: two references and a noisier one."""
    folder = tmp_path_factory.mktemp("mine")
    record, mol = synthetic.embedded("C[C@H](O)CC#N", "m")
    Chem.MolToMolFile(mol, str(folder / "mol.sdf"))
    for name, noise in (("a", 0.03), ("b", 0.03), ("c", 0.1)):
        frames = synthetic.hopping(record, mol, 120, np.random.default_rng(ord(name)), noise=noise).transpose(1, 0, 2)
        np.save(folder / f"{name}.npy", frames)
        with XTCTrajectoryFile(str(folder / f"{name}.xtc"), "w") as file:
            file.write(frames / 10, time=np.arange(1, 121) * 5.2)
    return folder


def evaluate(folder, *more):
    parser = argparse.ArgumentParser()
    command.add_flags(parser)
    flags = ["--topology", folder / "mol.sdf", "--interval-ps", "5.2", *more]
    command.main(parser.parse_args([str(flag) for flag in flags]))


def test_table_and_files(files, tmp_path, capsys):
    evaluate(files, "--reference", files / "a.xtc", files / "b.npy", "--generated", files / "c.xtc", "--oracle",
             files / "b.xtc", "--output", tmp_path, "--msm-lag", 2)  # fmt: skip
    printed = capsys.readouterr().out
    assert "jsd_bond_length" in printed and "jsd_occupancy" in printed and "md_oracle_matched" in printed
    scores = pd.read_csv(tmp_path / "scores.csv").set_index(["method", "metric"])["value"]
    assert scores["md_oracle", "jsd_bond_length"] < scores["generated", "jsd_bond_length"]
    made = {path.name for path in tmp_path.iterdir()}
    assert {
        "evaluation.h5",
        "distributions.svg",
        "autocorrelation.svg",
        "occupancy.svg",
        "kinetics.svg",
        "surfaces.svg",
    } <= made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x / 10, r"bad.npy has bonds 0.\d+ times .* the file is in nm"),
        (lambda x: 10 * x, r"bad.npy has bonds 9.\d+ times .* angstrom were written as nm"),
        (lambda x: x[:, :4], r"bad.npy has 4 atoms; the topology has 13 with hydrogens, 6 modelled"),
        (lambda x: x[:0], r"bad.npy holds no frames"),
        (lambda x: x[0], r"bad.npy has shape \(6, 3\); wanted \[frames, atoms, 3\]"),
    ],
)
def test_bad_trajectories_are_named(files, tmp_path, change, message):
    np.save(tmp_path / "bad.npy", change(np.load(files / "a.npy")))
    with pytest.raises(ValueError, match=message):
        evaluate(files, "--reference", files / "a.xtc", "--generated", tmp_path / "bad.npy", "--output", tmp_path)


@pytest.mark.parametrize("ending", [".xtc", ".dcd", ".npy", ".pdb"])
@pytest.mark.parametrize("content", [b"", b"no trajectory" * 50])
def test_damaged_files_are_named(files, tmp_path, ending, content):
    (tmp_path / f"bad{ending}").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.... (is empty, damaged or no|holds no frames)"):
        evaluate(files, "--reference", files / "a.xtc", "--generated", tmp_path / f"bad{ending}")


def test_another_order_of_atoms_is_an_error_in_simulations_and_a_warning_in_generated_frames(files, tmp_path, caplog):
    np.save(tmp_path / "order.npy", np.load(files / "a.npy")[:, [5, 3, 0, 1, 4, 2]])
    with pytest.raises(ValueError, match=r"order.npy: 0% of the frames have the molecule's bonds; are its atoms"):
        evaluate(files, "--reference", tmp_path / "order.npy", "--generated", files / "b.npy", "--output", tmp_path)
    evaluate(files, "--reference", files / "a.npy", "--generated", tmp_path / "order.npy", "--output", tmp_path)
    assert "order.npy: 0% of the frames" in caplog.text


@pytest.mark.parametrize("flag", ["--interval-ps", "--msm-lag", "--tica-lag"])
@pytest.mark.parametrize("value", ["0", "-2", "five", "nan"])
def test_times_are_positive(files, capsys, flag, value):
    with pytest.raises(SystemExit):
        evaluate(files, "--reference", files / "a.xtc", "--generated", files / "b.xtc", f"{flag}={value}")
    assert f"argument {flag}: '{value}'; wanted a positive number" in capsys.readouterr().err


def test_frames_that_are_not_finite_are_counted(files, tmp_path):
    frames = np.load(files / "c.npy")
    frames[3] = np.nan
    np.save(tmp_path / "c.npy", frames)
    evaluate(files, "--reference", files / "a.xtc", "--generated", tmp_path / "c.npy", "--output", tmp_path)
    scores = pd.read_csv(tmp_path / "scores.csv").set_index(["method", "metric"])
    assert scores.loc[("generated", "jsd_torsion"), "reason"] == "1 of 120 frames not finite, left out"
    assert scores.loc[("generated", "coherence"), "status"] == "ok"  # within the stretches before and after
    assert scores.loc[("generated", "jsd_decorrelation"), "reason"] == (
        "1 of 120 frames not finite, left out; 1 of 2 unbroken stretches are too short"
    )


def test_wrong_interval_and_missing_files(files, tmp_path):
    wrong = ["--reference", files / "a.xtc", "--generated", files / "b.xtc", "--interval-ps", "2", "--output", tmp_path]
    with pytest.raises(ValueError, match=r"a.xtc has frames every 5.2 ps; --interval-ps is 2"):
        evaluate(files, *wrong)
    with pytest.raises(FileNotFoundError, match=r"none.xtc does not exist"):
        evaluate(files, "--reference", tmp_path / "none.xtc", "--generated", files / "b.xtc")
    (tmp_path / "c.mol2").write_text("")
    with pytest.raises(ValueError, match=r"allowed: \.xtc"):
        evaluate(files, "--reference", tmp_path / "c.mol2", "--generated", files / "b.xtc")
