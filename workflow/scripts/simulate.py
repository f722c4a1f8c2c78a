"""Simulate one shard of molecules and write its manifest; a rerun goes on where the last one stopped."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import parser, run, settings_of
from egi.config import SPLITS

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """Parse flags, simulate, write the manifest."""
    made = parser(__doc__)
    made.add_argument("--molecules", type=Path, required=True, help="molecules.csv")
    made.add_argument("--conformers", type=Path, nargs=3, required=True, metavar=("TRAIN", "VAL", "TEST"))
    made.add_argument("--shard", type=int, default=0, help="which shard, counted from 0")
    made.add_argument("--shards", type=int, default=1, help="how many shards there are")
    made.add_argument("--output", type=Path, required=True, help="manifest; molecules' folders are made beside it")
    args = made.parse_args(argv)
    settings, dataset = settings_of(args)

    from egi.md.manifest import read_jobs, write_manifest  # OpenMM is slow to import
    from egi.md.shard import Shard

    conformers = dict(zip(SPLITS, args.conformers, strict=True))
    jobs = read_jobs(args.molecules, conformers, args.shard, args.shards)
    rows = Shard(jobs, dataset.simulation, settings.seed, args.output.parent, settings.threads).run()
    write_manifest(rows, args.output, dataset.simulation.max_failed_fraction)
    usable = sum(row["status"] == "ok" for row in rows)
    log.info("%d replicas of %d molecules, %d rejected: %s", usable, len(jobs), len(rows) - usable, args.output)


if __name__ == "__main__":
    raise SystemExit(run(main))
