"""Refinement of the samples of a method: files in, arrays and a table row a molecule out.

A refined file is laid out as the samples it was made from, with ``refined`` true and ``statuses`` (comma-separated) as
attributes of the file, and these arrays a molecule:

====================================  ===========================================================
``samples`` [S, n, T, 3]              modelled atoms; NaN where a frame is not ok
``all_atoms`` [S, N, T, 3]            all atoms, in the order of ``mol``
``given`` [T]                         as in the samples
``status`` [S, T] int8                place in ``statuses``
``reflected`` [S, T] bool             was a mirror image, and was reflected
``energy_before``, ``energy_after``   [S, T], kJ/mol: hydrogens just placed; refined
``torsion_moved``, ``.._stiff``       [S, T], radian: largest change of a torsion; while held stiffly
====================================  ===========================================================
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from egi import seeds
from egi.config import SimulationSettings
from egi.data.storage import MoleculeRecord, Reader
from egi.md.common import Rejected
from egi.md.refine import NO_PARAMETERS, STATUSES, WRONG_ATOMS, Refined, Refiner
from egi.md.refinement_settings import RefinementSettings
from egi.metrics import nulls
from egi.metrics.scores import Unscorable

log = logging.getLogger("egi")

#: a torsion counts as kept if it moves by less, radian
KEPT = np.pi / 6


@dataclass(frozen=True)
class Source:
    """What is refined, and how.

    Attributes
    ----------
    samples : path
        Samples of a method (HDF5).
    md : path
        Folder of the simulations: charges are in ``{molecule}/charges.json``.
    simulation : SimulationSettings
    settings : RefinementSettings
    seed : int
    etkdg : bool
        Refine RDKit conformers, as many as there are frames, in place of the samples: a null model.
    """

    samples: Path
    md: Path
    simulation: SimulationSettings
    settings: RefinementSettings
    seed: int
    etkdg: bool = False


@dataclass(frozen=True)
class RefinedMolecule:
    """One molecule's part of the refined file, and its row of the table."""

    molecule: str
    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]
    row: dict[str, Any]


def refine_molecule(source: Source, molecule: str) -> RefinedMolecule:
    """Refine all samples of one molecule; a molecule that cannot be is kept, its frames flagged."""
    with Reader(source.samples, "egi-samples") as reader:
        record, samples = reader.record(molecule), reader.array(molecule, "samples")
        given = reader.array(molecule, "given")
        attributes = {k: v for k, v in reader.group(molecule).attrs.items() if k not in ("smiles", "mol")}
        method = str(reader.attributes.get("method", ""))
    if source.etkdg:
        samples, given, method = conformers_like(record, samples, source.seed), np.zeros_like(given), "etkdg"
    count, _, frames, _ = samples.shape
    flat = np.ascontiguousarray(samples.transpose(0, 2, 1, 3)).reshape(count * frames, -1, 3)
    found, reason = refined_frames(source, record, flat, frame_seeds(source.seed, molecule, count, frames))
    all_atoms = found.all_atoms.reshape(count, frames, -1, 3).transpose(0, 2, 1, 3)
    by_frame = {f.name: getattr(found, f.name).reshape(count, frames) for f in fields(found) if f.name != "all_atoms"}
    arrays = {
        "samples": all_atoms[:, record.modelled], "all_atoms": all_atoms, "given": given,
        "torsion_moved": by_frame.pop("moved"), "torsion_moved_stiff": by_frame.pop("moved_stiff"), **by_frame,
    }  # fmt: skip
    return RefinedMolecule(molecule, arrays, attributes, {"method": method, **summary(record, found, reason)})


def conformers_like(record: MoleculeRecord, samples: np.ndarray, seed: int) -> np.ndarray:
    """Independent ETKDGv3 conformers in the shape [S, n, T, 3] of the samples; NaN where RDKit made too few."""
    count, _, frames, _ = samples.shape
    flat = np.full((count * frames, len(record.modelled), 3), np.nan, np.float32)
    try:
        made = nulls.etkdg(record, len(flat), seeds.integer(seed, record.id, "etkdg"), most=len(flat)).trajectories[0]
        flat[: len(made)] = made
    except Unscorable as error:
        log.warning("%s: %s", record.id, error)
    return flat.reshape(count, frames, -1, 3).transpose(0, 2, 1, 3)


def frame_seeds(seed: int, molecule: str, samples: int, frames: int) -> list[int]:
    """A seed for each frame of each sample, sample by sample."""
    return [seeds.integer(seed, molecule, sample, frame) for sample in range(samples) for frame in range(frames)]


def refined_frames(
    source: Source, record: MoleculeRecord, frames: np.ndarray, wanted: list[int]
) -> tuple[Refined, str]:
    """Frames (T, n, 3) refined with the charges of the molecule's MD, and why none was if so."""
    atoms = record.mol.GetNumAtoms()
    if frames.shape[1] != len(record.modelled):
        reason = f"frames have {frames.shape[1]} atoms; the molecule has {len(record.modelled)} modelled"
        return Refined.empty(len(frames), atoms, WRONG_ATOMS), reason
    path = source.md / record.id / "charges.json"
    if not path.is_file():
        return Refined.empty(len(frames), atoms, NO_PARAMETERS), f"{path} does not exist"
    try:
        charges = np.array(json.loads(path.read_text(encoding="utf-8"))["charges"])
        refiner = Refiner(record, charges, source.simulation, source.settings)
    except Rejected as failure:
        return Refined.empty(len(frames), atoms, NO_PARAMETERS), failure.reason
    return refiner.refine(frames, wanted), ""


def summary(record: MoleculeRecord, found: Refined, reason: str = "") -> dict[str, Any]:
    """A molecule's row: frames by status and hand, median energies, how far torsions moved."""
    counts = np.bincount(found.status, minlength=len(STATUSES)).tolist()
    ok = found.status == 0

    def number(function, values: np.ndarray) -> float | str:
        return round(float(function(values[ok])), 4) if ok.any() else ""

    return {
        "molecule": record.id, "smiles": record.smiles, "frames": len(found.status),
        **dict(zip(STATUSES, counts, strict=True)),
        "mirror_images": int((found.hand == -1).sum()), "reflected": int(found.reflected.sum()),
        "energy_before_median": number(np.median, found.energy_before),
        "energy_after_median": number(np.median, found.energy_after),
        "torsions_kept_stiff": number(lambda x: np.mean(x < KEPT), found.moved_stiff),
        "torsions_kept": number(lambda x: np.mean(x < KEPT), found.moved),
        "torsion_moved_median": number(np.median, found.moved),
        "reason": reason,
    }  # fmt: skip
