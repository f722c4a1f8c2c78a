"""Trajectories for the report's 3D viewer: few molecules, few frames, coordinates as 16-bit integers."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from egi.config import TASKS
from egi.data.storage import MoleculeRecord, Reader
from egi.figures.structures import bond_orders_of, bonds_of, flattened, superposed
from egi.figures.style import REFERENCE, name_of, ordered

#: stored integers are hundredths of an Å
SCALE = 100


@dataclass(frozen=True)
class Limits:
    """How much is shown: molecules a task, frames a trajectory."""

    molecules: int = 3
    frames: int = 80


def sample_files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Sample files of a dataset: task, method (with ``_refined`` where it is), path."""
    for task in TASKS:
        for path in sorted((folder / "samples" / task).glob("*.h5")):
            yield task, path.stem, path


def counted(folder: Path) -> Counter:
    """How many samples of a dataset were drawn again ("redrawn") and given up ("lost"); empty without samples."""
    totals = Counter()
    for *_, path in sample_files(folder):
        with Reader(path, "egi-samples") as reader:
            if not reader.attributes["refined"]:  # refined files repeat the counts of those they were made from
                for molecule in reader.ids:
                    attributes = reader.group(molecule).attrs
                    totals.update({name: int(attributes.get(name, 0)) for name in ("redrawn", "lost")})
    return totals


def scenes(folder: Path, limits: Limits) -> list[dict[str, Any]]:
    """What the viewer can play for one dataset: a scene a task and molecule.

    A scene has the molecule (elements, bonds) and trajectories (method, name, frames, base64 of
    little-endian int16 [frames, n, 3] in hundredths of an Å), the reference first; frames are superposed
    on the trajectory's first one, frames that are not finite are left out.
    """
    test = folder / "trajectories" / "test.h5"
    if not test.is_file():
        return []
    files: dict[str, dict[str, Path]] = {}
    for task, method, path in sample_files(folder):
        files.setdefault(task, {})[method] = path
    made = []
    with Reader(test, "egi-trajectories") as reference:
        interval = float(reference.attributes.get("interval_ps", 1.0))
        for task, methods in files.items():
            for molecule in _common(reference, methods, limits.molecules):
                made.append(_scene(folder.name, task, molecule, reference, methods) | {"interval_ps": interval})
                made[-1]["trajectories"] = [t for t in _played(made[-1].pop("arrays"), limits.frames) if t["frames"]]
    return [scene for scene in made if len(scene["trajectories"]) > 1]


def _common(reference: Reader, methods: dict[str, Path], limit: int) -> list[str]:
    """First molecules of the first method's file that the reference has too."""
    with Reader(methods[ordered(set(methods))[0]], "egi-samples") as samples:
        return [molecule for molecule in samples.ids if molecule in reference.ids][:limit]


def _scene(dataset: str, task: str, molecule: str, reference: Reader, methods: dict[str, Path]) -> dict[str, Any]:
    record = reference.record(molecule)
    arrays = {REFERENCE: _reference(reference, molecule)}
    for method in ordered(set(methods)):
        with Reader(methods[method], "egi-samples") as samples:
            if molecule in samples.ids:
                drawn = _modelled(samples.array(molecule, "samples"), record)
                if drawn is not None and len(drawn):
                    arrays[method] = drawn[0]
    names = {"dataset": dataset, "task": task, "molecule": molecule, "smiles": record.smiles}
    return {**names, **_bonded(record), "arrays": arrays}


def _reference(reference: Reader, molecule: str) -> np.ndarray:
    """First phase (n, frames, 3) of the first reference replica."""
    group = reference.group(molecule)
    replicas = sorted(name for name in group if name.startswith("replica_"))
    named = [name for name in replicas if group[name].attrs.get("role", REFERENCE) == REFERENCE] or replicas
    return group[named[0]][0]


def _modelled(drawn: np.ndarray, record: MoleculeRecord) -> np.ndarray | None:
    """Samples (samples, n, frames, 3) of the modelled atoms; None if the atoms are others."""
    if drawn.ndim != 4:
        return None
    if drawn.shape[1] == len(record.modelled):
        return drawn
    return drawn[:, record.modelled] if drawn.shape[1] == record.mol.GetNumAtoms() else None


def _bonded(record: MoleculeRecord) -> dict[str, Any]:
    symbols = [Chem.GetPeriodicTable().GetElementSymbol(int(number)) for number in record.atomic_numbers]
    bonds = [[int(a), int(b), order] for (a, b), order in zip(bonds_of(record), bond_orders_of(record), strict=True)]
    return {"elements": symbols, "bonds": bonds}


def _played(arrays: dict[str, np.ndarray], frames: int) -> Iterator[dict[str, Any]]:
    shortest = min(array.shape[1] for array in arrays.values())
    target = None
    for method, array in arrays.items():
        positions = np.swapaxes(array[:, : min(shortest, frames)], 0, 1).astype(float)  # [frames, n, 3]
        centred = positions - positions.mean(axis=1, keepdims=True)
        positions = positions[np.isfinite(centred).all(axis=(1, 2)) & (np.abs(centred) < 300).all(axis=(1, 2))]
        if len(positions):
            target = flattened(positions[0]) if target is None else target
            positions = superposed(positions, superposed(positions[0], target))
        packed = base64.b64encode(np.round(positions * SCALE).astype("<i2").tobytes()).decode()
        yield {"method": method, "name": name_of(method), "frames": len(positions), "data": packed}
