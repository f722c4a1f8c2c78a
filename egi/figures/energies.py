"""Force-field energies of frames beside those of MD frames (not in the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egi.figures.dynamics import methods_with
from egi.figures.evaluation import Evaluation
from egi.figures.style import REFERENCE, SHOWN, blank, colour_of, name_of, new_figure, nothing
from egi.metrics.energetics import BOUND, overlap

#: kJ/mol a heavy atom; what lies beyond counts in the outer bins
EDGES = np.linspace(-15, 30, 46)


def energy(ax: Axes, reference: np.ndarray, other: np.ndarray, method: str) -> None:
    """Histograms of energies (frames,), the reference filled; kJ/mol a heavy atom above the reference's median."""
    shares = [
        np.histogram(np.clip(values[np.isfinite(values)], EDGES[0], EDGES[-1]), EDGES)[0] / len(values)
        for values in (reference, other)
    ]
    ax.axvspan(-BOUND, BOUND, color="#F0F0F0", zorder=0)
    ax.stairs(shares[0], EDGES, fill=True, color=colour_of(REFERENCE), alpha=0.3, zorder=1)
    ax.stairs(shares[1], EDGES, color=colour_of(method), linewidth=1.5, zorder=2)
    ax.set_xlim(EDGES[0], EDGES[-1])
    ax.set_xticks([-10, 0, 10, 20, 30], ["−10", "0", "10", "20", "≥30"])
    ax.set_xlabel("Energy (kJ/mol a heavy atom)")
    median = float(np.nanmedian(other))
    number = f"{median:,.1f}" if abs(median) < 1e5 else f"{median:.0e}"
    text = f"overlap {overlap(reference, other):.2f}\nmedian {number}".replace("-", "−")
    ax.annotate(text, (0.95, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=8)


def energies(evaluation: Evaluation, methods: Sequence[str] = SHOWN, molecules: int = 3) -> Figure:
    """Energies of frames: a row a molecule, a column a method, each beside the reference's."""
    chosen = evaluation.having("energy", limit=molecules)
    shown = methods_with(evaluation, chosen, "energy", methods)
    if not shown:
        return nothing("No molecule has energies to draw.")
    figure, axes = new_figure(len(chosen), len(shown), (2.3, 1.8), sharey="row")
    for row, molecule in zip(axes, chosen, strict=True):
        reference = evaluation.array(molecule, REFERENCE, "energy")
        for ax, method in zip(row, shown, strict=True):
            values = evaluation.array(molecule, method, "energy")
            if values is None:
                blank(ax, f"{name_of(method)}: {evaluation.why_missing(molecule, method, 'energy')}")
                continue
            energy(ax, reference, values, method)
            ax.set_title(name_of(method), color=colour_of(method))
            ax.set_ylabel(f"{molecule}\nshare of frames" if ax is row[0] else "")
    return figure
