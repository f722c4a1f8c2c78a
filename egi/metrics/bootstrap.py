"""Bootstrap confidence intervals over molecules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def interval(
    groups: Sequence[np.ndarray], statistic: str, resamples: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean or median of all values, where groups of values are drawn.

    Parameters
    ----------
    groups : sequence of (values,) ndarray
        One a molecule: its number, or the values of its bonds, say. None is empty.
    statistic : str
        'mean' or 'median'.
    resamples : int
    rng : numpy Generator
    level : float
        Confidence.

    Raises
    ------
    ValueError
        For another statistic, or under two groups.
    """
    if statistic not in ("mean", "median"):
        raise ValueError(f"statistic = {statistic!r}; allowed: 'mean', 'median'")
    if len(groups) < 2:
        raise ValueError(f"groups has {len(groups)} entries; wanted at least 2")
    drawn = rng.integers(len(groups), size=(resamples, len(groups)))
    found = (_means if statistic == "mean" else _medians)([np.asarray(g, dtype=float) for g in groups], drawn)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _means(groups: list[np.ndarray], drawn: np.ndarray) -> np.ndarray:
    sums, counts = (np.array([f(g) for g in groups]) for f in (np.sum, len))
    return sums[drawn].sum(1) / counts[drawn].sum(1)


def _medians(groups: list[np.ndarray], drawn: np.ndarray) -> np.ndarray:
    """Medians of the drawn groups, from all values sorted once and how often each was drawn."""
    values, owner = np.concatenate(groups), np.repeat(np.arange(len(groups)), list(map(len, groups)))
    order = np.argsort(values)
    values, owner = values[order], owner[order]
    medians = np.empty(len(drawn))
    for k, chosen in enumerate(drawn):
        reached = np.bincount(chosen, minlength=len(groups))[owner].cumsum()
        middle = [(reached[-1] - 1) // 2, reached[-1] // 2]
        medians[k] = values[np.searchsorted(reached, middle, side="right")].mean()
    return medians
