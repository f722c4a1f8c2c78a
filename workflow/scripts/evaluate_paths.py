"""Score transition paths of generated interpolations, and of the oracle cut to several lengths."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from egi.cli import run, settings_of
from egi.metrics import evaluation, interpolation, stage
from egi.metrics.tables import Tables

log = logging.getLogger("egi.evaluate_paths")


def main(argv: list[str] | None = None) -> None:
    """Trajectories, pairs and samples in, two tables out."""
    flags = stage.flags(__doc__, task=False)
    flags.add_argument("--pairs", type=Path, required=True, help="start and end frames (HDF5)")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)

    oracles = tuple(map(interpolation.oracle_name, interpolation.oracle_fractions(dataset.evaluation.oracle_lengths)))
    inputs = stage.inputs(args, settings, dataset, oracles=oracles)
    score = partial(interpolation.evaluate, pairs=args.pairs)
    outcomes = evaluation.run(score, inputs, interpolation.METRICS)
    rows = [row for outcome in outcomes for row in outcome.rows]
    tables = Tables(args.table, args.per_molecule, interpolation.METRICS, dataset.evaluation.bootstrap, settings.seed)
    log.info("interpolation paths: %s", tables.write(rows, shared=("length_ps",)))


if __name__ == "__main__":
    raise SystemExit(run(main))
