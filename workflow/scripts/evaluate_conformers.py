"""Coverage, matching and distributions of generated conformers, with an ETKDG baseline."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from egi.cli import parser, run, settings_of
from egi.data.storage import Reader
from egi.metrics import conformer_evaluation, evaluation
from egi.metrics.ensembles import check_filled, sample_files
from egi.metrics.tables import Tables

log = logging.getLogger("egi.evaluate_conformers")


def main(argv: list[str] | None = None) -> None:
    """Reference and generated conformers in, two tables out."""
    flags = parser(__doc__)
    flags.add_argument("--conformers", type=Path, required=True, help="reference conformers (HDF5)")
    flags.add_argument(
        "--samples", nargs="*", default=[], metavar="METHOD=PATH", help="generated conformers (METHOD: basices)"
    )
    flags.add_argument("--table", type=Path, required=True, help="table to write (CSV), a row a method")
    flags.add_argument("--per-molecule", type=Path, required=True, help="table to write (CSV), a row a molecule")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)

    given = [text if "=" in text else f"basices={text}" for text in args.samples]
    inputs = conformer_evaluation.ConformerInputs(
        args.conformers, tuple(sample_files(given)), dataset.evaluation, settings.seed
    )
    with Reader(args.conformers, "egi-conformers") as reader:
        molecules = reader.ids
    for _, path in inputs.samples:
        with Reader(path, "egi-samples") as reader:
            check_filled(reader, args.conformers)
    score = partial(conformer_evaluation.evaluate, inputs)
    outcomes = evaluation.parallel(score, molecules, dataset.evaluation.workers)
    rows = [row for outcome in outcomes for row in outcome.rows]
    metrics = conformer_evaluation.METRICS
    tables = Tables(args.table, args.per_molecule, metrics, dataset.evaluation.bootstrap, settings.seed)
    log.info("conformers: %s", tables.write(rows))


if __name__ == "__main__":
    raise SystemExit(run(main))
