"""Score transition paths of generated interpolations, and of the oracle cut to several lengths."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from egi.cli import parser, run, settings_of
from egi.metrics import evaluation, interpolation
from egi.metrics.ensembles import sample_files
from egi.metrics.tables import Tables

log = logging.getLogger("egi.evaluate_paths")


def main(argv: list[str] | None = None) -> None:
    """Trajectories, pairs and samples in, two tables out."""
    flags = parser(__doc__)
    flags.add_argument("--trajectories", type=Path, required=True, help="test trajectories (HDF5)")
    flags.add_argument("--pairs", type=Path, required=True, help="start and end frames (HDF5)")
    flags.add_argument("--samples", nargs="*", default=[], metavar="METHOD=PATH", help="samples of each method (HDF5)")
    flags.add_argument("--table", type=Path, required=True, help="table to write (CSV), a row a method")
    flags.add_argument("--per-molecule", type=Path, required=True, help="table to write (CSV), a row a molecule")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)

    oracles = tuple(map(interpolation.oracle_name, interpolation.oracle_fractions(dataset.evaluation.oracle_lengths)))
    samples = tuple(sample_files(args.samples))
    inputs = evaluation.Inputs(args.trajectories, samples, dataset.evaluation, settings.seed, oracles=oracles)
    score = partial(interpolation.evaluate, pairs=args.pairs)
    outcomes = evaluation.run(score, inputs, interpolation.METRICS)
    rows = [row for outcome in outcomes for row in outcome.rows]
    tables = Tables(args.table, args.per_molecule, interpolation.METRICS, dataset.evaluation.bootstrap, settings.seed)
    log.info("interpolation paths: %s", tables.write(rows, shared=("length_ps",)))


if __name__ == "__main__":
    raise SystemExit(run(main))
