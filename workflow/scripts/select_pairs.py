"""Choose start and end frames of the interpolation task from the reference's metastates."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pandas as pd

from egi.cli import UserError, parser, run, settings_of
from egi.data.storage import Reader, create
from egi.metrics import evaluation, interpolation, tables

log = logging.getLogger("egi.select_pairs")


def main(argv: list[str] | None = None) -> None:
    """Test trajectories in, pairs of frames and a table of molecules out."""
    flags = parser(__doc__)
    flags.add_argument("--trajectories", type=Path, required=True, help="test trajectories (HDF5)")
    flags.add_argument("--output", type=Path, required=True, help="start and end frames to write (HDF5)")
    flags.add_argument("--table", type=Path, required=True, help="table to write (CSV), a row a molecule")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)
    if "interpolation" not in dataset.tasks:
        raise UserError(f"dataset {args.dataset!r} has no task 'interpolation'; it has {', '.join(dataset.tasks)}")
    sampling = dataset.tasks["interpolation"].sampling

    inputs = evaluation.Inputs(args.trajectories, (), dataset.evaluation, settings.seed)
    with Reader(args.trajectories, "egi-trajectories") as reader:
        molecules = reader.ids
        interval_ps = float(reader.attributes["interval_ps"])
    choose = partial(interpolation.choose_pairs, inputs, sampling.samples)
    chosen = list(evaluation.parallel(choose, molecules, dataset.evaluation.workers))
    chosen = interpolation.limited(chosen, sampling.max_molecules, settings.seed)
    usable = [pairs for pairs in chosen if pairs.status == "ok"]
    provenance = {"seed": settings.seed, "evaluation": dataset.evaluation.plain()}
    with create(args.output, "egi-samples", provenance, task="interpolation", interval_ps=interval_ps) as writer:
        for p in usable:
            arrays = {"start": p.start, "end": p.end}
            writer.add(p.record, arrays, start_state=p.start_state, end_state=p.end_state, flux=p.flux)
    tables.write(args.table, pd.DataFrame([pairs.row() for pairs in chosen]))
    log.info("pairs for %d of %d molecules, %d each: %s", len(usable), len(molecules), sampling.samples, args.output)


if __name__ == "__main__":
    raise SystemExit(run(main))
