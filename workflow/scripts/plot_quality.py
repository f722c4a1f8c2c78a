"""Draw the quality of every simulated replica: temperature, density, drift, bonds, frames, verdicts."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from egi.cli import parser, run, settings_of
from egi.figures.simulation import replica_quality
from egi.figures.style import look, save

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """Quality table in, a figure (SVG, PNG beside) out."""
    flags = parser(__doc__)
    flags.add_argument("--table", type=Path, required=True, help="md_quality.csv")
    flags.add_argument("--quality", type=Path, required=True, help="SVG to write")
    args = flags.parse_args(argv)

    _, dataset = settings_of(args)
    table = pd.read_csv(args.table)
    with look():
        save(replica_quality(table, dataset.simulation), args.quality)
    log.info("quality of %d replicas: %s", len(table), args.quality)


if __name__ == "__main__":
    raise SystemExit(run(main))
