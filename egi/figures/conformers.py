"""Drawn conformers: COV and MAT (paper figure 3A and table 3, as bars), distributions (7), examples (3B)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from egi.chem.geometry import bond_angles, bond_lengths, internal_coordinates, torsion_angles
from egi.data.storage import MoleculeRecord, Reader
from egi.figures.style import REFERENCE, colour_of, name_of, new_figure, nothing, ordered
from egi.metrics.distributions import BINS, LIMITS, histograms

EDGES = {kind: np.linspace(*limits, BINS + 1) for kind, limits in LIMITS.items()}
PANELS = {
    "cov_r": ("COV-R", "%", "higher is better"),
    "cov_p": ("COV-P", "%", "higher is better"),
    "mat_r": ("MAT-R", "Å", "lower is better"),
    "mat_p": ("MAT-P", "Å", "lower is better"),
}


def covmat(per_molecule: pd.DataFrame) -> Figure:
    """Recall and precision of conformer ensembles: bar = mean over molecules, dots = molecules.

    Parameters
    ----------
    per_molecule : DataFrame
        Long: method, molecule, metric (cov_r, cov_p in percent; mat_r, mat_p in Å), value.
    """
    rows = per_molecule.assign(value=pd.to_numeric(per_molecule["value"], errors="coerce")).dropna(subset=["value"])
    rows = rows[rows["metric"].isin(PANELS)]
    if rows.empty:
        return nothing("No COV or MAT values to draw.")
    methods = ordered(set(rows["method"]))
    figure, axes = new_figure(1, len(PANELS), (1.9, 2.4))
    for ax, (metric, (title, unit, direction)) in zip(axes[0], PANELS.items(), strict=True):
        for place, method in enumerate(methods):
            values = rows.loc[(rows["metric"] == metric) & (rows["method"] == method), "value"].to_numpy()
            if not values.size:
                continue
            ax.bar(place, values.mean(), 0.62, color=colour_of(method), alpha=0.85)
            spread = np.linspace(-0.2, 0.2, values.size) if values.size > 1 else np.zeros(1)
            ax.plot(place + spread, values, "o", color="#222222", markersize=2.5, alpha=0.6, markeredgewidth=0)
        ax.set_xticks(range(len(methods)), [name_of(m) for m in methods], rotation=30, ha="right")
        ax.set_xlim(-0.7, len(methods) - 0.3)
        ax.set_ylabel(f"{title} ({unit})")
        ax.set_title(f"{title}\n{direction}", fontsize=8.5)
        if unit == "%":
            ax.set_ylim(0, 104)
    return figure


Conformers = tuple[MoleculeRecord, np.ndarray, np.ndarray]


def read_conformers(reference: Path, samples: Path, molecules: int) -> list[Conformers]:
    """First sampled molecules: molecule, reference and drawn conformers (conformers, n, 3) of the modelled atoms, Å."""
    with Reader(samples, "egi-samples") as drawn, Reader(reference, "egi-conformers") as known:
        chosen = [molecule for molecule in drawn.ids if molecule in known.ids][:molecules]
        found = []
        for molecule in chosen:
            record = known.record(molecule)
            positions = known.array(molecule, "positions")[:, record.modelled]
            found.append((record, positions, drawn.array(molecule, "samples")[:, :, 0]))
    return found


def histograms_of(conformers: list[Conformers]) -> dict:
    """What `distributions` draws (paper figure 7): counts of reference and drawn conformers."""
    return {
        record.id: {REFERENCE: _counts(record, reference), "basices": _counts(record, drawn)}
        for record, reference, drawn in conformers
    }


def _counts(record: MoleculeRecord, positions: np.ndarray) -> dict[str, np.ndarray]:
    coordinates = internal_coordinates(record)
    finite = positions[np.isfinite(positions).all(axis=(1, 2))]
    values = {
        "bond_length": bond_lengths(finite, coordinates.bonds),
        "bond_angle": bond_angles(finite, coordinates.angles),
        "torsion": torsion_angles(finite, coordinates.torsions),
    }
    return {kind: histograms(found, LIMITS[kind])[:, 1:-1].sum(axis=0) for kind, found in values.items()}
