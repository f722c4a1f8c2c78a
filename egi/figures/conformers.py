"""COV and MAT of drawn conformers (the content of paper figure 3A and table 3, as bars)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from egi.figures.style import colour_of, name_of, new_figure, nothing, ordered

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
        ax.set_title(f"{title}: {direction}", fontsize=8.5)
        if unit == "%":
            ax.set_ylim(0, 100)
    return figure
