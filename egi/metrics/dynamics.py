"""What distributions cannot see: autocorrelation and decorrelation of torsions, frame-to-frame coherence.

Sources: FACTS 15, DESIGN 4 (A-1). Torsions are angles, so correlations are circular: those of exp(i theta).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from egi.metrics.distributions import histograms
from egi.metrics.scores import Unscorable

THRESHOLD = float(np.exp(-1))
_CONSTANT = 1e-6


@dataclass(frozen=True)
class TimeBins:
    """Histogram of decorrelation times; two outer bins hold shorter ones and those that never cross.

    Attributes
    ----------
    width_ps : float
        Of a bin; the first begins at one width.
    maximum_ps : float
        End of the last.
    """

    width_ps: float = 5.0
    maximum_ps: float = 1380.0

    def counts(self, times: np.ndarray) -> np.ndarray:
        """Counts of times (any shape) in ps, [bins + 2]; NaN counts nowhere, infinity in the last bin."""
        known = times[~np.isnan(times)].reshape(-1, 1)
        finite = np.where(np.isinf(known), 2 * self.maximum_ps, known)
        bins = round(self.maximum_ps / self.width_ps) - 1
        return histograms(finite, (self.width_ps, self.maximum_ps), bins)[0]

    def lags(self, interval_ps: float, *lengths: int) -> int:
        """Lags at which ensembles with trajectories of these lengths are compared: half the least, to the last bin.

        A time that the shorter ensemble could not have shown is "never" in both.
        """
        frames = min(lengths)
        if frames < 4:
            raise Unscorable("too_few_frames", f"the longest trajectory has {frames} frames; at least 4 are needed")
        return max(2, min(frames // 2, int(self.maximum_ps / interval_ps) + 2))


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
        If there are no torsions, or a trajectory has no more frames than lags.
    """
    if series[0].shape[1] == 0:
        raise Unscorable("no_internal_coordinates", "the molecule has no torsion outside aromatic rings")
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


def times_of(series: list[np.ndarray], interval_ps: float, lags: int, length: int | None = None) -> np.ndarray:
    """Decorrelation time of each torsion in each trajectory, ps, [trajectories, torsions].

    Parameters
    ----------
    series : list of (frames, torsions) ndarray
        Trajectories, or unbroken stretches of trajectories; those shorter than half of `length` are left out.
    interval_ps : float
    lags : int
        A torsion that has not decorrelated after so many has an infinite time.
    length : int, optional
        Frames of the longest trajectory before it was cut; of `series` by default.

    Raises
    ------
    Unscorable
        If there are no torsions, none varies, or every stretch is too short.
    """
    times = decorrelation_times(autocorrelation(_long_enough(series, lags, length), lags), interval_ps)
    if np.isnan(times).all():
        raise Unscorable("constant_features", "no torsion varies")
    return times


def mean_autocorrelation(series: list[np.ndarray], lags: int, length: int | None = None) -> np.ndarray:
    """Autocorrelation averaged over trajectories (figure 4E-G), [torsions, lags]; takes and raises as `times_of`."""
    return autocorrelation(_long_enough(series, lags, length), lags).mean(0)


def _long_enough(series: list[np.ndarray], lags: int, length: int | None) -> list[np.ndarray]:
    """The stretches that allow the lags, of at least half the longest trajectory's length."""
    longest = max(map(len, series))
    length = longest if length is None else length
    needed = max(lags, length // 2)
    if longest < needed:
        raise Unscorable("too_few_frames", f"the longest unbroken stretch has {longest} frames of {length}; "
                                           f"{needed} are needed")  # fmt: skip
    return [s for s in series if len(s) >= needed]


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
