"""GEOM as people have it: the published folder of pickles, and the lists that GeoDiff, ConfGF and the authors made."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import logging
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from egi.chem.filters import HARTREE, Candidate
from egi.chem.unpickle import Array, LazyMol, LazyTensor, Record, UnpickleError, load, stream
from egi.cli import UserError

log = logging.getLogger(__name__)

SUBSETS = ("qm9", "drugs")
_LARGEST_PICKLE = 2**30  # of one molecule; bounds memory
_USED = ("rdmol", "pos", "pos_ref", "num_pos_ref", "totalenergy", "boltzmannweight")


def molecule_id(smiles: str) -> str:
    """An id that follows from the stored SMILES, the same for every form of GEOM."""
    return "geom-" + hashlib.sha256(smiles.encode()).hexdigest()[:12]


# --- rdkit_folder: summary_{qm9,drugs}.json and one pickle a molecule, as a folder or a tar archive


def list_folder(path: Path, dataset: str) -> Iterator[tuple[str, str, Path | bytes | None]]:
    """Id, SMILES and pickle (a path, its bytes, or None) of each molecule.

    In an archive only the pickle has the SMILES; the id is then the pickle's name, until the pickle is read.

    Raises
    ------
    UserError
        If the dataset is named after neither part of GEOM, or the folder or archive has nothing of it.
    """
    subset = next((name for name in SUBSETS if dataset.startswith(name)), None)
    if subset is None:
        raise UserError(f"dataset {dataset!r}: {path} holds {' and '.join(SUBSETS)}; wanted a name that starts so")
    return _list_archive(path, subset) if path.is_file() else _list_directory(path, subset)


def _list_directory(path: Path, subset: str) -> Iterator[tuple[str, str, Path | None]]:
    summary = path / f"summary_{subset}.json"
    if not summary.is_file():
        there = sorted(p.name for p in path.glob("summary_*.json"))
        raise UserError(f"{path} holds no {summary.name}; it has {', '.join(there) or 'no summary'}")
    try:
        molecules = json.loads(summary.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{summary} is damaged: {error}") from error
    for smiles, about in molecules.items():
        name = about.get("pickle_path")
        yield molecule_id(smiles), smiles, path / name if name else None


def _list_archive(path: Path, subset: str) -> Iterator[tuple[str, str, bytes]]:
    found = 0
    try:
        with tarfile.open(path, "r|*") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # else a header a file stays in memory
                place = PurePosixPath(member.name)
                if member.isfile() and place.suffix == ".pickle" and place.parent.name == subset:
                    yield place.stem, "", archive.extractfile(member).read(_LARGEST_PICKLE + 1)
                    found += 1
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"archive {path} is damaged or cut off after {found} molecules of {subset}: {error}") from error
    if not found:
        raise UserError(f"archive {path} holds no molecules of {subset}; wanted files {subset}/*.pickle")


def load_molecule(smiles: str, content: Path | bytes | None) -> Candidate:
    """All conformers of one molecule's pickle."""
    if content is None:
        raise ValueError("the summary names no pickle")
    if isinstance(content, Path):
        with content.open("rb") as file:
            content = file.read(_LARGEST_PICKLE + 1)
    if len(content) > _LARGEST_PICKLE:
        raise UnpickleError(f"pickle is larger than {_LARGEST_PICKLE} bytes")
    molecule = load(io.BytesIO(content))
    if not isinstance(molecule, dict) or not isinstance(molecule.get("conformers"), list):
        raise UnpickleError("pickle holds no dict with a list 'conformers'")
    smiles = smiles or str(molecule.get("smiles", ""))
    conformers = [conformer["rd_mol"].mol() for conformer in molecule["conformers"]]
    return Candidate(molecule_id(smiles), smiles, conformers, **_quantities(molecule["conformers"]))


# --- geodiff: a list of PyG Data objects or plain dicts, one a conformer


def list_items(path: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """SMILES and the items of each molecule, whose conformers stand next to each other.

    Raises
    ------
    UserError
        If the file is damaged, or asks for a class that is not allowed.
    """
    count = 0
    seen: set[str] = set()

    def used(item: Any) -> tuple[str, dict[str, Any]]:
        """SMILES, and what we use of an item."""
        nonlocal count
        fields = item.fields() if isinstance(item, Record) else item
        if not isinstance(fields, dict) or not isinstance(fields.get("smiles"), str):
            raise UnpickleError(f"item is {type(item).__name__} without a SMILES; wanted a Data object or a dict")
        count += 1
        return fields["smiles"], {key: fields[key] for key in _USED if fields.get(key) is not None}

    try:
        with path.open("rb") as file:
            for smiles, group in itertools.groupby(map(used, stream(file)), key=lambda pair: pair[0]):
                if smiles in seen:
                    log.warning("%s: conformers of %s stand in several places; the first place counts", path, smiles)
                seen.add(smiles)
                yield smiles, [fields for _, fields in group]
    except UnpickleError as error:
        raise UserError(f"{path}, after {count} conformers: {error}") from error
    if not count:
        raise UserError(f"{path} holds no conformers")


def load_items(smiles: str, items: list[dict[str, Any]]) -> Candidate:
    """The conformers of one molecule; an item may pack several as ``pos_ref``."""
    conformers, positions, counts = [], [], []
    for item in items:
        if not isinstance(item.get("rdmol"), LazyMol):
            raise ValueError("item has no RDKit molecule 'rdmol'")
        mol = item["rdmol"].mol()
        frames = _positions(item, mol.GetNumAtoms())
        conformers += [mol] * len(frames)
        positions += frames
        counts.append(len(frames))
    quantities = {name: np.repeat(values, counts) for name, values in _quantities(items).items()}
    return Candidate(molecule_id(smiles), smiles, conformers, positions=positions, **quantities)


def _positions(item: dict[str, Any], atoms: int) -> list[np.ndarray]:
    """Coordinates of the item's conformers, [atoms, 3] each where the file is right."""
    if "pos_ref" not in item:
        return [_numbers(item["pos"])] if "pos" in item else []
    packed = _numbers(item["pos_ref"])
    count = int(_numbers(item.get("num_pos_ref", len(packed) // atoms)).ravel()[0])
    if packed.shape != (count * atoms, 3):
        raise ValueError(f"pos_ref has shape {packed.shape} for {count} conformers of {atoms} atoms")
    return list(packed.reshape(count, atoms, 3))


def _quantities(items: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Energies in kJ/mol and Boltzmann weights, where every item has them."""
    found = {}
    for name, key, unit in (("energies", "totalenergy", HARTREE), ("weights", "boltzmannweight", 1.0)):
        if items and all(item.get(key) is not None for item in items):
            found[name] = unit * np.array([float(_numbers(item[key]).ravel()[0]) for item in items])
    return found


def _numbers(value: Any) -> np.ndarray:
    if isinstance(value, LazyTensor | Array):
        value = value.numpy()
    return np.asarray(value, dtype=np.float64)
