"""Distances between distributions: Jensen-Shannon and Wasserstein, of bonds, angles, torsions and TICA.

A histogram has two outer bins for values below and above its range, so that out-of-range mass takes part
in the distance instead of being dropped; a distribution that is wholly out of range scores the maximum
(DESIGN 4, A-17). Sources: paper B.3.3, Eq. 8; bins and ranges of FACTS 15.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from egi.metrics.scores import Unscorable

BINS = 100
#: Å, radian, radian
LIMITS = {"bond_length": (1.0, 2.2), "bond_angle": (0.0, np.pi), "torsion": (-np.pi, np.pi)}
#: largest Jensen-Shannon distance with the natural logarithm
MAXIMUM = float(np.sqrt(np.log(2)))
_QUANTILES = (np.arange(500) + 0.5) / 500


@dataclass(frozen=True)
class Comparison:
    """Each column of two samples compared; all arrays [columns].

    Attributes
    ----------
    distance : ndarray
        Jensen-Shannon distance, 0 to sqrt(ln 2).
    wasserstein : ndarray
        Wasserstein-1 distance in the unit of the values; on the circle for torsions.
    out_of_range : ndarray
        Share of the generated values outside the histogram's range.
    reference_out_of_range : ndarray
        The same for the reference.
    """

    distance: np.ndarray
    wasserstein: np.ndarray
    out_of_range: np.ndarray
    reference_out_of_range: np.ndarray


def histograms(values: np.ndarray, limits: tuple[float, float], bins: int = BINS) -> np.ndarray:
    """Counts of each column's values.

    Parameters
    ----------
    values : (samples, columns) ndarray
        Finite values.
    limits : (float, float)
        Range; a value at the upper edge belongs to the last bin, as in `numpy.histogram`.

    Returns
    -------
    (columns, bins + 2) int ndarray
        First and last bin hold what lies below and above the range.

    Raises
    ------
    ValueError
        If the values are not finite.
    """
    values = np.asarray(values)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"values have shape {values.shape} or are not finite; wanted finite [samples, columns]")
    low, high = limits
    columns = values.shape[1]
    index = np.clip(np.floor((values - low) * (bins / (high - low))), -1, bins).astype(np.int64)
    index[(index == bins) & (values <= high)] = bins - 1
    index += 1 + (bins + 2) * np.arange(columns)
    return np.bincount(index.ravel(), minlength=columns * (bins + 2)).reshape(columns, bins + 2)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance along the last axis, natural logarithm (paper B.3.3, Eq. 8; as in SciPy).

    Parameters
    ----------
    p, q : (..., bins) ndarray
        Counts or probabilities; each is normalised.

    Returns
    -------
    (...) ndarray
        0 for equal, sqrt(ln 2) for disjoint distributions.

    Raises
    ------
    ValueError
        If a histogram is empty.
    """
    p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    sums = p.sum(-1, keepdims=True), q.sum(-1, keepdims=True)
    if min(s.min(initial=np.inf) for s in sums) <= 0:
        raise ValueError("a histogram is empty; wanted at least one value in each")
    p, q = p / sums[0], q / sums[1]
    middle = (p + q) / 2
    divergence = (rel_entr(p, middle) + rel_entr(q, middle)).sum(-1) / 2
    return np.sqrt(np.clip(divergence, 0, None))


def wasserstein(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Wasserstein-1 distance of each column, from 500 quantiles.

    Parameters
    ----------
    a, b : (samples, columns) ndarray

    Returns
    -------
    (columns,) ndarray
    """
    difference = np.quantile(a, _QUANTILES, axis=0) - np.quantile(b, _QUANTILES, axis=0)
    return np.abs(difference).mean(0)


def circular_wasserstein(p: np.ndarray, q: np.ndarray, width: float) -> np.ndarray:
    """Wasserstein-1 distance on the circle, from histograms over its whole range.

    On a circle the transport may pass either way, so the constant that minimises the integral of the
    difference of the cumulative distributions, their median, is taken off.

    Parameters
    ----------
    p, q : (columns, bins) ndarray
    width : float
        Bin width.

    Returns
    -------
    (columns,) ndarray
    """
    cumulative = np.cumsum(p / p.sum(-1, keepdims=True) - q / q.sum(-1, keepdims=True), axis=-1)
    return np.abs(cumulative - np.median(cumulative, axis=-1, keepdims=True)).sum(-1) * width


def compare(reference: np.ndarray, generated: np.ndarray, kind: str) -> Comparison:
    """Compare each bond, angle or torsion of two ensembles (FACTS 15).

    Parameters
    ----------
    reference, generated : (frames, columns) ndarray
        Å or radian.
    kind : str
        A key of `LIMITS`.

    Raises
    ------
    Unscorable
        If the molecule has no such internal coordinate, or there is no frame.
    """
    if reference.shape[1] == 0:
        raise Unscorable("no_internal_coordinates", f"the molecule has no {kind.replace('_', ' ')} between heavy atoms")
    if not len(reference) or not len(generated):
        raise Unscorable("no_finite_frames", f"{len(reference)} reference and {len(generated)} generated frames")
    limits = LIMITS[kind]
    p, q = histograms(reference, limits), histograms(generated, limits)
    distance = jensen_shannon(p, q)
    out = [(h[:, 0] + h[:, -1]) / h.sum(-1) for h in (p, q)]
    distance[(out[0] == 1) | (out[1] == 1)] = MAXIMUM
    if kind == "torsion":
        moved = circular_wasserstein(p[:, 1:-1], q[:, 1:-1], 2 * np.pi / BINS)
    else:
        moved = wasserstein(reference, generated)
    return Comparison(distance, moved, out[1], out[0])


def shared_range_distance(reference: np.ndarray, generated: np.ndarray, bins: int = BINS) -> float:
    """Jensen-Shannon distance of samples in one or two dimensions, the range taken from both (FACTS 15, TICA).

    Parameters
    ----------
    reference, generated : (frames, dimensions) ndarray

    Raises
    ------
    Unscorable
        If a dimension does not vary.
    """
    both = np.concatenate([reference, generated])
    low, high = both.min(0), both.max(0)
    if not (high > low).all():
        raise Unscorable("constant_features", "a TICA component has the same value in every frame")
    scaled = ((values - low) / (high - low) for values in (reference, generated))
    indices = (np.minimum((values * bins).astype(np.int64), bins - 1) for values in scaled)
    shape = (bins,) * both.shape[1]
    p, q = (np.bincount(np.ravel_multi_index(i.T, shape), minlength=bins ** both.shape[1]) for i in indices)
    return float(jensen_shannon(p, q))
