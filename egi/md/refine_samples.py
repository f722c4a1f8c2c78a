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
``torsions_kept``, ``.._stiff``       [S, T]: share of the torsions that changed by less than 30 degrees
``energy_md``                         kJ/mol: of frames of the molecule's MD, all atoms, in the gas phase
====================================  ===========================================================
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from egi import seeds
from egi.config import SimulationSettings
from egi.data.storage import MoleculeRecord, Reader
from egi.md.common import NM_PER_ANGSTROM, Rejected
from egi.md.frames import read_frames
from egi.md.refine import NO_PARAMETERS, STATUSES, WRONG_ATOMS, Refined, Refiner
from egi.md.refinement_settings import RefinementSettings
from egi.metrics import energetics, nulls
from egi.metrics.scores import Unscorable

log = logging.getLogger("egi")

#: MD frames whose energy is taken, at most
MD_FRAMES = 1000


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
    refiner, reason = refiner_of(source, record)
    found = refined_frames(refiner, record, flat, frame_seeds(source.seed, molecule, count, frames))
    energy_md = md_energies(refiner, source.md / molecule)
    wrong = f"frames have {flat.shape[1]} atoms; the molecule has {len(record.modelled)} modelled"
    reason = wrong if (found.status == WRONG_ATOMS).all() else reason
    all_atoms = found.all_atoms.reshape(count, frames, -1, 3).transpose(0, 2, 1, 3)
    by_frame = {f.name: getattr(found, f.name).reshape(count, frames) for f in fields(found) if f.name != "all_atoms"}
    arrays = {
        "samples": all_atoms[:, record.modelled], "all_atoms": all_atoms, "given": given,
        "torsion_moved": by_frame.pop("moved"), "torsion_moved_stiff": by_frame.pop("moved_stiff"),
        "torsions_kept": by_frame.pop("kept"), "torsions_kept_stiff": by_frame.pop("kept_stiff"),
        **by_frame, "energy_md": energy_md,
    }  # fmt: skip
    row = {"method": method, **summary(record, found, energy_md), "reason": reason}
    return RefinedMolecule(molecule, arrays, attributes, row)


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


def refiner_of(source: Source, record: MoleculeRecord) -> tuple[Refiner | None, str]:
    """A refiner with the charges of the molecule's MD, or why there is none."""
    path = source.md / record.id / "charges.json"
    if not path.is_file():
        return None, f"{path} does not exist"
    try:
        charges = np.array(json.loads(path.read_text(encoding="utf-8"))["charges"])
        return Refiner(record, charges, source.simulation, source.settings), ""
    except Rejected as failure:
        return None, failure.reason


def refined_frames(refiner: Refiner | None, record: MoleculeRecord, frames: np.ndarray, wanted: list[int]) -> Refined:
    """Frames (T, n, 3) refined with seeds `wanted`; all flagged where there is no refiner."""
    atoms = record.mol.GetNumAtoms()
    if frames.shape[1] != len(record.modelled):
        return Refined.empty(len(frames), atoms, WRONG_ATOMS)
    return refiner.refine(frames, wanted) if refiner else Refined.empty(len(frames), atoms, NO_PARAMETERS)


def md_energies(refiner: Refiner | None, folder: Path) -> np.ndarray:
    """Gas-phase energies of the molecule's MD frames, kJ/mol, evenly spread over all replicas; empty without any.

    XTC's grid of 0.01 Å adds a noise of about 1 kJ/mol.
    """
    paths = sorted(folder.glob("replica_*.xtc"))
    if refiner is None or not paths:
        return np.empty(0)
    frames = np.concatenate([read_frames(path)[0] for path in paths])
    return refiner.energies(energetics.evenly(frames, MD_FRAMES) / NM_PER_ANGSTROM)


def summary(record: MoleculeRecord, found: Refined, energy_md: np.ndarray) -> dict[str, Any]:
    """A molecule's row: frames by status and hand, energies beside the MD's, how far torsions moved."""
    counts = np.bincount(found.status, minlength=len(STATUSES)).tolist()
    ok = found.status == 0

    def number(function, values: np.ndarray) -> float | str:
        found = function(values[ok]) if ok.any() else np.nan
        return "" if np.isnan(found) else round(float(found), 4)

    overlap = number(partial(energetics.overlap, energy_md), found.energy_after) if len(energy_md) else ""

    return {
        "molecule": record.id, "smiles": record.smiles, "frames": len(found.status),
        **dict(zip(STATUSES, counts, strict=True)),
        "mirror_images": int((found.hand == -1).sum()), "reflected": int(found.reflected.sum()),
        "energy_before_median": number(np.median, found.energy_before),
        "energy_after_median": number(np.median, found.energy_after),
        "energy_md_median": round(float(np.median(energy_md)), 4) if len(energy_md) else "",
        "all_atom_overlap": overlap,
        "torsions_kept_stiff": number(np.mean, found.kept_stiff),
        "torsions_kept": number(np.mean, found.kept),
        "torsion_moved_median": number(np.median, found.moved),
    }  # fmt: skip
