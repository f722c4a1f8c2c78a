"""Simulate a shard: build its molecules and run their replicas, several at once where asked, resuming what is there."""

from __future__ import annotations

import errno
import logging
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from egi.cli import UserError
from egi.config import SimulationSettings
from egi.md import platform as platforms
from egi.md.common import Rejected
from egi.md.manifest import MANIFEST
from egi.md.molecule import Job
from egi.md.protocol import Engine, Replica, finished_record, run_replica
from egi.md.quality import log_summary
from egi.md.system import build, read_provenance, write_json
from egi.md.workers import Lanes, finished

log = logging.getLogger("egi")

#: errors of the machine, not of one molecule: the shard stops
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass
class Shard:
    """The molecules of one shard and how to run them; `folder` holds a folder a molecule.

    Attributes
    ----------
    jobs : list of Job
    settings : SimulationSettings
    seed : int
    folder : path
    threads : int
        CPU threads of the whole shard, shared by the replicas that run at once.
    """

    jobs: list[Job]
    settings: SimulationSettings
    seed: int
    folder: Path
    threads: int = 1
    rows: list[dict[str, Any]] = field(default_factory=list, init=False)

    def run(self) -> list[dict[str, Any]]:
        """Build and run everything that is not finished.

        Returns
        -------
        list of dict
            A row a replica, in the order of molecules.csv.
        """
        self._begin()
        concurrent = self.settings.concurrent_replicas
        on_gpu = self._engine.platform in platforms.GPU
        # On a GPU, processes on the CPU build ahead so that the GPU need not wait for charges.
        with Lanes(concurrent) as runs, Lanes(max(1, self.threads), processes=True) if on_gpu else runs as builds:
            while self._builds or self._ready or runs.running or builds.running:
                self._fill(runs, builds)
                for lanes, future in finished(runs, builds):
                    job, replica = self._running.pop(future)
                    if replica is None:
                        self._built(job, lanes.collect(future))
                    else:
                        self._ran(job, replica, lanes.collect(future))
        self._progress.close()
        order = {job.id: number for number, job in enumerate(self.jobs)}
        self.rows.sort(key=lambda row: (order[row["molecule"]], row["replica"]))
        return self.rows

    def _begin(self) -> None:
        """Choose the platform and line up the builds, the longest last, where they are taken first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        platform = platforms.choose(self.settings.platform, self.settings.solvent)
        self._engine = Engine(platform, max(1, self.threads // self.settings.concurrent_replicas))
        self._progress = _Progress(sum(len(job.starts) for job in self.jobs), self.settings)
        self._builds = sorted(self.jobs, key=_cost)
        self._ready: list[tuple[Job, Replica, int]] = []  # with the number of solute atoms
        self._running: dict[Future, tuple[Job, int | None]] = {}

    def _fill(self, runs: Lanes, builds: Lanes) -> None:
        """Give free lanes the longest replica that is ready, else the next build."""
        while runs.free and self._ready:
            job, replica, solute_atoms = self._ready.pop()
            self._running[runs.submit(_run, replica, self._engine, solute_atoms)] = (job, replica.index)
        while builds.free and self._builds:
            job = self._builds.pop()
            future = builds.submit(_build, job, self.settings, self.seed, self.folder / job.id)
            self._running[future] = (job, None)

    def _built(self, job: Job, result: dict[str, Any] | Rejected) -> None:
        """Replicas that a build has made ready join the queue; the others are rejected."""
        if isinstance(result, Rejected):
            for replica in job.starts:
                self._reject(job, replica, result)
            return
        rejected = result["rejected_replicas"]
        for replica, (stage, reason) in rejected.items():
            self._reject(job, int(replica), Rejected(stage, reason))
        for index in (k for k in job.starts if str(k) not in rejected):
            replica = Replica(self.folder / job.id, job.id, index, self.settings, self.seed)
            record = finished_record(replica)
            if record is None:
                self._ready.append((job, replica, result["solute_atoms"]))
            else:
                self._ran(job, index, record, earlier=True)
        self._ready.sort(key=lambda item: _cost(item[0]))

    def _ran(self, job: Job, replica: int, result: dict[str, Any] | Rejected, earlier: bool = False) -> None:
        """A row for a replica that is through, in this run or an earlier one."""
        if isinstance(result, Rejected):
            return self._reject(job, replica, result)
        folder = self.folder / job.id
        provenance = read_provenance(folder)
        record = {k: v for k, v in result.items() if k != "key"}
        write_json(folder / "provenance.json", {**provenance, f"replica_{replica}": record})
        self.rows.append({
            **{name: record[name] for name in MANIFEST if name in record},
            "molecule": job.id, "split": job.split, "replica": replica, "status": "ok",
            "topology": f"{job.id}/topology.pdb", "trajectory": f"{job.id}/replica_{replica}.xtc",
            "charges": provenance["charges"], "seconds": round(sum(record["seconds"].values()), 2),
            **log_summary(folder / f"replica_{replica}.csv"),
        })  # fmt: skip
        self._progress.step(None if earlier else record["ns_per_day"])

    def _reject(self, job: Job, replica: int, failure: Rejected) -> None:
        log.warning("%s replica %d rejected in %s: %s", job.id, replica, failure.stage, failure.reason)
        self.rows.append({"molecule": job.id, "split": job.split, "replica": replica, "status": "rejected",
                          "stage": failure.stage, "reason": failure.reason})  # fmt: skip
        self._progress.step(None)


class _Progress:
    """A bar with speed and time left, for this shard and for all shards of its kind."""

    def __init__(self, replicas: int, settings: SimulationSettings):
        self._left, self._shards, self._done = replicas, settings.shards, 0
        self._started, self._ns = time.monotonic(), float(settings.production_ps) / 1000
        self._bar = tqdm(total=replicas, desc="replicas", unit="replica",
                         bar_format="{desc}: {n_fmt}/{total_fmt} [{elapsed}{postfix}]")  # fmt: skip

    def step(self, ns_per_day: float | None) -> None:
        """One replica is through; `ns_per_day` is its own speed, None if it was rejected or finished earlier."""
        self._left -= 1
        if ns_per_day is not None:
            self._done += 1
            seconds = (time.monotonic() - self._started) / self._done  # a replica, builds included
            text = f"{ns_per_day:.0f} ns/day each, {self._ns / seconds * 86400:.0f} in all"
            text += f", {_time(self._left * seconds)} left"
            if self._shards > 1:
                text += f"; {self._shards} such shards take {_time(self._shards * self._bar.total * seconds)}"
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def _time(seconds: float) -> str:
    """Hours, or minutes where these are few."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _cost(job: Job) -> int:
    """For sorting: the longest is taken first, from the end of the list."""
    return job.mol.GetNumAtoms()


def _build(job: Job, settings: SimulationSettings, seed: int, folder: Path) -> dict[str, Any] | Rejected:
    return _result(build, job, settings, seed, folder)


def _run(replica: Replica, engine: Engine, solute_atoms: int) -> dict[str, Any] | Rejected:
    return _result(run_replica, replica, engine, solute_atoms)


def _result(function, *args) -> dict[str, Any] | Rejected:
    """The result, or why this one molecule or replica has none."""
    try:
        return _guarded(function, *args)
    except Rejected as failure:
        return failure


def _guarded(function, *args) -> dict[str, Any]:
    """Turn an error around one molecule into a rejection; errors of the machine stop the shard."""
    try:
        return function(*args)
    except (Rejected, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FATAL:
            raise UserError(f"{error.strerror}: {error.filename or args[-1]}; free space and start again: "
                            "everything finished so far is kept") from error  # fmt: skip
        log.debug("unexpected error", exc_info=True)
        stage = "run" if function is run_replica else "build"
        raise Rejected(stage, f"{type(error).__name__}: {str(error)[:300]}") from error
