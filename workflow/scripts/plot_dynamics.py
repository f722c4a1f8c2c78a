"""Draw metastate occupancies, torsion autocorrelations, kinetics and surfaces (paper figures 4C-G, 5A, 9)."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import parser, run
from egi.figures.dynamics import autocorrelations, occupancies
from egi.figures.evaluation import Evaluation
from egi.figures.kinetics import kinetics
from egi.figures.style import SHOWN, look, save
from egi.figures.surfaces import surfaces

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """An evaluation file in, four figures (SVG, PNG beside) out."""
    flags = parser(__doc__)
    flags.add_argument("--evaluation", type=Path, required=True, help="evaluation/TASK.h5")
    flags.add_argument("--methods", nargs="+", default=list(SHOWN), metavar="NAME",
                       help="methods shown beside the reference")  # fmt: skip
    flags.add_argument("--molecules", type=int, default=3, help="rows of each figure")
    flags.add_argument("--occupancy", type=Path, required=True, help="SVG to write")
    flags.add_argument("--autocorrelation", type=Path, required=True, help="SVG to write")
    flags.add_argument("--kinetics", type=Path, required=True, help="SVG to write")
    flags.add_argument("--surface", type=Path, required=True, help="SVG to write")
    args = flags.parse_args(argv)

    with look(), Evaluation(args.evaluation) as evaluation:
        save(occupancies(evaluation, args.methods, args.molecules), args.occupancy)
        save(autocorrelations(evaluation, args.methods, args.molecules), args.autocorrelation)
        save(kinetics(evaluation, args.methods, args.molecules), args.kinetics)
        save(surfaces(evaluation, args.methods, args.molecules), args.surface)
        total = len(evaluation.molecules)
    log.info("dynamics of %d of %d molecules: %s, %s, %s, %s", min(args.molecules, total), total,
             args.occupancy, args.autocorrelation, args.kinetics, args.surface)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(main))
