from __future__ import annotations

import csv
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openmm
import pytest
import yaml

from egi.cli import UserError
from egi.data.storage import Reader
from egi.md import platform, protocol
from egi.md import shard as shards
from egi.md.frames import frame_count, read_frames
from egi.md.manifest import read_jobs, read_molecules, write_manifest
from egi.md.shard import Shard

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def call(name: str, *flags) -> None:
    """Run a script's main with flags."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(flag) for flag in flags])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def config(md, tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    training = {"steps": 1}
    dataset = {
        "geom": {"source": "smiles", "files": {"all": "x.csv"}, "elements": ["C", "O"]},
        "selection": {"molecules": {"train": 1, "val": 1, "test": 1}},
        "simulation": {**md.short, "max_failed_fraction": 0.5},
        "subsample": {"interval": "0.4 ps", "phases": 2},
        "pretraining": training,
        "tasks": {"unconditional": {"methods": ["egi"], "frames": 4, "training": training, "sampling": {"samples": 1}}},
        "evaluation": {"coverage_threshold": "0.5 angstrom", "tica_lag": "0.8 ps", "msm_lag": "0.8 ps"},
    }
    path.write_text(yaml.safe_dump({"seed": 1, "threads": 1, "datasets": {"tiny": dataset}}))
    return path


def test_shards_divide_the_molecules_and_bad_numbers_are_refused(md, tmp_path):
    jobs = [md.job("CO", name=f"m{i}", split=s) for i, s in enumerate(("train", "val", "test", "train", "train"))]
    table, conformers = md.inputs(tmp_path, jobs)
    paths = dict(zip(("train", "val", "test"), conformers, strict=True))
    assert [[j.id for j in read_jobs(table, paths, i, 2)] for i in (0, 1)] == [["m0", "m2", "m4"], ["m1", "m3"]]
    np.testing.assert_allclose(read_jobs(table, paths, 0, 1)[1].starts[0], jobs[1].starts[0], atol=1e-5)
    with pytest.raises(UserError, match=r"shard = 2; allowed: 0 to 1 of 2 shards"):
        read_jobs(table, paths, 2, 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,CO,train,0,", "a,CC,train,0,"], "more than one molecule named a; names must be unique"),
        (["a/b,CO,train,0,"], r"molecules.csv: id = 'a/b'; .*allowed without /"),
        (["a,CO,train,,left out"], "no molecule with start_conformers"),
        (None, "does not exist; select_molecules writes it"),
    ],
)
def test_bad_tables_are_refused(tmp_path, rows, message):
    path = tmp_path / "molecules.csv"
    if rows is not None:
        path.write_text("\n".join(["id,smiles,split,start_conformers,reason", *rows]))
    with pytest.raises(UserError, match=message):
        read_molecules(path)


def test_a_start_conformer_that_is_not_there_is_named(md, tmp_path):
    table, conformers = md.inputs(tmp_path, [md.job("CO", name="m")])
    table.write_text(table.read_text().replace(",0,", ",3,"))
    with pytest.raises(UserError, match=r"molecule m starts from conformers \[3\], but .*train.h5 has 1"):
        read_jobs(table, {"train": conformers[0]}, 0, 1)


def test_scripts_from_molecules_to_trajectories(md, tmp_path, config):
    """Boron and a molecule with two test replicas are rejected with reasons; the rest arrives, rigid motion removed."""
    jobs = [md.job("CCO", 2, "train_a"), md.job("CCB(O)O", 1, "train_b"), md.job("COC", 3, "test_a", "test"),
            md.job("CO", 2, "test_b", "test"), md.job("CC#N", 1, "val_a", "val")]  # fmt: skip
    table, conformers = md.inputs(tmp_path / "in", jobs)
    common = ["--config", config, "--dataset", "tiny", "--molecules", table, "--conformers", *conformers]
    manifests = [tmp_path / "md" / f"shard_{i}.csv" for i in (0, 1)]
    for i, manifest in enumerate(manifests):
        call("simulate", *common, "--shard", i, "--shards", 2, "--output", manifest)
    rows = [row for manifest in manifests for row in rows_of(manifest)]
    assert len(rows) == 9 and sum(row["status"] == "ok" for row in rows) == 8
    boron = next(row for row in rows if row["molecule"] == "train_b")
    assert (boron["stage"], boron["reason"]) == ("parameters", "openff-2.2.1 has no parameters for B")
    outputs = {split: tmp_path / "out" / f"{split}.h5" for split in ("train", "val", "test")}
    rejects = tmp_path / "out" / "rejects.csv"
    flags = [item for split, path in outputs.items() for item in (f"--{split}", path)]
    call("subsample", *common, "--manifests", *manifests, *flags, "--rejects", rejects)
    assert {row["molecule"] for row in rows_of(rejects)} == {"train_b", "test_b"}
    with Reader(outputs["test"], "egi-trajectories") as reader:
        assert reader.ids == ["test_a"] and reader.attributes["interval_ps"] == 0.4
        group = reader.group("test_a")
        assert [group[f"replica_{k}"].attrs["role"] for k in range(3)] == ["reference", "reference", "oracle"]
        stored = group["replica_1"][...]
    assert stored.shape == (2, 3, 10, 3)
    saved = read_frames(tmp_path / "md" / "test_a" / "replica_1.xtc")[0] * 10
    for phase, first in ((0, 4), (1, 2)):  # saved frames 5, 10, ... and, half a stride earlier, 3, 8, ...
        wanted = saved[first::5][:, [0, 1, 2]]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            pair = wanted[:, i] - wanted[:, j], stored[phase, i] - stored[phase, j]
            expected, found = (np.linalg.norm(difference, axis=-1) for difference in pair)
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_one_smiles_by_hand_and_its_cost_before(tmp_path, config, caplog):
    output = tmp_path / "hand" / "butanol.csv"
    flags = ["--config", config, "--dataset", "tiny", "--smiles", "C[C@H](O)CC", "--name", "butanol", "--replicas", 2,
             "--output", output]  # fmt: skip
    caplog.set_level("INFO", "egi")
    call("simulate", *flags, "--dry-run")
    assert "molecule butanol, atoms 15, charges nagl, replicas 2, ns_per_day" in caplog.text
    assert (tmp_path / "hand" / "butanol" / "system.xml").is_file() and not output.exists()
    call("simulate", *flags)
    rows = rows_of(output)
    assert [(row["molecule"], row["replica"], row["status"]) for row in rows] == [("butanol", k, "ok") for k in "01"]
    starts = np.load(tmp_path / "hand" / "butanol" / "start.npz")
    assert np.abs(starts["replica_0"] - starts["replica_1"]).max() > 0.1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--smiles", "C1CC"], r"--smiles C1CC: .*no valid molecule"),
        (["--smiles", "CC", "--name", "../x"], r"--name = '../x'; .*allowed without / and leading dot"),
        (["--smiles", "CC", "--replicas", "0"], r"--replicas 0; allowed: 1 and more"),
        ([], r"give either --smiles, or --molecules and --conformers"),
    ],
)
def test_bad_flags_are_refused(tmp_path, config, flags, message):
    with pytest.raises(UserError, match=message):
        call("simulate", "--config", config, "--dataset", "tiny", "--output", tmp_path / "x.csv", *flags)


def test_rejected_share_above_the_limit_fails_and_keeps_the_table(tmp_path):
    rows = [{"molecule": "a", "replica": 0, "status": "ok"},
            {"molecule": "b", "replica": 0, "status": "rejected", "stage": "charges", "reason": "slow"}]  # fmt: skip
    write_manifest(rows, tmp_path / "ok.csv", 0.5)
    with pytest.raises(UserError, match=r"1 of 2 replicas were rejected, more than .* = 0.4; 1 for: charges: slow"):
        write_manifest(rows, tmp_path / "shard.csv", 0.4)
    assert not (tmp_path / "shard.csv").exists()
    assert len(rows_of(tmp_path / "shard.failed.csv")) == 2


def test_full_disk_stops_the_shard_with_advice(md, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "system.xml")

    monkeypatch.setattr(shards, "build", full)
    with pytest.raises(UserError, match=r"No space left on device: system.xml; free space and start again"):
        Shard([md.job("CO")], md.settings(), 1, tmp_path).run()


def test_a_trajectory_that_cannot_be_written_stops_the_shard(md, tmp_path, monkeypatch):
    from mdtraj.formats import xtc

    class Full(xtc.XTCTrajectoryFile):
        def write(self, *arguments, **named):
            raise RuntimeError("XTC write error: 7")

    monkeypatch.setattr("mdtraj.formats.XTCTrajectoryFile", Full)
    with pytest.raises(UserError, match=r"disk full\? .*segment_0001.xtc; free space and start again"):
        Shard([md.job("CO")], md.settings(), 1, tmp_path).run()
    monkeypatch.undo()
    assert Shard([md.job("CO")], md.settings(), 1, tmp_path).run()[0]["status"] == "ok"


def test_an_unexpected_error_rejects_one_molecule_only(md, tmp_path, monkeypatch):
    real = shards.build

    def build(job, *arguments):
        if job.id == "bad":
            raise RuntimeError("surprise")
        return real(job, *arguments)

    monkeypatch.setattr(shards, "build", build)
    rows = Shard([md.job("CO", name="bad"), md.job("CO", name="good")], md.settings(), 1, tmp_path).run()
    assert [(r["molecule"], r["status"]) for r in rows] == [("bad", "rejected"), ("good", "ok")]
    assert rows[0]["reason"] == "RuntimeError: surprise"


def test_a_rerun_takes_over_what_is_finished_and_times_the_rest(md, tmp_path, monkeypatch):
    jobs = [md.job("CO", 2, "a"), md.job("CCO", 2, "b")]
    first = Shard(jobs, md.settings(), 1, tmp_path).run()
    (tmp_path / "b" / "replica_1.json").unlink()
    ran, shown = [], []
    real = shards.run_replica
    monkeypatch.setattr(shards, "run_replica", lambda replica, *rest: ran.append(replica) or real(replica, *rest))
    monkeypatch.setattr(shards.tqdm, "set_postfix_str", lambda bar, text, refresh: shown.append(text))
    again = Shard(jobs, md.settings(shards=3), 1, tmp_path).run()
    assert [(r.molecule, r.index) for r in ran] == [("b", 1)]
    keys = ("molecule", "replica", "status", "temperature_kelvin")
    assert [[row[k] for k in keys] for row in again] == [[row[k] for k in keys] for row in first]
    assert len(shown) == 1 and re.fullmatch(
        r"\d+ ns/day each, \d+ in all, [\d.]+ (h|min) left; 3 such shards take [\d.]+ (h|min)", shown[0]
    )


def test_on_a_gpu_builds_run_ahead_in_processes_and_one_context_serves_all_segments(md, tmp_path, monkeypatch):
    """The way of GPUs, walked by the Reference platform: without repeatable sums, segments share a context."""
    monkeypatch.setattr(platform, "GPU", ("Reference",))
    monkeypatch.setattr(platform, "properties", lambda name, threads: {})
    monkeypatch.setattr(platform, "repeatable", lambda name, threads: False)
    monkeypatch.setattr(shards, "build", None)  # in this process nothing is built
    made = []
    real = protocol.new_context
    monkeypatch.setattr(protocol, "new_context", lambda *args, **kwargs: made.append(args[2]) or real(*args, **kwargs))
    rows = Shard([md.job("CO", 1, "a")], md.settings(), 1, tmp_path).run()
    assert made == ["equilibration", "segment 1"]
    assert (rows[0]["status"], rows[0]["precision"], rows[0]["frames"]) == ("ok", "mixed", 50)
    _, times, _ = read_frames(tmp_path / "a" / "replica_0.xtc")
    np.testing.assert_allclose(np.diff(times), 0.08, rtol=1e-4)


def test_a_box_that_shrinks_too_far_rejects_its_replica(md, tmp_path, monkeypatch):
    def shrink(*arguments):
        raise openmm.OpenMMException("The periodic box size has decreased to less than twice the nonbonded cutoff.")

    monkeypatch.setattr(protocol, "_run_segment", shrink)
    row = Shard([md.job("CO", 1, "a")], md.settings(), 1, tmp_path).run()[0]
    assert (row["status"], row["stage"]) == ("rejected", "production")
    assert "less than twice the nonbonded cutoff" in row["reason"]


@pytest.mark.slow
def test_concurrent_replicas_give_the_same_trajectories(md, tmp_path):
    jobs = [md.job("CO", 2, "a"), md.job("CCO", 2, "b")]
    one = Shard(jobs, md.settings(), 1, tmp_path / "one").run()
    two = Shard(jobs, md.settings(concurrent_replicas=2), 1, tmp_path / "two").run()
    names = [[(r["molecule"], r["replica"], r["status"]) for r in rows] for rows in (one, two)]
    assert names[0] == names[1] == [(m, k, "ok") for m in "ab" for k in (0, 1)]
    for row in one:
        frames = [read_frames(tmp_path / place / row["trajectory"])[0] for place in ("one", "two")]
        np.testing.assert_array_equal(*frames)


@pytest.mark.slow
def test_sigkill_at_any_moment_and_a_rerun_completes(md, tmp_path, config):
    """Kill the whole process group at increasing times until it ends by itself; compare with an unbroken run."""
    settings = yaml.safe_load(config.read_text())
    settings["datasets"]["tiny"]["simulation"] = {**md.short, "production": "160 ps", "segment": "16 ps"}
    config.write_text(yaml.safe_dump(settings))
    table, conformers = md.inputs(tmp_path / "in", [md.job("CCCO", 2, "m")])
    manifest = tmp_path / "md" / "shard_0.csv"
    command = [sys.executable, SCRIPTS / "simulate.py", "--config", config, "--dataset", "tiny",
               "--molecules", table, "--conformers", *conformers, "--output", manifest]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parents[1]), "OMP_NUM_THREADS": "1"}
    killed, seen = 0, set()
    for delay in (2.0, *np.arange(0.05, 2, 0.25)):
        process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        started = time.monotonic()
        while process.poll() is None and (time.monotonic() - started < 60):
            working = list((tmp_path / "md").glob("m/*"))
            if len(seen | {p.name for p in working}) > len(seen):  # something new was written: die soon after
                seen |= {p.name for p in working}
                time.sleep(delay / 10)
                break
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        if manifest.exists():
            break
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert killed >= 3
    assert all(row["status"] == "ok" for row in rows_of(manifest))
    jobs = read_jobs(table, {"train": conformers[0]}, 0, 1)
    whole = Shard(jobs, md.settings(production="160 ps", segment="16 ps"), 1, tmp_path / "whole").run()
    for row in whole:
        assert frame_count(tmp_path / "md" / row["trajectory"]) == 2000
        frames = [read_frames(tmp_path / place / row["trajectory"])[0] for place in ("md", "whole")]
        np.testing.assert_array_equal(*frames)
