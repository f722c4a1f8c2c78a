"""Transition paths on the reference surface, their key frames and statistics (paper figures 5, 6 (A.2), 11, 12)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from egi.data.storage import Reader
from egi.figures.distributions import with_refined
from egi.figures.evaluation import Evaluation
from egi.figures.structures import keyframes
from egi.figures.style import ORACLE, REFERENCE, blank, colour_of, legend_below, name_of, new_figure, nothing, ordered
from egi.figures.surfaces import bounds_of, free_energy_lines, metastates, path

#: metric -> (title, better)
STATISTICS = {
    "jsd_path_occupancy": ("Occupancy of paths, JSD", "lower is better"),
    "valid_path_rate": ("Valid path rate", "higher is better"),
    "path_probability": ("Average path probability", "higher is better"),
    "valid_path_probability": ("Valid path probability", "higher is better"),
}


def interpolations(evaluation: Evaluation, method: str = "egi", molecules: int = 4, paths: int = 4) -> Figure:
    """Generated paths on the reference's surface coloured by metastate: a row a molecule, a column a path.

    Paper figures 5B (one path), 11 (QM9) and 12 (Drugs): red start point, orange end point.
    """
    chosen = [m for m in evaluation.having("tica", "metastate") if evaluation.paths(m, method) is not None][:molecules]
    if not chosen:
        return nothing(f"No generated path of {name_of(method)} could be projected on two TICA components.")
    columns = min(paths, max(len(evaluation.paths(m, method)) for m in chosen))
    figure, axes = new_figure(len(chosen), columns, (2.3, 2.1))
    for row, molecule in zip(axes, chosen, strict=True):
        points = evaluation.array(molecule, REFERENCE, "tica")
        states = evaluation.array(molecule, REFERENCE, "metastate")
        drawn = evaluation.paths(molecule, method)[:columns]  # [paths, frames, 2]
        bounds = bounds_of(np.concatenate([points[:, :2], *drawn]))
        for index, ax in enumerate(row):
            if index >= len(drawn):
                blank(ax, "no further path")
                continue
            metastates(ax, points[:, :2], states, bounds)
            free_energy_lines(ax, points[:, :2], bounds)
            path(ax, drawn[index])
            ax.set_ylabel(f"{molecule}\nTICA-1" if index == 0 else "")
            ax.set_title(f"path {index + 1}")
    legend_below(figure, axes)
    return figure


def path_statistics(table: pd.DataFrame) -> Figure:
    """The four path statistics, generated methods and the oracle at each length; whiskers = bootstrap intervals.

    Paper figures 5D (Drugs) and 6 of the appendix (QM9).

    Parameters
    ----------
    table : DataFrame
        `interpolation_paths.csv`: a row a method; the oracle is ``md_oracle`` and, cut, ``md_oracle_{percent}``.
    """
    metrics = [metric for metric in STATISTICS if f"{metric}_mean" in table and table[f"{metric}_mean"].notna().any()]
    if not metrics:
        return nothing("No molecule has transition paths to compare.")
    place = {method: index for index, method in enumerate(ordered(set(table["method"])))}
    rows = table.sort_values("method", key=lambda names: names.map(place), kind="stable")
    simulated = rows["method"].str.startswith(ORACLE)
    rows = pd.concat([rows[~simulated], rows[simulated]], ignore_index=True)
    figure, axes = new_figure(1, len(metrics), (2.1, 0.9 + 0.27 * len(rows)), sharey=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        means = pd.to_numeric(rows[f"{metric}_mean"], errors="coerce").to_numpy(dtype=float)
        ax.barh(range(len(rows)), np.nan_to_num(means), 0.66, color=[colour_of(m) for m in rows["method"]], alpha=0.88)
        bounds = [f"{metric}_mean_low", f"{metric}_mean_high"]
        if set(bounds) <= set(rows):
            low, high = (pd.to_numeric(rows[c], errors="coerce").to_numpy(dtype=float) for c in bounds)
            ax.hlines(range(len(rows)), low, high, color="#222222", linewidth=1)
        for index in np.flatnonzero(np.isnan(means)):
            ax.annotate("no value", (0, index), xytext=(3, 0), textcoords="offset points", va="center",
                        fontsize=7.5, color="#777777")  # fmt: skip
        ax.set_xlim(left=0)
        ax.set_title(STATISTICS[metric][0], fontsize=8.5)
        ax.set_xlabel(STATISTICS[metric][1])
    axes[0, 0].set_yticks(range(len(rows)), [name_of(m) for m in with_refined(rows)])
    axes[0, 0].invert_yaxis()
    return figure


def key_frames(evaluation: Evaluation, samples: Reader, method: str, frames: int = 6) -> Figure:
    """Frames of one generated path, from the metastates it passes (paper figure 5C).

    The first finite path of the first molecule that has one on the surface; a frame's metastate is that of the
    nearest reference frame on the surface. A frame from the middle of each stretch is shown, the given ends always.
    """
    known = evaluation.having("tica", "metastate")
    chosen = [m for m in known if m in samples.ids and evaluation.paths(m, method) is not None]
    if not chosen:
        return nothing(f"No generated path of {name_of(method)} has metastates to take key frames from.")
    molecule = chosen[0]
    drawn = samples.array(molecule, "samples")  # [paths, n, frames, 3]
    drawn = drawn[np.isfinite(drawn).all(axis=(1, 2, 3))]
    if not len(drawn):
        return nothing(f"{molecule}: no finite path.")
    positions = np.swapaxes(drawn[0], 0, 1)  # [frames, n, 3]
    reference = evaluation.array(molecule, REFERENCE, "tica")[:, :2]
    nearest = cKDTree(reference).query(evaluation.paths(molecule, method)[0])[1]
    states = evaluation.array(molecule, REFERENCE, "metastate")[nearest]
    shown = stretches(states, frames)
    titles = [f"{index * evaluation.interval_ps:.0f} ps\nmetastate {states[index] + 1}" for index in shown]
    return keyframes(samples.record(molecule), positions[shown], titles)


def stretches(states: np.ndarray, most: int) -> list[int]:
    """Frames to show of a path (frames,): the ends, and the middles of its longest stretches in one state, in order."""
    edges = np.flatnonzero(np.diff(states)) + 1
    bounds = np.concatenate([[0], edges, [len(states)]])
    longest = np.argsort(-np.diff(bounds), kind="stable")[: max(most - 2, 0)]
    middles = (bounds[longest] + bounds[longest + 1] - 1) // 2
    return sorted({0, len(states) - 1, *(int(m) for m in middles)})
