"""Implied timescales of the reference, and passage times of the methods against its own (not in the paper)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egi.figures.evaluation import Evaluation
from egi.figures.style import (
    METHODS,
    REFERENCE,
    SHOWN,
    blank,
    colour_of,
    legend_below,
    log_ticks,
    name_of,
    new_figure,
    nothing,
)

_SHADES = ("#222222", "#0072B2", "#D55E00")
_MARKERS = dict(zip(METHODS, itertools.cycle("oosD^vP"), strict=False))


def timescales(ax: Axes, lags_ps: np.ndarray, times_ps: np.ndarray) -> None:
    """Implied timescales (lags, processes) of an MSM against its lag (lags,); grey where they are below the lag."""
    for times, colour in zip(times_ps.T, _SHADES, strict=False):
        ax.plot(lags_ps, times, "o-", color=colour, markersize=3.5, linewidth=1.2)
    known = times_ps[np.isfinite(times_ps) & (times_ps > 0)]
    low, high = min(known.min(initial=np.inf), lags_ps[0]) / 1.6, max(known.max(initial=0), lags_ps[-1]) * 1.6
    ax.fill_between([0, 2 * lags_ps[-1]], [low, low], [low, 2 * lags_ps[-1]], color="#DDDDDD", zorder=0)
    ax.set_yscale("log")
    log_ticks(ax.yaxis)
    ax.set_ylim(low, high)
    ax.set_xlim(0, 1.08 * lags_ps[-1])
    ax.set_xlabel("Lag time (ps)")
    ax.set_title("Reference")


def passage_times(ax: Axes, reference: np.ndarray, error: np.ndarray, drawn: dict[str, np.ndarray]) -> None:
    """Mean first passage times (states, states) of methods against the reference's, both in ps.

    Parameters
    ----------
    ax : Axes
    reference, error : (states, states) ndarray
        Times, and the standard error of their log10; NaN where there is none.
    drawn : dict
        Method -> times.
    """
    apart = ~np.eye(len(reference), dtype=bool) & np.isfinite(reference)
    times, spread = reference[apart], np.nan_to_num(error[apart])
    bars = np.stack([times - times / 10**spread, times * 10**spread - times])  # below, above
    for method, own in drawn.items():
        ax.errorbar(times, own[apart], xerr=bars, fmt=_marker(method), color=colour_of(method), markersize=4,
                    linewidth=0.7, alpha=0.85, label=name_of(method))  # fmt: skip
    ends = [times.min() / 1.5, times.max() * 1.5]
    ax.plot(ends, ends, color="#888888", linestyle="--", linewidth=1, zorder=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    log_ticks(ax.xaxis)
    log_ticks(ax.yaxis)
    ax.set_xlabel("Reference, passage time (ps)")
    ax.set_ylabel("Method (ps)")


def _marker(method: str) -> str:
    """Marker of a method; refined frames have a cross."""
    return "X" if method.endswith("_refined") else _MARKERS.get(method, "*")


def kinetics(evaluation: Evaluation, methods: Sequence[str] = SHOWN, molecules: int = 3) -> Figure:
    """Implied timescales and passage times: a row a molecule."""
    chosen = evaluation.having("timescales_ps", "mfpt_ps", limit=molecules)
    if not chosen:
        return nothing("No molecule has a Markov state model of its reference, so there are no timescales to draw.")
    figure, axes = new_figure(len(chosen), 2, (3.2, 2.3))
    for (left, right), molecule in zip(axes, chosen, strict=True):
        lags, times, mfpt, error = (
            evaluation.array(molecule, REFERENCE, name)
            for name in ("lags_ps", "timescales_ps", "mfpt_ps", "mfpt_error")
        )
        timescales(left, lags, times)
        left.set_ylabel(f"{molecule}\nimplied timescale (ps)")
        wanted = [m for m in evaluation.methods(molecule, methods) if m != REFERENCE]
        drawn = {m: own for m in wanted if (own := evaluation.array(molecule, m, "mfpt_ps")) is not None}
        if len(mfpt) < 2 or not drawn:
            blank(right, "no method's trajectories join all metastates")
            continue
        passage_times(right, mfpt, error, drawn)
    legend_below(figure, axes)
    return figure
