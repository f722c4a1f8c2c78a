"""Transition paths of molecules: choice of start and end frames, and scores of methods and of the oracle.

The oracle is cut to several lengths; at each, an MSM is built on it and as many paths are drawn from that as
there are start/end pairs (FACTS 16, point 10). An oracle that never joins the two states scores no valid path
and the largest distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from egi import seeds
from egi.data.storage import MoleculeRecord, Reader, StorageError
from egi.metrics import msm, paths
from egi.metrics.distributions import MAXIMUM
from egi.metrics.ensembles import observe
from egi.metrics.evaluation import Case, Inputs, Outcome, load_case
from egi.metrics.scores import Score, Unscorable, attempt, mean_score
from egi.metrics.tables import Row

METRICS = paths.METRICS


@dataclass(frozen=True)
class Pairs:
    """Start and end frames of one molecule, or why there are none.

    Attributes
    ----------
    molecule : str
    status, reason : str
        'ok' or 'skipped'; the reason of an 'ok' says what was lowered from the settings.
    record : MoleculeRecord or None
    start, end : (pairs, n, 3) ndarray or None
        Å.
    start_state, end_state : int or None
        Metastates.
    flux : float or None
        Between them.
    """

    molecule: str
    status: str
    reason: str
    record: MoleculeRecord | None = None
    start: np.ndarray | None = None
    end: np.ndarray | None = None
    start_state: int | None = None
    end_state: int | None = None
    flux: float | None = None

    def row(self) -> dict:
        """The row of interpolation_pairs.csv."""
        names = ("molecule", "status", "reason", "start_state", "end_state", "flux")
        return {**{name: getattr(self, name) for name in names}, "pairs": 0 if self.start is None else len(self.start)}


def choose_pairs(inputs: Inputs, count: int, molecule: str) -> Pairs:
    """Random start and end frames from the two metastates with the least positive flux between them."""
    case = load_case(inputs, molecule)
    try:
        reference = observe(case.reference, case.measures)
        model: msm.MetastateModel = case.metastates(reference, inputs.settings, inputs.seed).get()
        start, end, flux = paths.least_flux_pair(model.transition, model.stationary)
        rng = seeds.stream(inputs.seed, molecule, "pairs")
        chosen = paths.draw_pairs(model.assign(reference.torsion), start, end, count, rng)
    except Unscorable as error:
        return Pairs(molecule, "skipped", str(error), case.record)
    frames = np.concatenate(case.reference.trajectories)
    frames = frames[np.isfinite(frames).all((1, 2))]
    return Pairs(molecule, "ok", model.note, case.record, frames[chosen[0]], frames[chosen[1]], start, end, flux)


def limited(pairs: list[Pairs], most: int | None, seed: int) -> list[Pairs]:
    """A random subset of the molecules that have pairs; the others become 'skipped' (FACTS 16, point 5)."""
    usable = [p.molecule for p in pairs if p.status == "ok"]
    if most is None or len(usable) <= most:
        return pairs
    kept = set(seeds.stream(seed, "interpolation molecules").permutation(usable)[:most].tolist())
    reason = f"beyond the {most} molecules that the config asks for"
    return [p if p.status != "ok" or p.molecule in kept else replace(p, status="skipped", reason=reason) for p in pairs]


def evaluate(inputs: Inputs, molecule: str, pairs: Path) -> Outcome:
    """Path scores of one molecule for every method and every length of the oracle."""
    case = load_case(inputs, molecule)
    reference = observe(case.reference, case.measures)
    fitted = case.metastates(reference, inputs.settings, inputs.seed)
    rows: list[Row] = []

    def add(method: str, refined: bool, compute, **extra) -> None:
        scores = attempt(METRICS, compute)
        rows.extend(Row(method, refined, molecule, replace(s, extra={**s.extra, **extra})) for s in scores)

    scoring = partial(_Scoring, case, fitted, pairs, inputs)
    generated = [e for e in case.compared if not e.method.startswith("md_oracle")]
    steps_of = generated[0] if generated else None
    for fraction in oracle_fractions(inputs.settings.oracle_lengths):
        add(oracle_name(fraction), False, partial(_oracle, scoring, steps_of, fraction),
            length_ps=round(fraction * (len(case.compared[0].trajectories[0]) - 1) * case.interval_ps, 3))  # fmt: skip
    for ensemble in generated:
        add(ensemble.method, ensemble.refined, partial(_generated, scoring, ensemble),
            length_ps=round((len(ensemble.trajectories[0]) - 1) * case.interval_ps, 3))  # fmt: skip
    for method, refined, why in case.absent:
        rows.extend(Row(method, refined, molecule, replace(why, metric=metric)) for metric in METRICS)
    return Outcome(molecule, rows)


def oracle_fractions(lengths: int) -> np.ndarray:
    """Shares of its length to which the oracle is cut: equally spaced from 10% to 100%."""
    return np.linspace(1 if lengths == 1 else 0.1, 1, lengths)


def oracle_name(fraction: float) -> str:
    """Method name of the oracle cut to a share of its length: ``md_oracle`` when whole, else ``md_oracle_25``."""
    return "md_oracle" if fraction >= 1 else f"md_oracle_{round(100 * fraction)}"


class _Scoring:
    """The reference's metastates with the chosen start and end."""

    def __init__(self, case: Case, fitted, pairs: Path, inputs: Inputs):
        self.case, self.inputs = case, inputs
        self.model: msm.MetastateModel = fitted.get()
        with Reader(pairs, "egi-samples") as reader:
            if case.record.id not in reader.ids:
                raise Unscorable("no_samples", "the molecule has no start and end frames")
            attributes = reader.group(case.record.id).attrs
            self.start, self.end = int(attributes["start_state"]), int(attributes["end_state"])
            self.count = len(reader.group(case.record.id)["start"])
        start, end, _ = paths.least_flux_pair(self.model.transition, self.model.stationary)
        if (start, end) != (self.start, self.end):
            raise StorageError(
                f"{pairs}: {case.record.id} goes from metastate {self.start} to {self.end}, but the reference's MSM "
                f"gives {start} to {end}; select the pairs again with these settings"
            )


def _generated(scoring, ensemble) -> list[Score]:
    now = scoring()
    series = observe(ensemble, now.case.measures).whole()
    states = np.stack([now.model.assign(s) for s in series])
    at_lag, note = paths.at_lag(states, now.model.lag)
    lost = len(ensemble.trajectories) - len(series)
    notes = "; ".join(filter(None, [note, now.model.note, f"{lost} paths not finite, left out" if lost else ""]))
    return paths.path_scores(at_lag, now.model.transition, now.start, now.end, notes)


def _oracle(scoring, steps_of, fraction: float) -> list[Score]:
    now = scoring()
    if steps_of is None:
        raise Unscorable("no_samples", "no method has samples, so the number of steps is open")
    steps = paths.at_lag(np.zeros((1, len(steps_of.trajectories[0])), int), now.model.lag)[0].shape[1] - 1
    series = observe(now.case.compared[0], now.case.measures).series
    states = [now.model.assign(s[: max(1, round(fraction * len(s)))]) for s in series]
    transition = msm.connected_transitions(states, now.model.lag, now.model.metastates)
    rng = seeds.stream(now.inputs.seed, now.case.record.id, "oracle paths", round(100 * fraction))
    try:
        drawn = paths.sample_paths(transition, now.start, now.end, steps, now.count, rng)
    except Unscorable:
        why = "the oracle of this length never joins the two states"
        worst = [mean_score(metric, value, why) for metric, value in zip(METRICS, (MAXIMUM, 0, 0), strict=False)]
        return [*worst, Score(METRICS[3], status="unvisited", reason=why)]
    return paths.path_scores(drawn, now.model.transition, now.start, now.end, now.model.note)
