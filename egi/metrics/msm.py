"""Markov state models of the reference: TICA, k-means, MSM, PCCA into metastates, coarse MSM (FACTS 16).

Occupancies, implied timescales and mean first passage times stand on them. Metastates are numbered by
falling population. With enough frames the paper's rule holds: a molecule whose microstates are not all
connected is left out. Where the reference has fewer than 20 frames a microstate, there is one microstate for 20
frames and only the largest connected set of them is kept, all frames going to the nearest of those; that is noted.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from egi.metrics.scores import Unscorable
from egi.metrics.tica import Tica

FRAMES_A_MICROSTATE = 20


@dataclass(frozen=True)
class MetastateModel:
    """Metastates of a molecule's reference and the MSM between them.

    Attributes
    ----------
    tica : Tica
    centres : (microstates, dimensions) ndarray
        In TICA space.
    metastate_of : (microstates,) int ndarray
    micro_transition : (microstates, microstates) ndarray
    transition : (metastates, metastates) ndarray
    stationary : (metastates,) ndarray
    lag : int
        Frames.
    note : str
        What was lowered from the settings; empty if nothing.
    passage_error : (metastates, metastates) ndarray
        Standard error of log10 of the mean first passage times, from the replicas; NaN where it cannot be had.
    """

    tica: Tica
    centres: np.ndarray
    metastate_of: np.ndarray
    micro_transition: np.ndarray
    transition: np.ndarray
    stationary: np.ndarray
    lag: int
    note: str
    passage_error: np.ndarray

    @property
    def metastates(self) -> int:
        """Number of metastates."""
        return len(self.stationary)

    def microstates_of(self, torsions: np.ndarray) -> np.ndarray:
        """Nearest microstate of each frame, (frames, torsions) to (frames,)."""
        projected = self.tica.project(torsions, self.centres.shape[1])
        return cKDTree(self.centres).query(projected)[1]

    def assign(self, torsions: np.ndarray) -> np.ndarray:
        """Metastate of each frame, (frames, torsions) to (frames,)."""
        return self.metastate_of[self.microstates_of(torsions)]


@dataclass(frozen=True)
class MarkovModel:
    """A reversible maximum-likelihood MSM on all states 0..n-1.

    Attributes
    ----------
    transition : (states, states) ndarray
    stationary : (states,) ndarray
    """

    transition: np.ndarray
    stationary: np.ndarray


def fit_metastates(
    series: list[np.ndarray],
    tica: Tica,
    lag: int,
    microstates: int,
    metastates: int,
    seed: int,
    replicas: list[int] | None = None,
) -> MetastateModel:
    """Metastates of the reference (FACTS 16, points 2 to 4).

    Parameters
    ----------
    series : list of (frames, torsions) ndarray
        One a trajectory, radian.
    tica : Tica
        Fitted on the same torsions.
    lag : int
        MSM lag in frames.
    microstates, metastates : int
        Wanted numbers.
    seed : int
        Of k-means.
    replicas : list of int, optional
        Which replica each trajectory is of; each its own by default. For the error of passage times.

    Raises
    ------
    Unscorable
        If the trajectories are no longer than the lag, there are too few frames for two states, or the microstates are
        not connected.
    """
    keep = [k for k, s in enumerate(series) if len(s) > lag]
    long = [series[k] for k in keep]
    if not long:
        longest = max((len(s) for s in series), default=0)
        raise Unscorable("too_few_frames", f"the longest trajectory has {longest} frames; the MSM lag is {lag}")
    projected = [tica.project(s, tica.kinetic_dimensions) for s in long]
    centres, micro, model = _connected_microstates(projected, lag, microstates, seed)
    metastate_of = _lump(model, metastates)
    meta = [metastate_of[m] for m in micro]
    coarse = markov_model(meta, lag, int(metastate_of.max()) + 1)
    of_replica = keep if replicas is None else [replicas[k] for k in keep]
    error = passage_time_errors(meta, of_replica, lag, len(coarse.stationary))
    note = _note(len(centres), microstates, len(coarse.stationary), metastates)
    return MetastateModel(
        tica, centres, metastate_of, model.transition, coarse.transition, coarse.stationary, lag, note, error
    )


def _connected_microstates(
    projected: list[np.ndarray], lag: int, microstates: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray], MarkovModel]:
    """Centres, discrete trajectories and MSM of the microstates."""
    supported = sum(map(len, projected)) // FRAMES_A_MICROSTATE
    if supported >= microstates:
        centres, micro = _cluster(projected, microstates, seed)
        return centres, micro, markov_model(micro, lag, len(centres))
    count = supported
    while count >= 2:
        centres, micro = _cluster(projected, count, seed)
        connected = _largest(micro, lag, len(centres))[1]
        if len(connected) >= 2:
            centres = centres[connected]
            micro = [cKDTree(centres).query(p)[1] for p in projected]
            return centres, micro, markov_model(micro, lag, len(centres))
        count = 2 * count // 3
    raise Unscorable("disconnected", f"no two of {supported} microstates are connected at a lag of {lag} frames")


def _cluster(projected: list[np.ndarray], count: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    from deeptime.clustering import KMeans  # slow to import

    pooled = np.ascontiguousarray(np.concatenate(projected))
    count = min(count, len(np.unique(pooled, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "did not converge" after max_iter: the centres serve all the same
        model = KMeans(count, fixed_seed=seed, n_jobs=1, max_iter=100).fit(pooled).fetch_model()
    tree = cKDTree(model.cluster_centers)
    micro = [tree.query(p)[1] for p in projected]
    used, renumbered = np.unique(np.concatenate(micro), return_inverse=True)
    lengths = np.cumsum([len(m) for m in micro])[:-1]
    return model.cluster_centers[used], np.split(renumbered.reshape(-1), lengths)


def markov_model(states: list[np.ndarray], lag: int, count: int) -> MarkovModel:
    """Reversible maximum-likelihood MSM of discrete trajectories.

    Parameters
    ----------
    states : list of (frames,) int ndarray
    lag : int
        Frames; transitions are counted at every start frame.
    count : int
        Number of states.

    Raises
    ------
    Unscorable
        If the states are not all visited and strongly connected, or no trajectory is longer than the lag.
    """
    model, connected = _largest(states, lag, count)
    if len(connected) < count:
        raise Unscorable("disconnected", f"{len(connected)} of {count} states are connected at a lag of {lag} frames")
    return model


def _largest(states: list[np.ndarray], lag: int, count: int) -> tuple[MarkovModel, np.ndarray]:
    """The MSM of the largest strongly connected set (most transitions on a tie), and the states in it."""
    from deeptime.markov.msm import MaximumLikelihoodMSM  # slow to import

    counts = count_transitions(states, lag, count)
    sets, member = connected_components(counts, directed=True, connection="strong")
    inside = np.bincount(member, weights=counts.sum(1), minlength=sets)
    best = np.lexsort((inside, np.bincount(member, minlength=sets)))[-1]
    connected = np.flatnonzero(member == best)
    if len(connected) == 1:
        return MarkovModel(np.ones((1, 1)), np.ones(1)), connected[counts[connected, connected] > 0]
    model = MaximumLikelihoodMSM(reversible=True, lagtime=lag).fit(counts[np.ix_(connected, connected)]).fetch_model()
    return MarkovModel(np.asarray(model.transition_matrix), np.asarray(model.stationary_distribution)), connected


def connected_transitions(states: list[np.ndarray], lag: int, count: int) -> np.ndarray:
    """Transition matrix of the largest connected set of states, zero elsewhere, [states, states]."""
    model, connected = _largest(states, lag, count)
    transition = np.zeros((count, count))
    if len(connected):
        transition[np.ix_(connected, connected)] = model.transition
    return transition


def count_transitions(states: list[np.ndarray], lag: int, count: int) -> np.ndarray:
    """Transitions over `lag` frames, from every start frame, [states, states] float."""
    pairs = [s[:-lag] * count + s[lag:] for s in states if len(s) > lag]
    if not pairs:
        return np.zeros((count, count))
    return np.bincount(np.concatenate(pairs), minlength=count**2).reshape(count, count).astype(float)


def _lump(model: MarkovModel, metastates: int) -> np.ndarray:
    """Metastate of each microstate by PCCA+, numbered by falling population; PCCA may give fewer than asked."""
    from deeptime.markov import pcca  # slow to import

    wanted = min(metastates, max(2, len(model.stationary) // 2))
    assigned = None
    while assigned is None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assigned = pcca(model.transition, wanted, model.stationary).assignments
        except (ValueError, np.linalg.LinAlgError, IndexError):
            wanted -= 1  # complex or degenerate spectrum
            if wanted < 2:
                return np.zeros(len(model.stationary), dtype=np.int64)
    population = np.bincount(assigned, weights=model.stationary, minlength=wanted)
    order = np.argsort(-population, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[assigned]


def _note(micro: int, micro_wanted: int, meta: int, meta_wanted: int) -> str:
    changed = [f"{got} {name} of {wanted}" for got, wanted, name in
               ((micro, micro_wanted, "microstates"), (meta, meta_wanted, "metastates")) if got != wanted]  # fmt: skip
    return ", ".join(changed)


def occupancy(states: list[np.ndarray], count: int) -> np.ndarray:
    """Share of frames in each state, [states]."""
    counts = np.bincount(np.concatenate(states), minlength=count)
    return counts / counts.sum()


def implied_timescales(transition: np.ndarray, lag_ps: float, count: int) -> np.ndarray:
    """Implied timescales -lag / ln|lambda| of the slowest processes, ps, at most [count]; 0 where lambda is 0."""
    eigenvalues = np.sort(np.abs(np.linalg.eigvals(transition)))[::-1][1 : count + 1]
    with np.errstate(divide="ignore"):
        return -lag_ps / np.log(np.minimum(eigenvalues, 1 - 1e-12))


def mean_first_passage_times(transition: np.ndarray, lag_ps: float) -> np.ndarray:
    """Mean first passage time from each state (row) to each state (column), ps; zero on the diagonal.

    Solves (I - T') t = lag 1 for each target, T' without the target's row and column; infinity if it is never reached.
    """
    states = len(transition)
    times = np.zeros((states, states))
    for target in range(states):
        others = np.delete(np.arange(states), target)
        system = np.eye(states - 1) - transition[np.ix_(others, others)]
        try:
            times[others, target] = np.linalg.solve(system, np.full(states - 1, lag_ps))
        except np.linalg.LinAlgError:
            times[others, target] = np.inf
    return times


def passage_time_errors(states: list[np.ndarray], replicas: list[int], lag: int, count: int) -> np.ndarray:
    """Standard error of log10 of the mean first passage times, by a jackknife over replicas.

    Parameters
    ----------
    states : list of (frames,) int ndarray
    replicas : list of int
        Which replica each trajectory is of.
    lag : int
        Frames.
    count : int
        Number of states.

    Returns
    -------
    (states, states) ndarray
        NaN with fewer than two replicas, or where the states are not connected without one of them.
    """
    logarithms = []
    for replica in sorted(set(replicas)):
        others = [s for s, of in zip(states, replicas, strict=True) if of != replica]
        try:
            passage = mean_first_passage_times(markov_model(others, lag, count).transition, 1.0)
        except Unscorable:
            return np.full((count, count), np.nan)
        with np.errstate(divide="ignore"):
            logarithms.append(np.log10(passage))
    if len(logarithms) < 2:
        return np.full((count, count), np.nan)
    values = np.where(np.eye(count, dtype=bool), 0.0, np.stack(logarithms))
    return np.sqrt((len(values) - 1) * values.var(0))


def timescales_by_lag(states: list[np.ndarray], lags: list[int], count: int, processes: int = 3) -> np.ndarray:
    """Implied timescales of MSMs at several lags, in frames, [lags, processes]; NaN where there is none.

    They level off where the lag is long enough for the states to be Markovian.
    """
    times = np.full((len(lags), processes), np.nan)
    for row, lag in enumerate(lags):
        try:
            found = implied_timescales(markov_model(states, lag, count).transition, lag, processes)
        except Unscorable:
            continue
        times[row, : len(found)] = found
    return times
