"""What a simulation will cost: builds each molecule, then times a few steps of one of its replicas."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import openmm

from egi.config import SimulationSettings
from egi.md import platform as platforms
from egi.md.common import NM_PER_ANGSTROM, Rejected
from egi.md.molecule import Job
from egi.md.protocol import Engine, Replica, new_context
from egi.md.system import build
from egi.units import whole_multiple

log = logging.getLogger("egi")

#: wall time for which steps are timed
TIMED_SECONDS = 2.0
_CHUNK = 50


def estimate(
    jobs: list[Job], settings: SimulationSettings, seed: int, folder: Path, threads: int
) -> list[dict[str, Any]]:
    """Size and cost of each molecule. The builds stay on disk, so that nothing is done twice.

    Parameters
    ----------
    jobs : list of Job
    settings : SimulationSettings
    seed : int
    folder : path
        Where the molecules' folders are made.
    threads : int
        CPU threads.

    Returns
    -------
    list of dict
        molecule, atoms, waters, ions, box_width_angstrom, box_enlarged, charges, ns_per_day and hours (for all its
        replicas one after the other); or molecule, stage and reason where it cannot be simulated.
    """
    engine = Engine(platforms.choose(settings.platform, settings.solvent), threads)
    rows = []
    for job in jobs:
        try:
            built = build(job, settings, seed, folder / job.id)
        except Rejected as failure:
            rows.append({"molecule": job.id, "stage": failure.stage, "reason": failure.reason})
            continue
        usable = [k for k in job.starts if str(k) not in built["rejected_replicas"]]
        rate = steps_per_second(Replica(folder / job.id, job.id, usable[0], settings, seed), engine)
        steps = whole_multiple(settings.nvt_ps, settings.timestep_ps, "nvt", "timestep")
        steps += whole_multiple(settings.production_ps, settings.timestep_ps, "production", "timestep")
        names = ("atoms", "waters", "ions", "box_width_angstrom", "box_enlarged", "charges")
        rows.append({
            "molecule": job.id, **{name: built[name] for name in names if name in built},
            "replicas": len(usable), "ns_per_day": round(rate * float(settings.timestep_ps) * 86.4, 1),
            "hours": round(len(usable) * steps / rate / 3600, 3),
        })  # fmt: skip
    return rows


def steps_per_second(replica: Replica, engine: Engine) -> float:
    """Speed of plain time steps of a built replica, the barostat among them."""
    settings = replica.settings
    context = new_context(
        replica, engine, "estimate", float(settings.warmup_timestep_ps), settings.solvent == "explicit"
    )
    positions, box = replica.start
    if box.any():
        context.setPeriodicBoxVectors(*(box * NM_PER_ANGSTROM))
    context.setPositions(positions * NM_PER_ANGSTROM)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=_CHUNK)
    context.setVelocitiesToTemperature(settings.temperature_kelvin, replica.seed_of("estimate"))
    integrator, steps = context.getIntegrator(), 0
    integrator.step(_CHUNK)
    context.getState(energy=True)  # GPUs work ahead: wait for them before and after
    started = time.monotonic()
    while (seconds := time.monotonic() - started) < TIMED_SECONDS:
        integrator.step(_CHUNK)
        context.getState(energy=True)
        steps += _CHUNK
    return steps / seconds
