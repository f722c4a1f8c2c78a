"""Transition paths between metastates: choice of start and end, likelihood, comparison (FACTS 16, DESIGN 4, A-25).

A path is the metastates visited at the MSM's lag. Its likelihood is taken under the reference's coarse MSM,
conditioned on start and end. Following MDGen (Jing et al. 2024), occupancies are those of the paths, compared
with the reference's paths between the same states in the same number of steps, known here exactly.
"""

from __future__ import annotations

import numpy as np

from egi.metrics.distributions import jensen_shannon
from egi.metrics.scores import Score, Unscorable, mean_score

METRICS = ("jsd_path_occupancy", "path_probability", "valid_path_rate", "valid_path_probability")


def flux(transition: np.ndarray, stationary: np.ndarray) -> np.ndarray:
    """Equilibrium flux pi_i T_ij between states, [states, states]."""
    return stationary[:, None] * transition


def least_flux_pair(transition: np.ndarray, stationary: np.ndarray) -> tuple[int, int, float]:
    """Two populated states with the least positive flux between them, the more populated first, and that flux.

    Raises
    ------
    Unscorable
        If no two states exchange flux.
    """
    between = np.triu((flux(transition, stationary) + flux(transition, stationary).T) / 2, k=1)
    between[between <= 1e-15] = np.inf
    if not np.isfinite(between).any():
        raise Unscorable("no_flux", f"{len(stationary)} metastate(s), none of which exchange flux")
    i, j = (int(k) for k in np.unravel_index(between.argmin(), between.shape))
    start, end = (i, j) if stationary[i] >= stationary[j] else (j, i)
    return start, end, float(between[i, j])


def draw_pairs(states: np.ndarray, start: int, end: int, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Random start and end frames.

    Parameters
    ----------
    states : (frames,) int ndarray
        Metastate of every reference frame.
    start, end : int
    pairs : int
    rng : numpy Generator

    Returns
    -------
    (2, pairs) int ndarray
        Frame indices, drawn with replacement.

    Raises
    ------
    Unscorable
        If a state holds no frame.
    """
    frames = [np.flatnonzero(states == state) for state in (start, end)]
    if not all(map(len, frames)):
        raise Unscorable("unvisited", f"metastates {start} and {end} hold {len(frames[0])} and {len(frames[1])} frames")
    return np.stack([rng.choice(f, pairs) for f in frames])


def at_lag(states: np.ndarray, lag: int) -> tuple[np.ndarray, str]:
    """States of generated trajectories at the MSM's lag, first and last frame always included.

    Parameters
    ----------
    states : (paths, frames) int ndarray
    lag : int

    Returns
    -------
    ((paths, steps + 1) int ndarray, str)
        And a note where the last step is longer than the lag.

    Raises
    ------
    Unscorable
        If the trajectories are shorter than the lag.
    """
    steps, rest = divmod(states.shape[1] - 1, lag)
    if steps < 1:
        raise Unscorable("too_few_frames", f"paths have {states.shape[1]} frames; the MSM lag is {lag}")
    columns = lag * np.arange(steps + 1)
    columns[-1] = states.shape[1] - 1
    return states[:, columns], f"the last step has {lag + rest} frames, the others {lag}" if rest else ""


def path_probabilities(paths: np.ndarray, transition: np.ndarray, start: int, end: int) -> np.ndarray:
    """Likelihood of each path among those from `start` to `end` in as many steps.

    P(s_1 .. s_{N-1} | s_0 = start, s_N = end) = prod_k T[s_k, s_{k+1}] / (T^N)[start, end]; 0 for other ends.

    Parameters
    ----------
    paths : (paths, steps + 1) int ndarray
    transition : (states, states) ndarray
    start, end : int

    Returns
    -------
    (paths,) ndarray

    Raises
    ------
    Unscorable
        If no path of that length joins the states.
    """
    total = np.linalg.matrix_power(transition, paths.shape[1] - 1)[start, end]
    if total <= 0:
        raise Unscorable("unreachable", f"no path of {paths.shape[1] - 1} steps from metastate {start} to {end}")
    likelihood = transition[paths[:, :-1], paths[:, 1:]].prod(1) / total
    return np.where((paths[:, 0] == start) & (paths[:, -1] == end), likelihood, 0.0)


def bridge_occupancy(transition: np.ndarray, start: int, end: int, steps: int) -> np.ndarray:
    """Expected share of each state in paths of `steps` steps from `start` to `end`, ends included, [states].

    Raises
    ------
    Unscorable
        If no path of that length joins the states.
    """
    powers = [np.eye(len(transition))]
    for _ in range(steps):
        powers.append(powers[-1] @ transition)
    if powers[steps][start, end] <= 0:
        raise Unscorable("unreachable", f"no path of {steps} steps from metastate {start} to {end}")
    visited = sum(powers[k][start] * powers[steps - k][:, end] for k in range(steps + 1))
    return visited / visited.sum()


def sample_paths(
    transition: np.ndarray, start: int, end: int, steps: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Random paths of a Markov chain conditioned on both ends, [count, steps + 1].

    Raises
    ------
    Unscorable
        If no path of that length joins the states.
    """
    onward = [np.eye(len(transition))[:, end]]  # probability to be at the end after k more steps
    for _ in range(steps):
        onward.append(transition @ onward[-1])
    if onward[steps][start] <= 0:
        raise Unscorable("unreachable", f"no path of {steps} steps from metastate {start} to {end}")
    paths = np.full((count, steps + 1), start)
    for step in range(1, steps + 1):
        weights = transition[paths[:, step - 1]] * onward[steps - step]
        cumulative = np.cumsum(weights, axis=1)
        drawn = rng.random((count, 1)) * cumulative[:, -1:]
        paths[:, step] = (cumulative <= drawn).sum(1)
    return paths


def path_scores(paths: np.ndarray, transition: np.ndarray, start: int, end: int, note: str = "") -> list[Score]:
    """The paper's four numbers for one molecule (FACTS 16, point 9).

    Parameters
    ----------
    paths : (paths, steps + 1) int ndarray
        Metastates at the MSM's lag.
    transition : (states, states) ndarray
        Of the reference's coarse MSM.
    start, end : int
    note : str
        Goes to the reason column.
    """
    probabilities = path_probabilities(paths, transition, start, end)
    expected = bridge_occupancy(transition, start, end, paths.shape[1] - 1)
    seen = np.bincount(paths.ravel(), minlength=len(transition))
    valid = probabilities > 0
    if valid.any():
        valid_score = mean_score(METRICS[3], probabilities[valid], note)
    else:
        valid_score = Score(METRICS[3], status="unvisited", reason="no path is valid")
    return [
        mean_score(METRICS[0], jensen_shannon(expected, seen), note),
        mean_score(METRICS[1], probabilities, note),
        mean_score(METRICS[2], valid, note),
        valid_score,
    ]
