"""What distributions cannot see: autocorrelation and decorrelation of torsions, frame-to-frame coherence.

Sources: FACTS 15, DESIGN 4 (A-1). Torsions are angles, so correlations are circular: those of exp(i theta).
"""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from egi.metrics.distributions import histograms, jensen_shannon
from egi.metrics.scores import Unscorable

#: decorrelation times, ps (FACTS 15); two outer bins hold shorter ones and those that never cross
TIME_LIMITS_PS = (5.0, 1380.0)
TIME_BINS = 275
THRESHOLD = float(np.exp(-1))
_CONSTANT = 1e-6


def lag_count(frames: int, interval_ps: float) -> int:
    """Lags at which a trajectory's autocorrelation is computed: half its length, and not past the histogram's end."""
    return max(2, min(frames // 2, int(TIME_LIMITS_PS[1] / interval_ps) + 2))


def circular_variance(series: list[np.ndarray]) -> np.ndarray:
    """1 - |mean exp(i theta)|^2 of each torsion over all trajectories, [torsions]."""
    pooled = np.concatenate(series)
    return 1 - np.cos(pooled).mean(0) ** 2 - np.sin(pooled).mean(0) ** 2


def autocorrelation(series: list[np.ndarray], lags: int) -> np.ndarray:
    """Circular autocorrelation of every torsion in every trajectory.

    C(k) = (<cos(theta_{t+k} - theta_t)> - |m|^2) / (1 - |m|^2), with m the mean of exp(i theta) over all
    trajectories of the ensemble: a torsion that sits in another well in each trajectory does not decorrelate.

    Parameters
    ----------
    series : list of (frames, torsions) ndarray
        One a trajectory; frames may differ.
    lags : int
        Lags 0 to `lags` - 1, in frames.

    Returns
    -------
    (trajectories, torsions, lags) ndarray
        NaN for a torsion that does not vary.

    Raises
    ------
    Unscorable
        If a trajectory has no more frames than lags.
    """
    shortest = min(len(s) for s in series)
    if shortest < lags:
        raise Unscorable("too_few_frames", f"a trajectory has {shortest} frames; {lags} lags are needed")
    variance = circular_variance(series)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(variance > _CONSTANT, 1 / variance, np.nan)
    curves = np.stack([_lagged_cosine(s, lags) for s in series])
    return (curves - (1 - variance)[:, None]) * scale[:, None]


def _lagged_cosine(torsions: np.ndarray, lags: int) -> np.ndarray:
    """<cos(theta_{t+k} - theta_t)> by Wiener-Khinchin, [torsions, lags]."""
    frames = len(torsions)
    size = next_fast_len(frames + lags, real=True)
    parts = [rfft(part.astype(float), size, axis=0) for part in (np.cos(torsions), np.sin(torsions))]
    power = sum(np.abs(part) ** 2 for part in parts)
    sums = irfft(power, size, axis=0)[:lags]  # [lags, torsions]
    return (sums / (frames - np.arange(lags))[:, None]).T


def decorrelation_times(curves: np.ndarray, interval_ps: float) -> np.ndarray:
    """Time of the first crossing of 1/e, linearly interpolated between frames (A-1).

    Parameters
    ----------
    curves : (..., lags) ndarray
    interval_ps : float
        Time between frames.

    Returns
    -------
    (...) ndarray
        ps; infinity where the curve never crosses, NaN where it is NaN.
    """
    below = curves < THRESHOLD
    first = np.maximum(below.argmax(-1), 1)[..., None]
    before, after = (np.take_along_axis(curves, k, -1)[..., 0] for k in (first - 1, first))
    with np.errstate(divide="ignore", invalid="ignore"):
        times = (first[..., 0] - 1 + (before - THRESHOLD) / (before - after)) * interval_ps
    times = np.where(below.any(-1), times, np.inf)
    return np.where(np.isnan(curves).any(-1), np.nan, times)


def times_of(series: list[np.ndarray], interval_ps: float, length: int | None = None) -> np.ndarray:
    """Decorrelation time of each torsion in each trajectory, ps, [trajectories, torsions].

    Parameters
    ----------
    series : list of (frames, torsions) ndarray
        Trajectories, or unbroken stretches of trajectories; those shorter than half of `length` are left out.
    interval_ps : float
    length : int, optional
        Frames of the longest trajectory before it was cut; of `series` by default.

    Raises
    ------
    Unscorable
        If there are no torsions, none varies, or every stretch is too short.
    """
    if series[0].shape[1] == 0:
        raise Unscorable("no_internal_coordinates", "the molecule has no torsion outside aromatic rings")
    times = decorrelation_times(autocorrelation(*_long_enough(series, interval_ps, length)), interval_ps)
    if np.isnan(times).all():
        raise Unscorable("constant_features", "no torsion varies")
    return times


def mean_autocorrelation(series: list[np.ndarray], interval_ps: float, length: int | None = None) -> np.ndarray:
    """Autocorrelation averaged over trajectories (figure 4E-G), [torsions, lags]; takes and raises as `times_of`."""
    if series[0].shape[1] == 0:
        raise Unscorable("no_internal_coordinates", "the molecule has no torsion outside aromatic rings")
    return autocorrelation(*_long_enough(series, interval_ps, length)).mean(0)


def _long_enough(
    series: list[np.ndarray], interval_ps: float, length: int | None = None
) -> tuple[list[np.ndarray], int]:
    """The stretches of at least half the longest trajectory's length, and how many lags that allows."""
    longest = max(len(s) for s in series)
    length = longest if length is None else length
    if length < 4:
        raise Unscorable("too_few_frames", f"the longest trajectory has {length} frames; at least 4 are needed")
    lags = lag_count(length, interval_ps)
    needed = max(lags, length // 2)
    if longest < needed:
        raise Unscorable("too_few_frames", f"the longest unbroken stretch has {longest} frames of {length}; "
                                           f"{needed} are needed")  # fmt: skip
    return [s for s in series if len(s) >= needed], lags


def decorrelation_distance(reference: np.ndarray, generated: np.ndarray) -> float:
    """Jensen-Shannon distance of two sets of decorrelation times; never crossing counts in the last bin.

    Parameters
    ----------
    reference, generated : (any shape) ndarray
        ps; infinity for never, NaN (no variation) is left out.
    """
    counts = [_time_histogram(times) for times in (reference, generated)]
    return float(jensen_shannon(*counts))


def _time_histogram(times: np.ndarray) -> np.ndarray:
    known = times[~np.isnan(times)].reshape(-1, 1)
    finite = np.where(np.isinf(known), 2 * TIME_LIMITS_PS[1], known)
    return histograms(finite, TIME_LIMITS_PS, TIME_BINS)[0]


def coherence(series: list[np.ndarray]) -> np.ndarray:
    """Mean cosine of each torsion's change between neighbouring frames, [torsions]; 1 = smooth, 0 = unrelated frames.

    Raises
    ------
    Unscorable
        If there are no torsions, or no trajectory has two frames.
    """
    if series[0].shape[1] == 0:
        raise Unscorable("no_internal_coordinates", "the molecule has no torsion outside aromatic rings")
    steps = [np.cos(np.diff(s, axis=0)) for s in series if len(s) > 1]
    if not steps:
        raise Unscorable("too_few_frames", "no trajectory has two frames")
    return np.concatenate(steps).mean(0)
