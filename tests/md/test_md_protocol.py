from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import openmm
import pytest

from egi.md import protocol
from egi.md.common import Rejected
from egi.md.frames import frame_count, read_frames
from egi.md.protocol import Engine, Replica, run_replica
from egi.md.quality import read_log
from egi.md.system import build

REFERENCE = Engine("Reference")


@pytest.fixture
def folder(ethanol, tmp_path):
    return shutil.copytree(ethanol, tmp_path / "mol")


def test_finished_replica_has_every_frame_at_its_time(md, folder):
    replica = Replica(folder, "mol", 0, md.settings(), 1)
    record = run_replica(replica, REFERENCE, 9)
    positions, times, _ = read_frames(replica.file("xtc"))
    assert positions.shape == (50, 9, 3) and record["frames"] == 50
    np.testing.assert_allclose(times, np.arange(1, 51) * 0.08, rtol=1e-6)
    log = read_log(replica.file("csv"))
    np.testing.assert_allclose(log["time_ps"], times, rtol=1e-6)
    assert log["temperature_kelvin"].mean() > 100
    assert not replica.work.exists()
    bonds = np.linalg.norm(positions[:, 0] - positions[:, 1], axis=-1)
    assert bonds.min() > 0.13 and bonds.max() < 0.18  # C-C of ethanol, nm


def test_finished_replica_is_not_run_again(md, folder, monkeypatch):
    replica = Replica(folder, "mol", 0, md.settings(), 1)
    record = run_replica(replica, REFERENCE, 9)
    monkeypatch.setattr(protocol, "new_context", None)
    assert run_replica(Replica(folder, "mol", 0, md.settings(), 1), REFERENCE, 9) == record


@pytest.mark.parametrize("change", [{"production": "1.6 ps"}, {"temperature": "310 K"}, "system", "seed"])
def test_changed_protocol_or_system_starts_afresh_and_says_so(md, folder, caplog, change):
    run_replica(Replica(folder, "mol", 0, md.settings(), 1), REFERENCE, 9)
    before = read_frames(folder / "replica_0.xtc")[0]
    if change == "system":
        text = (folder / "system.xml").read_text()
        (folder / "system.xml").write_text(text + "\n")
    settings = md.settings(**change) if isinstance(change, dict) else md.settings()
    caplog.set_level("INFO", "egi")
    run_replica(Replica(folder, "mol", 0, settings, 2 if change == "seed" else 1), REFERENCE, 9)
    assert "starting afresh" in caplog.text
    after = read_frames(folder / "replica_0.xtc")[0]
    assert (change == "system") == (before.shape == after.shape and np.array_equal(before, after))


def test_execution_settings_do_not_start_afresh(md, folder):
    one = Replica(folder, "mol", 0, md.settings(), 1)
    assert one.key == Replica(folder, "mol", 0, md.settings(platform="auto", shards=3, concurrent_replicas=2), 1).key


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(0, 14, 2))
def test_interrupted_replica_equals_the_unbroken_one(md, folder, tmp_path, monkeypatch, moment):
    """Stop at the n-th rename, the moments between which files change; then run again."""
    settings = md.settings(production="2 ps")  # two full segments and a shorter one
    whole = Replica(shutil.copytree(folder, tmp_path / "whole"), "mol", 0, settings, 1)
    run_replica(whole, REFERENCE, 9)
    calls = 0
    real = __import__("os").replace

    def replace(*arguments):
        nonlocal calls
        calls += 1
        if calls == moment + 1:
            raise _Killed
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", replace)
        broken = Replica(folder, "mol", 0, settings, 1)
        with pytest.raises(_Killed):
            run_replica(broken, REFERENCE, 9)
    run_replica(Replica(folder, "mol", 0, settings, 1), REFERENCE, 9)
    for got, wanted in zip(read_frames(broken.file("xtc")), read_frames(whole.file("xtc")), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert broken.file("csv").read_text() == whole.file("csv").read_text()


@pytest.mark.slow
def test_solvated_replica_is_whole_and_repeats_bit_by_bit_on_the_cpu(md, tmp_path, monkeypatch):
    """A broken and an unbroken solvated run at constant pressure agree; the solute never splits over the box's edge."""
    settings = md.settings(solvent="explicit", padding="5 angstrom", cutoff="6 angstrom", switch_distance="5 angstrom",
                           production="1.6 ps", platform="CPU")  # fmt: skip
    built = build(md.job("CCCO"), settings, 1, tmp_path / "one")
    with np.load(tmp_path / "one" / "start.npz") as stored:  # the solute begins on the corner of the box
        moved = {**stored, "replica_0": stored["replica_0"] - stored["replica_0"][:12].mean(axis=0)}
    np.savez(tmp_path / "one" / "start.npz", **moved)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    engine = Engine("CPU", 1)
    run_replica(Replica(tmp_path / "one", "mol", 0, settings, 1), engine, built["solute_atoms"])
    real = protocol._commit_state

    def commit_state(progress, context, segment):
        real(progress, context, segment)
        if segment == 1:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "_commit_state", commit_state)
        with pytest.raises(_Killed):
            run_replica(Replica(tmp_path / "two", "mol", 0, settings, 1), engine, built["solute_atoms"])
    run_replica(Replica(tmp_path / "two", "mol", 0, settings, 1), engine, built["solute_atoms"])
    one, two = (read_frames(tmp_path / name / "replica_0.xtc") for name in ("one", "two"))
    for got, wanted in zip(two, one, strict=True):
        np.testing.assert_array_equal(got, wanted)
    extent = np.ptp(one[0], axis=1).max()
    assert extent < 0.7  # propanol is 0.6 nm long, the box 1.4 nm
    volumes = np.linalg.det(one[2].astype(float))
    assert len(np.unique(volumes)) > 5


def test_replicas_differ_and_seeds_repeat(md, folder, tmp_path):
    settings = md.settings(production="0.8 ps")
    other = shutil.copytree(folder, tmp_path / "other")
    frames = []
    for place, index in ((folder, 0), (folder, 1), (other, 0)):
        run_replica(Replica(place, "mol", index, settings, 1), REFERENCE, 9)
        frames.append(read_frames(place / f"replica_{index}.xtc")[0])
    np.testing.assert_array_equal(frames[0], frames[2])
    assert np.abs(frames[0] - frames[1]).max() > 0.01


def test_lost_coordinates_restart_with_new_seeds_then_reject(md, folder, monkeypatch, caplog):
    replica = Replica(folder, "mol", 0, md.settings(), 1)
    real, failures = protocol._run_segment, [2]

    def run_segment(progress, context, segment, atoms):
        real(progress, context, segment, atoms)
        if segment == 3 and failures[0]:
            failures[0] -= 1
            raise openmm.OpenMMException("Particle coordinate is NaN.  For more information, see ...")

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "_run_segment", run_segment)
        assert run_replica(replica, REFERENCE, 9)["restarts"] == 2
    assert "restart 2 of 3 from the last good state with new seeds" in caplog.text
    failures[0] = 99
    monkeypatch.setattr(protocol, "_run_segment", run_segment)
    with pytest.raises(Rejected, match=r"production: Particle coordinate is NaN.*after 3 restarts with new seeds"):
        run_replica(Replica(folder, "mol", 1, md.settings(), 1), REFERENCE, 9)


def test_real_explosion_is_noticed(md, folder):
    """A system with a huge repulsion loses its coordinates within the first steps."""
    system = openmm.XmlSerializer.deserialize((folder / "system.xml").read_text())
    force = openmm.CustomExternalForce("-1e12*x^4")
    force.addParticle(0, [])
    system.addForce(force)
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    with pytest.raises(Rejected, match=r"after 3 restarts with new seeds"):
        run_replica(Replica(folder, "mol", 0, md.settings(), 1), REFERENCE, 9)


def test_damaged_segment_starts_afresh(md, folder, monkeypatch, caplog):
    replica = Replica(folder, "mol", 0, md.settings(), 1)
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "_finish", _raise_killed)
        with pytest.raises(_Killed):
            run_replica(replica, REFERENCE, 9)
    damaged = replica.work / "segment_0002.xtc"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    caplog.set_level(logging.INFO, "egi")
    run_replica(Replica(folder, "mol", 0, md.settings(), 1), REFERENCE, 9)
    assert "starting afresh" in caplog.text
    assert frame_count(replica.file("xtc")) == 50


def _raise_killed(*arguments):
    raise _Killed


def test_record_names_seed_platform_and_restarts(md, folder):
    replica = Replica(folder, "mol", 2, md.settings(production="0.8 ps"), 1)
    run_replica(replica, REFERENCE, 9)
    record = json.loads(replica.file("json").read_text())
    assert (record["platform"], record["precision"], record["restarts"]) == ("Reference", "double", 0)
    assert record["ns_per_day"] > 0 and record["interval_ps"] == 0.08
