"""Draw coverage, distributions and examples of generated conformers (paper figures 3 and 7)."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from egi.cli import parser, run
from egi.figures.conformers import EDGES, covmat, histograms_of, read_conformers
from egi.figures.distributions import distributions
from egi.figures.structures import conformer_examples
from egi.figures.style import look, save

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """A per-molecule table, reference and drawn conformers in, three figures (SVG, PNG beside) out."""
    flags = parser(__doc__)
    flags.add_argument("--table", type=Path, required=True, help="conformer_covmat_per_molecule.csv")
    flags.add_argument("--reference", type=Path, required=True, help="test conformers (HDF5)")
    flags.add_argument("--samples", type=Path, required=True, help="drawn conformers (HDF5)")
    flags.add_argument("--molecules", type=int, default=5, help="molecules shown")
    flags.add_argument("--covmat", type=Path, required=True, help="SVG to write")
    flags.add_argument("--distributions", type=Path, required=True, help="SVG to write")
    flags.add_argument("--examples", type=Path, required=True, help="SVG to write")
    args = flags.parse_args(argv)

    conformers = read_conformers(args.reference, args.samples, args.molecules)
    with look():
        save(covmat(pd.read_csv(args.table)), args.covmat)
        save(distributions(histograms_of(conformers), EDGES), args.distributions)
        save(conformer_examples([(record, drawn) for record, _, drawn in conformers]), args.examples)
    log.info("conformers of %d molecules: %s, %s, %s", len(conformers), args.covmat, args.distributions, args.examples)


if __name__ == "__main__":
    raise SystemExit(run(main))
