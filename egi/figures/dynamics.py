"""Torsion dynamics and metastates (paper figures 4C-G, 9)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egi.figures.evaluation import Evaluation
from egi.figures.style import (
    METASTATES,
    ORACLE,
    REFERENCE,
    SHOWN,
    blank,
    colour_of,
    legend_below,
    name_of,
    new_figure,
    nothing,
    title_of,
)


def occupancy(ax: Axes, reference: np.ndarray, other: np.ndarray, method: str) -> None:
    """Occupancies (states,) of the reference's metastates, reference and one method side by side.

    Paper figures 4C (reference and EGInterpolator) and 4D (reference and oracle).
    """
    states = np.arange(len(reference))
    ax.bar(states - 0.2, reference, 0.4, color=colour_of(REFERENCE), label=name_of(REFERENCE))
    ax.bar(states + 0.2, other, 0.4, color=colour_of(method))
    ax.set_xticks(states, [str(state + 1) for state in states])
    ax.set_xlabel("Metastate")
    ax.set_ylabel("Occupancy")


def occupancies(evaluation: Evaluation, methods: Sequence[str] = SHOWN, molecules: int = 3) -> Figure:
    """Metastate occupancies: a row a molecule, a column a method, each beside the reference.

    Paper figures 4C and 4D.
    """
    chosen = evaluation.having("occupancy", limit=molecules)
    methods = methods_with(evaluation, chosen, "occupancy", methods)
    if not methods:
        return nothing("No molecule has a Markov state model of its reference, so there are no occupancies to draw.")
    figure, axes = new_figure(len(chosen), len(methods), (2.3, 1.7), sharey="row")
    for row, molecule in zip(axes, chosen, strict=True):
        reference = evaluation.array(molecule, REFERENCE, "occupancy")
        for ax, method in zip(row, methods, strict=True):
            values = evaluation.array(molecule, method, "occupancy")
            if values is None:
                blank(ax, f"{name_of(method)}: {evaluation.why_missing(molecule, method, 'metastate')}")
                continue
            occupancy(ax, reference, values, method)
            ax.set_title(title_of(method), color=colour_of(method))
            ax.set_ylabel(f"{molecule}\noccupancy" if ax is row[0] else "")
    legend_below(figure, axes, columns=6)
    return figure


def autocorrelation(ax: Axes, values: np.ndarray, interval_ps: float) -> None:
    """Autocorrelation (torsions, lags) of each torsion against time, with the line at 1/e.

    Paper figures 4E-G and 9.
    """
    times = np.arange(values.shape[1]) * interval_ps
    shades = METASTATES if len(values) <= len(METASTATES) else ["#33668888"] * len(values)
    for curve, colour in zip(values, shades, strict=False):
        ax.plot(times, curve, color=colour, linewidth=1.1)
    ax.axhline(np.exp(-1), color="#888888", linestyle="--", linewidth=1, label="1/e")
    ax.set_xlim(0, max(times[-1], interval_ps))
    ax.set_xlabel("Lag time (ps)")


def autocorrelations(evaluation: Evaluation, methods: Sequence[str] = SHOWN, molecules: int = 2) -> Figure:
    """Torsion autocorrelations: a row a molecule, a column a method, a curve a torsion.

    Paper figures 4E (reference), 4F (EGInterpolator), 4G (GeoTDM) and 9.
    """
    chosen = evaluation.having("autocorrelation", limit=molecules)
    if not chosen:
        return nothing("No molecule has torsions, so there are no autocorrelations to draw.")
    methods = [REFERENCE, *methods_with(evaluation, chosen, "autocorrelation", methods)]
    figure, axes = new_figure(len(chosen), len(methods), (2.2, 1.75), sharey=True)
    for row, molecule in zip(axes, chosen, strict=True):
        for ax, method in zip(row, methods, strict=True):
            values = evaluation.array(molecule, method, "autocorrelation")
            if values is None:
                blank(ax, f"{name_of(method)}: {evaluation.why_missing(molecule, method, 'autocorrelation')}")
                continue
            autocorrelation(ax, values, evaluation.interval_ps)
            ax.set_title(title_of(method), color=colour_of(method))
        row[0].set_ylabel(f"{molecule}\nautocorrelation")
        row[0].annotate("1/e", (1, np.exp(-1)), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                        fontsize=8, color="#666666")  # fmt: skip
    return figure


def methods_with(evaluation: Evaluation, molecules: list[str], name: str, wanted: Sequence[str]) -> list[str]:
    """Wanted methods that have the dataset for some molecule; ours first, then the oracle, without the reference."""
    found = [
        method
        for method in dict.fromkeys(m for molecule in molecules for m in evaluation.methods(molecule, wanted))
        if method != REFERENCE and any(evaluation.array(m, method, name) is not None for m in molecules)
    ]
    return sorted(found, key=lambda method: (method not in ("egi", "egi_refined"), method != ORACLE))
