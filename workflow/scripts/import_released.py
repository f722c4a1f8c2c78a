"""Take over released trajectories of one shard of the molecules, or list the molecules that they are of."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import UserError, parser, run, settings_of
from egi.config import SPLITS
from egi.data.storage import atomic

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """Parse flags, take over, write the manifest and the table of folders."""
    made = parser(__doc__)
    made.add_argument("--released", type=Path, help="folder with train, val and test; else as in the config")
    made.add_argument("--molecules", type=Path, help="molecules.csv")
    made.add_argument("--conformers", type=Path, nargs=3, metavar=("TRAIN", "VAL", "TEST"))
    made.add_argument("--shard", type=int, default=0, help="which shard, counted from 0")
    made.add_argument("--shards", type=int, default=1, help="how many shards there are")
    made.add_argument("--list", action="store_true", help="write only a list of SMILES, for selection.molecule_list")
    made.add_argument("--output", type=Path, required=True, help="manifest (csv); molecules' folders stand beside it")
    args = made.parse_args(argv)
    if not args.list and (args.molecules is None or args.conformers is None):
        raise UserError("give either --list, or --molecules and --conformers")
    _, dataset = settings_of(args)
    simulation = dataset.simulation
    root = args.released or (simulation.released_path and Path(simulation.released_path))
    if not root:
        raise UserError("give --released, or simulation.released_path in the config")

    from egi.md.manifest import read_jobs, write_manifest  # OpenMM is slow to import
    from egi.md.released_import import Release, write_folders

    release = Release(root, simulation, args.output.parent)
    if args.list:
        smiles = release.smiles()
        with atomic(args.output) as partial:
            partial.write_text("".join(f"{line}\n" for line in smiles), encoding="utf-8")
        log.info("%d molecules in the released trajectories: %s", len(smiles), args.output)
        return
    jobs = read_jobs(args.molecules, dict(zip(SPLITS, args.conformers, strict=True)), 0, 1)
    rows, folders = release.take(jobs, args.shard, args.shards)
    table = args.output.with_name(f"released_{args.output.name}")
    write_folders(folders, table)
    write_manifest(rows, args.output, simulation.max_failed_fraction)
    usable = sum(row["status"] == "ok" for row in rows)
    log.info("%d released replicas of %d asked for: %s; each folder: %s", usable, len(rows), args.output, table)


if __name__ == "__main__":
    raise SystemExit(run(main))
