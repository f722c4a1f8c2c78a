"""What refinement did: flagged frames, moved torsions, bonds and angles against an oracle of as many frames."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from egi.cli import parser, run, settings_of
from egi.metrics import refinement
from egi.metrics.tables import Tables

log = logging.getLogger("egi.evaluate_refinement")


def main(argv: list[str] | None = None) -> None:
    """Tables of refinement and of distances in, two tables out."""
    flags = parser(__doc__)
    flags.add_argument("--refined", nargs="+", type=Path, required=True, metavar="CSV", help="METHOD_refined.csv")
    flags.add_argument("--distances", type=Path, required=True, help="TASK_jsd_per_molecule.csv")
    flags.add_argument("--table", type=Path, required=True, help="table to write (CSV), a row a method")
    flags.add_argument("--per-molecule", type=Path, required=True, help="table to write (CSV), a row a molecule")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)

    counted = pd.concat([pd.read_csv(path) for path in args.refined], ignore_index=True)
    rows = refinement.rows(counted, pd.read_csv(args.distances))
    tables = Tables(args.table, args.per_molecule, refinement.METRICS, dataset.evaluation.bootstrap, settings.seed)
    log.info("refinement: %s", tables.write(rows))


if __name__ == "__main__":
    raise SystemExit(run(main))
