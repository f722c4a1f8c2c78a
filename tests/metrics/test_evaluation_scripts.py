"""The evaluation scripts on small files: rows, order, finite numbers or reasons."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from egi.cli import UserError
from egi.config import load_settings
from egi.data.storage import Reader, StorageError, create
from egi.metrics import dynamics, ensembles, evaluation
from egi.metrics.scores import Unscorable
from egi.metrics.tables import per_molecule

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def script(name: str, *argv: object) -> None:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(a) for a in argv])


@pytest.fixture
def evaluate(tmp_path, config_file):
    """Run a script with the common flags; returns the tables."""

    def run(name, *argv):
        table, long = tmp_path / "table.csv", tmp_path / "long.csv"
        script(name, "--config", config_file, "--dataset", "tiny", "--table", table, "--per-molecule", long, *argv)
        return pd.read_csv(table, keep_default_na=False, na_values=[""]), pd.read_csv(long)

    return run


def check(table, long):
    """Every number finite, or empty with a reason; every row that has no value says why."""
    numbers = table.select_dtypes("number")
    assert not np.isinf(numbers.to_numpy(float)).any()
    assert table.loc[numbers.isna().any(axis=1), "reason"].notna().all()
    assert table.columns[0] == "method" and table.columns[1] == "refined" and table.columns[-1] == "reason"
    empty = long[long["value"].isna()]
    assert empty["reason"].notna().all() and (empty["status"] != "ok").all()


def test_distributions(evaluate, md_file, samples_file, tmp_path, synthetic):
    data = tmp_path / "evaluation" / "forward.h5"
    table, long = evaluate("evaluate_jsd", "--task", "forward", "--trajectories", md_file, "--figures-data", data,
                           "--samples", f"egi={samples_file}", f"ar_et={samples_file}")  # fmt: skip
    check(table, long)
    assert list(table["method"]) == ["md_oracle", "md_oracle_matched", "ar_et", "egi", "etkdg", "shuffled_md"]
    scores = table.set_index("method")
    assert scores.loc["md_oracle", "jsd_bond_length_mean"] < scores.loc["egi", "jsd_bond_length_mean"]
    assert scores.loc["md_oracle", "jsd_bond_angle_mean"] < scores.loc["egi", "jsd_bond_angle_mean"]
    assert scores.loc["egi", "jsd_torsion_molecules"] == 2 and scores.loc["egi", "jsd_torsion_left_out"] == 1
    assert scores.loc["shuffled_md", "graph_intact_mean"] > 0.99
    assert scores.loc["md_oracle", "right_hand_mean"] == 1 and scores.loc["md_oracle", "right_hand_molecules"] == 1
    rigid = long[(long["molecule"] == "mol-rigid") & (long["metric"] == "jsd_torsion")]
    assert set(rigid["status"]) == {"no_internal_coordinates"}
    with h5py.File(data) as file:
        assert set(file) == {"edges", *synthetic.molecules}
        assert file["mol-a/egi/bond_length"].shape == (100,) and "reference" in file["mol-a"]
        assert file["mol-a/reference/tica"].shape[0] == file["mol-a/reference/metastate"].shape[0]
        assert file["mol-a/egi/occupancy"][...].sum() == pytest.approx(1)
        assert file["mol-a/reference/mfpt_ps"].ndim == file["mol-a/reference/timescales_ps"].ndim == 2
        assert "missing_tica" in file["mol-rigid/egi"].attrs
        each = file["mol-b/egi/jsd_bond_angle"][...]
        assert file["mol-b/reference/atoms_bond_angle"].shape == (len(each), 3)
        own = long[(long["method"] == "egi") & (long["molecule"] == "mol-b") & (long["metric"] == "jsd_bond_angle")]
        assert own["value"].item() == pytest.approx(each.mean(), abs=1e-5) and own["values"].item() == len(each)
        assert file["mol-a/md_oracle/mfpt_ps"].shape == file["mol-a/reference/mfpt_error"].shape


def test_trajectories_are_cut_at_frames_that_are_not_finite(synthetic):
    record, mol = synthetic.embedded("C[C@H](O)CC#N", "m")
    rng = np.random.default_rng(2)
    first, second = (synthetic.hopping(record, mol, 12, rng).transpose(1, 0, 2) for _ in range(2))
    measures = ensembles.measures_of(record)
    clean = ensembles.observe(ensembles.Ensemble("egi", [first, second], replicas=(4, 7)), measures)
    assert [len(s) for s in clean.series] == [12, 12] and clean.replicas == [4, 7] and len(clean.whole()) == 2
    first, second = first.copy(), second.copy()
    first[[0, 5, 6]], second[-1, 2, 1] = np.nan, np.inf
    seen = ensembles.observe(ensembles.Ensemble("egi", [first, second], replicas=(4, 7)), measures)
    assert seen.replicas == [4, 4, 7] and seen.length == 12 and seen.note == "4 of 24 frames not finite, left out"
    wanted = [clean.series[0][1:5], clean.series[0][7:], clean.series[1][:11]]
    for found, part in zip(seen.series, wanted, strict=True):
        np.testing.assert_allclose(found, part)
    assert [len(h) for h in seen.hand_series] == [4, 5, 11]
    with pytest.raises(Unscorable, match="no trajectory without NaN"):
        seen.whole()
    assert len(dynamics.times_of(seen.series, 1.0, 6, seen.length)) == 1  # the others are shorter than 6 frames
    with pytest.raises(Unscorable, match="longest unbroken stretch has 5 frames of 12; 6 are needed"):
        dynamics.times_of(seen.series[:2], 1.0, 6, seen.length)


@pytest.mark.parametrize("name", ["evaluate_decorrelation", "evaluate_occupancy"])
def test_dynamics_and_occupancy(evaluate, md_file, samples_file, name):
    table, long = evaluate(
        name, "--task", "unconditional", "--trajectories", md_file, "--samples", f"egi={samples_file}"
    )
    check(table, long)
    assert list(table["method"]) == ["md_oracle", "md_oracle_matched", "egi", "etkdg", "shuffled_md"]
    first = "jsd_decorrelation" if "decorrelation" in name else "jsd_occupancy"
    assert table[f"{first}_mean"].between(0, 0.8326).all()
    assert (table[f"{first}_molecules"] == 2).all()
    if first == "jsd_decorrelation":  # frames in random order: right distributions, no dynamics
        coherence = table.set_index("method")["coherence_mean"]
        assert coherence["shuffled_md"] < coherence["md_oracle"] - 0.1


@pytest.mark.slow
def test_energies(evaluate, synthetic, tmp_path):
    pytest.importorskip("openmm")
    md = synthetic.write_md(tmp_path / "test.h5", {"mol-a": "CCO", "mol-b": "CCC"}, frames=10)
    samples = synthetic.write_samples(tmp_path / "egi.h5", {"mol-a": "CCO", "mol-b": "CCC"}, frames=5)
    (tmp_path / "md" / "mol-a").mkdir(parents=True)
    (tmp_path / "md" / "mol-a" / "charges.json").write_text(json.dumps({"charges": [0.1, -0.1] + [0.0] * 7}))
    table, long = evaluate("evaluate_energies", "--task", "forward", "--trajectories", md, "--samples",
                           f"egi={samples}", "--md", tmp_path / "md", "--figures-data", tmp_path / "e.h5")  # fmt: skip
    check(table, long)
    scores = table.set_index("method")
    assert list(scores.index) == ["md_oracle", "md_oracle_matched", "egi", "etkdg", "shuffled_md"]
    with h5py.File(tmp_path / "e.h5") as file:
        assert np.median(file["mol-a/reference/energy"]) == pytest.approx(0, abs=1e-6)
        assert file["mol-a/egi/energy"].shape == (15,) and list(file["mol-b"]) == []
    assert scores.loc["egi", "energy_excess_mean"] > scores.loc["md_oracle", "energy_excess_mean"]
    assert set(long[long["molecule"] == "mol-b"]["status"]) == {"failed"}


def test_pairs_and_paths(evaluate, md_file, config_file, tmp_path, synthetic):
    pairs, chosen = tmp_path / "interpolation_pairs.h5", tmp_path / "interpolation_pairs.csv"
    script("select_pairs", "--config", config_file, "--dataset", "tiny", "--trajectories", md_file, "--output", pairs,
           "--table", chosen)  # fmt: skip
    listed = pd.read_csv(chosen).set_index("molecule")
    assert list(listed["status"]) == ["ok", "ok", "skipped"] and "torsion" in listed.loc["mol-rigid", "reason"]
    with Reader(pairs, "egi-samples") as reader:
        assert reader.ids == ["mol-a", "mol-b"] and reader.array("mol-a", "start").shape == (6, 5, 3)
    molecules = {name: synthetic.molecules[name] for name in ("mol-a", "mol-b")}
    samples = synthetic.write_samples(tmp_path / "egi.h5", molecules, samples=6, frames=11)
    with Reader(pairs, "egi-samples") as reader, h5py.File(samples, "r+") as file:
        for name in reader.ids:
            file[name]["samples"][:, :, 0], file[name]["samples"][:, :, -1] = (
                reader.array(name, "start"), reader.array(name, "end"))  # fmt: skip
    table, long = evaluate("evaluate_paths", "--trajectories", md_file, "--pairs", pairs, "--samples", f"egi={samples}")
    check(table, long)
    assert list(table["method"]) == ["md_oracle_10", "md_oracle_55", "md_oracle", "egi"]
    assert set(long[long["molecule"] == "mol-rigid"]["status"]) == {"no_samples"}
    assert table["jsd_path_occupancy_mean"].between(0, 0.8326).all() and (table["length_ps"] > 0).all()


def test_no_molecule_has_pairs(evaluate, md_file, tmp_path):
    empty = [tmp_path / name for name in ("pairs.h5", "egi.h5")]
    for path in empty:
        with create(path, "egi-samples", {}, interval_ps=5.2, task="interpolation"):
            pass
    table, long = evaluate("evaluate_paths", "--trajectories", md_file, "--pairs", empty[0], "--samples",
                           f"egi={empty[1]}")  # fmt: skip
    check(table, long)
    assert list(table["method"]) == ["md_oracle_10", "md_oracle_55", "md_oracle", "egi"]
    assert (long["status"] == "no_samples").all()


def test_conformers(evaluate, tmp_path, synthetic):
    rng = np.random.default_rng(0)
    reference, drawn = tmp_path / "test.h5", tmp_path / "basices.h5"
    with create(reference, "egi-conformers", {}) as truth, create(drawn, "egi-samples", {}, refined=False) as made:
        for name, smiles in synthetic.molecules.items():
            record, mol = synthetic.embedded(smiles, name)
            positions = mol.GetConformer().GetPositions() + rng.normal(0, 0.02, (3, mol.GetNumAtoms(), 3))
            truth.add(record, {"positions": positions.astype("f4")})
            sampled = positions[[0, 1, 2, 0, 1, 2]][:, record.modelled]
            sampled = sampled + rng.normal(0, 0.05, sampled.shape)
            made.add(record, {"samples": sampled[:, :, None].astype("f4")})
    table, long = evaluate("evaluate_conformers", "--conformers", reference, "--samples", drawn)
    check(table, long)
    assert list(table["method"]) == ["basices", "etkdg"]
    best = table.set_index("method").loc["basices"]
    assert best["cov_r_mean"] == best["cov_p_mean"] == 100 and 0 < best["mat_r_mean"] < 0.2
    with create(drawn, "egi-samples", {}, task="conformers"):
        pass
    with pytest.raises(StorageError, match=r"basices\.h5 holds no molecules"):
        evaluate("evaluate_conformers", "--conformers", reference, "--samples", drawn)


def test_molecules_without_samples_and_damaged_samples_are_rows(evaluate, md_file, tmp_path, synthetic):
    samples = synthetic.write_samples(tmp_path / "egi.h5", {"mol-a": synthetic.molecules["mol-a"], "mol-rigid": "CC#N"})
    with h5py.File(samples, "r+") as file:
        file["mol-a"]["samples"][0, 0, 3] = np.nan
        file["mol-rigid"]["samples"][...] = np.inf
    table, long = evaluate("evaluate_decorrelation", "--task", "forward", "--trajectories", md_file, "--samples",
                           f"egi={samples}")  # fmt: skip
    check(table, long)
    own = long[long["method"] == "egi"].set_index(["molecule", "metric"])
    assert own.loc[("mol-a", "coherence"), "reason"] == "1 of 120 frames not finite, left out"
    assert own.loc[("mol-b", "coherence"), "status"] == "no_samples"
    assert own.loc[("mol-rigid", "coherence"), "status"] == "no_finite_frames"
    assert (table["coherence_left_out"] == 2).all()


def test_wrong_samples_are_named(evaluate, md_file, tmp_path, synthetic):
    wrong = synthetic.write_samples(tmp_path / "egi.h5", {"mol-a": "CCCO"})
    with pytest.raises(StorageError, match=r"egi.h5: samples of mol-a have shape .*wanted \[samples, 5"):
        evaluate("evaluate_occupancy", "--task", "forward", "--trajectories", md_file, "--samples", f"egi={wrong}")
    with h5py.File(wrong, "r+") as file:
        file.attrs["interval_ps"] = 1.0
    with pytest.raises(StorageError, match=r"frames every 1.0 ps; the reference has 5.2 ps"):
        evaluate("evaluate_occupancy", "--task", "forward", "--trajectories", md_file, "--samples", f"egi={wrong}")
    with pytest.raises(UserError, match="METHOD=PATH"):
        evaluate("evaluate_occupancy", "--task", "forward", "--trajectories", md_file, "--samples", "egi.h5")


def test_nanometres_and_empty_files_are_named(evaluate, md_file, tmp_path, synthetic):
    samples = synthetic.write_samples(tmp_path / "egi.h5", {"mol-a": synthetic.molecules["mol-a"]})
    flags = ["evaluate_occupancy", "--task", "forward", "--trajectories", md_file, "--samples", f"egi={samples}"]
    evaluate(*flags)
    with h5py.File(samples, "r+") as file:
        file["mol-a"]["samples"][...] = file["mol-a"]["samples"][...] / 10
    with pytest.raises(StorageError, match=r"egi.h5 has bonds a tenth .* coordinates in nm; wanted angstrom"):
        evaluate(*flags)
    with h5py.File(samples, "r+") as file:  # a broken generator is no unit
        file["mol-a"]["samples"][...] = np.random.default_rng(0).normal(0, 0.1, file["mol-a"]["samples"].shape)
    evaluate(*flags)
    with create(samples, "egi-samples", {}, interval_ps=5.2, task="forward"):
        pass
    with pytest.raises(StorageError, match=r"egi.h5 holds no molecules; wanted samples of those in .*test.h5"):
        evaluate(*flags)


def test_processes_give_the_same_rows(md_file, tmp_path, synthetic, config_file):
    molecules = {f"m{k}": "CCCCO" for k in range(8)}
    trajectories = synthetic.write_md(tmp_path / "test.h5", molecules, frames=20)
    settings = load_settings(config_file).dataset("tiny").evaluation
    rows = []
    for workers in (1, 2):
        inputs = evaluation.Inputs(trajectories, (), settings.model_copy(update={"workers": workers}), 0)
        outcomes = evaluation.run(evaluation.dynamics, inputs, evaluation.DYNAMICS_METRICS)
        rows.append(per_molecule([row for outcome in outcomes for row in outcome.rows]))
    pd.testing.assert_frame_equal(*rows)
    assert list(rows[0]["molecule"].unique()) == list(molecules)
