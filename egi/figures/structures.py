"""Molecules drawn from coordinates: conformers (paper figure 3B) and key frames of a path (5C)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from rdkit import Chem

from egi.data.storage import MoleculeRecord
from egi.figures.style import blank, new_figure, nothing

_ELEMENTS = {1: "#D0D0D0", 5: "#E8A09A", 6: "#444444", 7: "#0072B2", 8: "#D55E00", 9: "#009E73", 14: "#B59A5B",
             15: "#E69F00", 16: "#C9A800", 17: "#3BA55D", 35: "#882255", 53: "#5B2A86"}  # fmt: skip


def bonds_of(record: MoleculeRecord) -> np.ndarray:
    """Bonds (bonds, 2) among the modelled atoms, as indices into them."""
    place = {int(atom): index for index, atom in enumerate(record.modelled)}
    pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in record.mol.GetBonds()]
    kept = [(place[a], place[b]) for a, b in pairs if a in place and b in place]
    return np.asarray(kept, dtype=int).reshape(-1, 2)


def bond_orders_of(record: MoleculeRecord) -> list[int]:
    """Kekulé bond orders in the order of `bonds_of`."""
    mol = Chem.Mol(record.mol)
    Chem.Kekulize(mol)
    kept = {int(atom) for atom in record.modelled}
    return [
        int(bond.GetBondTypeAsDouble())
        for bond in mol.GetBonds()
        if bond.GetBeginAtomIdx() in kept and bond.GetEndAtomIdx() in kept
    ]


def flattened(positions: np.ndarray) -> np.ndarray:
    """Coordinates (n, 3) turned to their principal axes, the widest first; a proper rotation."""
    centred = positions - positions.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=len(centred) < 3)
    if np.linalg.det(axes) < 0:
        axes = axes * np.array([[1.0], [1.0], [-1.0]])
    return centred @ axes.T


def superposed(positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Coordinates (..., n, 3) moved onto `target` (n, 3) by the best proper rotation (Kabsch)."""
    centred = positions - positions.mean(axis=-2, keepdims=True)
    goal = target - target.mean(axis=0)
    u, _, v = np.linalg.svd(np.swapaxes(centred, -1, -2) @ goal)
    flip = np.ones(u.shape[:-1])
    flip[..., 2] = np.sign(np.linalg.det(u @ v))
    return centred @ ((u * flip[..., None, :]) @ v)


def molecule(ax: Axes, positions: np.ndarray, record: MoleculeRecord, alpha: float = 1.0) -> None:
    """Sticks and balls of coordinates (n, 3), seen along the third axis."""
    if not np.isfinite(positions).all():
        blank(ax, "coordinates are not finite")
        return
    segments = positions[bonds_of(record)][:, :, :2]  # [bonds, 2, 2]
    ax.add_collection(LineCollection(segments, colors="#777777", linewidths=2.2, alpha=alpha, zorder=1))
    order = np.argsort(positions[:, 2])
    colours = [_ELEMENTS.get(int(record.atomic_numbers[index]), "#FF69B4") for index in order]
    ax.scatter(*positions[order, :2].T, c=colours, s=48, alpha=alpha, edgecolors="white", linewidths=0.6, zorder=2)
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.12)
    ax.set_axis_off()


def conformer_examples(drawn: list[tuple[MoleculeRecord, np.ndarray]], columns: int = 4) -> Figure:
    """Conformers drawn by the structure model: a row a molecule (paper figure 3B).

    Parameters
    ----------
    drawn : list
        Molecule and its conformers (conformers, n, 3) in Å; the first `columns` are shown.
    """
    if not drawn:
        return nothing("No conformers were drawn.")
    figure, axes = new_figure(len(drawn), columns, (1.7, 1.6))
    for row, (record, conformers) in zip(axes, drawn, strict=True):
        target = flattened(conformers[0]) if np.isfinite(conformers[0]).all() else conformers[0]
        for ax in row[len(conformers) :]:
            ax.set_axis_off()
        for ax, positions in zip(row, conformers[:columns], strict=False):
            finite = np.isfinite(positions).all() and np.isfinite(target).all()
            molecule(ax, superposed(positions, target) if finite else positions, record)
        row[0].set_title(record.id, loc="left")
    return figure


def keyframes(record: MoleculeRecord, frames: np.ndarray, titles: list[str]) -> Figure:
    """Key frames (frames, n, 3) of one path, superposed on the first, left to right (paper figure 5C)."""
    if not len(frames) or not np.isfinite(frames).all():
        return nothing(f"{record.id}: no path with finite coordinates.")
    target = flattened(frames[0])
    figure, axes = new_figure(1, len(frames), (1.7, 1.9))
    for ax, positions, title in zip(axes[0], frames, titles, strict=True):
        molecule(ax, superposed(positions, target), record)
        ax.set_title(title)
    return figure
