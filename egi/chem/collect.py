"""From a source of conformers to the stored splits, with every rejected conformer listed."""

from __future__ import annotations

import csv
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from rdkit import rdBase
from tqdm import tqdm

from egi.chem.filters import FILTERS, Filtered, filter_candidate, reject_row
from egi.chem.molecules import canonical_smiles
from egi.chem.readers import SOURCES, Entry
from egi.cli import UserError
from egi.config import SPLITS, GeomSettings
from egi.data.splits import split_molecules
from egi.data.storage import Reader, Writer, atomic, create
from egi.parallel import ordered_map

log = logging.getLogger(__name__)

KIND = "egi-conformers"
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
    for path in files.values():
        if not path.exists():
            raise UserError(f"source file {path} does not exist")
    tally = Tally()
    gather = partial(_gather, settings=settings, seed=seed, tally=tally, dataset=dataset)
    new = partial(create, kind=KIND, provenance={"seed": seed, "geom": settings.plain()})
    with _rejects(outputs.rejects) as rejects, ExitStack() as stack:
        if "all" in files:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=outputs.rejects.parent)))
            with new(folder / "all.h5") as writer:
                identities = gather(files["all"], writer=writer, rejects=rejects)
            writers = {split: stack.enter_context(new(outputs.splits[split])) for split in SPLITS}
            _divide(folder / "all.h5", identities, writers, settings, seed, tally)
        else:
            writers = {split: stack.enter_context(new(outputs.splits[split])) for split in SPLITS}
            for split in SPLITS:
                gather(files[split], writer=writers[split], rejects=rejects, split=split)
        if not tally.molecules["train"]:
            raise UserError(f"no molecule of {', '.join(map(str, files.values()))} is left for training; "
                            f"conformers rejected: {dict(tally.rejected)}")  # fmt: skip
    _write_counts(outputs.counts, tally)
    return tally


def _gather(
    path: Path, settings: GeomSettings, seed: int, tally: Tally, dataset: str, writer: Writer,
    rejects: csv.DictWriter, split: str | None = None,
) -> dict[str, str]:  # fmt: skip
    """Store what passes of one file; canonical SMILES without stereo by molecule id."""
    entries = islice(SOURCES[settings.source].list(path, dataset), settings.max_molecules)
    results = ordered_map(partial(process, settings=settings, seed=seed), entries, settings.workers)
    identities: dict[str, str] = {}
    first_of: dict[str, str] = {}
    for result in tqdm(results, desc=f"molecules of {path.name}", unit=" molecules", mininterval=1):
        _refuse_duplicate(result, first_of, identities)
        rejects.writerows(result.rejects)
        tally.passed.update(result.passed)
        tally.rejected.update(result.rejected)
        if (record := result.record) is not None:
            identities[record.id] = canonical_smiles(record.mol, stereo=False)
            writer.add(record, result.arrays)
            if split is not None:
                _count(tally, split, len(result.arrays["positions"]))
    return identities


def process(entry: Entry, settings: GeomSettings, seed: int) -> Filtered:
    """Build or decode a molecule's conformers and filter them; whatever fails is in the rejects."""
    with rdBase.BlockLogs():
        try:
            candidate = SOURCES[settings.source].load(entry, settings, seed)
            return filter_candidate(candidate, settings.elements, settings.conformers)
        except Exception as error:  # whatever one molecule does must not stop the others
            name = "smiles" if "SMILES" in str(error) else "source"
            row = reject_row(entry.id, entry.smiles, "", name, str(error) or type(error).__name__)
            return Filtered(rejects=[row], rejected=Counter({name: 1}))


def _refuse_duplicate(result: Filtered, first_of: dict[str, str], identities: dict[str, str]) -> None:
    """Reject a molecule that the file already had, by canonical SMILES with stereo or by id."""
    record = result.record
    if record is None:
        return
    first = record.id if record.id in identities else first_of.setdefault(record.smiles, record.id)
    if first != record.id or record.id in identities:
        result.rejects.append(reject_row(record.id, record.smiles, "", "duplicate", f"same molecule as {first}"))
        result.rejected["duplicate"] += len(result.arrays["positions"])
        result.record = None


def _divide(
    pool: Path, identities: dict[str, str], writers: dict[str, Writer], settings: GeomSettings, seed: int, tally: Tally
) -> None:
    split_of = split_molecules(identities, settings.split_fractions, seed)
    with Reader(pool, KIND) as reader:
        for molecule in reader.ids:
            group = reader.group(molecule)
            writers[split_of[molecule]].copy(group)
            _count(tally, split_of[molecule], len(group["positions"]))


def _count(tally: Tally, split: str, conformers: int) -> None:
    tally.molecules[split] += 1
    tally.conformers[split] += conformers


@contextmanager
def _rejects(path: Path) -> Iterator[csv.DictWriter]:
    with atomic(path) as partial_path, partial_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, REJECT_COLUMNS)
        writer.writeheader()
        yield writer


def _write_counts(path: Path, tally: Tally) -> None:
    """A row a filter: conformers passed and rejected; then what else was rejected."""
    with atomic(path) as partial_path, partial_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("filter", "passed", "rejected"))
        for name in (*FILTERS, "duplicate", "source"):
            writer.writerow((name, tally.passed[name] if name in FILTERS else "", tally.rejected[name]))
