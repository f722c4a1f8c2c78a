"""Distributions of internal coordinates, and the JSD of each method (paper figures 4A, 4B, 6, 7, 8, 10)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egi.figures.evaluation import Evaluation
from egi.figures.style import (
    QUANTITIES,
    REFERENCE,
    blank,
    colour_of,
    legend_below,
    line_of,
    name_of,
    new_figure,
    nothing,
    ordered,
)

HISTOGRAMS = ("bond_length", "bond_angle", "torsion")
#: the largest Jensen-Shannon distance, natural logarithm
LARGEST_JSD = float(np.sqrt(np.log(2)))


def density(counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts (bins,) as a density over `edges` (bins + 1,); zeros stay zeros."""
    total = counts.sum()
    return counts / (max(total, 1) * np.diff(edges))


def histogram(ax: Axes, counts: dict[str, np.ndarray], edges: np.ndarray, quantity: str) -> None:
    """Draw one quantity of one molecule: the reference filled, every method a line.

    Parameters
    ----------
    ax : Axes
    counts : dict
        Method -> histogram counts (bins,).
    edges : (bins + 1,) ndarray
        In Å for bond lengths, in radian for angles and torsions (drawn in degrees).
    quantity : str
        One of `HISTOGRAMS`.
    """
    name, unit = QUANTITIES[quantity]
    edges = np.rad2deg(edges) if unit == "°" else edges
    for method in ordered(set(counts)):
        values = density(counts[method], edges)
        if method == REFERENCE:
            ax.stairs(values, edges, fill=True, color="#222222", alpha=0.18, zorder=1)
        ax.stairs(values, edges, **line_of(method))
    ax.set_xlabel(f"{name} ({unit})")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    used = np.flatnonzero(np.sum(list(counts.values()), axis=0))
    if quantity != "torsion" and used.size:
        ax.set_xlim(edges[max(used[0] - 3, 0)], edges[min(used[-1] + 4, len(edges) - 1)])
    if quantity == "torsion":
        ax.set_xticks([-180, -90, 0, 90, 180])


def distributions(molecules: dict[str, dict[str, dict[str, np.ndarray]]], edges: dict[str, np.ndarray]) -> Figure:
    """Bond lengths, bond angles and torsions, a column a molecule.

    Paper figures 4A and 4B (one QM9 molecule), 7 (conformers), 8 and 10 (several molecules).

    Parameters
    ----------
    molecules : dict
        Molecule -> method -> quantity -> counts (bins,).
    edges : dict
        Quantity -> bin edges (bins + 1,) in Å or radian.
    """
    if not molecules:
        return nothing("No molecule has distributions to draw.")
    figure, axes = new_figure(len(HISTOGRAMS), len(molecules), (2.4, 1.75))
    for column, (molecule, methods) in zip(axes.T, molecules.items(), strict=True):
        column[0].set_title(molecule)
        for ax, quantity in zip(column, HISTOGRAMS, strict=True):
            counts = {m: found[quantity] for m, found in methods.items() if found.get(quantity) is not None}
            if any(values.sum() for values in counts.values()):
                histogram(ax, counts, edges[quantity], quantity)
            else:
                blank(ax, f"no {QUANTITIES[quantity][0].lower()} between modelled atoms")
    legend_below(figure, axes)
    return figure


def histograms_of(
    evaluation: Evaluation, methods: list[str], molecules: int
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """What `distributions` draws, for an evaluation file's first molecules and some methods, raw and refined."""
    return {
        molecule: {
            method: {quantity: evaluation.array(molecule, method, quantity) for quantity in HISTOGRAMS}
            for method in evaluation.methods(molecule, methods)
        }
        for molecule in evaluation.having("bond_length", limit=molecules)
    }


def jsd_bars(per_molecule: pd.DataFrame, metrics: tuple[str, ...]) -> Figure:
    """JSD of each method, a panel a metric: bar = mean over molecules, white line = median, dots = molecules.

    Paper figure 6 of the main text (there EGInterpolator and -F only).

    Parameters
    ----------
    per_molecule : DataFrame
        Long: method, refined, molecule, metric, value.
    metrics : tuple of str
        Panels, in order; those without values are left out.
    """
    rows = per_molecule.assign(value=pd.to_numeric(per_molecule["value"], errors="coerce")).dropna(subset=["value"])
    rows = rows.assign(method=with_refined(rows))
    metrics = tuple(m for m in metrics if (rows["metric"] == m).any())
    if not metrics:
        return nothing("No JSD values to draw.")
    methods = ordered(set(rows["method"]))
    columns = min(len(metrics), 3)
    rows_of_panels = math.ceil(len(metrics) / columns)
    figure, axes = new_figure(rows_of_panels, columns, (2.9, 0.8 + 0.22 * len(methods)), sharey=True)
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    for ax, metric in zip(axes.flat, metrics, strict=False):
        for place, method in enumerate(methods):
            values = rows.loc[(rows["metric"] == metric) & (rows["method"] == method), "value"].to_numpy()
            if values.size:
                _bar(ax, place, values, method)
            else:
                ax.annotate("no value", (0, place), xytext=(3, 0), textcoords="offset points", va="center",
                            fontsize=7.5, color="#777777")  # fmt: skip
        ax.set_title(QUANTITIES.get(metric.removeprefix("jsd_"), (metric, ""))[0])
        ax.set_xlim(0, LARGEST_JSD)
        ax.set_xlabel("JSD (lower is better)")
        ax.axvline(LARGEST_JSD, color="#BBBBBB", linewidth=1, clip_on=False)
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(methods)), [name_of(m) for m in methods])
    axes[0, 0].invert_yaxis()
    return figure


def _bar(ax: Axes, place: int, values: np.ndarray, method: str) -> None:
    hatch = "///" if method.endswith("_refined") else None
    ax.barh(
        place, values.mean(), 0.62, color=colour_of(method), alpha=0.85, hatch=hatch, edgecolor="white", linewidth=0
    )
    median = np.median(values)
    ax.plot([median, median], [place - 0.31, place + 0.31], color="white", linewidth=1.4)
    spread = np.linspace(-0.2, 0.2, values.size) if values.size > 1 else np.zeros(1)
    ax.plot(values, place + spread, "o", color="#222222", markersize=2, alpha=0.55, markeredgewidth=0)


def with_refined(rows: pd.DataFrame) -> pd.Series:
    """Method names of a table's rows, with ``_refined`` where the `refined` column says so."""
    if "refined" not in rows:
        return rows["method"]
    refined = rows["refined"].astype(str).str.lower().isin({"true", "1"})
    return rows["method"].where(~refined, rows["method"] + "_refined")
