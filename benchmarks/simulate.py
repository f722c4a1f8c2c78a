"""Time our simulation against bare OpenMM on the same system in the same run.

    python benchmarks/simulate.py [--rounds 5] [--platform CPU] [--threads 1]

A round runs the production of a solvated replica by our protocol. Bare OpenMM takes the same steps of the same system,
barostat included, from the same equilibrated state in turn with it, a saving interval at a time: a machine whose speed
changes then slows both alike. Ours counts everything from the equilibrated state to the finished
files: contexts, energies (of every frame here, of every twelfth in the paper's 5 ns), trajectory, two segments, states
and the final check. On CPUs process time is compared. The last line is one JSON object: ``efficiency`` (bare time over
ours, median over rounds; goal: 0.95), ``outside_steps`` (share of our time that is not spent in time steps, likewise;
what the ratio would lack if no noise were left), ``aggregate_speedup`` (two molecules at once on two cores, a thread
each, over one after the other with two threads) and ``vacuum_reference_over_cpu`` (speed of the Reference platform over
the CPU platform in vacuum).
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import openmm

from egi.config import SimulationSettings
from egi.md import protocol
from egi.md.estimate import steps_per_second
from egi.md.manifest import job_of_smiles
from egi.md.platform import GPU
from egi.md.protocol import Engine, Replica, new_context, run_replica
from egi.md.shard import Shard
from egi.md.system import build

SMILES = "CCC[C@@H](O)CC#N"
SHORT = {"charges": "nagl", "padding": "8 angstrom", "warmup": "0.4 ps", "nvt": "0.8 ps"}
log = logging.getLogger("benchmark")


def settings_of(production_ps: float, **changes: object) -> SimulationSettings:
    """Solvated, two segments, the paper's saving interval."""
    time_span = {"production": f"{production_ps} ps", "segment": f"{production_ps / 2} ps"}
    return SimulationSettings.model_validate({**SHORT, **time_span, **changes})


def efficiency(folder: Path, args: argparse.Namespace) -> tuple[float, float]:
    """Bare time over our time for the same production, and the share of ours outside time steps."""
    settings, engine = settings_of(args.production), Engine(args.platform, args.threads)
    clock = time.monotonic if args.platform in GPU else time.process_time  # CPU time does not mind a busy machine
    built = build(job_of_smiles(SMILES, "mol", args.rounds, 0), settings, 0, folder / "mol")
    log.info("%d atoms, %g ps a round", built["atoms"], args.production)
    ratios, outside = [], []
    for index in range(args.rounds):
        replica = Replica(folder / "mol", "mol", index, settings, 0)
        progress = protocol._open_work(replica)
        protocol._equilibrate(progress, engine)
        context = new_context(replica, engine, "bare", float(settings.timestep_ps), npt=True)
        context.setState(openmm.XmlSerializer.deserialize(progress.state(0).read_text()))
        with in_turn(context, clock) as spent:
            started = clock()
            run_replica(replica, engine, built["solute_atoms"])
            ours = clock() - started - spent["bare"]
        ratios.append(spent["bare"] / ours)
        outside.append(1 - spent["ours"] / ours)
        log.info(
            "bare %.2f s, ours %.2f s, ratio %.4f, outside steps %.4f", spent["bare"], ours, ratios[-1], outside[-1]
        )
    return statistics.median(ratios), statistics.median(outside)


@contextmanager
def in_turn(context: openmm.Context, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Before another integrator takes steps, `context` takes as many; seconds in the steps of either add up."""
    real, spent = openmm.Integrator.step, {"bare": 0.0, "ours": 0.0}

    def step(integrator: openmm.Integrator, steps: int) -> None:
        marks = [clock()]
        real(context.getIntegrator(), steps)
        context.getState(positions=True)  # GPUs work ahead: wait for them
        marks.append(clock())
        real(integrator, steps)
        spent["bare"] += marks[1] - marks[0]
        spent["ours"] += clock() - marks[1]

    with patch.object(openmm.LangevinMiddleIntegrator, "step", step):
        yield spent


def aggregate_speedup(folder: Path, args: argparse.Namespace) -> float:
    """Throughput of two molecules at once, a thread each, over one at a time with two threads."""
    jobs = [job_of_smiles(smiles, f"m{i}", 1, 0) for i, smiles in enumerate((SMILES, "CCC(C)CO"))]
    seconds = {}
    for concurrent in (1, 2):
        settings = settings_of(args.production, concurrent_replicas=concurrent, platform=args.platform)
        place = folder / f"concurrent_{concurrent}"
        for job in jobs:
            build(job, settings, 0, place / job.id)
        rows = Shard(jobs, settings, 0, place, threads=2).run()
        speeds = [row["ns_per_day"] for row in rows]
        # one after the other the molecules share the time; side by side their speeds add up
        seconds[concurrent] = sum(1 / speed for speed in speeds) if concurrent == 1 else max(1 / s for s in speeds)
        log.info("%d at once: %s ns/day each", concurrent, speeds)
    return seconds[1] / seconds[2]


def vacuum_ratio(folder: Path) -> float:
    """Steps a second on Reference over those on the CPU platform, one thread, in vacuum."""
    settings = settings_of(8, solvent="vacuum")
    build(job_of_smiles(SMILES, "gas", 1, 0), settings, 0, folder / "gas")
    replica = Replica(folder / "gas", "gas", 0, settings, 0)
    speed = {name: steps_per_second(replica, Engine(name, 1)) for name in ("Reference", "CPU")}
    log.info("vacuum, steps a second: %s", speed)
    return speed["Reference"] / speed["CPU"]


def main() -> None:
    """Run all three and print the JSON line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--production", type=float, default=12.0, help="ps of a round")
    made.add_argument("--platform", default="CPU")
    made.add_argument("--threads", type=int, default=1)
    args = made.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ratio, outside = efficiency(folder, args)
        result = {
            "efficiency": round(ratio, 4),
            "outside_steps": round(outside, 4),
            "aggregate_speedup": round(aggregate_speedup(folder, args), 3),
            "vacuum_reference_over_cpu": round(vacuum_ratio(folder), 2),
            "openmm": openmm.version.version,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
