"""Distances between distributions against SciPy and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from egi.metrics.distributions import (
    LIMITS,
    MAXIMUM,
    circular_wasserstein,
    compare,
    histograms,
    jensen_shannon,
    shared_range_distance,
    wasserstein,
)
from egi.metrics.scores import Unscorable

RNG = np.random.default_rng(0)


def test_jensen_shannon_by_hand():
    assert jensen_shannon([1, 0], [0, 1]) == pytest.approx(np.sqrt(np.log(2)))
    assert jensen_shannon([2, 2], [7, 7]) == 0
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4)
    by_hand = (0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25) + np.log(1 / 0.75)) / 2
    assert jensen_shannon([1, 1], [5, 0]) == pytest.approx(np.sqrt(by_hand))
    with pytest.raises(ValueError, match="histogram is empty"):
        jensen_shannon([0, 0], [1, 1])


@settings(max_examples=50, deadline=None)
@given(arrays(float, (2, 6), elements=st.floats(0.01, 10)))
def test_jensen_shannon_is_scipys(pair):
    assert jensen_shannon(*pair) == pytest.approx(jensenshannon(*pair), abs=1e-7)
    assert jensen_shannon(*pair) == pytest.approx(jensen_shannon(*pair[::-1]), abs=1e-12)


def test_histograms_are_numpys_with_outer_bins():
    values = RNG.normal(1.5, 0.3, (500, 3))
    values[0, 0], values[1, 0], values[2, 0] = 1.0, 2.2, 2.2000001
    counts = histograms(values, (1.0, 2.2), 10)
    for column in range(3):
        np.testing.assert_array_equal(counts[column, 1:-1], np.histogram(values[:, column], 10, (1.0, 2.2))[0])
        assert counts[column, 0] == (values[:, column] < 1).sum()
        assert counts[column, -1] == (values[:, column] > 2.2).sum()
    with pytest.raises(ValueError, match="not finite"):
        histograms(np.full((2, 1), np.nan), (0, 1))


@pytest.mark.parametrize("kind", LIMITS)
def test_each_column_is_compared_as_scipy_would(kind):
    low, high = LIMITS[kind]
    middle = (low + high) / 2
    reference, generated = (RNG.normal(middle + shift, (high - low) / 20, (800, 2)) for shift in (0, 0.05))
    made = compare(reference, generated, kind)
    for column in range(2):
        p, q = (np.histogram(x[:, column], 100, (low, high))[0] for x in (reference, generated))
        assert made.distance[column] == pytest.approx(jensenshannon(p, q), abs=1e-9)
        exact = wasserstein_distance(reference[:, column], generated[:, column])
        assert made.wasserstein[column] == pytest.approx(exact, rel=0.1)
    assert (made.out_of_range == 0).all()


def test_out_of_range_counts_and_wholly_out_of_range_is_the_maximum():
    reference = np.full((100, 2), 1.505)
    generated = np.full((100, 2), 1.505)
    generated[:50, 0] = 3.0
    generated[:, 1] = 9.0
    made = compare(reference, generated, "bond_length")
    np.testing.assert_allclose(made.out_of_range, [0.5, 1])
    assert made.distance[0] == pytest.approx(float(jensen_shannon([1, 0], [1, 1])))
    assert made.distance[1] == MAXIMUM
    assert compare(generated, generated, "bond_length").distance[1] == MAXIMUM


def test_a_molecule_without_the_coordinate_and_no_frames_have_a_status():
    with pytest.raises(Unscorable, match="no_internal_coordinates"):
        compare(np.empty((5, 0)), np.empty((5, 0)), "torsion")
    with pytest.raises(Unscorable, match="no_finite_frames"):
        compare(np.ones((5, 1)), np.empty((0, 1)), "bond_length")


def test_wasserstein_on_line_and_circle():
    values = RNG.normal(size=(4000, 1))
    assert wasserstein(values, values + 0.25)[0] == pytest.approx(0.25)
    p, q = np.zeros((1, 100)), np.zeros((1, 100))
    p[0, 0], q[0, 98] = 1, 1  # two bins apart through the boundary
    width = 2 * np.pi / 100
    assert circular_wasserstein(p, q, width)[0] == pytest.approx(2 * width)
    assert circular_wasserstein(p, p, width)[0] == 0


def test_shared_range_distance_is_scipys_in_one_and_two_dimensions():
    a, b = RNG.normal(size=(600, 2)), RNG.normal(0.5, 1.2, (400, 2))
    both = np.concatenate([a, b])
    ranges = list(zip(both.min(0), both.max(0), strict=True))
    flat = [np.histogram(x[:, 0], 100, ranges[0])[0] for x in (a, b)]
    assert shared_range_distance(a[:, :1], b[:, :1]) == pytest.approx(jensenshannon(*flat), abs=0.01)
    square = [np.histogram2d(*x.T, 100, ranges)[0].ravel() for x in (a, b)]
    assert shared_range_distance(a, b) == pytest.approx(jensenshannon(*square), abs=0.01)
    with pytest.raises(Unscorable, match="constant_features"):
        shared_range_distance(np.ones((5, 1)), np.ones((3, 1)))


def test_identical_ensembles_score_their_sampling_error_which_falls_with_length():
    scores = [compare(RNG.normal(1.5, 0.03, (20000, 4)), RNG.normal(1.5, 0.03, (n, 4)), "bond_length").distance.mean()
              for n in (50, 500, 5000)]  # fmt: skip
    assert scores[0] > 2 * scores[1] > 4 * scores[2]
    same = RNG.normal(1.5, 0.03, (100, 4))
    assert (compare(same, same[::-1], "bond_length").distance == 0).all()
