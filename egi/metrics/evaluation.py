"""Evaluation of a task's samples, molecule by molecule: read, compare, collect rows and what figures need.

Every function from a molecule to its `Outcome` is here; `run` maps one over the molecules, in processes where
that pays. Which molecules: those of the trajectories file; one without samples from any method is a row with status
``no_samples`` for each method and is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from egi import seeds
from egi.config import EvaluationSettings, SimulationSettings
from egi.data.storage import MoleculeRecord, Reader
from egi.metrics import comparison, energetics, msm, nulls
from egi.metrics.comparison import (
    DISTRIBUTION_METRICS,
    DYNAMICS_METRICS,
    OCCUPANCY_METRICS,
    VALIDITY_METRICS,
    Attempted,
    attempted,
)
from egi.metrics.distributions import LIMITS
from egi.metrics.dynamics import TimeBins
from egi.metrics.ensembles import (
    Ensemble,
    Measures,
    Observed,
    check_filled,
    check_interval,
    check_unit,
    cut,
    frames_of,
    label,
    measures_of,
    observe,
    read_md,
    read_samples,
    truncated,
)
from egi.metrics.figure_data import Arrays, Models, arrays_of
from egi.metrics.scores import Score, Unscorable, attempt
from egi.metrics.tables import Row
from egi.metrics.tica import fit_tica
from egi.parallel import ordered_map

#: below so many molecules a worker, starting processes costs more than it saves
MOLECULES_A_WORKER = 4
FRAME_METRICS = DISTRIBUTION_METRICS + VALIDITY_METRICS


@dataclass(frozen=True)
class Inputs:
    """What an evaluation reads.

    Attributes
    ----------
    trajectories : Path
        Test trajectories.
    samples : tuple of (method, Path)
    settings : EvaluationSettings
    seed : int
    truncate : bool
        Cut samples to the reference's length (forward roll-outs).
    null_models : bool
        Also score `egi.metrics.nulls`.
    oracles : tuple of str
        Rows of the oracle, for molecules that are not computed.
    """

    trajectories: Path
    samples: tuple[tuple[str, Path], ...]
    settings: EvaluationSettings
    seed: int
    truncate: bool = False
    null_models: bool = False
    oracles: tuple[str, ...] = ("md_oracle", "md_oracle_matched")


@dataclass(frozen=True)
class Outcome:
    """Rows of one molecule, and arrays for figures by method."""

    molecule: str
    rows: list[Row]
    arrays: dict[str, Arrays] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One molecule with its ensembles.

    Attributes
    ----------
    record : MoleculeRecord
    measures : Measures
    interval_ps : float
    reference : Ensemble
    compared : list of Ensemble
        Oracle, matched oracle, methods, null models.
    absent : list of (method, refined, Score)
        Methods without samples of this molecule, and null models that failed.
    """

    record: MoleculeRecord
    measures: Measures
    interval_ps: float
    reference: Ensemble
    compared: list[Ensemble]
    absent: list[tuple[str, bool, Score]]

    def tica(self, reference: Observed, settings: EvaluationSettings) -> Attempted:
        """TICA of the reference."""
        lag = frames_of(self.interval_ps, settings.tica_lag_ps, "evaluation.tica_lag")
        return attempted(lambda: fit_tica(reference.series, lag))

    def metastates(self, reference: Observed, settings: EvaluationSettings, seed: int) -> Attempted:
        """Metastates of the reference."""
        lag = frames_of(self.interval_ps, settings.msm_lag_ps, "evaluation.msm_lag")
        tica = self.tica(reference, settings)
        return attempted(
            lambda: msm.fit_metastates(reference.series, tica.get(), lag, settings.microstates, settings.metastates,
                                       seeds.integer(seed, self.record.id, "kmeans"), reference.replicas)
        )  # fmt: skip


def load_case(inputs: Inputs, molecule: str) -> Case:
    """Read one molecule's reference, oracle and samples, and draw the null models."""
    with Reader(inputs.trajectories, "egi-trajectories") as reader:
        record = reader.record(molecule)
        reference, oracle = read_md(reader, molecule)
        interval_ps = float(reader.attributes["interval_ps"])
    measures = measures_of(record)
    check_unit(inputs.trajectories, reference, measures.contacts)
    generated, absent = [], []
    for method, path in inputs.samples:
        with Reader(path, "egi-samples") as reader:
            check_interval(reader, interval_ps)
            if molecule not in reader.ids:
                refined = bool(reader.attributes.get("refined", False))
                reason = f"{path.name} has no {molecule}"
                absent.append((method, refined, Score("", status="no_samples", reason=reason)))
                continue
            ensemble = read_samples(reader, molecule, method, record)
        check_unit(path, ensemble, measures.contacts)
        length = max(map(len, reference.trajectories))
        generated.append(truncated(ensemble, length) if inputs.truncate else ensemble)
    compared = [oracle]
    if generated:
        fewest = min(generated, key=lambda ensemble: ensemble.frames)
        compared += [cut(oracle, fewest, "md_oracle_matched"), *generated]
        if inputs.null_models:
            drawn, failed = null_models(record, reference, fewest.frames, inputs.seed)
            compared += drawn
            absent += failed
    return Case(record, measures, interval_ps, reference, compared, absent)


def null_models(record: MoleculeRecord, reference: Ensemble, frames: int, seed: int):
    """Null models with so many frames, and (method, refined, Score) of those that failed."""
    drawn = [nulls.shuffled(reference, frames, seeds.stream(seed, record.id, "shuffled_md"))]
    try:
        drawn.insert(0, nulls.etkdg(record, frames, seeds.integer(seed, record.id, "etkdg")))
    except Unscorable as error:
        return drawn, [("etkdg", False, Score("", status=error.status, reason=error.reason))]
    return drawn, []


def _score_all(case: Case, metrics: tuple[str, ...], score: Callable[[Observed], list[Score]]):
    """Rows and observations of every ensemble of a molecule."""
    rows, observed = [], []
    absent = list(case.absent)
    for ensemble in case.compared:
        try:
            seen = observe(ensemble, case.measures)
        except Unscorable as error:
            absent.append((ensemble.method, ensemble.refined, Score("", status=error.status, reason=error.reason)))
            continue
        rows += [Row(ensemble.method, ensemble.refined, case.record.id, s) for s in score(seen)]
        observed.append(seen)
    rows += [Row(method, refined, case.record.id, Score(metric, status=why.status, reason=why.reason))
             for method, refined, why in absent for metric in metrics]  # fmt: skip
    return rows, observed


def distributions(inputs: Inputs, molecule: str) -> Outcome:
    """Distributions and validity of one molecule's frames, and the arrays that the figures of the task need."""
    return distributions_of(load_case(inputs, molecule), inputs.settings, inputs.seed)


def distributions_of(case: Case, settings: EvaluationSettings, seed: int) -> Outcome:
    """The same from a case."""
    reference = observe(case.reference, case.measures)
    tica = case.tica(reference, settings)

    def _score(seen: Observed) -> list[Score]:
        scores = comparison.distribution_scores(reference, seen, tica)
        return scores + comparison.validity_scores(seen, case.measures)

    rows, observed = _score_all(case, FRAME_METRICS, _score)
    states = case.metastates(reference, settings, seed)
    models = Models(tica, states, time_bins(settings), case.interval_ps)
    arrays = arrays_of(reference, observed, models)
    for kind, atoms in zip(LIMITS, astuple(case.measures.coordinates), strict=True):
        arrays[reference.name].datasets[f"atoms_{kind}"] = case.record.modelled[atoms]
        for row in (r for r in rows if r.score.metric == f"jsd_{kind}" and r.score.value is not None):
            arrays[label(row.method, row.refined)].datasets[row.score.metric] = row.score.each
    return Outcome(case.record.id, rows, arrays)


def time_bins(settings: EvaluationSettings) -> TimeBins:
    """Histogram of decorrelation times."""
    return TimeBins(float(settings.decorrelation_bin_ps), float(settings.decorrelation_maximum_ps))


def dynamics(inputs: Inputs, molecule: str) -> Outcome:
    """Decorrelation and coherence of one molecule."""
    return dynamics_of(load_case(inputs, molecule), inputs.settings)


def dynamics_of(case: Case, settings: EvaluationSettings) -> Outcome:
    """The same from a case."""
    reference = observe(case.reference, case.measures)
    score = partial(comparison.dynamics_scores, reference, interval_ps=case.interval_ps, bins=time_bins(settings))
    return Outcome(case.record.id, _score_all(case, DYNAMICS_METRICS, score)[0])


def occupancies(inputs: Inputs, molecule: str) -> Outcome:
    """Metastate occupancies and kinetics of one molecule."""
    return occupancies_of(load_case(inputs, molecule), inputs.settings, inputs.seed)


def occupancies_of(case: Case, settings: EvaluationSettings, seed: int) -> Outcome:
    """The same from a case."""
    reference = observe(case.reference, case.measures)
    states = case.metastates(reference, settings, seed)
    score = partial(comparison.occupancy_scores, reference, model=states, interval_ps=case.interval_ps)
    return Outcome(case.record.id, _score_all(case, OCCUPANCY_METRICS, score)[0])


def energies(inputs: Inputs, molecule: str, md: Path, simulation: SimulationSettings) -> Outcome:
    """Force-field energies of one molecule's frames; `md` is the folder of the simulations, for their charges."""
    case = load_case(inputs, molecule)
    heavy = int((case.record.atomic_numbers > 1).sum())

    def _model() -> tuple[energetics.GasPhase, np.ndarray, str]:
        charges, note = energetics.charges_of(case.record, md, simulation, inputs.seed)
        gas = energetics.gas_phase(case.record, charges, simulation.force_field)
        return gas, gas.energies(energetics.evenly(observe(case.reference, case.measures).frames)), note

    fitted = attempted(_model)
    arrays: dict[str, Arrays] = {}

    def _score(seen: Observed) -> list[Score]:
        def _scores() -> list[Score]:
            gas, reference, note = fitted.get()
            own = gas.energies(energetics.evenly(seen.frames))
            scores = energetics.energy_scores(reference, own, heavy, "; ".join(filter(None, [seen.note, note])))
            for name, found in (("reference", reference), (seen.name, own)):
                arrays[name] = Arrays({"energy": energetics.excess(found, reference, heavy)})
            return scores

        return attempt(energetics.METRICS, _scores)

    rows = _score_all(case, energetics.METRICS, _score)[0]
    return Outcome(molecule, rows, arrays)


def run(function: Callable[[Inputs, str], Outcome], inputs: Inputs, metrics: tuple[str, ...]) -> Iterator[Outcome]:
    """Outcomes of all molecules in order.

    Parameters
    ----------
    function : callable
        From inputs and a molecule id to its outcome; a module-level function.
    inputs : Inputs
    metrics : tuple of str
        For the rows of molecules without samples.
    """
    with Reader(inputs.trajectories, "egi-trajectories") as reader:
        molecules = reader.ids
    sampled = set() if inputs.samples else set(molecules)
    methods = [(name, False) for name in (*inputs.oracles, *(nulls.METHODS if inputs.null_models else ()))]
    for method, path in inputs.samples:
        with Reader(path, "egi-samples") as reader:
            methods.append((method, bool(reader.attributes.get("refined", False))))
            sampled |= set(reader.ids)
            check_filled(reader, inputs.trajectories)
    wanted = [m for m in molecules if m in sampled]
    for molecule in (m for m in molecules if m not in sampled):
        why = partial(Score, status="no_samples", reason="no method has samples of this molecule")
        yield Outcome(molecule, [Row(*method, molecule, why(metric)) for method in methods for metric in metrics])
    yield from parallel(partial(function, inputs), wanted, inputs.settings.workers)


def parallel(function: Callable[[str], Outcome], molecules: list[str], workers: int) -> Iterator[Outcome]:
    """Map a function over molecules, in processes of one thread where there are enough molecules."""
    bar = partial(tqdm, total=len(molecules), desc="molecules", disable=None)
    workers = max(1, min(workers, len(molecules) // MOLECULES_A_WORKER))
    yield from bar(ordered_map(partial(_one_thread, function), molecules, workers, batch=1))


def _one_thread(function: Callable[[str], Outcome], molecule: str) -> Outcome:
    with threadpool_limits(1):
        return function(molecule)
