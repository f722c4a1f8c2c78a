"""Draw force-field energies of frames beside the reference's."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import parser, run
from egi.figures.energies import energies
from egi.figures.evaluation import Evaluation
from egi.figures.style import SHOWN, look, save

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """An evaluation file with energies in, a figure (SVG, PNG beside) out."""
    flags = parser(__doc__)
    flags.add_argument("--evaluation", type=Path, required=True, help="evaluation/TASK_energies.h5")
    flags.add_argument("--methods", nargs="+", default=[*SHOWN, "etkdg"], metavar="NAME",
                       help="methods shown beside the reference")  # fmt: skip
    flags.add_argument("--molecules", type=int, default=3, help="rows")
    flags.add_argument("--output", type=Path, required=True, help="SVG to write")
    args = flags.parse_args(argv)

    with look(), Evaluation(args.evaluation) as evaluation:
        save(energies(evaluation, args.methods, args.molecules), args.output)
        total = len(evaluation.molecules)
    log.info("energies of %d of %d molecules: %s", min(args.molecules, total), total, args.output)


if __name__ == "__main__":
    raise SystemExit(run(main))
