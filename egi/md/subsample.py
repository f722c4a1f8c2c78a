"""From saved frames to model frames: exact stride, modelled atoms, no rigid motion (FACTS 6; DESIGN 3, 4)."""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from egi.cli import UserError
from egi.config import SimulationSettings, SubsampleSettings
from egi.data.storage import MoleculeRecord, Reader, atomic, create
from egi.md.common import NM_PER_ANGSTROM, Rejected
from egi.md.frames import read_frames
from egi.units import whole_multiple

log = logging.getLogger("egi")

REJECTS = ("molecule", "split", "replica", "stage", "reason")
#: a test molecule needs an oracle and this many references (A-9)
LEAST_REFERENCES = 2


@dataclass(frozen=True)
class Picker:
    """Which saved frames become model frames.

    Saved frame 1 is one saving interval after time 0, so phase 0 has the times 1, 2, ... model intervals;
    the other phases are earlier by equal parts of the stride.

    Attributes
    ----------
    stride : int
        Saved frames a model frame.
    saved : int
        Saved frames of a complete replica.
    phases : int
    """

    stride: int
    saved: int
    phases: int = 1

    @classmethod
    def of(cls, simulation: SimulationSettings, subsample: SubsampleSettings) -> Picker:
        """From the settings; a time that is no whole multiple is a ConfigError naming both."""
        interval = simulation.frame_interval_ps
        stride = whole_multiple(subsample.interval_ps, interval, "subsample.interval", "simulation.frame_interval")
        saved = whole_multiple(simulation.production_ps, interval, "production", "frame_interval")
        if subsample.phases > stride:
            raise UserError(f"subsample.phases = {subsample.phases}; allowed: at most the stride, {stride}")
        return cls(stride, saved, subsample.phases)

    @property
    def indices(self) -> np.ndarray:
        """Indices (phases, frames) of saved frames, from 0."""
        offsets = np.arange(self.phases) * self.stride // self.phases
        frames = np.arange(1, self.saved // self.stride + 1) * self.stride
        return frames[None] - 1 - offsets[:, None]


def remove_rigid_motion(positions: np.ndarray) -> np.ndarray:
    """Centre each frame and superpose it on the first by a proper rotation.

    Parameters
    ----------
    positions : (..., frames, atoms, 3) ndarray

    Returns
    -------
    (..., frames, atoms, 3) ndarray
        Distances within a frame, and handedness, are unchanged.
    """
    centred = positions - positions.mean(axis=-2, keepdims=True)
    reference = centred[..., :1, :, :]
    u, _, vt = np.linalg.svd(np.swapaxes(centred, -1, -2) @ reference)
    sign = np.sign(np.linalg.det(u @ vt))  # a reflection would superpose better: turn the least axis instead
    u[..., -1] *= sign[..., None]
    return centred @ (u @ vt)


def model_frames(path: Path, modelled: np.ndarray, atoms: int, picker: Picker) -> np.ndarray:
    """Model frames of one replica.

    Parameters
    ----------
    path : path
        Trajectory of the solute, all atoms in RDKit's order.
    modelled : (n,) int ndarray
        Indices of the modelled atoms.
    atoms : int
        Atoms of the molecule.
    picker : Picker

    Returns
    -------
    (phases, n, frames, 3) float32 ndarray
        Å.

    Raises
    ------
    Rejected
        If the file is not a complete trajectory of the molecule.
    """
    if not path.is_file():
        raise Rejected("subsample", f"{path} does not exist")
    positions, times, _ = read_frames(path)
    if positions.shape != (picker.saved, atoms, 3):
        raise Rejected("subsample", f"{path} has shape {positions.shape}; wanted {(picker.saved, atoms, 3)}")
    steps = np.diff(times.astype(float))
    if len(steps) and not np.allclose(steps, steps[0], rtol=1e-3):
        raise Rejected("subsample", f"{path} has frames that are not evenly spaced in time")
    chosen = positions[picker.indices][:, :, modelled].astype(float) / NM_PER_ANGSTROM  # [phases, frames, n, 3]
    if not np.isfinite(chosen).all():
        raise Rejected("subsample", f"{path} has coordinates that are not finite")
    return np.swapaxes(remove_rigid_motion(chosen), 1, 2).astype(np.float32)


def roles(replicas: list[int], split: str) -> dict[int, str]:
    """Role of each usable replica: in test the last is the MD oracle, all others are references.

    Raises
    ------
    Rejected
        If a test molecule has too few usable replicas.
    """
    if not replicas:
        raise Rejected("subsample", "no usable replica")
    found = dict.fromkeys(sorted(replicas), "reference")
    if split == "test":
        if len(found) <= LEAST_REFERENCES:
            raise Rejected("subsample", f"{len(found)} usable replicas; an oracle and {LEAST_REFERENCES} references "
                           "need 3")  # fmt: skip
        found[max(found)] = "oracle"
    return found


def subsample_split(
    rows: list[dict[str, Any]], split: str, conformers: Path, output: Path, picker: Picker, provenance: dict[str, Any]
) -> list[dict[str, Any]]:
    """Write one split's model trajectories.

    Parameters
    ----------
    rows : list of dict
        Of all manifests.
    split : str
    conformers : path
        The split's conformers, for the molecules' graphs.
    output : path
        ``trajectories/{split}.h5``.
    picker : Picker
    provenance : dict
        Seed and config section; ``interval_ps`` among them.

    Returns
    -------
    list of dict
        Rows of the rejects table: replicas and molecules that were left out.
    """
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["split"] == split:
            grouped.setdefault(row["molecule"], []).append(row)
    rejects: list[dict[str, Any]] = []
    interval = provenance["interval_ps"]
    with create(output, "egi-trajectories", provenance, interval_ps=interval, split=split) as writer:
        if not grouped:
            log.warning("no molecule of split %s was simulated; %s is empty", split, output)
            return rejects
        with Reader(conformers, "egi-conformers") as reader:
            for molecule, replicas in tqdm(grouped.items(), desc=f"subsample {split}"):
                record = reader.record(molecule)
                arrays = _usable(record, replicas, picker, rejects)
                try:
                    chosen = roles(list(arrays), split)
                except Rejected as failure:
                    rejects.append(_reject_row(replicas[0], "", failure))
                    continue
                writer.add(record, {f"replica_{k}": arrays[k] for k in chosen})
                for replica, role in chosen.items():
                    writer.label(molecule, f"replica_{replica}", role=role)
    return rejects


def _usable(
    record: MoleculeRecord, rows: list[dict[str, Any]], picker: Picker, rejects: list[dict[str, Any]]
) -> dict[int, np.ndarray]:
    """Model frames (phases, n, frames, 3) of each replica that can be used; the others go to `rejects`."""
    usable = {}
    for row in rows:
        try:
            if row["status"] != "ok":
                raise Rejected(row["stage"], row["reason"])
            usable[row["replica"]] = model_frames(row["path"], record.modelled, record.mol.GetNumAtoms(), picker)
        except Rejected as failure:
            rejects.append(_reject_row(row, row["replica"], failure))
    return usable


def _reject_row(row: dict[str, Any], replica: int | str, failure: Rejected) -> dict[str, Any]:
    return {"molecule": row["molecule"], "split": row["split"], "replica": replica, "stage": failure.stage,
            "reason": failure.reason}  # fmt: skip


def write_rejects(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rejects table; without rows, its header."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, REJECTS)
        writer.writeheader()
        writer.writerows(rows)
