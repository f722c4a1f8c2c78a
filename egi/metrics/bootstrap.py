"""Bootstrap confidence intervals over molecules."""

from __future__ import annotations

import numpy as np


def interval(values: np.ndarray, statistic: str, resamples: int, rng: np.random.Generator, level: float = 0.95):
    """Percentile bootstrap interval of a mean or a median.

    Parameters
    ----------
    values : (molecules,) ndarray
    statistic : str
        'mean' or 'median'.
    resamples : int
    rng : numpy Generator
    level : float
        Confidence.

    Returns
    -------
    (float, float)

    Raises
    ------
    ValueError
        For another statistic, or under two values.
    """
    if statistic not in ("mean", "median"):
        raise ValueError(f"statistic = {statistic!r}; allowed: 'mean', 'median'")
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        raise ValueError(f"values has {len(values)} entries; wanted at least 2")
    drawn = values[rng.integers(len(values), size=(resamples, len(values)))]
    low, high = np.quantile(getattr(np, statistic)(drawn, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
