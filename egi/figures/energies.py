"""Force-field energies of frames beside those of MD frames (not in the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egi.figures.dynamics import methods_with
from egi.figures.evaluation import Evaluation
from egi.figures.style import REFERENCE, SHOWN, blank, colour_of, line_of, name_of, new_figure, nothing, title_of
from egi.metrics.energetics import BOUND, overlap

#: kJ/mol a heavy atom; what lies beyond counts in the outer bins
EDGES = np.linspace(-15, 30, 46)


def energy(ax: Axes, reference: np.ndarray, drawn: dict[str, np.ndarray]) -> None:
    """Histograms of energies (frames,), kJ/mol a heavy atom above the reference's median.

    Parameters
    ----------
    ax : Axes
    reference : (frames,) ndarray
        Filled.
    drawn : dict
        Method -> energies (frames,), each a line with its overlap and median beside it.
    """
    ax.axvspan(-BOUND, BOUND, color="#F0F0F0", zorder=0)
    ax.stairs(_shares(reference), EDGES, fill=True, color=colour_of(REFERENCE), alpha=0.3, zorder=1)
    for row, (method, values) in enumerate(drawn.items()):
        ax.stairs(_shares(values), EDGES, **line_of(method))
        median = float(np.nanmedian(values))
        number = f"{median:,.1f}" if abs(median) < 1e5 else f"{median:.0e}"
        refined = "refined: " if method.endswith("_refined") else ""
        text = f"{refined}overlap {overlap(reference, values):.2f}\nmedian {number}".replace("-", "−")
        ax.annotate(text, (0.95, 0.96 - 0.27 * row), xycoords="axes fraction", ha="right", va="top", fontsize=7.5)
    ax.set_xlim(EDGES[0], EDGES[-1])
    ax.set_xticks([-10, 0, 10, 20, 30], ["−10", "0", "10", "20", "≥30"])
    ax.set_xlabel("Energy (kJ/mol a heavy atom)")


def _shares(values: np.ndarray) -> np.ndarray:
    """Share of the energies (frames,) in each bin; those that are not finite are in none."""
    known = np.clip(values[np.isfinite(values)], EDGES[0], EDGES[-1])
    return np.histogram(known, EDGES)[0] / len(values)


def energies(evaluation: Evaluation, methods: Sequence[str] = SHOWN, molecules: int = 3) -> Figure:
    """Energies of frames: a row a molecule, a column a method, raw and refined, each beside the reference's."""
    chosen = evaluation.having("energy", limit=molecules)
    every = [m.removesuffix("_refined") for m in methods]
    found = methods_with(evaluation, chosen, "energy", [*every, *(f"{m}_refined" for m in every)])
    columns = list(dict.fromkeys(m.removesuffix("_refined") for m in found))
    if not columns:
        return nothing("No molecule has energies to draw.")
    figure, axes = new_figure(len(chosen), len(columns), (2.3, 1.9), sharey="row")
    for row, molecule in zip(axes, chosen, strict=True):
        reference = evaluation.array(molecule, REFERENCE, "energy")
        for ax, method in zip(row, columns, strict=True):
            both = {m: evaluation.array(molecule, m, "energy") for m in (method, f"{method}_refined")}
            drawn = {m: values for m, values in both.items() if values is not None}
            if not drawn:
                blank(ax, f"{name_of(method)}: {evaluation.why_missing(molecule, method, 'energy')}")
                continue
            energy(ax, reference, drawn)
            ax.set_title(title_of(method), color=colour_of(method))
            ax.set_ylabel(f"{molecule}\nshare of frames" if ax is row[0] else "")
    return figure
