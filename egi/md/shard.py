"""Simulate a shard: every n-th molecule of molecules.csv, with as many replicas as it has start conformers."""

from __future__ import annotations

import csv
import errno
import logging
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from egi.cli import UserError
from egi.config import SPLITS, SimulationSettings
from egi.data.storage import Reader, atomic
from egi.md import platform as platforms
from egi.md.common import Rejected
from egi.md.molecule import Job
from egi.md.protocol import Engine, Replica, run_replica
from egi.md.quality import log_summary
from egi.md.system import build, read_provenance, write_json

log = logging.getLogger("egi")

MANIFEST = (
    "molecule", "split", "replica", "status", "stage", "reason", "topology", "trajectory", "frames", "interval_ps",
    "seed", "charges", "platform", "precision", "ns_per_day", "restarts", "temperature_kelvin", "density_g_ml",
    "seconds",
)  # fmt: skip
#: errors of the machine, not of one molecule: the shard stops
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def read_molecules(path: Path) -> list[dict[str, str]]:
    """Rows of molecules.csv that are to be simulated, checked.

    Raises
    ------
    UserError
        If the file is missing, lacks a column, is empty, or has two molecules of one name.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; select_molecules writes it")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"id", "smiles", "split", "start_conformers"} - set(reader.fieldnames or ())
        if missing:
            raise UserError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        rows = list(reader)
    repeated = [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise UserError(f"{path} has more than one molecule named {', '.join(repeated[:5])}; names must be unique")
    chosen = [row for row in rows if row["start_conformers"].strip()]
    if not chosen:
        raise UserError(f"{path} has no molecule with start_conformers; there is nothing to simulate")
    return chosen


def read_jobs(molecules: Path, conformers: dict[str, Path], shard: int, shards: int) -> list[Job]:
    """Jobs of one shard, with their start conformers.

    Parameters
    ----------
    molecules : path
        ``molecules.csv``.
    conformers : dict of str to path
        Conformer file of each split.
    shard, shards : int
        Rows ``shard``, ``shard + shards``, ... are taken.

    Returns
    -------
    list of Job
    """
    if not 0 <= shard < shards:
        raise UserError(f"shard = {shard}; allowed: 0 to {shards - 1} of {shards} shards")
    jobs = []
    with ExitStack() as stack:
        readers: dict[str, Reader] = {}
        for row in read_molecules(molecules)[shard::shards]:
            split = row["split"]
            if split not in conformers:
                raise UserError(f"{molecules}: molecule {row['id']} has split {split!r}; allowed: {', '.join(SPLITS)}")
            if split not in readers:
                readers[split] = stack.enter_context(Reader(conformers[split], "egi-conformers"))
            positions = readers[split].array(row["id"], "positions")
            indices = [int(i) for i in row["start_conformers"].split()]
            if max(indices) >= len(positions) or min(indices) < 0:
                raise UserError(f"{molecules}: molecule {row['id']} starts from conformers {indices}, "
                                f"but {conformers[split]} has {len(positions)}")  # fmt: skip
            starts = {k: positions[i].astype(float) for k, i in enumerate(indices)}
            jobs.append(Job(row["id"], split, readers[split].record(row["id"]).mol, starts))
    return jobs


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
        self.folder.mkdir(parents=True, exist_ok=True)
        concurrent = self.settings.concurrent_replicas
        platform = platforms.choose(self.settings.platform, self.settings.solvent)
        self._engine = Engine(platform, max(1, self.threads // concurrent))
        self._jobs = {job.id: job for job in self.jobs}
        self._progress = _Progress(sum(len(job.starts) for job in self.jobs), self.settings)
        builds = sorted(self.jobs, key=_cost)
        ready: list[tuple[Job, int, int]] = []
        running: dict[Future, tuple[Job, int | None]] = {}
        with _executor(concurrent) as executor:
            while builds or ready or running:
                while (builds or ready) and len(running) < concurrent:
                    self._submit(executor, builds, ready, running)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    job, replica = running.pop(future)
                    if replica is None:
                        ready += self._built(job, future.result())
                        ready.sort(key=lambda item: _cost(item[0]))
                    else:
                        self._ran(job, replica, future.result())
        self._progress.close()
        order = {job.id: number for number, job in enumerate(self.jobs)}
        self.rows.sort(key=lambda row: (order[row["molecule"]], row["replica"]))
        return self.rows

    def _submit(self, executor: Executor, builds: list, ready: list, running: dict) -> None:
        """Start the longest replica that is ready, else the next build."""
        if ready:
            job, index, solute_atoms = ready.pop()
            replica = Replica(self.folder / job.id, job.id, index, self.settings, self.seed)
            running[executor.submit(_run, replica, self._engine, solute_atoms)] = (job, index)
        else:
            job = builds.pop()
            future = executor.submit(_build, job, self.settings, self.seed, self.folder / job.id)
            running[future] = (job, None)

    def _built(self, job: Job, result: dict[str, Any] | Rejected) -> list[tuple[Job, int, int]]:
        """Replicas that a build has made ready; the others are rejected."""
        if isinstance(result, Rejected):
            for replica in job.starts:
                self._reject(job, replica, result)
            return []
        rejected = result["rejected_replicas"]
        for replica, (stage, reason) in rejected.items():
            self._reject(job, int(replica), Rejected(stage, reason))
        return [(job, k, result["solute_atoms"]) for k in job.starts if str(k) not in rejected]

    def _ran(self, job: Job, replica: int, result: dict[str, Any] | Rejected) -> None:
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
        self._progress.step(record["ns_per_day"])

    def _reject(self, job: Job, replica: int, failure: Rejected) -> None:
        log.warning("%s replica %d rejected in %s: %s", job.id, replica, failure.stage, failure.reason)
        self.rows.append({"molecule": job.id, "split": job.split, "replica": replica, "status": "rejected",
                          "stage": failure.stage, "reason": failure.reason})  # fmt: skip
        self._progress.step(None)


def write_manifest(rows: list[dict[str, Any]], path: Path, max_failed_fraction: float) -> None:
    """Write the manifest; above the allowed share of failures under another name, with an error.

    Raises
    ------
    UserError
        If more than `max_failed_fraction` of the replicas were rejected.
    """
    failed = sum(row["status"] != "ok" for row in rows)
    too_many = failed > max_failed_fraction * len(rows)
    target = path.with_suffix(".failed.csv") if too_many else path
    with atomic(target) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, MANIFEST, restval="")
        writer.writeheader()
        writer.writerows(rows)
    if too_many:
        reasons = Counter(f"{row['stage']}: {row['reason']}" for row in rows if row["status"] != "ok")
        common, count = reasons.most_common(1)[0]
        raise UserError(f"{failed} of {len(rows)} replicas were rejected, more than max_failed_fraction = "
                        f"{max_failed_fraction:g}; {count} for: {common}; all in {target}")  # fmt: skip


class _Progress:
    """A bar with speed and time left over all replicas of the shard."""

    def __init__(self, replicas: int, settings: SimulationSettings):
        self._bar = tqdm(total=replicas, desc="replicas", unit="replica", mininterval=1)
        self._started, self._ns = time.monotonic(), float(settings.production_ps) / 1000

    def step(self, ns_per_day: float | None) -> None:
        """One replica is through; `ns_per_day` is its own speed, None if it was rejected."""
        self._bar.update()
        if ns_per_day is not None:
            total = self._bar.n * self._ns / (time.monotonic() - self._started) * 86400
            self._bar.set_postfix_str(f"{ns_per_day:.0f} ns/day each, {total:.0f} in all")

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def _cost(job: Job) -> int:
    """For sorting: the longest is taken first, from the end of the list."""
    return job.mol.GetNumAtoms()


class _Inline(Executor):
    """Runs a task at once in this process."""

    def submit(self, function, /, *args, **kwargs) -> Future:
        """A future that is already done."""
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def _executor(workers: int) -> Iterator[Executor]:
    if workers == 1:
        yield _Inline()
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool


def _build(job: Job, settings: SimulationSettings, seed: int, folder: Path) -> dict[str, Any] | Rejected:
    return _guarded("build", build, job, settings, seed, folder)


def _run(replica: Replica, engine: Engine, solute_atoms: int) -> dict[str, Any] | Rejected:
    return _guarded("run", run_replica, replica, engine, solute_atoms)


def _guarded(stage: str, function, *args) -> Any:
    """The result, or why this one molecule or replica fails; errors of the machine stop the shard."""
    try:
        return function(*args)
    except Rejected as failure:
        return failure
    except MemoryError:
        raise
    except OSError as error:
        if error.errno in _FATAL:
            raise UserError(f"{error.strerror}: {error.filename or args[-1]}; free space and start again: "
                            "everything finished so far is kept") from error  # fmt: skip
        return Rejected(stage, f"{type(error).__name__}: {error}")
    except Exception as error:  # around one molecule: the reason goes to the manifest, the shard goes on
        log.debug("unexpected error", exc_info=True)
        return Rejected(stage, f"{type(error).__name__}: {str(error)[:300]}")
