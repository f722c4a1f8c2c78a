"""Time the evaluation of one drug-like molecule at the paper's sizes on one core.

    python benchmarks/evaluate.py [--molecules 100]

Reference: 4 replicas x 5 phases x 960 frames; oracle 5 x 960; generated 5 x 960. The last line is one JSON object:
``distribution_seconds`` (bond, angle, torsion and TICA distances of one method, the reference measured and TICA fitted
included; goal: under 2) and ``msm_seconds`` (metastates, occupancies, kinetics; goal: under 10). With `--molecules`, so
many copies of it are evaluated as `evaluate_jsd.py` does, by one process and by two (``two_processes_speedup``), and
the peak memory of the one is read after 10 molecules and after all.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from egi.chem.molecules import record_of
from egi.config import EvaluationSettings
from egi.data.storage import create
from egi.metrics import comparison, evaluation
from egi.metrics.ensembles import observe

SMILES = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)NCCN1CCC(CC1)c1ccc(F)cc1"
INTERVAL_PS = 5.2
REPLICAS, PHASES, FRAMES, SAMPLES = 5, 5, 960, 5
log = logging.getLogger("benchmark")


def walks(conformers: np.ndarray, trajectories: int, rng: np.random.Generator) -> np.ndarray:
    """Trajectories [trajectories, n, frames, 3] that hop between conformers slowly, with thermal noise."""
    states = np.empty((trajectories, FRAMES), int)
    states[:, 0] = rng.integers(len(conformers), size=trajectories)
    for t in range(1, FRAMES):
        move = rng.random(trajectories) < 0.05
        states[:, t] = np.where(move, rng.integers(len(conformers), size=trajectories), states[:, t - 1])
    noise = rng.normal(0, 0.05, (*states.shape, *conformers.shape[1:]))
    return (conformers[states] + noise).transpose(0, 2, 1, 3).astype(np.float32)


def write(folder: Path, molecules: int) -> tuple[Path, Path]:
    """Trajectories and samples of `molecules` copies of the molecule."""
    mol = Chem.AddHs(Chem.MolFromSmiles(SMILES))
    ids = list(rdDistGeom.EmbedMultipleConfs(mol, 40, randomSeed=1))
    positions = np.stack([mol.GetConformer(i).GetPositions() for i in ids])
    reference, samples = folder / "test.h5", folder / "egi.h5"
    with (
        create(reference, "egi-trajectories", {}, interval_ps=INTERVAL_PS) as md,
        create(samples, "egi-samples", {}, interval_ps=INTERVAL_PS, refined=False) as drawn,
    ):
        for k in range(molecules):
            rng, record = np.random.default_rng(k), record_of(Chem.Mol(mol), f"m{k}")
            conformers = positions[:, record.modelled]
            md.add(record, {f"replica_{r}": walks(conformers, PHASES, rng) for r in range(REPLICAS)})
            for r in range(REPLICAS):
                md.label(record.id, f"replica_{r}", role="oracle" if r == REPLICAS - 1 else "reference")
            drawn.add(record, {"samples": walks(conformers, SAMPLES, rng)})
    return reference, samples


def timed(function) -> float:
    """Best of three, seconds."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def one_method(case: evaluation.Case, settings: EvaluationSettings) -> None:
    """Distribution metrics of one method from coordinates."""
    reference = observe(case.reference, case.measures)
    generated = observe(case.compared[-1], case.measures)
    comparison.distribution_scores(reference, generated, case.tica(reference, settings))


def metastates(case: evaluation.Case, settings: EvaluationSettings) -> None:
    """MSM of the reference and scores of one method."""
    reference = observe(case.reference, case.measures)
    generated = observe(case.compared[-1], case.measures)
    states = case.metastates(reference, settings, 0)
    comparison.occupancy_scores(reference, generated, states, case.interval_ps)


def wall(inputs: evaluation.Inputs, workers: int) -> tuple[float, list[int]]:
    """Seconds for all molecules, and this process's peak memory in MB after each; rows are kept, as the scripts do."""
    settings = inputs.settings.model_copy(update={"workers": workers})
    inputs = evaluation.Inputs(inputs.trajectories, inputs.samples, settings, inputs.seed)
    rows, peaks = [], []
    start = time.perf_counter()
    for outcome in evaluation.run(evaluation.distributions, inputs, evaluation.FRAME_METRICS):
        rows += outcome.rows
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    return time.perf_counter() - start, peaks


def main() -> None:
    """Measure and print."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--molecules", type=int, default=0, help="time so many with one and two processes")
    args = flags.parse_args()
    settings = EvaluationSettings.model_validate(
        {"coverage_threshold": "1.25 angstrom", "tica_lag": "20.8 ps", "msm_lag": "104 ps"}
    )
    with tempfile.TemporaryDirectory() as folder:
        trajectories, samples = write(Path(folder), max(1, args.molecules))
        inputs = evaluation.Inputs(trajectories, (("egi", samples),), settings, 0)
        case = evaluation.load_case(inputs, "m0")
        result = {name: round(timed(partial(function, case, settings)), 3) for name, function in
                  (("distribution_seconds", one_method), ("msm_seconds", metastates))}  # fmt: skip
        if args.molecules:
            one, peaks = wall(inputs, 1)
            two, _ = wall(inputs, 2)
            result |= {
                "molecules": args.molecules, "one_process_seconds": round(one, 1),
                "two_processes_seconds": round(two, 1), "two_processes_speedup": round(one / two, 2),
                "peak_memory_mb_after_10": peaks[:10][-1], "peak_memory_mb": peaks[-1],
            }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
