"""Raw and refined frames of one molecule side by side: bonds, angles, torsions, energies (not in the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egi.figures.distributions import HISTOGRAMS, histogram
from egi.figures.evaluation import Evaluation
from egi.figures.style import REFERENCE, blank, legend_below, line_of, new_figure, nothing

#: energies are drawn linearly up to here, kJ/mol from the MD's median, and logarithmically beyond
_LINEAR = 50.0
_BINS = 48
_TICKS = (-100, 0, 100, 1000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Energies:
    """Force-field energies of a molecule's frames in kJ/mol, all atoms, in the gas phase; NaN where there is none.

    Attributes
    ----------
    raw, refined : dict of str to (frames,) ndarray
        By method: with the hydrogens just placed, and after refinement.
    md : (frames,) ndarray
        Frames of its simulation.
    """

    raw: dict[str, np.ndarray]
    refined: dict[str, np.ndarray]
    md: np.ndarray


def read_energies(files: dict[str, str], molecule: str) -> Energies:
    """Energies of one molecule from the refined samples of some methods."""
    raw, refined, md = {}, {}, np.empty(0)
    for method, path in files.items():
        with h5py.File(path) as file:
            if molecule not in file:
                continue
            group = file[molecule]
            raw[method], refined[method] = group["energy_before"][...].ravel(), group["energy_after"][...].ravel()
            md = group["energy_md"][...]
    return Energies(raw, refined, md)


def panels(evaluation: Evaluation, molecule: str, methods: list[str], energies: Energies) -> Figure:
    """Two rows, raw and refined, and a column each for bonds, angles, torsions and energies.

    Parameters
    ----------
    evaluation : Evaluation
        Histograms of the reference and of the methods, raw and refined.
    molecule : str
    methods : list of str
    energies : Energies
    """
    if molecule not in evaluation.molecules:
        return nothing(f"{molecule} has no distributions to draw.")
    figure, axes = new_figure(2, len(HISTOGRAMS) + 1, (2.4, 1.9))
    rows = (("Raw", "", energies.raw), ("Refined", "_refined", energies.refined))
    for row, (title, ending, values) in zip(axes, rows, strict=True):
        for ax, quantity in zip(row, HISTOGRAMS, strict=False):
            shown = {m: evaluation.array(molecule, f"{m}{ending}", quantity) for m in methods}
            counts = {m: found for m, found in shown.items() if found is not None}
            reference = evaluation.array(molecule, REFERENCE, quantity)
            if counts and reference is not None and reference.sum():
                histogram(ax, {REFERENCE: reference, **counts}, evaluation.edges[quantity], quantity)
            else:
                blank(ax, evaluation.why_missing(molecule, f"{methods[0]}{ending}", quantity))
        _energies(row[-1], values, energies.md)
        row[0].set_title(f"{title}: {molecule}", loc="left")
    for column in axes.T:  # raw and refined on one scale
        limits = [ax.get_xlim() for ax in column if ax.axison]
        for ax in column:
            ax.set_xlim(min(low for low, _ in limits), max(high for _, high in limits)) if limits else None
    legend_below(figure, axes)
    return figure


def _energies(ax: Axes, values: dict[str, np.ndarray], md: np.ndarray) -> None:
    """Shares of frames by energy above the MD's median; the outer bins hold what lies beyond."""
    shown = {method: found[np.isfinite(found)] for method, found in values.items()}
    shown = {method: found for method, found in shown.items() if len(found)}
    if not shown or not len(md):
        blank(ax, "no MD frames" if shown else "no frame has an energy")
        return
    centre, edges = np.median(md), np.linspace(*_scaled(np.array([_TICKS[0], _TICKS[-1]])), _BINS + 1)
    for method, found in {REFERENCE: md, **shown}.items():
        counts = np.histogram(np.clip(_scaled(found - centre), edges[0], edges[-1]), edges)[0] / len(found)
        if method == REFERENCE:
            ax.stairs(counts, edges, fill=True, color="#222222", alpha=0.18, zorder=1)
        ax.stairs(counts, edges, **line_of(method))
    ax.set_xticks(_scaled(np.array(_TICKS)), ["−100", "0", "100", "10³", "10⁴", "10⁵", "10⁶"])
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel("Energy less the MD's median (kJ/mol)")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def _scaled(energies: np.ndarray) -> np.ndarray:
    return np.arcsinh(energies / _LINEAR)
