"""The tables that go into and come out of simulation: molecules.csv, the manifests, and what quality says."""

from __future__ import annotations

import csv
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from egi import seeds
from egi.chem.conformers import sample_conformers
from egi.chem.molecules import parse_smiles
from egi.cli import UserError
from egi.config import SPLITS
from egi.data.storage import Reader, atomic
from egi.md.molecule import Job

MANIFEST = (
    "molecule", "split", "replica", "status", "stage", "reason", "topology", "trajectory", "frames", "interval_ps",
    "seed", "charges", "platform", "precision", "ns_per_day", "restarts", "temperature_kelvin", "density_g_ml",
    "seconds",
)  # fmt: skip


def read_molecules(path: Path) -> list[dict[str, str]]:
    """Rows of molecules.csv that are to be simulated, checked.

    Raises
    ------
    UserError
        If the file is missing, lacks a column, is empty, or has two molecules of one name or one with a bad name.
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
    for row in chosen:
        check_name(row["id"], f"{path}: id")
    if not chosen:
        raise UserError(f"{path} has no molecule with start_conformers; there is nothing to simulate")
    return chosen


def check_name(name: str, where: str) -> None:
    """A molecule's name is its folder's: UserError naming `where` if it is not a plain file name."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise UserError(f"{where} = {name!r}; a molecule's folder bears its name: allowed without / and leading dot")


def of_shard(items: list, shard: int, shards: int) -> list:
    """Items at ``shard``, ``shard + shards``, ...

    Raises
    ------
    UserError
        If there is no such shard.
    """
    if not 0 <= shard < shards:
        raise UserError(f"shard = {shard}; allowed: 0 to {shards - 1} of {shards} shards")
    return items[shard::shards]


def read_jobs(molecules: Path, conformers: dict[str, Path], shard: int, shards: int) -> list[Job]:
    """Jobs of one shard, with their start conformers.

    Parameters
    ----------
    molecules : path
        ``molecules.csv``.
    conformers : dict of str to path
        Conformer file of each split.
    shard, shards : int
        As in `of_shard`.

    Returns
    -------
    list of Job
    """
    jobs = []
    with ExitStack() as stack:
        readers: dict[str, Reader] = {}
        for row in of_shard(read_molecules(molecules), shard, shards):
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


def job_of_smiles(smiles: str, name: str, replicas: int, seed: int) -> Job:
    """A job for one molecule by hand, each replica from its own conformer as far as there are any.

    Raises
    ------
    UserError
        If the SMILES gives no molecule or no conformer, or name or number of replicas cannot be.
    """
    check_name(name, "--name")
    if replicas < 1:
        raise UserError(f"--replicas {replicas}; allowed: 1 and more")
    try:
        mol, _ = sample_conformers(parse_smiles(smiles), replicas, seeds.integer(seed, name, "conformers"))
    except ValueError as error:
        raise UserError(f"--smiles {smiles}: {error}") from error
    positions = [conformer.GetPositions() for conformer in mol.GetConformers()]
    mol.RemoveAllConformers()
    return Job(name, "train", mol, {k: positions[k % len(positions)] for k in range(replicas)})


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


def read_manifests(paths: list[Path], molecules: Path) -> list[dict[str, Any]]:
    """Rows of all manifests in the order of `molecules`, each with `path`, the trajectory's place.

    Raises
    ------
    UserError
        If one is missing, or a replica stands in them twice or not in `molecules`.
    """
    order = {row["id"]: number for number, row in enumerate(read_molecules(molecules))}
    rows, seen = [], set()
    for path in paths:
        if not path.is_file():
            raise UserError(f"manifest {path} does not exist; simulate writes it")
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                row["replica"] = int(row["replica"])
                row["path"] = path.parent / row["trajectory"]
                if (row["molecule"], row["replica"]) in seen:
                    raise UserError(f"{path}: replica {row['replica']} of {row['molecule']} stands in two manifests")
                seen.add((row["molecule"], row["replica"]))
                if row["molecule"] not in order:
                    raise UserError(f"{path}: molecule {row['molecule']} does not stand in {molecules}")
                rows.append(row)
    return sorted(rows, key=lambda row: (order[row["molecule"]], row["replica"]))


def apply_quality(rows: list[dict[str, Any]], path: Path) -> None:
    """Reject the replicas that did not pass, in place; those missing from the table are errors."""
    with path.open(newline="", encoding="utf-8") as file:
        table = {(row["molecule"], int(row["replica"])): row for row in csv.DictReader(file)}
    for row in rows:
        if row["status"] != "ok":
            continue
        found = table.get((row["molecule"], row["replica"]))
        if found is None:
            raise UserError(
                f"{path} lacks replica {row['replica']} of {row['molecule']}; it is older than the manifest"
            )
        if found["verdict"] != "pass":
            row |= {"status": "rejected", "stage": "quality", "reason": found["reasons"]}
