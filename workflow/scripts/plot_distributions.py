"""Draw distributions of bonds, angles and torsions, and the JSD of each method (paper figures 4A-B, 6, 8, 10)."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from egi.cli import parser, run
from egi.figures.distributions import distributions, histograms_of, jsd_bars
from egi.figures.evaluation import Evaluation
from egi.figures.style import SHOWN, look, save

log = logging.getLogger("egi")
PANELS = ("jsd_bond_length", "jsd_bond_angle", "jsd_torsion", "jsd_decorrelation", "jsd_tica_0", "jsd_tica_0_1")


def main(argv: list[str] | None = None) -> None:
    """An evaluation file and its per-molecule tables in, two figures (SVG, PNG beside) out."""
    flags = parser(__doc__)
    flags.add_argument("--evaluation", type=Path, required=True, help="evaluation/TASK.h5")
    flags.add_argument("--table", type=Path, required=True, help="TASK_jsd_per_molecule.csv")
    flags.add_argument("--decorrelation", type=Path, help="TASK_decorrelation_per_molecule.csv, for one more panel")
    flags.add_argument("--methods", nargs="+", default=list(SHOWN), metavar="NAME",
                       help="methods whose distributions are drawn beside the reference's")  # fmt: skip
    flags.add_argument("--molecules", type=int, default=5, help="columns of the distributions")
    flags.add_argument("--distributions", type=Path, required=True, help="SVG to write")
    flags.add_argument("--jsd", type=Path, required=True, help="SVG to write")
    args = flags.parse_args(argv)

    tables = [pd.read_csv(path) for path in (args.table, args.decorrelation) if path]
    if any("metric" not in table for table in tables):
        log.warning("a table without the column 'metric' has no values a molecule and is left out")
    scores = pd.concat([table for table in tables if "metric" in table])
    with look(), Evaluation(args.evaluation) as evaluation:
        shown = histograms_of(evaluation, args.methods, args.molecules)
        save(distributions(shown, evaluation.edges), args.distributions)
        save(jsd_bars(scores, PANELS), args.jsd)
    log.info("distributions of %d molecules: %s; JSD of %d methods: %s",
             len(shown), args.distributions, scores["method"].nunique(), args.jsd)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(main))
