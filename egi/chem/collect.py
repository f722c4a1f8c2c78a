"""From a source of conformers to the stored splits, with every rejected conformer listed."""

from __future__ import annotations

import csv
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rdkit import rdBase
from tqdm import tqdm

from egi.chem.filters import FILTERS, Filtered, Rejected, filter_candidate, reject_row
from egi.chem.parts import KIND, Parts
from egi.chem.readers import SOURCES, Entry
from egi.chem.xtb import check_installed
from egi.cli import UserError
from egi.config import SPLITS, GeomSettings
from egi.data.splits import split_molecules
from egi.data.storage import atomic, create
from egi.parallel import ordered_map

log = logging.getLogger(__name__)

REJECT_COLUMNS = ("molecule", "smiles", "conformer", "stage", "filter", "detail")


@dataclass(frozen=True)
class Outputs:
    """Files that are written: conformers of each split, rejected conformers, and counts by filter."""

    splits: dict[str, Path]
    rejects: Path
    counts: Path


@dataclass
class Tally:
    """What happened: molecules and conformers by split, conformers by filter."""

    molecules: Counter = field(default_factory=Counter)
    conformers: Counter = field(default_factory=Counter)
    passed: Counter = field(default_factory=Counter)
    rejected: Counter = field(default_factory=Counter)


def collect(files: dict[str, Path], settings: GeomSettings, seed: int, outputs: Outputs, dataset: str = "") -> Tally:
    """Read, filter, split and store conformers.

    What is finished stays in pieces in a folder ``.parts`` beside `outputs.rejects` until all is done; a run with the
    same files and settings goes on from there.

    Parameters
    ----------
    files : dict
        A path for each of train, val and test, or one for ``all``, which is then split by molecule.
    settings : GeomSettings
    seed : int
    outputs : Outputs
        Each appears only when complete.
    dataset : str
        Name, which tells the parts of GEOM's published folder apart.

    Raises
    ------
    UserError
        If a file is missing or cannot be what the settings say, too many molecules cannot be read or built, or none is
        left for training; the rejected ones are then in ``rejects.failed.csv``.
    """
    if settings.refine != "none":
        check_installed()
    for path in files.values():
        if not path.exists():
            raise UserError(f"source file {path} does not exist")
    folder = outputs.rejects.parent / ".parts"
    all_parts = {key: _gather(key, path, settings, seed, dataset, folder) for key, path in files.items()}
    split_of, shared = _assign(all_parts, settings, seed)
    rejects = chain(shared, *(parts.rejects() for parts in all_parts.values()))
    tally = Tally()
    for key, parts in all_parts.items():
        tally.molecules.update(split_of[key].values())
        for note in parts.notes:
            tally.passed.update(note["passed"])
            tally.rejected.update(note["rejected"])
    listed = outputs.rejects.with_suffix(".failed.csv")
    if fault := _fault(all_parts, tally, settings):
        _write_rejects(listed, rejects)
        raise UserError(f"{', '.join(map(str, files.values()))}: {fault}; all in {listed}")
    _store(all_parts, split_of, tally, {"seed": seed, "geom": settings.plain()}, outputs)
    _write_rejects(outputs.rejects, rejects)
    listed.unlink(missing_ok=True)
    shutil.rmtree(folder)
    return tally


def _gather(key: str, path: Path, settings: GeomSettings, seed: int, dataset: str, folder: Path) -> Parts:
    """Filter the molecules of one file, as far as that was not done before."""
    about = path.stat()
    plain = settings.model_copy(update={"workers": 1, "max_failed_fraction": 1.0}).plain()  # neither changes a piece
    parts = Parts(folder, key, [str(path), about.st_size, about.st_mtime_ns, seed, dataset, plain])
    if parts.done:
        log.info("%s: %d molecules were finished before", path, parts.done)
    if not parts.complete:
        entries = islice(_entries(key, path, settings, dataset), parts.done, settings.max_molecules)
        results = ordered_map(partial(process, settings=settings, seed=seed), entries, settings.workers)
        parts.add(
            iter(tqdm(results, f"molecules of {path.name}", unit=" molecules", mininterval=1, initial=parts.done))
        )
    return parts


def _entries(key: str, path: Path, settings: GeomSettings, dataset: str) -> Iterator[Entry]:
    """Molecules of a file; names that the file for another split may have too are told apart by the split."""
    source = SOURCES[settings.source]
    for entry in source.list(path, dataset):
        yield entry if source.global_ids or key == "all" else replace(entry, id=f"{key}-{entry.id}")


def process(entry: Entry, settings: GeomSettings, seed: int) -> Filtered:
    """Build or decode a molecule's conformers and filter them; whatever fails is in the rejects."""
    with rdBase.BlockLogs():
        try:
            candidate = SOURCES[settings.source].load(entry, settings, seed)
            return filter_candidate(candidate, settings.elements, settings.conformers, settings.stereo_filter)
        except Rejected as fault:
            name, detail = fault.args
        except Exception as error:  # of this one molecule: a row of rejects.csv; `max_failed_fraction` bounds how many
            name, detail = "source", str(error) or type(error).__name__
    row = reject_row(entry.id, entry.smiles, "", name, detail)
    return Filtered(rejects=[row], rejected=Counter({name: 1}))


def _assign(all_parts: dict[str, Parts], settings: GeomSettings, seed: int) -> tuple[dict[str, dict], list[dict]]:
    """Split of each molecule of each file, and a row for each one that an earlier file had: no split shares one."""
    if "all" in all_parts:
        identities = {molecule: smiles for molecule, (smiles, _) in all_parts["all"].molecules.items()}
        return {"all": split_molecules(identities, settings.split_fractions, seed)}, []
    split_of: dict[str, dict] = {}
    first_of: dict[str, str] = {}
    graphs: set[str] = set()
    rejects = []
    for split in SPLITS:
        found = all_parts[split].molecules
        again = {molecule: smiles for molecule, (_, smiles) in found.items() if smiles in first_of}
        for molecule, smiles in again.items():
            rejects.append(reject_row(molecule, smiles, "", "duplicate", f"{split} has what {first_of[smiles]} has"))
        split_of[split] = dict.fromkeys(found.keys() - again.keys(), split)
        first_of |= {smiles: split for _, smiles in found.values() if smiles not in first_of}
        isomers = sum(found[molecule][0] in graphs for molecule in split_of[split])
        if isomers:
            log.warning("%d molecules of %s differ only in stereo from some of an earlier split", isomers, split)
        graphs |= {graph for graph, _ in found.values()}
    return split_of, rejects


def _fault(all_parts: dict[str, Parts], tally: Tally, settings: GeomSettings) -> str:
    """Why the result is of no use, '' if it is."""
    entries = sum(parts.done for parts in all_parts.values())
    failed = tally.rejected["source"]  # counted once a molecule
    if failed > settings.max_failed_fraction * entries:
        reasons = Counter(
            row["detail"] for parts in all_parts.values() for row in parts.rejects() if row["filter"] == "source"
        )  # fmt: skip
        common, count = reasons.most_common(1)[0]
        return (f"{failed} of {entries} molecules could not be read or built, more than max_failed_fraction = "
                f"{settings.max_failed_fraction:g}; {count} for: {common}")  # fmt: skip
    if not tally.molecules["train"]:
        return f"no molecule is left for training; conformers rejected: {dict(tally.rejected)}"
    return ""


def _store(
    all_parts: dict[str, Parts], split_of: dict[str, dict], tally: Tally, provenance: dict[str, Any], outputs: Outputs
) -> None:
    """Put the pieces together; conformers are counted while they are copied."""
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(create(outputs.splits[split], KIND, provenance)) for split in SPLITS
        }  # fmt: skip
        for key, parts in all_parts.items():
            tally.conformers.update(parts.copy(writers, split_of[key]))
    tally.rejected["duplicate"] += tally.conformers.pop("", 0)
    _write_counts(outputs.counts, tally)


def _write_rejects(path: Path, rows: Iterable[dict]) -> None:
    with atomic(path) as partial_path, partial_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, REJECT_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _write_counts(path: Path, tally: Tally) -> None:
    """A row a filter: conformers passed and rejected; then what else was rejected."""
    with atomic(path) as partial_path, partial_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("filter", "passed", "rejected"))
        for name in (*FILTERS, "duplicate", "refine", "source"):
            writer.writerow((name, tally.passed[name] if name in FILTERS else "", tally.rejected[name]))
