"""Free energy surfaces on the first two TICA components, and paths on them (paper figures 5A, 5B, 11, 12)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from egi.figures.evaluation import Evaluation
from egi.figures.style import METASTATES, REFERENCE, SHOWN, blank, colour_of, name_of, new_figure, nothing, title_of

BINS = 60
LARGEST_KT = 6.0


def free_energy(points: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """-ln of the density of points on a grid, in kT, lowest value 0, NaN where nothing was seen.

    Parameters
    ----------
    points : (frames, 2) ndarray
    bounds : (2, 2) ndarray
        Low and high end of each component.

    Returns
    -------
    (BINS, BINS) ndarray
        First axis: first component.
    """
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=BINS, range=bounds)
    smooth = gaussian_filter(counts, 1.2)
    energy = np.full_like(smooth, np.nan)
    seen = smooth > 0.02
    energy[seen] = -np.log(smooth[seen] / smooth.max())
    return energy


def bounds_of(points: np.ndarray, margin: float = 0.06) -> np.ndarray:
    """Bounds (2, 2) of points (frames, 2) with a margin; never empty."""
    low, high = points.min(axis=0), points.max(axis=0)
    pad = margin * np.maximum(high - low, 1e-3)
    return np.stack([low - pad, high + pad], axis=1)


def surface(ax: Axes, points: np.ndarray, bounds: np.ndarray):
    """Filled contours of the free energy of points (frames, 2); returns the contour set (paper figure 5A)."""
    energy = free_energy(points, bounds)
    levels = np.arange(0, LARGEST_KT + 0.5, 0.5)
    drawn = ax.contourf(*_centres(bounds), np.clip(energy, 0, LARGEST_KT).T, levels=levels, cmap="cividis")
    _axes(ax, bounds)
    return drawn


def free_energy_lines(ax: Axes, points: np.ndarray, bounds: np.ndarray) -> None:
    """Thin lines of equal free energy, 1 kT apart, of points (frames, 2)."""
    ax.contour(*_centres(bounds), free_energy(points, bounds).T, levels=np.arange(1, LARGEST_KT), colors="#55555588",
               linewidths=0.5)  # fmt: skip


def metastates(ax: Axes, points: np.ndarray, states: np.ndarray, bounds: np.ndarray) -> None:
    """Points (frames, 2) coloured by metastate (frames,), each numbered at its median; unassigned (-1) in grey."""
    colours = ListedColormap(("#DDDDDD", *METASTATES))
    norm = BoundaryNorm(np.arange(-1.5, len(METASTATES)), colours.N)
    ax.scatter(points[:, 0], points[:, 1], c=states, cmap=colours, norm=norm, s=5, linewidths=0, rasterized=True)
    for state in np.unique(states[states >= 0]):
        ax.annotate(str(state + 1), np.median(points[states == state], axis=0), ha="center", va="center",
                    fontsize=7.5, fontweight="bold", bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "none",
                                                            "alpha": 0.8})  # fmt: skip
    _axes(ax, bounds)


def path(ax: Axes, points: np.ndarray) -> None:
    """One trajectory (frames, 2): a line through its frames, red start, orange end (paper figures 5B, 11, 12)."""
    ax.plot(points[:, 0], points[:, 1], color="white", linewidth=2.2, alpha=0.8)
    ax.plot(points[:, 0], points[:, 1], color="#222222", linewidth=0.9)
    for point, colour, marker, label in ((points[0], "#D40000", "o", "start"), (points[-1], "#FF9500", "s", "end")):
        ax.plot(
            *point, marker, color=colour, markersize=8, markeredgecolor="white", label=label, linestyle="none", zorder=5
        )


def surfaces(evaluation: Evaluation, methods: Sequence[str] = SHOWN, molecules: int = 2) -> Figure:
    """Free energy on the reference's TICA components: a row a molecule, a column a method.

    The first column is paper figure 5A.
    """
    chosen = evaluation.having("tica", limit=molecules)
    if not chosen:
        return nothing("No molecule has a TICA projection to draw.")
    methods = list(dict.fromkeys(m for molecule in chosen for m in evaluation.methods(molecule, methods)))
    methods = [m for m in methods if any(_plane(evaluation, molecule, m) is not None for molecule in chosen)]
    if not methods:
        return nothing("No molecule has two TICA components to draw.")
    figure, axes = new_figure(len(chosen), len(methods), (2.05, 1.9))
    drawn = None
    for row, molecule in zip(axes, chosen, strict=True):
        reference = _plane(evaluation, molecule, REFERENCE)
        for ax, method in zip(row, methods, strict=True):
            points = _plane(evaluation, molecule, method)
            if points is None or reference is None:
                blank(ax, f"{name_of(method)}: {evaluation.why_missing(molecule, method, 'tica')}")
                continue
            bounds = bounds_of(reference, 0.2)
            drawn = surface(ax, points, bounds)
            outside = ((points < bounds[:, 0]) | (points > bounds[:, 1])).any(1).mean()
            if outside > 0:
                ax.annotate(f"{max(outside, 0.01):.0%} outside", (0.03, 0.03), xycoords="axes fraction", fontsize=7.5,
                            bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1})  # fmt: skip
            ax.set_title(title_of(method), color=colour_of(method))
            ax.set_ylabel(f"{molecule}\nTICA-1" if ax is row[0] else "")
    if drawn is not None:
        figure.colorbar(drawn, ax=axes, label="Free energy (kT)", shrink=0.85, aspect=30)
    return figure


def _plane(evaluation: Evaluation, molecule: str, method: str) -> np.ndarray | None:
    points = evaluation.array(molecule, method, "tica")
    if points is None or points.ndim != 2 or points.shape[1] < 2:
        return None
    points = points[np.isfinite(points).all(axis=1), :2]
    return points if len(points) else None


def _centres(bounds: np.ndarray) -> list[np.ndarray]:
    return [np.linspace(low, high, BINS + 1)[:-1] + (high - low) / (2 * BINS) for low, high in bounds]


def _axes(ax: Axes, bounds: np.ndarray) -> None:
    ax.set_xlim(*bounds[0])
    ax.set_ylim(*bounds[1])
    ax.set_xlabel("TICA-0")
    ax.set_ylabel("TICA-1")
    ax.set_xticks([])
    ax.set_yticks([])
