"""Conformer ensembles of molecules: coverage, matching and distributions, with RDKit's ETKDG as a baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from egi import seeds
from egi.config import EvaluationSettings
from egi.data.storage import Reader
from egi.metrics import nulls
from egi.metrics.comparison import Attempted, distribution_scores
from egi.metrics.conformers import METRICS as RMSD_METRICS
from egi.metrics.conformers import conformer_scores
from egi.metrics.ensembles import Ensemble, measures_of, observe, read_samples
from egi.metrics.evaluation import Outcome
from egi.metrics.scores import Score, Unscorable, attempt
from egi.metrics.tables import Row

METRICS = (*RMSD_METRICS, "jsd_bond_length", "jsd_bond_angle", "jsd_torsion")


@dataclass(frozen=True)
class ConformerInputs:
    """What the evaluation of conformers reads; attributes as in `egi.metrics.evaluation.Inputs`.

    Attributes
    ----------
    conformers : Path
        Reference conformers of the test molecules.
    """

    conformers: Path
    samples: tuple[tuple[str, Path], ...]
    settings: EvaluationSettings
    seed: int


def evaluate(inputs: ConformerInputs, molecule: str) -> Outcome:
    """All scores of one molecule's conformers."""
    with Reader(inputs.conformers, "egi-conformers") as reader:
        record = reader.record(molecule)
        positions = reader.array(molecule, "positions")[:, record.modelled]
    reference = Ensemble("reference", [positions])
    rows: list[Row] = []
    frames = 2 * len(positions)
    sources = []
    for method, path in inputs.samples:
        with Reader(path, "egi-samples") as reader:
            if molecule in reader.ids:
                ensemble = read_samples(reader, molecule, method, record)
                frames = ensemble.frames
                sources.append((method, partial(_given, ensemble)))
            else:
                sources.append((method, partial(_missing, path, molecule)))
    sources.append(("etkdg", partial(nulls.etkdg, record, frames, seeds.integer(inputs.seed, molecule, "etkdg"))))
    for method, source in sources:
        rows += [Row(method, False, molecule, s) for s in _scores(record, reference, source, inputs.settings)]
    return Outcome(molecule, rows)


def _given(ensemble: Ensemble) -> Ensemble:
    return ensemble


def _missing(path: Path, molecule: str) -> Ensemble:
    raise Unscorable("no_samples", f"{path.name} has no {molecule}")


def _scores(record, reference: Ensemble, source, settings: EvaluationSettings) -> list[Score]:
    measures = measures_of(record)
    unused = Attempted(None, Unscorable("too_few_frames", "conformers have no order in time"))

    def _rmsd(ensemble: Ensemble) -> list[Score]:
        generated = np.concatenate(ensemble.trajectories)
        scores = conformer_scores(record, generated, reference.trajectories[0], settings.coverage_threshold_angstrom)
        return [replace(s, reason="; ".join(filter(None, [ensemble.note, s.reason]))) for s in scores]

    def _distributions(ensemble: Ensemble) -> list[Score]:
        both = (observe(e, measures) for e in (reference, ensemble))
        return [s for s in distribution_scores(*both, unused) if s.metric in METRICS]

    try:
        ensemble = source()
    except Unscorable as error:
        return [Score(metric, status=error.status, reason=error.reason) for metric in METRICS]
    return attempt(RMSD_METRICS, partial(_rmsd, ensemble)) + attempt(METRICS[4:], partial(_distributions, ensemble))
