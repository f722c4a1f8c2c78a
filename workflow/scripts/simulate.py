"""Simulate one shard of molecules, or one SMILES by hand; a rerun goes on where the last one stopped."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from egi.cli import UserError, parser, run, settings_of
from egi.config import SPLITS

log = logging.getLogger("egi")


def flags() -> argparse.ArgumentParser:
    """Flags of this script."""
    made = parser(__doc__)
    made.add_argument("--molecules", type=Path, help="molecules.csv")
    made.add_argument("--conformers", type=Path, nargs=3, metavar=("TRAIN", "VAL", "TEST"))
    made.add_argument("--shard", type=int, default=0, help="which shard, counted from 0")
    made.add_argument("--shards", type=int, default=1, help="how many shards there are")
    made.add_argument("--smiles", help="one molecule by hand, instead of --molecules and --conformers")
    made.add_argument("--name", default="molecule", help="its name, with --smiles")
    made.add_argument("--replicas", type=int, default=None, help="with --smiles; else as in the config")
    made.add_argument("--dry-run", action="store_true", help="build and report sizes and cost; simulate nothing")
    made.add_argument("--output", type=Path, required=True, help="manifest (csv); molecules' folders stand beside it")
    return made


def main(argv: list[str] | None = None) -> None:
    """Parse flags, simulate, write the manifest."""
    args = flags().parse_args(argv)
    if (args.smiles is None) == (args.molecules is None or args.conformers is None):
        raise UserError("give either --smiles, or --molecules and --conformers")
    settings, dataset = settings_of(args)
    simulation = dataset.simulation.model_copy(update={"shards": args.shards})
    folder = args.output.parent

    from egi.md.manifest import job_of_smiles, read_jobs, write_manifest  # OpenMM is slow to import
    from egi.md.shard import Shard

    if args.smiles is not None:
        replicas = dataset.selection.replicas if args.replicas is None else args.replicas
        jobs = [job_of_smiles(args.smiles, args.name, replicas, settings.seed)]
    else:
        conformers = dict(zip(SPLITS, args.conformers, strict=True))
        jobs = read_jobs(args.molecules, conformers, args.shard, args.shards)
    if args.dry_run:
        from egi.md.estimate import estimate

        rows = estimate(jobs, simulation, settings.seed, folder, settings.threads)
        for row in rows:
            log.info("%s", ", ".join(f"{name} {value}" for name, value in row.items()))
        hours = sum(row.get("hours", 0) for row in rows)
        log.info("dry run: %d molecules, %.2f hours one after the other; builds are in %s", len(rows), hours, folder)
        return
    rows = Shard(jobs, simulation, settings.seed, folder, settings.threads).run()
    write_manifest(rows, args.output, simulation.max_failed_fraction)
    usable = sum(row["status"] == "ok" for row in rows)
    log.info("%d replicas of %d molecules, %d rejected: %s", usable, len(jobs), len(rows) - usable, args.output)


if __name__ == "__main__":
    raise SystemExit(run(main))
