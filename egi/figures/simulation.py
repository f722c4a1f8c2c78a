"""Quality of the simulations: what every replica gave, beside what theory and the limits of the verdict allow."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from egi.config import SimulationSettings
from egi.figures.style import blank, legend_below, new_figure, nothing
from egi.md import quality

#: verdict -> (colour, marker); told apart by shape as well
VERDICTS = {"pass": ("#0072B2", "o"), "fail": ("#D55E00", "X"), "rejected": ("#222222", "s")}
_LIMIT = {"color": "#666666", "linewidth": 0.9, "linestyle": "--", "zorder": 1}


def replica_quality(table: pd.DataFrame, settings: SimulationSettings) -> Figure:
    """Temperature, density, drift, bonds and frames of each replica, and how many have each verdict.

    Parameters
    ----------
    table : DataFrame
        ``md_quality.csv``, a row a replica, molecules in order.
    settings : SimulationSettings
        For the temperature wanted and the number of frames.
    """
    if not len(table):
        return nothing("No replica was simulated.")
    figure, axes = new_figure(2, 3, (3.1, 2.3))
    frames = int(settings.production_ps / settings.frame_interval_ps)
    _temperature(axes[0, 0], table, settings.temperature_kelvin)
    _panel(axes[0, 1], table, "density_g_ml", "Density", "g/mL", quality.DENSITY_RANGE)
    _panel(axes[0, 2], table, "potential_energy_drift_spreads", "Potential energy drift", "spreads of a half",
           (-quality.DRIFT_SPREADS, quality.DRIFT_SPREADS))  # fmt: skip
    _panel(axes[1, 0], table, "bond_deviation_angstrom", "Largest bond deviation", "Å",
           (quality.BOND_DEVIATION_ANGSTROM,))  # fmt: skip
    _panel(axes[1, 1], table, "frames", "Frames", f"frames of {frames}", (frames,))
    for ax in axes[1, :2]:
        ax.set_ylim(bottom=0)
    _verdicts(axes[1, 2], table)
    legend_below(figure, axes)
    return figure


def _panel(ax: Axes, table: pd.DataFrame, column: str, title: str, unit: str, limits: tuple[float, ...]) -> None:
    """A point a replica; dashed lines are the verdict's limits."""
    values = pd.to_numeric(table[column], errors="coerce")
    if values.isna().all():
        return blank(ax, f"{title}: not recorded")
    for limit in limits:
        ax.axhline(limit, **_LIMIT)
    for verdict, (colour, marker) in VERDICTS.items():
        chosen = np.flatnonzero((table["verdict"] == verdict) & values.notna())
        if len(chosen):
            ax.plot(chosen + 1, values.iloc[chosen], marker, color=colour, markersize=5, label=verdict,
                    markeredgecolor="white", markeredgewidth=0.4, linestyle="none", zorder=3)  # fmt: skip
    ax.set_title(title)
    ax.set_xlabel("Replica")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel(unit)


def _temperature(ax: Axes, table: pd.DataFrame, wanted: float) -> None:
    """Mean temperatures; grey is one expected standard error around the wanted one, dashed what the verdict allows."""
    _panel(ax, table, "temperature_kelvin", "Mean temperature", "K", ())
    error = pd.to_numeric(table["temperature_expected_error_kelvin"], errors="coerce")
    if error.isna().all():
        return
    place = np.arange(1, len(table) + 1)
    allowed = quality.TEMPERATURE_ERRORS * error + quality.TEMPERATURE_SHARE * wanted
    ax.fill_between(place, wanted - error, wanted + error, color="#CCCCCC", step="mid", zorder=0, linewidth=0,
                    label="expected standard error")  # fmt: skip
    for limit in (wanted - allowed, wanted + allowed):
        ax.step(place, limit, where="mid", **_LIMIT, label="limit of the verdict")


def _verdicts(ax: Axes, table: pd.DataFrame) -> None:
    """How many replicas have each verdict."""
    counts = table["verdict"].value_counts().reindex(VERDICTS, fill_value=0)
    bars = ax.barh(list(counts.index), counts, color=[VERDICTS[name][0] for name in counts.index])
    ax.bar_label(bars, padding=3)
    ax.set_xlim(0, max(counts.max() * 1.15, 1))
    ax.invert_yaxis()
    ax.set_title("Verdicts")
    ax.set_xlabel("Replicas")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
