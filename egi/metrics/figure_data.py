"""What the figures of a task need, in HDF5 files: `evaluation/{task}.h5`, and `{task}_energies.h5` of the same format.

File attributes: ``format`` (egi-evaluation), ``version``, ``interval_ps``. Datasets ``edges/bond_length``,
``edges/bond_angle``, ``edges/torsion`` [101] in Å and radian. A group ``{molecule}`` with the attribute ``smiles``
and a group in it for each method (``reference``, ``md_oracle``, …; refined frames as ``{method}_refined``) with

===================  ==========================  ==============================================================
dataset              shape                       meaning
===================  ==========================  ==============================================================
``bond_length`` …    [100]                       counts pooled over the molecule's bonds (angles, torsions)
``torsions``         [torsions, 100]             counts of each torsion
``autocorrelation``  [torsions, lags]            mean over trajectories; NaN for a constant torsion
``tica``             [frames, 2]                 at most 5000 frames, evenly spread
``metastate``        [frames]                    metastate of the same frames
``occupancy``        [metastates]                share of frames
``paths``            [<= 12, T, 2]               whole trajectories in TICA space
``jsd_torsion`` …    [torsions]                  distance of each bond, angle, torsion from the reference's
``atoms_torsion`` …  [torsions, 4]               their atoms, as the SDF file counts them from 0; ``reference`` only
``lags_ps``          [lags]                      of ``timescales_ps``; both for ``reference`` only
``timescales_ps``    [lags, 3]                   implied timescales of the microstate MSM; NaN if disconnected
``mfpt_ps``          [metastates, metastates]    mean first passage times, row to column
``mfpt_error``       [metastates, metastates]    standard error of their log10, from the replicas; ``reference`` only
``energy``           [frames]                    kJ/mol a heavy atom above the reference's median; in the other file
===================  ==========================  ==============================================================

A dataset that the molecule cannot have (no torsions, say) is absent, with the reason in the attribute
``missing_{dataset}`` of the group.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from egi.data.storage import Reader, atomic
from egi.metrics import dynamics, msm
from egi.metrics.comparison import Attempted
from egi.metrics.distributions import BINS, LIMITS, histograms
from egi.metrics.ensembles import Observed
from egi.metrics.scores import Unscorable

log = logging.getLogger(__name__)
MOST_FRAMES = 5000
MOST_PATHS = 12
LAG_FACTORS = (0.25, 0.5, 1, 1.5, 2)


@dataclass(frozen=True)
class Arrays:
    """Datasets of one method and molecule, and why others are missing."""

    datasets: dict[str, np.ndarray] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Models:
    """What the arrays are made with.

    Attributes
    ----------
    tica, states : Attempted
        TICA and metastates of the reference.
    bins : dynamics.TimeBins
    interval_ps : float
    """

    tica: Attempted
    states: Attempted
    bins: dynamics.TimeBins
    interval_ps: float


def arrays_of(reference: Observed, others: list[Observed], models: Models) -> dict[str, Arrays]:
    """Arrays for figures by method, the reference's first.

    Parameters
    ----------
    reference : Observed
    others : list of Observed
    models : Models
    """
    made = {seen.name: _arrays(seen, models) for seen in (reference, *others)}
    if models.states.error is None:
        made[reference.name].datasets.update(_timescales(reference, models.states.get(), models.interval_ps))
    return made


def _timescales(reference: Observed, model: msm.MetastateModel, interval_ps: float) -> dict[str, np.ndarray]:
    longest = max(map(len, reference.series)) - 1
    lags = sorted({round(model.lag * factor) for factor in LAG_FACTORS} & set(range(1, longest)))
    micro = [model.microstates_of(s) for s in reference.series]
    times = msm.timescales_by_lag(micro, lags, len(model.centres))
    return {
        "lags_ps": np.array(lags, dtype=float) * interval_ps,
        "timescales_ps": times * interval_ps,
        "mfpt_error": model.passage_error,
    }


def _arrays(seen: Observed, models: Models) -> Arrays:
    made = Arrays()
    for kind, limits in LIMITS.items():
        counts = histograms(getattr(seen, kind), limits)[:, 1:-1]
        made.datasets[kind] = counts.sum(0)
        if kind == "torsion":
            made.datasets["torsions"] = counts
    some = np.unique(np.linspace(0, len(seen.torsion) - 1, min(MOST_FRAMES, len(seen.torsion))).astype(int))

    def _in_metastates():
        model: msm.MetastateModel = models.states.get()
        every = model.assign(seen.torsion)
        return {"metastate": every[some], "occupancy": msm.occupancy([every], model.metastates)}

    def _passage_times():
        model: msm.MetastateModel = models.states.get()
        own = [model.assign(s) for s in seen.series]
        transition = msm.markov_model(own, model.lag, model.metastates).transition
        return {"mfpt_ps": msm.mean_first_passage_times(transition, model.lag * models.interval_ps)}

    def _trajectories():
        return {"paths": np.stack([models.tica.get().project(s, 2) for s in seen.whole()[:MOST_PATHS]])}

    def _autocorrelation():
        lags = models.bins.lags(models.interval_ps, seen.length)
        return {"autocorrelation": dynamics.mean_autocorrelation(seen.series, lags, seen.length)}

    steps = {
        "autocorrelation": _autocorrelation,
        "tica": lambda: {"tica": models.tica.get().project(seen.torsion[some], 2)},
        "metastate": _in_metastates,
        "mfpt_ps": _passage_times,
        "paths": _trajectories,
    }
    for name, step in steps.items():
        try:
            made.datasets.update(step())
        except Unscorable as error:
            made.missing[name] = str(error)
    return made


class FigureFile:
    """Writes molecules into an open file; made by `create`."""

    def __init__(self, file: h5py.File):
        self._file = file

    def add(self, molecule: str, smiles: str, arrays: dict[str, Arrays]) -> None:
        """Write one molecule's arrays."""
        group = self._file.create_group(molecule)
        group.attrs["smiles"] = smiles
        for method, made in arrays.items():
            own = group.create_group(method)
            for name, value in made.datasets.items():
                kind = np.float32 if np.issubdtype(value.dtype, np.floating) else np.int32
                own.create_dataset(name, data=value.astype(kind), compression="gzip")
            own.attrs.update({f"missing_{name}": reason for name, reason in made.missing.items()})


@contextmanager
def create(path: str | Path, interval_ps: float) -> Iterable[FigureFile]:
    """Open a new file; it appears under its name only when complete."""
    with atomic(path) as partial, h5py.File(partial, "w", track_order=True) as file:
        file.attrs.update(format="egi-evaluation", version=1, interval_ps=interval_ps)
        for kind, limits in LIMITS.items():
            file[f"edges/{kind}"] = np.linspace(*limits, BINS + 1)
        yield FigureFile(file)


def smiles_and_interval(trajectories: Path) -> tuple[dict[str, str], float]:
    """SMILES by molecule, and the interval, of a trajectories file."""
    with Reader(trajectories, "egi-trajectories") as reader:
        smiles = {molecule: str(reader.group(molecule).attrs["smiles"]) for molecule in reader.ids}
        return smiles, float(reader.attributes["interval_ps"])
