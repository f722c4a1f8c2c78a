"""Draw generated transition paths, their key frames and statistics (paper figures 5B-D, 6 (A.2), 11, 12)."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from egi.cli import parser, run
from egi.data.storage import Reader
from egi.figures.evaluation import Evaluation
from egi.figures.paths import interpolations, key_frames, path_statistics
from egi.figures.style import look, save

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """An evaluation file, path statistics and one method's samples in, three figures (SVG, PNG beside) out."""
    flags = parser(__doc__)
    flags.add_argument("--evaluation", type=Path, required=True, help="evaluation/interpolation.h5")
    flags.add_argument("--table", type=Path, required=True, help="interpolation_paths.csv")
    flags.add_argument("--samples", type=Path, required=True, help="samples whose paths are drawn (HDF5)")
    flags.add_argument("--molecules", type=int, default=4, help="rows of the surfaces")
    flags.add_argument("--surface", type=Path, required=True, help="SVG to write")
    flags.add_argument("--keyframes", type=Path, required=True, help="SVG to write")
    flags.add_argument("--statistics", type=Path, required=True, help="SVG to write")
    args = flags.parse_args(argv)

    with look(), Evaluation(args.evaluation) as evaluation, Reader(args.samples, "egi-samples") as samples:
        method = str(samples.attributes.get("method", args.samples.stem))
        save(interpolations(evaluation, method, args.molecules), args.surface)
        save(key_frames(evaluation, samples, method), args.keyframes)
        table = pd.read_csv(args.table)
        save(path_statistics(table), args.statistics)
    log.info("paths of %s, statistics of %d rows: %s, %s, %s", method, len(table),
             args.surface, args.keyframes, args.statistics)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(main))
