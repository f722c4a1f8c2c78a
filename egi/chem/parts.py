"""Filtered molecules in pieces, so that an interrupted import goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rdkit import rdBase

from egi.chem.filters import Filtered, reject_row
from egi.data.storage import Reader, Writer, atomic, create

KIND = "egi-conformers"
MOLECULES = 1000


class Parts:
    """Pieces of one source file: number k is ``k.h5`` with the molecules, and then ``k.json`` with the rest.

    Parameters
    ----------
    folder : Path
        Shared by all files of an import.
    key : str
        Split of the file, or ``all``.
    identity : plain values
        What the pieces follow from; pieces made from something else are thrown away.
    """

    def __init__(self, folder: Path, key: str, identity: Any):
        text = json.dumps([identity, rdBase.rdkitVersion], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder = folder / f"{key}-{name}"
        for other in folder.glob(f"{key}-*"):
            if other != self.folder:
                shutil.rmtree(other)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.notes: list[dict] = []
        while (note := self._path("json")).is_file():
            self.notes.append(_without_rejects(json.loads(note.read_text(encoding="utf-8"))))
        self._ids: set[str] = set()
        self._first_of: dict[str, str] = {}
        for molecule, (_, smiles) in self.molecules.items():
            self._remember(molecule, smiles)

    def _path(self, kind: str, number: int | None = None) -> Path:
        return self.folder / f"{len(self.notes) if number is None else number}.{kind}"

    @property
    def done(self) -> int:
        """Entries of the source that are finished."""
        return sum(note["entries"] for note in self.notes)

    @property
    def complete(self) -> bool:
        """Whether the source has no more entries."""
        return bool(self.notes) and self.notes[-1]["last"]

    def rejects(self) -> Iterator[dict]:
        """Rows of rejects.csv, which stay on disk: there may be very many."""
        for number in range(len(self.notes)):
            yield from json.loads(self._path("json", number).read_text(encoding="utf-8"))["rejects"]

    @property
    def molecules(self) -> dict[str, tuple[str, str]]:
        """Canonical SMILES without and with stereo of each molecule that passed, by id."""
        return {molecule: tuple(smiles) for note in self.notes for molecule, smiles in note["molecules"].items()}

    def add(self, results: Iterator[Filtered]) -> None:
        """Write further pieces until there are no more results."""
        while not self.complete:
            note = {"entries": 0, "molecules": {}, "rejects": [], "passed": Counter(), "rejected": Counter()}
            with create(self._path("h5"), KIND, {}) as writer:
                for result in islice(results, MOLECULES):
                    self._add(result, writer, note)
            note["last"] = note["entries"] < MOLECULES
            with atomic(self._path("json")) as partial:
                partial.write_text(json.dumps(note), encoding="utf-8")
            self.notes.append(_without_rejects(note))

    def _add(self, result: Filtered, writer: Writer, note: dict) -> None:
        self._refuse_duplicate(result)
        note["entries"] += 1
        note["rejects"] += result.rejects
        note["passed"].update(result.passed)
        note["rejected"].update(result.rejected)
        if (record := result.record) is not None:
            writer.add(record, result.arrays)
            note["molecules"][record.id] = (result.identity, record.smiles)
            self._remember(record.id, record.smiles)

    def _remember(self, molecule: str, smiles: str) -> None:
        self._ids.add(molecule)
        self._first_of[smiles] = molecule

    def _refuse_duplicate(self, result: Filtered) -> None:
        """Reject a molecule that the file already had, by canonical SMILES with stereo or by id."""
        record = result.record
        if record is None or (record.id not in self._ids and record.smiles not in self._first_of):
            return
        first = self._first_of.get(record.smiles, record.id)
        result.rejects.append(reject_row(record.id, record.smiles, "", "duplicate", f"same molecule as {first}"))
        result.rejected["duplicate"] += len(result.arrays["positions"])
        result.record = None

    def copy(self, writers: dict[str, Writer], split_of: dict[str, str]) -> Counter:
        """Copy every molecule that has a split to its split's file; conformers by split, '' for those without."""
        conformers: Counter = Counter()
        for number in range(len(self.notes)):
            with Reader(self._path("h5", number), KIND) as reader:
                for molecule in reader.ids:
                    group, split = reader.group(molecule), split_of.get(molecule, "")
                    conformers[split] += len(group["positions"])
                    if split:
                        writers[split].copy(group)
        return conformers


def _without_rejects(note: dict) -> dict:
    return {key: value for key, value in note.items() if key != "rejects"}
