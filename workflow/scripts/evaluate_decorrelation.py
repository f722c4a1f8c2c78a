"""Compare decorrelation times and frame-to-frame coherence of torsions with the reference's."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import parser, run, settings_of
from egi.config import TASKS
from egi.metrics import evaluation
from egi.metrics.ensembles import sample_files
from egi.metrics.tables import Tables

log = logging.getLogger("egi.evaluate_decorrelation")


def main(argv: list[str] | None = None) -> None:
    """Trajectories and samples in, two tables out."""
    flags = parser(__doc__)
    flags.add_argument("--task", choices=TASKS, required=True)
    flags.add_argument("--trajectories", type=Path, required=True, help="test trajectories (HDF5)")
    flags.add_argument("--samples", nargs="*", default=[], metavar="METHOD=PATH", help="samples of each method (HDF5)")
    flags.add_argument("--table", type=Path, required=True, help="table to write (CSV), a row a method")
    flags.add_argument("--per-molecule", type=Path, required=True, help="table to write (CSV), a row a molecule")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)

    inputs = evaluation.Inputs(
        args.trajectories, tuple(sample_files(args.samples)), dataset.evaluation, settings.seed,
        truncate=args.task == "forward", null_models=True,
    )  # fmt: skip
    metrics = evaluation.DYNAMICS_METRICS
    rows = [row for outcome in evaluation.run(evaluation.dynamics, inputs, metrics) for row in outcome.rows]
    tables = Tables(args.table, args.per_molecule, metrics, dataset.evaluation.bootstrap, settings.seed)
    log.info("%s decorrelation: %s", args.task, tables.write(rows))


if __name__ == "__main__":
    raise SystemExit(run(main))
