"""Markov models and transition paths of chains whose answers are known by hand or by enumeration."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from egi.metrics import msm, paths
from egi.metrics.scores import Unscorable
from egi.metrics.tica import fit_tica, torsion_features

RNG = np.random.default_rng(3)
# birth-death chain of three states: reversible, stationary (1/4, 1/2, 1/4)
CHAIN = np.array([[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]])
STATIONARY = np.array([0.25, 0.5, 0.25])


def simulate(transition: np.ndarray, frames: int, start: int = 0) -> np.ndarray:
    cumulative, draws, states = transition.cumsum(1), RNG.random(frames), np.empty(frames, int)
    states[0] = start
    for t in range(1, frames):
        states[t] = np.searchsorted(cumulative[states[t - 1]], draws[t])
    return states


def torsions_of(states: np.ndarray, wells=(-2.0, 0.0, 2.0), spread: float = 0.1) -> np.ndarray:
    return np.array(wells)[states][:, None] + RNG.normal(0, spread, (len(states), 1))


def test_chain_is_recovered():
    model = msm.markov_model([simulate(CHAIN, 30000) for _ in range(2)], 1, 3)
    np.testing.assert_allclose(model.transition, CHAIN, atol=0.015)
    np.testing.assert_allclose(model.stationary, STATIONARY, atol=0.03)
    np.testing.assert_allclose(model.stationary @ model.transition, model.stationary, atol=1e-8)


def test_metastates_of_torsions_are_the_wells():
    states = [simulate(CHAIN, 4000) for _ in range(3)]
    series = [torsions_of(s) for s in states]
    model = msm.fit_metastates(series, fit_tica(series, 1), 1, 20, 3, seed=1)
    assert model.metastates == 3 and model.note == ""
    assert model.stationary[0] == pytest.approx(0.5, abs=0.05)  # numbered by falling population
    assigned = model.assign(series[0])
    for well in range(3):
        inside = assigned[states[0] == well]
        assert (inside == np.bincount(inside).argmax()).mean() > 0.98
    assert assigned[states[0] == 1][0] == 0
    np.testing.assert_allclose(np.diag(model.transition), 0.8, atol=0.03)
    again = msm.fit_metastates(series, fit_tica(series, 1), 1, 20, 3, seed=1)
    np.testing.assert_array_equal(again.assign(series[1]), model.assign(series[1]))


def test_first_passage_times_and_implied_timescales_by_hand():
    times = msm.mean_first_passage_times(CHAIN, 2.0)
    # from the end state: h0 = 1 + 0.8 h0 + 0.2 h1 -> h0 = 5 + h1 ; h1 = 1 + 0.8 h1 + 0.1 h0 -> h1 = 15, h0 = 20 steps
    np.testing.assert_allclose(times[:, 2], [40, 30, 0])
    np.testing.assert_allclose(times[0, 1], 10)
    np.testing.assert_allclose(msm.implied_timescales(CHAIN, 2.0, 2), -2 / np.log([0.8, 0.6]))
    split = np.eye(2)
    assert np.isinf(msm.mean_first_passage_times(split, 1.0)[0, 1])


def test_error_of_passage_times_from_replicas():
    """The jackknife's error is that of repeated experiments, and needs two replicas."""
    experiments = [[simulate(CHAIN, 1500) for _ in range(4)] for _ in range(12)]
    logs = [np.log10(msm.mean_first_passage_times(msm.markov_model(e, 1, 3).transition, 1)[0, 2]) for e in experiments]
    errors = [msm.passage_time_errors(e, [0, 1, 2, 3], 1, 3) for e in experiments]
    assert np.mean([e[0, 2] for e in errors]) == pytest.approx(np.std(logs), rel=0.6)
    assert (np.diag(errors[0]) == 0).all()
    assert np.isnan(msm.passage_time_errors(experiments[0], [0] * 4, 1, 3)).all()


def test_implied_timescales_of_a_chain_do_not_depend_on_the_lag():
    states = [simulate(CHAIN, 40000) for _ in range(2)]
    times = msm.timescales_by_lag(states, [1, 2, 4], 3)
    np.testing.assert_allclose(times[:, 0], -1 / np.log(0.8), rtol=0.1)
    np.testing.assert_allclose(times[:, 1], -1 / np.log(0.6), rtol=0.1)
    assert np.isnan(times[:, 2]).all()
    assert np.isnan(msm.timescales_by_lag([np.array([0, 0, 1])], [1], 2)).all()


def test_occupancy_and_counts():
    assert msm.occupancy([np.array([0, 0, 2]), np.array([2])], 4).tolist() == [0.5, 0, 0.5, 0]
    counts = msm.count_transitions([np.array([0, 1, 1, 0, 1]), np.array([0])], 2, 2)
    assert counts.tolist() == [[0, 1], [1, 1]]


def test_disconnected_reference_is_a_status_and_short_data_lower_the_states():
    apart = [torsions_of(np.full(600, well)) for well in (0, 2)]
    with pytest.raises(Unscorable, match="disconnected"):
        msm.fit_metastates(apart, fit_tica(apart, 1), 1, 10, 3, seed=1)
    short = [torsions_of(simulate(CHAIN, 50)) for _ in range(2)]
    model = msm.fit_metastates(short, fit_tica(short, 1), 2, 100, 10, seed=1)
    assert 2 <= len(model.centres) <= 10 and "microstates of 100" in model.note and "metastates of 10" in model.note
    apart = [torsions_of(simulate(CHAIN, 60), wells) for wells in ((-2.0, -1.0, 0.0), (2.0, 2.5, 3.0))]
    model = msm.fit_metastates(apart, fit_tica(apart, 1), 1, 100, 10, seed=1)  # one replica never reaches the other's
    assert 2 <= model.metastates <= len(model.centres) <= 6 and (model.stationary > 0).all()
    assert len(model.assign(apart[1])) == 60
    with pytest.raises(Unscorable, match=r"too_few_frames: .* 50 frames; the MSM lag is 60"):
        msm.fit_metastates(short, fit_tica(short, 1), 60, 100, 10, seed=1)


def test_states_outside_the_connected_set_have_no_transitions():
    states = [np.array([0, 1, 0, 1, 1, 0, 2])]
    transition = msm.connected_transitions(states, 1, 4)
    assert transition[2:].sum() == transition[:, 2:].sum() == 0
    np.testing.assert_allclose(transition[:2].sum(1), 1)
    assert msm.connected_transitions([np.array([1])], 1, 3).sum() == 0


def test_tica_finds_the_slow_torsion_and_agrees_with_pyemma():
    slow, fast = simulate(np.array([[0.98, 0.02], [0.02, 0.98]]), 6000), RNG.integers(2, size=6000)
    series = [np.concatenate([torsions_of(fast), torsions_of(slow)], axis=1)]
    model = fit_tica(series, 5)
    first = model.project(series[0], 1)[:, 0]
    assert abs(np.corrcoef(first, slow)[0, 1]) > 0.98
    assert model.eigenvalues[0] == pytest.approx(0.96**5, abs=0.05)
    pyemma_coordinates = pytest.importorskip("pyemma.coordinates")
    theirs = pyemma_coordinates.tica([torsion_features(s) for s in series], lag=5)
    np.testing.assert_allclose(theirs.eigenvalues[:2], model.eigenvalues[:2], atol=1e-6)
    projected = theirs.get_output()[0][:, 0]
    np.testing.assert_allclose(np.abs(projected), np.abs(first), atol=1e-5)


def test_msm_agrees_with_pyemma():
    pyemma_msm = pytest.importorskip("pyemma.msm")
    states = [simulate(CHAIN, 3000) for _ in range(2)]
    theirs = pyemma_msm.estimate_markov_model([s.tolist() for s in states], 2)
    ours = msm.markov_model(states, 2, 3)
    np.testing.assert_allclose(ours.transition, theirs.transition_matrix, atol=1e-5)
    np.testing.assert_allclose(ours.stationary, theirs.stationary_distribution, atol=1e-5)
    np.testing.assert_allclose(msm.implied_timescales(ours.transition, 2, 2), theirs.timescales()[:2], rtol=1e-3)
    passage = msm.mean_first_passage_times(ours.transition, 2)
    assert passage[0, 2] == pytest.approx(theirs.mfpt(0, 2), rel=1e-3)
    assert passage[2, 1] == pytest.approx(theirs.mfpt(2, 1), rel=1e-3)


def test_metastates_agree_with_pyemma():
    pyemma_msm = pytest.importorskip("pyemma.msm")
    chain = np.array([[0.9, 0.09, 0.01, 0], [0.09, 0.9, 0, 0.01], [0.01, 0, 0.85, 0.14], [0, 0.01, 0.14, 0.85]])
    states = [simulate(chain, 8000) for _ in range(2)]
    theirs = pyemma_msm.estimate_markov_model([s.tolist() for s in states], 1)
    theirs.pcca(2)
    ours = msm._lump(msm.markov_model(states, 1, 4), 2)
    assert ours[0] == ours[1] != ours[2] == ours[3]
    assert len({(a, b) for a, b in zip(ours, theirs.metastable_assignments, strict=True)}) == 2  # names may differ


def test_tica_statuses():
    with pytest.raises(Unscorable, match="no_internal_coordinates"):
        fit_tica([np.empty((40, 0))], 2)
    with pytest.raises(Unscorable, match="constant_features"):
        fit_tica([np.ones((40, 3))], 2)
    with pytest.raises(Unscorable, match="too_few_frames"):
        fit_tica([np.ones((2, 3))], 2)
    one = fit_tica([torsions_of(simulate(CHAIN, 500))], 1)  # one torsion: cosine and sine
    assert one.project(np.zeros((7, 1)), 2).shape == (7, 2)
    flip = np.pi * RNG.integers(2, size=(300, 1))  # the sine is constant
    with pytest.raises(Unscorable, match="one_component"):
        fit_tica([flip], 1).project(flip, 2)


def test_flux_by_hand_and_the_least_positive_pair():
    np.testing.assert_allclose(paths.flux(CHAIN, STATIONARY), [[0.2, 0.05, 0], [0.05, 0.4, 0.05], [0, 0.05, 0.2]])
    skewed = np.array([[0.8, 0.2, 0.0], [0.1, 0.85, 0.05], [0.0, 0.2, 0.8]])
    stationary = np.array([2, 4, 1]) / 7  # detailed balance: 2 * 0.2 = 4 * 0.1, 4 * 0.05 = 1 * 0.2
    start, end, flux = paths.least_flux_pair(skewed, stationary)
    assert (start, end) == (1, 2) and flux == pytest.approx(4 / 7 * 0.05)
    with pytest.raises(Unscorable, match="no_flux"):
        paths.least_flux_pair(np.eye(2), np.array([0.5, 0.5]))


def test_path_likelihoods_by_enumeration():
    steps, start, end = 4, 0, 2
    every = np.array([(start, *middle, end) for middle in product(range(3), repeat=steps - 1)])
    likelihood = paths.path_probabilities(every, CHAIN, start, end)
    assert likelihood.sum() == pytest.approx(1)
    by_hand = {tuple(p): np.prod([CHAIN[a, b] for a, b in pairwise(p)]) for p in every.tolist()}
    total = sum(by_hand.values())
    np.testing.assert_allclose(likelihood, [by_hand[tuple(p)] / total for p in every.tolist()])
    occupancy = sum(w * np.bincount(p, minlength=3) for w, p in zip(likelihood, every, strict=True)) / (steps + 1)
    np.testing.assert_allclose(paths.bridge_occupancy(CHAIN, start, end, steps), occupancy)
    drawn = paths.sample_paths(CHAIN, start, end, steps, 20000, RNG)
    frequencies = [(drawn == p).all(1).mean() for p in every]
    np.testing.assert_allclose(frequencies, likelihood, atol=0.012)


def test_path_scores():
    drawn = paths.sample_paths(CHAIN, 0, 2, 6, 3000, RNG)
    scores = {s.metric: s for s in paths.path_scores(drawn, CHAIN, 0, 2)}
    assert scores["jsd_path_occupancy"].value < 0.02 and scores["valid_path_rate"].value == 1
    drawn[:1500, -1] = 1  # half of them miss the end
    scores = {s.metric: s for s in paths.path_scores(drawn, CHAIN, 0, 2)}
    assert scores["valid_path_rate"].value == 0.5
    assert scores["path_probability"].value == pytest.approx(scores["valid_path_probability"].value / 2)
    jump = np.array([[0, 2, 2, 2, 2, 2, 2]])  # impossible in the reference
    scores = {s.metric: s for s in paths.path_scores(jump, CHAIN, 0, 2)}
    assert scores["valid_path_rate"].value == 0 and scores["valid_path_probability"].status == "unvisited"
    with pytest.raises(Unscorable, match="unreachable"):
        paths.path_scores(np.array([[0, 2]]), CHAIN, 0, 2)
    with pytest.raises(Unscorable, match="unreachable"):
        paths.sample_paths(CHAIN, 0, 2, 1, 5, RNG)


def test_states_at_the_lag():
    states = np.arange(11)[None]
    assert paths.at_lag(states, 5)[0].tolist() == [[0, 5, 10]] and paths.at_lag(states, 5)[1] == ""
    columns, note = paths.at_lag(states, 4)
    assert columns.tolist() == [[0, 4, 10]] and note == "the last step has 6 frames, the others 4"
    with pytest.raises(Unscorable, match="too_few_frames"):
        paths.at_lag(states, 11)


def test_pairs_come_from_their_states():
    states = np.array([0, 1, 2, 2, 0, 1])
    start, end = paths.draw_pairs(states, 0, 2, 50, RNG)
    assert set(start) == {0, 4} and set(end) == {2, 3}
    with pytest.raises(Unscorable, match="unvisited"):
        paths.draw_pairs(states, 0, 5, 3, RNG)
