"""Compare force-field energies of generated frames with those of MD frames, hydrogens relaxed."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from egi.cli import parser, run, settings_of
from egi.config import TASKS
from egi.metrics import energetics, evaluation, figure_data
from egi.metrics.ensembles import sample_files
from egi.metrics.tables import Tables

log = logging.getLogger("egi.evaluate_energies")


def main(argv: list[str] | None = None) -> None:
    """Trajectories and samples in, two tables and the energies of frames out."""
    flags = parser(__doc__)
    flags.add_argument("--task", choices=TASKS, required=True)
    flags.add_argument("--trajectories", type=Path, required=True, help="test trajectories (HDF5)")
    flags.add_argument("--samples", nargs="*", default=[], metavar="METHOD=PATH", help="samples of each method (HDF5)")
    flags.add_argument("--md", type=Path, required=True, help="folder of the simulations, for their charges")
    flags.add_argument("--table", type=Path, required=True, help="table to write (CSV), a row a method")
    flags.add_argument("--per-molecule", type=Path, required=True, help="table to write (CSV), a row a molecule")
    flags.add_argument("--figures-data", type=Path, required=True, help="arrays for figures to write (HDF5)")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)

    inputs = evaluation.Inputs(
        args.trajectories, tuple(sample_files(args.samples)), dataset.evaluation, settings.seed,
        truncate=args.task == "forward", null_models=True,
    )  # fmt: skip
    metrics = energetics.METRICS
    score = partial(evaluation.energies, md=args.md, simulation=dataset.simulation)
    smiles, interval_ps = figure_data.smiles_and_interval(args.trajectories)
    rows = []
    with figure_data.create(args.figures_data, interval_ps) as figures:
        for outcome in evaluation.run(score, inputs, metrics):
            rows += outcome.rows
            figures.add(outcome.molecule, smiles[outcome.molecule], outcome.arrays)
    tables = Tables(args.table, args.per_molecule, metrics, dataset.evaluation.bootstrap, settings.seed)
    log.info("%s energies: %s, %s", args.task, tables.write(rows), args.figures_data)


if __name__ == "__main__":
    raise SystemExit(run(main))
