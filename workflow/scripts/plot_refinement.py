"""Draw one molecule's bonds, angles, torsions and energies, raw and refined, beside the MD's."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import parser, run
from egi.figures.evaluation import Evaluation
from egi.figures.refinement import panels, read_energies
from egi.figures.style import look, save
from egi.metrics.ensembles import sample_files

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """An evaluation file and refined samples in, a figure (SVG, PNG beside) out."""
    flags = parser(__doc__)
    flags.add_argument("--evaluation", type=Path, required=True, help="evaluation/TASK.h5")
    flags.add_argument("--refined", nargs="+", required=True, metavar="METHOD=PATH", help="refined samples (HDF5)")
    flags.add_argument("--molecule", help="molecule to draw; the first with refined bonds by default")
    flags.add_argument("--figure", type=Path, required=True, help="SVG to write")
    args = flags.parse_args(argv)

    files = dict(sample_files(args.refined))
    with look(), Evaluation(args.evaluation) as evaluation:
        refined = [m for method in files for m in evaluation.having("bond_length", method=f"{method}_refined")]
        molecule = args.molecule or next(iter(refined), next(iter(evaluation.molecules), ""))
        save(panels(evaluation, molecule, list(files), read_energies(files, molecule)), args.figure)
    log.info("raw and refined frames of %s: %s", molecule or "no molecule", args.figure)


if __name__ == "__main__":
    raise SystemExit(run(main))
