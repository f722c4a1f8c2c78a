"""From a source of conformers to the stored splits, with every rejected conformer listed."""

from __future__ import annotations

import csv
import logging
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

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
        If a file is missing or cannot be what the settings say, or no molecule is left for training.
    """
    if settings.refine != "none":
        check_installed()
    for path in files.values():
        if not path.exists():
            raise UserError(f"source file {path} does not exist")
    folder = outputs.rejects.parent / ".parts"
    all_parts = {key: _gather(key, path, settings, seed, dataset, folder) for key, path in files.items()}
    tally = _store(all_parts, settings, seed, outputs)
    shutil.rmtree(folder)
    if not tally.molecules["train"]:
        for path in (*outputs.splits.values(), outputs.rejects, outputs.counts):
            path.unlink()
        sources = ", ".join(map(str, files.values()))
        raise UserError(f"no molecule of {sources} is left for training; conformers rejected: {dict(tally.rejected)}")
    return tally


def _gather(key: str, path: Path, settings: GeomSettings, seed: int, dataset: str, folder: Path) -> Parts:
    """Filter the molecules of one file, as far as that was not done before."""
    about = path.stat()
    plain = settings.model_copy(update={"workers": 1}).plain()
    parts = Parts(folder, key, [str(path), about.st_size, about.st_mtime_ns, seed, dataset, plain])
    if parts.done:
        log.info("%s: %d molecules were finished before", path, parts.done)
    if not parts.complete:
        entries = islice(SOURCES[settings.source].list(path, dataset), parts.done, settings.max_molecules)
        results = ordered_map(partial(process, settings=settings, seed=seed), entries, settings.workers)
        parts.add(
            iter(tqdm(results, f"molecules of {path.name}", unit=" molecules", mininterval=1, initial=parts.done))
        )
    return parts


def process(entry: Entry, settings: GeomSettings, seed: int) -> Filtered:
    """Build or decode a molecule's conformers and filter them; whatever fails is in the rejects."""
    with rdBase.BlockLogs():
        try:
            candidate = SOURCES[settings.source].load(entry, settings, seed)
            return filter_candidate(candidate, settings.elements, settings.conformers, settings.stereo_filter)
        except Rejected as fault:
            name, detail = fault.args
        except Exception as error:  # whatever one molecule does must not stop the others
            name, detail = "source", str(error) or type(error).__name__
    row = reject_row(entry.id, entry.smiles, "", name, detail)
    return Filtered(rejects=[row], rejected=Counter({name: 1}))


def _store(all_parts: dict[str, Parts], settings: GeomSettings, seed: int, outputs: Outputs) -> Tally:
    """Put the pieces together."""
    tally = Tally()
    new = partial(create, kind=KIND, provenance={"seed": seed, "geom": settings.plain()})
    with ExitStack() as stack:
        writers = {split: stack.enter_context(new(outputs.splits[split])) for split in SPLITS}
        for key, parts in all_parts.items():
            if key == "all":
                identities = {molecule: smiles for molecule, (smiles, _) in parts.molecules.items()}
                split_of = split_molecules(identities, settings.split_fractions, seed)
            else:
                split_of = dict.fromkeys(parts.molecules, key)
            tally.conformers.update(parts.copy(writers, split_of))
            tally.molecules.update(split_of.values())
            for note in parts.notes:
                tally.passed.update(note["passed"])
                tally.rejected.update(note["rejected"])
    _write_rejects(outputs.rejects, all_parts)
    _write_counts(outputs.counts, tally)
    return tally


def _write_rejects(path: Path, all_parts: dict[str, Parts]) -> None:
    with atomic(path) as partial_path, partial_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, REJECT_COLUMNS)
        writer.writeheader()
        for parts in all_parts.values():
            for note in parts.notes:
                writer.writerows(note["rejects"])


def _write_counts(path: Path, tally: Tally) -> None:
    """A row a filter: conformers passed and rejected; then what else was rejected."""
    with atomic(path) as partial_path, partial_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("filter", "passed", "rejected"))
        for name in (*FILTERS, "duplicate", "refine", "source"):
            writer.writerow((name, tally.passed[name] if name in FILTERS else "", tally.rejected[name]))
