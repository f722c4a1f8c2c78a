"""Scores of one ensemble against the reference: what a row of each table holds for one molecule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from egi.metrics import dynamics, msm, validity
from egi.metrics.distributions import LIMITS, compare, jensen_shannon, shared_range_distance
from egi.metrics.ensembles import Measures, Observed
from egi.metrics.scores import Score, Unscorable, attempt, mean_score
from egi.metrics.tica import Tica

DISTRIBUTION_METRICS = ("jsd_bond_length", "jsd_bond_angle", "jsd_torsion", "jsd_tica_0", "jsd_tica_0_1")
VALIDITY_METRICS = ("graph_intact", "clashing", "right_hand", "mirror_images", "partly_inverted", "wrong_double_bonds")
DYNAMICS_METRICS = ("jsd_decorrelation", "decorrelation_ps", "decorrelated_share", "coherence", "coherence_difference",
                    "handedness_flips")  # fmt: skip
OCCUPANCY_METRICS = ("jsd_occupancy", "slowest_timescale_ps", "mfpt_error")


@dataclass(frozen=True)
class Attempted:
    """A model of the reference, or why there is none: fitted once, used for every method.

    Attributes
    ----------
    model : object or None
    error : Unscorable or None
    """

    model: object | None
    error: Unscorable | None = None

    def get(self):
        """The model; raises the error if there is none."""
        if self.error is not None:
            raise Unscorable(self.error.status, self.error.reason)
        return self.model


def attempted(fit: Callable[[], object]) -> Attempted:
    """Fit a model of the reference, keeping the error for the rows that need the model."""
    try:
        return Attempted(fit())
    except Unscorable as error:
        return Attempted(None, error)


def distribution_scores(reference: Observed, generated: Observed, tica: Attempted) -> list[Score]:
    """Jensen-Shannon and Wasserstein distances of bonds, angles, torsions and TICA components (FACTS 15)."""

    def _internal(kind: str) -> list[Score]:
        made = compare(getattr(reference, kind), getattr(generated, kind), kind)
        return [mean_score(f"jsd_{kind}", made.distance, generated.note, wasserstein=float(made.wasserstein.mean()),
                           out_of_range=float(made.out_of_range.mean()),
                           reference_out_of_range=float(made.reference_out_of_range.mean()))]  # fmt: skip

    def _slow(metric: str, dimensions: int) -> list[Score]:
        model: Tica = tica.get()
        both = [model.project(o.torsion, dimensions) for o in (reference, generated)]
        return [mean_score(metric, shared_range_distance(*both), generated.note)]

    scores = [score for kind in LIMITS for score in attempt((f"jsd_{kind}",), lambda kind=kind: _internal(kind))]
    for metric, dimensions in (("jsd_tica_0", 1), ("jsd_tica_0_1", 2)):
        scores += attempt((metric,), lambda m=metric, d=dimensions: _slow(m, d))
    return scores


def validity_scores(generated: Observed, measures: Measures) -> list[Score]:
    """Shares of frames that have the molecule's graph, clash, are its mirror image or another stereoisomer."""

    def _hands() -> list[Score]:
        if not generated.hand.shape[1]:
            raise Unscorable("no_stereocentre", "the molecule has no stereocentre among its modelled atoms")
        wrong = (generated.hand == -1).mean(1)
        return [
            mean_score("right_hand", (generated.hand == 1).mean(0), generated.note),
            mean_score("mirror_images", (wrong == 1).mean(), generated.note),
            mean_score("partly_inverted", ((wrong > 0) & (wrong < 1)).mean(), generated.note),
        ]

    def _isomers() -> list[Score]:
        if not len(measures.double_bonds.cis):
            raise Unscorable("no_stereocentre", "the molecule states no E or Z among its modelled atoms")
        wrong = ~validity.isomers(generated.frames, measures.double_bonds).all(1)
        return [mean_score("wrong_double_bonds", wrong.mean(), generated.note)]

    intact, clashing = validity.graph_and_clashes(generated.frames, measures.contacts)
    shares = (("graph_intact", intact.mean()), ("clashing", clashing.mean()))
    scores = [mean_score(name, share, generated.note) for name, share in shares]
    return scores + attempt(VALIDITY_METRICS[2:5], _hands) + attempt(VALIDITY_METRICS[5:], _isomers)


def dynamics_scores(
    reference: Observed, generated: Observed, interval_ps: float, bins: dynamics.TimeBins
) -> list[Score]:
    """Decorrelation times and frame-to-frame coherence of torsions."""

    def _decorrelation() -> list[Score]:
        lags = bins.lags(interval_ps, reference.length, generated.length)
        wanted, times = (dynamics.times_of(o.series, interval_ps, lags, o.length) for o in (reference, generated))
        known = times[~np.isnan(times)]
        constant = int(np.isnan(times[0]).sum())
        short = len(generated.series) - len(times)
        note = "; ".join(filter(None, [generated.note, f"{constant} torsions do not vary" if constant else "",
                                       f"{short} of {len(generated.series)} unbroken stretches are too short" if short
                                       else ""]))  # fmt: skip
        distance = jensen_shannon(bins.counts(wanted), bins.counts(times))
        medians = [np.median(x) if len(x := t[np.isfinite(t)]) else np.nan for t in (wanted, times)]
        median = (mean_score("decorrelation_ps", medians[1], note, reference_ps=float(medians[0]))
                  if np.isfinite(known).any() else
                  Score("decorrelation_ps", status="unvisited", reason="no torsion decorrelates"))  # fmt: skip
        return [
            mean_score("jsd_decorrelation", distance, note, window_ps=round((lags - 1) * interval_ps, 6)),
            median,
            mean_score("decorrelated_share", np.isfinite(known), note),
        ]

    def _smoothness() -> list[Score]:
        own, wanted = dynamics.coherence(generated.series), dynamics.coherence(reference.series)
        note = generated.note
        return [mean_score("coherence", own, note), mean_score("coherence_difference", own - wanted, note)]

    def _handedness() -> list[Score]:
        return [mean_score("handedness_flips", validity.flips(generated.hand_series), generated.note)]

    scores = attempt(DYNAMICS_METRICS[:3], _decorrelation) + attempt(DYNAMICS_METRICS[3:5], _smoothness)
    return scores + attempt(DYNAMICS_METRICS[5:], _handedness)


def occupancy_scores(reference: Observed, generated: Observed, model: Attempted, interval_ps: float) -> list[Score]:
    """Metastate occupancies, slowest timescale and first passage times against the reference (FACTS 16)."""

    def _populations() -> list[Score]:
        states: msm.MetastateModel = model.get()
        both = [msm.occupancy([states.assign(o.torsion)], states.metastates) for o in (reference, generated)]
        return [mean_score("jsd_occupancy", jensen_shannon(*both), _notes(generated, states),
                           metastates=states.metastates, microstates=len(states.centres),
                           visited=int((both[1] > 0).sum()))]  # fmt: skip

    def _kinetics() -> list[Score]:
        states: msm.MetastateModel = model.get()
        if states.metastates < 2:
            raise Unscorable("no_flux", "the reference has a single metastate")
        lag_ps = states.lag * interval_ps
        own = [states.assign(s) for s in generated.series]
        coarse = msm.markov_model(own, states.lag, states.metastates)
        times, wanted_times = (msm.implied_timescales(t, lag_ps, 1) for t in (coarse.transition, states.transition))
        passage, wanted = (msm.mean_first_passage_times(t, lag_ps) for t in (coarse.transition, states.transition))
        apart = ~np.eye(states.metastates, dtype=bool)
        error = np.abs(np.log10(passage[apart] / wanted[apart]))
        note, spread = _notes(generated, states), states.passage_error[apart]
        known = {"reference_error": float(np.median(spread))} if np.isfinite(spread).all() else {}
        return [
            mean_score("slowest_timescale_ps", times, note, reference_ps=float(wanted_times[0])),
            mean_score("mfpt_error", error, note, **known),
        ]

    return attempt(OCCUPANCY_METRICS[:1], _populations) + attempt(OCCUPANCY_METRICS[1:], _kinetics)


def _notes(generated: Observed, model: msm.MetastateModel) -> str:
    return "; ".join(filter(None, [generated.note, model.note]))
