"""Check every simulated replica and write the quality table: temperature, density, drift, bonds, stereo, verdict."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import parser, run, settings_of
from egi.config import SPLITS

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """Parse flags, assess each replica, write the table."""
    made = parser(__doc__)
    made.add_argument("--manifests", type=Path, nargs="+", required=True, help="md/shard_*.csv")
    made.add_argument("--molecules", type=Path, required=True, help="molecules.csv, for the order of molecules")
    made.add_argument("--conformers", type=Path, nargs=3, required=True, metavar=("TRAIN", "VAL", "TEST"))
    made.add_argument("--output", type=Path, required=True, help="md_quality.csv")
    args = made.parse_args(argv)
    _, dataset = settings_of(args)

    from egi.md.manifest import read_manifests
    from egi.md.quality import assess_all, write_quality

    conformers = dict(zip(SPLITS, args.conformers, strict=True))
    rows = assess_all(read_manifests(args.manifests, args.molecules), conformers, dataset.simulation)
    write_quality(rows, args.output)
    passed = sum(row["verdict"] == "pass" for row in rows)
    log.info("%d of %d replicas pass: %s", passed, len(rows), args.output)


if __name__ == "__main__":
    raise SystemExit(run(main))
