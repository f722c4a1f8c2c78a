"""The workflow from outside: what a run would do, what it says of a bad config, and one whole tiny run."""

from __future__ import annotations

import csv
import math
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from egi.models import load

ROOT = Path(__file__).parents[2]


def snakemake(folder: Path, *arguments: str, check: bool = True) -> str:
    """Run Snakemake in a folder; returns everything that it printed."""
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(folder)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=folder)
    output = done.stdout + done.stderr
    if check and done.returncode:
        pytest.fail(f"snakemake {' '.join(arguments)} exited with {done.returncode}:\n{output[-6000:]}")
    assert check or done.returncode, f"expected a failure:\n{output[-3000:]}"
    return output


def jobs(output: str) -> dict[str, int]:
    """Jobs a rule, from Snakemake's own statistics."""
    found = re.search(r"job +count\n-[- ]+\n(.*?)\ntotal", output, re.DOTALL)
    return {line.split()[0]: int(line.split()[1]) for line in found.group(1).splitlines()} if found else {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty working folder with the shipped configuration."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


def test_default_run_makes_every_stage_of_both_datasets(folder):
    planned = jobs(snakemake(folder, "-n", "--cores", "2"))
    assert planned["pretrain"] == planned["filter_geom"] == 2
    assert planned["finetune"] == planned["sample"] == 15
    assert planned["evaluate_jsd"] == 4 and planned["evaluate_paths"] == 2 and planned["report"] == 1


def test_one_table_needs_only_its_own_dataset_and_task(folder):
    output = snakemake(folder, "-n", "--cores", "2", "results/drugs/forward_jsd.csv")
    assert jobs(output)["finetune"] == 6
    assert "qm9" not in output and "interpolation" not in output


def test_paper_profile_plans_without_slurm_or_data_within_a_minute(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    started = time.monotonic()
    planned = jobs(snakemake(tmp_path, "-n", "--profile", str(ROOT / "slurm"), "all"))
    assert time.monotonic() - started < 60
    assert planned["fetch"] == 6 and planned["simulate"] == 128


def test_released_trajectories_are_imported_for_the_dataset_that_has_them(folder):
    (folder / "released").mkdir()
    released = {"simulation": {"source": "released", "released_path": "released"}}
    (folder / "mine.yaml").write_text(yaml.safe_dump({"datasets": {"qm9": released}}))
    planned = jobs(snakemake(folder, "-n", "--cores", "2", "--configfile", "config/config.yaml", "mine.yaml"))
    assert planned["import_released"] == planned["simulate"] == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"seeed": 3}, r"seeed = 3: unknown key; allowed: .*seed"),
        ({"defaults": {"simulation": {"timestep": "3 nm"}}}, r"simulation\.timestep = '3 nm'.*converts to ps"),
        ({"datasets": {"qm9": {"geom": {"files": {"all": "gone.csv"}}}}}, r"geom\.files\.all = 'gone\.csv': no such"),
        (
            {"defaults": {"simulation": {"source": "released", "released_path": "gone"}}},
            r"simulation\.released_path = 'gone': no such folder",
        ),
    ],
)
def test_a_bad_config_stops_before_any_job(folder, override, message):
    (folder / "mine.yaml").write_text(yaml.safe_dump(override))
    output = snakemake(folder, "--cores", "1", "--configfile", "config/config.yaml", "mine.yaml", check=False)
    assert re.search(message, output), output
    assert "Traceback" not in output
    assert not (folder / "results").exists()


def test_every_working_rule_has_a_docstring_a_log_a_benchmark_and_resources():
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            name = rule.split(":", 1)[0]
            for part in ('"""', "log:", "benchmark:", "mem_mb", "runtime"):
                assert part in rule, f"{path.name}: rule {name} has no {part}"
            script = re.search(r"\{SCRIPTS\}/(\w+\.py)", rule).group(1)
            assert (ROOT / "workflow" / "scripts" / script).is_file(), name


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A whole run at the smallest scale."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copy(Path(__file__).with_name("tiny.yaml"), folder / "tiny.yaml")
    (folder / "molecules.csv").write_text(
        "name,smiles\nbutanol,CCCCO\nhydroxynitrile,C[C@@H](O)CC#N\nether,CCOCC\nbroken,C1CC\nboron,CCB(O)O\n"
    )
    snakemake(folder, "--cores", "2", "--configfile", "tiny.yaml", "--show-failed-logs")
    return folder


@pytest.mark.slow
def test_tiny_run_leaves_every_table_with_finite_numbers_or_reasons(tiny):
    results = tiny / "results" / "tiny"
    tasks = ("unconditional", "forward", "interpolation")
    expected = {f"{task}_{kind}.csv" for task in tasks for kind in ("jsd", "energies", "refinement")}
    expected |= {"conformer_covmat.csv", "interpolation_paths.csv", "forward_decorrelation.csv"}
    for name in expected:
        rows = read(results / name)
        assert rows, name
        for row in rows:
            for key, value in row.items():
                if value and re.search(r"_(mean|median)$", key):
                    assert math.isfinite(float(value)), (name, row["method"], key)
            empty = [key for key, value in row.items() if key.endswith("_mean") and not value]
            assert not empty or row["reason"], f"{name}: {row['method']} has empty {empty} without a reason"
    for name, generated in (("forward_jsd", {"ar_et", "egi_naive", "egi_unfrozen", "etkdg"}),
                            ("forward_decorrelation", {"ar_et", "egi_naive", "egi_unfrozen", "etkdg"}),
                            ("interpolation_paths", {"egi"})):  # fmt: skip
        methods = {(row["method"], row["refined"]) for row in read(results / f"{name}.csv")}
        assert {(m, refined) for m in generated for refined in ("False", "True")} | {("md_oracle", "False")} <= methods
    assert (tiny / "results" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_tiny_run_lists_rejected_molecules_with_stage_and_reason(tiny):
    rejects = {row["molecule"] or row["smiles"]: row for row in read(tiny / "results/tiny/conformers/rejects.csv")}
    text = str(rejects)
    assert "C1CC" in text and "CCB(O)O" in text
    assert all(row["stage"] and row["detail"] for row in rejects.values())


@pytest.mark.slow
def test_running_again_does_nothing_and_changes_rerun_what_depends_on_them(tiny):
    arguments = ("--cores", "2", "--configfile", "tiny.yaml")
    assert "Nothing to be done" in snakemake(tiny, "-n", *arguments)
    values = yaml.safe_load((tiny / "tiny.yaml").read_text())
    values["datasets"]["tiny"]["tasks"]["forward"]["training"] = {"steps": 11, "batch_size": 2}
    (tiny / "changed.yaml").write_text(yaml.safe_dump(values))
    planned = jobs(snakemake(tiny, "-n", "--cores", "2", "--configfile", "changed.yaml"))
    assert planned["finetune"] == planned["sample"] == 3
    assert planned["evaluate_jsd"] == 1 and planned["evaluate_decorrelation"] == 1
    assert "simulate" not in planned and "pretrain" not in planned and "evaluate_paths" not in planned


@pytest.mark.slow
def test_a_deleted_trajectory_is_simulated_again(tiny):
    copy = tiny.with_name("deleted")
    shutil.copytree(tiny, copy)
    next(iter(sorted((copy / "results/tiny/md").glob("*/replica_1.xtc")))).unlink()
    planned = jobs(snakemake(copy, "-n", "--cores", "2", "--configfile", "tiny.yaml"))
    assert planned["simulate"] == 1 and planned["subsample"] == 1 and "pretrain" not in planned
    again = ("results/tiny/trajectories/test.h5", "--cores", "2", "--configfile", "tiny.yaml")
    snakemake(copy, *again)
    assert all(p.with_name("replica_1.xtc").is_file() for p in (copy / "results/tiny/md").glob("*/topology.pdb"))
    assert "Nothing to be done" in snakemake(copy, "-n", *again)


@pytest.mark.slow
def test_finetuning_by_hand_on_two_devices(tiny):
    """As on several GPUs: Lightning starts the script again for the second process, one of them writes."""
    values = yaml.safe_load((tiny / "results" / "config.yaml").read_text())
    values["datasets"]["tiny"]["tasks"]["unconditional"]["training"]["devices"] = 2
    (tiny / "two.yaml").write_text(yaml.safe_dump(values))
    results, output = tiny / "results" / "tiny", tiny / "two" / "egi.ckpt"
    flags = {
        "config": tiny / "two.yaml", "dataset": "tiny", "task": "unconditional", "method": "egi",
        "train": results / "trajectories/train.h5", "val": results / "trajectories/val.h5",
        "structure": results / "models/structure.ckpt", "output": output, "curve": output.with_name("egi.csv"),
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "workflow/scripts/finetune.py"), *(f"--{k}={v}" for k, v in flags.items())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "MEMBER: 2/2" in done.stderr
    assert sorted(path.name for path in output.parent.iterdir()) == ["egi.ckpt", "egi.csv"]
    assert [int(row["step"]) for row in read(output.with_name("egi.csv"))] == [5, 10]
    alone, shared = (load(path, "raw").state_dict() for path in (results / "models/unconditional/egi.ckpt", output))
    changed = {name.split(".")[0] for name in alone if not torch.equal(alone[name], shared[name])}
    assert "blocks" in changed and "structure" not in changed
