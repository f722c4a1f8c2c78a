"""Where conformers come from: each source lists entries cheaply and turns one entry into a candidate.

Listing runs in the main process and streams; `load` runs in worker processes.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from egi.chem import geom, xtb
from egi.chem.conformers import sample_conformers
from egi.chem.filters import Candidate, Rejected, check_elements
from egi.chem.molecules import parse_smiles
from egi.cli import UserError
from egi.config import GeomSettings
from egi.seeds import integer

_LONGEST_LINE = 100_000


@dataclass(frozen=True)
class Entry:
    """A molecule before its conformers are built or decoded; `content` is the source's own, picklable."""

    id: str
    smiles: str
    content: Any = None


@dataclass(frozen=True)
class Source:
    """A kind of input: `list(path, dataset)` gives entries, `load(entry, settings, seed)` a candidate.

    With `global_ids`, an id follows from the molecule alone and not from names or places in the file.
    """

    list: Callable[[Path, str], Iterator[Entry]]
    load: Callable[[Entry, GeomSettings, int], Candidate]
    global_ids: bool = False


def molecule_ids() -> Callable[[str, int], str]:
    """A function (name, index) -> id: the name where there is one, in characters safe for files, never twice."""
    seen: dict[str, int] = {}

    def unique(name: str, index: int) -> str:
        """The id of the molecule."""
        base = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or f"mol-{index:06d}"
        seen[base] = seen.get(base, 0) + 1
        return base if seen[base] == 1 else unique(f"{base[:33]}-{seen[base]}", index)

    return unique


# --- smiles: a .csv with a SMILES column, or a .smi


def _list_smiles(path: Path, dataset: str) -> Iterator[Entry]:
    name_molecule = molecule_ids()
    index = -1
    for index, (smiles, name) in enumerate(smiles_rows(path)):
        yield Entry(name_molecule(name, index), smiles)
    if index < 0:
        raise UserError(f"molecule file {path} holds no molecules; wanted at least one SMILES")


def smiles_rows(path: Path) -> Iterator[tuple[str, str]]:
    """(SMILES, name or '') of each molecule of a .csv, else of a .smi.

    Raises
    ------
    UserError
        If the file is no text of that kind.
    """
    try:
        yield from _csv_rows(path) if path.suffix.lower() == ".csv" else _smi_rows(path)
    except UnicodeDecodeError as error:
        raise UserError(f"molecule file {path} is no UTF-8 text: {error}") from error
    except csv.Error as error:
        raise UserError(f"molecule file {path} is no CSV: {error}") from error


def _lines(path: Path) -> Iterator[str]:
    """Lines of a text file, of bounded length: without line breaks, a file would be read whole."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number in count(1):
            if len(line := file.readline(_LONGEST_LINE)) == _LONGEST_LINE:
                raise UserError(f"molecule file {path}: line {number} has {_LONGEST_LINE} or more characters")
            if not line:
                return
            yield line


def _csv_rows(path: Path) -> Iterator[tuple[str, str]]:
    rows = csv.DictReader(_lines(path))
    columns = {column.strip().lower(): column for column in rows.fieldnames or [] if column}
    if not columns:
        raise UserError(f"molecule file {path} is empty; wanted a header with a column 'smiles' and rows")
    if "smiles" not in columns:
        raise UserError(f"molecule file {path} has columns {', '.join(columns)}; wanted one named 'smiles'")
    name = next((columns[key] for key in ("id", "name") if key in columns), None)
    for row in rows:
        yield (row[columns["smiles"]] or "").strip(), (row[name] or "").strip() if name else ""


def _smi_rows(path: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(path):
        if (parts := line.split(maxsplit=1)) and not line.startswith("#"):
            yield parts[0], parts[1].strip() if len(parts) > 1 else ""


def _load_smiles(entry: Entry, settings: GeomSettings, seed: int) -> Candidate:
    try:
        mol = parse_smiles(entry.smiles)
    except ValueError as error:
        raise Rejected("smiles", str(error)) from error
    check_elements(mol, settings.elements)  # before the work
    wanted = settings.conformers or 10
    full, energies = sample_conformers(mol, wanted, integer(seed, "conformers", entry.id))
    if settings.refine == "none":
        return Candidate(entry.id, entry.smiles, _singles(full), energies=energies)
    refined = xtb.refine(full)
    return Candidate(
        entry.id, entry.smiles, _singles(refined.mol), refined.energies, refined.weights, faults=refined.faults
    )


def _singles(mol: Chem.Mol) -> list[Chem.Mol]:
    return [Chem.Mol(mol, False, conformer.GetId()) for conformer in mol.GetConformers()]


# --- sdf: conformers that the user already has, those of a molecule next to each other


def _list_sdf(path: Path, dataset: str) -> Iterator[Entry]:
    """Consecutive records of the same title and graph are conformers of one molecule."""
    with path.open("rb") as file:
        if (start := file.read(_LONGEST_LINE)) and b"\n" not in start:
            raise UserError(f"SDF file {path} is no text: no line break in its first {len(start)} bytes")
    name_molecule = molecule_ids()
    block: list[Chem.Mol | None] = []
    key = None
    index = 0
    for mol in Chem.ForwardSDMolSupplier(str(path), sanitize=False, removeHs=False):
        seen = _sdf_key(mol)
        if block and seen != key:
            yield _sdf_entry(block, name_molecule, index)
            index, block = index + 1, []
        block, key = [*block, mol], seen
    if not block:
        raise UserError(f"SDF file {path} holds no molecules; wanted at least one record")
    yield _sdf_entry(block, name_molecule, index)


def _sdf_key(mol: Chem.Mol | None) -> tuple:
    if mol is None:
        return ()
    return mol.GetProp("_Name") if mol.HasProp("_Name") else "", _heavy_smiles(mol)


def _heavy_smiles(mol: Chem.Mol) -> str:
    """Canonical SMILES without stereo, or a plain one where the molecule does not sanitise."""
    with rdBase.BlockLogs():
        copy = Chem.Mol(mol, True)
        try:
            return Chem.MolToSmiles(Chem.RemoveHs(copy), isomericSmiles=False)
        except ValueError:  # the filters reject such a molecule with its reason
            return Chem.MolToSmiles(copy, isomericSmiles=False, canonical=False)


def _sdf_entry(block: list[Chem.Mol | None], name_molecule: Callable[[str, int], str], index: int) -> Entry:
    first = block[0]
    if first is None:
        return Entry(name_molecule("", index), "", block)
    title = first.GetProp("_Name") if first.HasProp("_Name") else ""
    return Entry(name_molecule(title, index), _heavy_smiles(first), block)


def _load_sdf(entry: Entry, settings: GeomSettings, seed: int) -> Candidate:
    if entry.content[0] is None:
        raise ValueError("RDKit cannot read the record")
    return Candidate(entry.id, entry.smiles, entry.content, energies=_sdf_energies(entry.content))


def _sdf_energies(mols: list[Chem.Mol]) -> np.ndarray | None:
    """The property ``energy`` in kJ/mol, where every record has it."""
    if all(mol.HasProp("energy") for mol in mols):
        return np.array([float(mol.GetProp("energy")) for mol in mols])
    return None


# --- rdkit_folder and geodiff: GEOM


def _list_folder(path: Path, dataset: str) -> Iterator[Entry]:
    for molecule, smiles, content in geom.list_folder(path, dataset):
        yield Entry(molecule, smiles, content)


def _load_folder(entry: Entry, settings: GeomSettings, seed: int) -> Candidate:
    return geom.load_molecule(entry.smiles, entry.content)


def _list_geodiff(path: Path, dataset: str) -> Iterator[Entry]:
    for smiles, items in geom.list_items(path):
        yield Entry(geom.molecule_id(smiles), smiles, items)


def _load_geodiff(entry: Entry, settings: GeomSettings, seed: int) -> Candidate:
    return geom.load_items(entry.smiles, entry.content)


SOURCES: dict[str, Source] = {
    "smiles": Source(_list_smiles, _load_smiles),
    "sdf": Source(_list_sdf, _load_sdf),
    "rdkit_folder": Source(_list_folder, _load_folder, global_ids=True),
    "geodiff": Source(_list_geodiff, _load_geodiff, global_ids=True),
}
