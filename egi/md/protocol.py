"""Run one replica from its built system: minimise, warm up, NVT, NPT production in segments (FACTS 5).

While a replica runs, ``work_{k}/`` in the molecule's folder holds a trajectory and a log a segment and the
state at its end. The state is written last and so commits the segment: after a kill at any moment a rerun
goes on from the last committed one. At the end the segments become ``replica_{k}.xtc`` and
``replica_{k}.csv``, and ``replica_{k}.json`` marks the replica as finished.
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import unit

from egi import seeds
from egi.config import SimulationSettings
from egi.data.storage import atomic
from egi.md import platform as platforms
from egi.md.common import GAS_CONSTANT, GRAMS_PER_ML, NM_PER_ANGSTROM, Rejected, digest
from egi.md.frames import frame_count, read_frames, write_frames
from egi.md.quality import degrees_of_freedom
from egi.md.system import BUILD_KEYS, write_json
from egi.units import whole_multiple

log = logging.getLogger("egi")

#: how often a replica whose coordinates stop being finite is continued with new seeds
RESTARTS = 3
#: most rows in a replica's log
LOG_ROWS = 1000
LOG_COLUMNS = ("time_ps", "potential_energy_kj_mol", "temperature_kelvin", "density_g_ml")
#: settings (as in YAML) that change how a replica is run, not what comes out
EXECUTION_KEYS = ("charges_timeout", "platform", "shards", "concurrent_replicas", "max_failed_fraction", "source",
                  "released_path")  # fmt: skip
#: minimisation only has to remove clashes; kJ/mol/nm and iterations
MINIMISE_TOLERANCE, MINIMISE_ITERATIONS = 50.0, 500


class NotFinite(Exception):
    """Coordinates or energies stopped being finite numbers."""


@dataclass(frozen=True)
class Engine:
    """OpenMM platform (by name) and the number of threads it may use on the CPU."""

    platform: str
    threads: int = 1


@dataclass(frozen=True)
class Replica:
    """One replica of a built molecule; `folder` is the molecule's."""

    folder: Path
    molecule: str
    index: int
    settings: SimulationSettings
    seed: int

    @property
    def work(self) -> Path:
        """Folder of the unfinished replica."""
        return self.folder / f"work_{self.index}"

    def file(self, ending: str) -> Path:
        """A file of the finished replica: xtc, csv or json."""
        return self.folder / f"replica_{self.index}.{ending}"

    def seed_of(self, *names: object) -> int:
        """Seed for a purpose, derived from (seed, molecule, replica)."""
        return seeds.integer(self.seed, self.molecule, self.index, *names)

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the trajectory: system, start, protocol and seed."""
        plain = self.settings.plain()
        protocol = {k: v for k, v in plain.items() if k not in (*EXECUTION_KEYS, *BUILD_KEYS)}
        system = (self.folder / "system.xml").read_bytes()
        positions, box = self.start
        return digest(system, positions.tobytes(), box.tobytes(), protocol, self.seed, self.molecule, self.index)

    @cached_property
    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Start positions (all atoms, 3) and box vectors (3, 3), Å."""
        with np.load(self.folder / "start.npz") as stored:
            return stored[f"replica_{self.index}"], stored["box"]

    @cached_property
    def segments(self) -> list[int]:
        """Frames of each segment; the last may be shorter."""
        s = self.settings
        total = whole_multiple(s.production_ps, s.frame_interval_ps, "production", "frame_interval")
        each = whole_multiple(s.segment_ps, s.frame_interval_ps, "segment", "frame_interval")
        full, rest = divmod(total, each)
        return [each] * full + [rest] * (rest > 0)


def run_replica(replica: Replica, engine: Engine, solute_atoms: int) -> dict[str, Any]:
    """Run a replica to its end, going on from whatever an earlier run has committed.

    Parameters
    ----------
    replica : Replica
    engine : Engine
    solute_atoms : int
        The first atoms of the system, those that are saved.

    Returns
    -------
    dict
        The content of ``replica_{k}.json``.

    Raises
    ------
    Rejected
        If coordinates stop being finite more than `RESTARTS` times, or the box becomes too small.
    """
    record = finished_record(replica)
    if record is None:
        progress = _open_work(replica)
        stage = "equilibration"
        while True:
            try:
                if not progress.state(0).is_file():
                    stage = "equilibration"
                    _equilibrate(progress, engine)
                stage = "production"
                _produce(progress, engine, solute_atoms)
                break
            except (NotFinite, openmm.OpenMMException) as error:
                _after_failure(progress, stage, error)
        record = _finish(progress, engine, solute_atoms)
    shutil.rmtree(replica.work, ignore_errors=True)
    return record


def finished_record(replica: Replica) -> dict[str, Any] | None:
    """Record of a replica that is complete with this system, protocol and seed; else None."""
    if not replica.file("json").is_file():
        return None
    record = json.loads(replica.file("json").read_text())
    if record["key"] == replica.key and replica.file("xtc").is_file() and replica.file("csv").is_file():
        shutil.rmtree(replica.work, ignore_errors=True)  # still there after a kill in the last moment
        return record
    log.info("%s replica %d: system, protocol or files changed; starting afresh", replica.molecule, replica.index)
    for ending in ("json", "xtc", "csv"):
        replica.file(ending).unlink(missing_ok=True)
    return None


@dataclass
class _Progress:
    """State of an unfinished replica, kept in ``work_{k}/run.json``."""

    replica: Replica
    restarts: int = 0
    #: wall time of all runs so far
    seconds: dict[str, float] = field(default_factory=lambda: {"equilibration": 0.0, "production": 0.0})

    def state(self, segment: int) -> Path:
        """State at the end of a segment; segment 0 is equilibration."""
        return self.replica.work / f"state_{segment:04d}.xml"

    def segment(self, segment: int, ending: str) -> Path:
        """Trajectory or log of a segment."""
        return self.replica.work / f"segment_{segment:04d}.{ending}"

    def committed(self) -> int:
        """Number of the last segment whose state is there."""
        states = [int(path.stem.removeprefix("state_")) for path in self.replica.work.glob("state_*.xml")]
        return max(states, default=0)

    def save(self) -> None:
        """Write ``run.json``."""
        content = {"key": self.replica.key, "restarts": self.restarts, "seconds": self.seconds}
        write_json(self.replica.work / "run.json", content)


def _open_work(replica: Replica) -> _Progress:
    """Progress of an earlier run of the same thing, or a fresh start."""
    path = replica.work / "run.json"
    stored = json.loads(path.read_text()) if path.is_file() else {}
    if stored.get("key") == replica.key:
        progress = _Progress(replica, stored["restarts"], stored["seconds"])
        intact = all(
            progress.segment(i + 1, "csv").is_file() and frame_count(progress.segment(i + 1, "xtc")) == frames
            for i, frames in enumerate(replica.segments[: progress.committed()])
        )
        if intact:
            log.info("%s replica %d: going on after segment %d of %d", replica.molecule, replica.index,
                     progress.committed(), len(replica.segments))  # fmt: skip
            return progress
    if replica.work.exists():
        log.info("%s replica %d: system, protocol or segments changed; starting afresh",
                 replica.molecule, replica.index)  # fmt: skip
        shutil.rmtree(replica.work)
    replica.work.mkdir(parents=True)
    progress = _Progress(replica)
    progress.save()
    return progress


def _after_failure(progress: _Progress, stage: str, error: Exception) -> None:
    """Count a restart after lost coordinates; anything else, or one too many, rejects the replica."""
    message = str(error).splitlines()[0]
    replica = progress.replica
    if not isinstance(error, NotFinite) and "nan" not in message.lower():
        if "box size" in message:
            raise Rejected(stage, message) from error
        raise error
    if progress.restarts >= RESTARTS:
        raise Rejected(stage, f"{message}, after {RESTARTS} restarts with new seeds") from error
    progress.restarts += 1
    progress.save()
    log.warning("%s replica %d: %s in %s; restart %d of %d from the last good state with new seeds",
                replica.molecule, replica.index, message, stage, progress.restarts, RESTARTS)  # fmt: skip


def new_context(
    replica: Replica, engine: Engine, purpose: str, timestep_ps: float, npt: bool, attempt: int = 0
) -> openmm.Context:
    """A context with seeds of its own for integrator and barostat, derived from purpose and attempt."""
    settings = replica.settings
    system = openmm.XmlSerializer.deserialize((replica.folder / "system.xml").read_text())
    if npt:
        barostat = openmm.MonteCarloBarostat(
            settings.pressure_bar, settings.temperature_kelvin, settings.barostat_interval_steps
        )
        barostat.setRandomNumberSeed(replica.seed_of("barostat", purpose, attempt))
        system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(settings.temperature_kelvin, settings.friction_per_ps, timestep_ps)
    integrator.setRandomNumberSeed(replica.seed_of("integrator", purpose, attempt))
    chosen = openmm.Platform.getPlatformByName(engine.platform)
    return openmm.Context(system, integrator, chosen, platforms.properties(engine.platform, engine.threads))


def _equilibrate(progress: _Progress, engine: Engine) -> None:
    """Equilibrate and commit the state as segment 0."""
    started = time.monotonic()
    context = equilibrated(progress.replica, engine, progress.restarts)
    progress.seconds["equilibration"] += time.monotonic() - started
    _commit_state(progress, context, 0)


def equilibrated(replica: Replica, engine: Engine, attempt: int = 0) -> openmm.Context:
    """A context after minimisation, a warm-up at a short time step, and NVT at the full one."""
    settings = replica.settings
    context = new_context(replica, engine, "equilibration", float(settings.warmup_timestep_ps), False, attempt)
    positions, box = replica.start
    if box.any():
        context.setPeriodicBoxVectors(*(box * NM_PER_ANGSTROM))
    context.setPositions(positions * NM_PER_ANGSTROM)
    openmm.LocalEnergyMinimizer.minimize(context, MINIMISE_TOLERANCE, MINIMISE_ITERATIONS)
    context.setVelocitiesToTemperature(settings.temperature_kelvin, replica.seed_of("velocities", attempt))
    integrator = context.getIntegrator()
    integrator.step(whole_multiple(settings.warmup_ps, settings.warmup_timestep_ps, "warmup", "warmup_timestep"))
    integrator.setStepSize(float(settings.timestep_ps))
    integrator.step(whole_multiple(settings.nvt_ps, settings.timestep_ps, "nvt", "timestep"))
    context.setTime(0)
    context.setStepCount(0)
    return context


def _commit_state(progress: _Progress, context: openmm.Context, segment: int) -> None:
    """Write the state at the end of a segment, then remove the one before."""
    state = context.getState(positions=True, velocities=True)
    if not np.isfinite(_nm(state)).all():
        raise NotFinite("coordinates are not finite")
    progress.save()
    with atomic(progress.state(segment)) as partial:
        partial.write_text(openmm.XmlSerializer.serialize(state))
    if segment:
        progress.state(segment - 1).unlink(missing_ok=True)


def _produce(progress: _Progress, engine: Engine, solute_atoms: int) -> None:
    """All segments that are not there yet.

    Where equal seeds give equal trajectories, each segment has its own context and seeds, so that an
    interrupted run equals an unbroken one. Where they do not (GPUs), one context serves all segments.
    """
    settings = progress.replica.settings
    context = None
    for segment in range(progress.committed() + 1, len(progress.replica.segments) + 1):
        started = time.monotonic()
        if context is None or platforms.repeatable(engine.platform, engine.threads):
            context = new_context(progress.replica, engine, f"segment {segment}", float(settings.timestep_ps),
                                  npt=settings.solvent == "explicit", attempt=progress.restarts)  # fmt: skip
            context.setState(openmm.XmlSerializer.deserialize(progress.state(segment - 1).read_text()))
        _run_segment(progress, context, segment, solute_atoms)
        progress.seconds["production"] += time.monotonic() - started
        _commit_state(progress, context, segment)


def _run_segment(progress: _Progress, context: openmm.Context, segment: int, solute_atoms: int) -> None:
    """Integrate one segment and write its trajectory (solute only, whole molecule) and log."""
    replica, settings = progress.replica, progress.replica.settings
    steps = whole_multiple(settings.frame_interval_ps, settings.timestep_ps, "frame_interval", "timestep")
    first = sum(replica.segments[: segment - 1])
    count = replica.segments[segment - 1]
    every = max(1, sum(replica.segments) // LOG_ROWS)
    positions = np.empty((count, solute_atoms, 3), dtype=np.float32)
    boxes = np.zeros((count, 3, 3), dtype=np.float32)
    rows = []
    meter = _Meter(context.getSystem())
    for frame in range(count):
        context.getIntegrator().step(steps)
        measured = (first + frame + 1) % every == 0
        state = context.getState(positions=True, energy=measured)
        positions[frame] = _nm(state)[:solute_atoms]
        if settings.solvent == "explicit":
            boxes[frame] = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        if measured:
            rows.append([(first + frame + 1) * settings.frame_interval_ps, *meter(state, boxes[frame])])
    if not np.isfinite(positions).all():
        raise NotFinite("coordinates are not finite")
    times = np.arange(first + 1, first + count + 1) * float(settings.frame_interval_ps)
    write_frames(progress.segment(segment, "xtc"), positions, times, boxes)
    with atomic(progress.segment(segment, "csv")) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


class _Meter:
    """Potential energy, instantaneous temperature and density of a state."""

    def __init__(self, system: openmm.System):
        self.mass = sum(system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles()))
        self.freedom = degrees_of_freedom(system)

    def __call__(self, state: openmm.State, box_nm: np.ndarray) -> tuple[str, str, str]:
        potential = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        volume = np.linalg.det(box_nm.astype(float))
        if not np.isfinite([potential, kinetic]).all():
            raise NotFinite("energy is not finite")
        density = f"{self.mass / volume * GRAMS_PER_ML:.5f}" if volume > 0 else ""
        return f"{potential:.4f}", f"{2 * kinetic / (self.freedom * GAS_CONSTANT):.3f}", density


def _finish(progress: _Progress, engine: Engine, solute_atoms: int) -> dict[str, Any]:
    """Join the segments; the record is written last and marks the replica as finished."""
    replica, settings = progress.replica, progress.replica.settings
    count = len(replica.segments)
    parts = [read_frames(progress.segment(i + 1, "xtc")) for i in range(count)]
    positions, boxes = (np.concatenate([part[k] for part in parts]) for k in (0, 2))
    frames = sum(replica.segments)
    if positions.shape != (frames, solute_atoms, 3):
        raise ValueError(f"{replica.work} gives positions {positions.shape}; wanted {(frames, solute_atoms, 3)}")
    times = np.arange(1, frames + 1) * float(settings.frame_interval_ps)
    write_frames(replica.file("xtc"), positions, times, boxes)
    with atomic(replica.file("csv")) as partial:
        logs = "".join(progress.segment(i + 1, "csv").read_text() for i in range(count))
        partial.write_text(",".join(LOG_COLUMNS) + "\n" + logs)
    seconds = progress.seconds["production"]
    record = {
        "key": replica.key,
        "frames": frames,
        "interval_ps": float(settings.frame_interval_ps),
        "seed": replica.seed_of("integrator", "equilibration", 0),
        "restarts": progress.restarts,
        "platform": engine.platform,
        "precision": platforms.precision(engine.platform),
        "threads": engine.threads,
        "seconds": {name: round(value, 2) for name, value in progress.seconds.items()},
        "ns_per_day": round(float(settings.production_ps) / 1000 / max(seconds, 1e-9) * 86400, 2),
    }
    write_json(replica.file("json"), record)
    return record


def _nm(state: openmm.State) -> np.ndarray:
    return state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
