"""Autocorrelation, decorrelation times and coherence of processes with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from egi.metrics import dynamics
from egi.metrics.scores import Unscorable

RNG = np.random.default_rng(1)


def autoregressive(phi: float, frames: int, trajectories: int, spread: float = 0.3) -> list[np.ndarray]:
    """Stationary AR(1) torsions, [frames, 1] each."""
    noise = RNG.normal(0, spread * np.sqrt(1 - phi**2), (trajectories, frames, 1))
    noise[:, 0] = RNG.normal(0, spread, (trajectories, 1))
    return list(lfilter([1], [1, -phi], noise, axis=1))


def test_autoregressive_torsion_decorrelates_at_its_known_time():
    interval, phi = 5.2, 0.9
    times = dynamics.times_of(autoregressive(phi, 4000, 8), interval, 260)
    assert times.shape == (8, 1)
    assert times.mean() == pytest.approx(-interval / np.log(phi), rel=0.08)


def test_autocorrelation_is_the_direct_sum():
    series = [RNG.uniform(-np.pi, np.pi, (40, 3)).cumsum(0) * 0.2, RNG.normal(size=(30, 3))]
    unit = [np.exp(1j * s) for s in series]
    mean = np.concatenate(unit).mean(0)
    curves = dynamics.autocorrelation(series, 6)
    for trajectory, z in enumerate(unit):
        for lag in range(6):
            product = (z[lag:] * z[: len(z) - lag].conj()).mean(0).real
            expected = (product - abs(mean) ** 2) / (1 - abs(mean) ** 2)
            np.testing.assert_allclose(curves[trajectory, :, lag], expected, atol=1e-10)
    np.testing.assert_allclose(curves[:, :, 0].mean(), 1, atol=0.5)


def test_crossing_is_interpolated_and_never_is_infinite():
    curve = np.array([[1.0, 0.5, 0.2], [1.0, 0.9, 0.8], [1.0, 0.0, 0.0], [np.nan] * 3])
    threshold = np.exp(-1)
    times = dynamics.decorrelation_times(curve, 2.0)
    assert times[0] == pytest.approx(2 * (1 + (0.5 - threshold) / 0.3))
    assert times[1] == np.inf and times[2] == pytest.approx(2 * (1 - threshold)) and np.isnan(times[3])


def test_a_torsion_stuck_in_another_well_in_each_trajectory_never_decorrelates():
    stuck = [RNG.normal(centre, 0.1, (60, 1)) for centre in (-2, 0, 2)]
    assert np.isinf(dynamics.times_of(stuck, 5.2, 30)).all()
    one_well = [RNG.normal(1, 0.1, (60, 1)) for _ in range(3)]
    assert (dynamics.times_of(one_well, 5.2, 30) < 10).all()


def test_histogram_of_times_counts_never_and_shorter_times_in_bins_of_their_own():
    paper = dynamics.TimeBins()
    assert len(paper.counts(np.ones(1))) == 275 + 2
    counts = paper.counts(np.array([[1.0, 4.9], [24.0, np.nan], [21.0, np.inf]]))  # NaN: a torsion that does not vary
    assert (counts[0], counts[4], counts[-1], counts.sum()) == (2, 2, 1, 5)  # 20 to 25 ps is one bin
    short = dynamics.TimeBins(0.4, 8.0)
    assert len(short.counts(np.ones(1))) == 19 + 2 and short.counts(np.array([0.5]))[1] == 1


def test_ensembles_are_compared_at_the_lags_that_the_shorter_allows():
    bins = dynamics.TimeBins()
    assert bins.lags(5.2, 960) == 1380 // 5.2 + 2 and bins.lags(5.2, 50) == bins.lags(5.2, 960, 50) == 25
    assert bins.lags(5.2, 4) == 2
    with pytest.raises(Unscorable, match="too_few_frames: the longest trajectory has 3 frames"):
        bins.lags(5.2, 960, 3)
    slow = autoregressive(0.99, 4000, 4)  # decorrelates after 99 frames
    assert np.isfinite(dynamics.times_of(slow, 1.0, 600)).any() and np.isinf(dynamics.times_of(slow, 1.0, 10)).all()


def test_coherence_of_smooth_and_shuffled_frames():
    smooth = np.linspace(0, 6, 300)[:, None] * np.ones(2)
    assert dynamics.coherence([smooth]) == pytest.approx(np.cos(6 / 299), abs=1e-6)
    unrelated = RNG.uniform(-np.pi, np.pi, (20000, 1))
    assert abs(dynamics.coherence([unrelated])[0]) < 0.03


def test_statuses():
    with pytest.raises(Unscorable, match="no_internal_coordinates"):
        dynamics.times_of([np.empty((50, 0))], 5.2, 25)
    with pytest.raises(Unscorable, match="constant_features"):
        dynamics.times_of([np.ones((50, 2))], 5.2, 25)
    with pytest.raises(Unscorable, match="too_few_frames: the longest unbroken stretch has 3 frames of 3; 25"):
        dynamics.times_of([np.ones((3, 2))], 5.2, 25)
    with pytest.raises(Unscorable, match="too_few_frames"):
        dynamics.coherence([np.ones((1, 2))])
    mixed = np.concatenate([np.ones((50, 1)), RNG.normal(size=(50, 1))], axis=1)
    times = dynamics.times_of([mixed], 5.2, 25)
    assert np.isnan(times[0, 0]) and np.isfinite(times[0, 1])
