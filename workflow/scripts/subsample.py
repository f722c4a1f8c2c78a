"""Turn simulated replicas into model trajectories: stride, modelled atoms, no rigid motion, roles in test."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import parser, run, settings_of
from egi.config import SPLITS

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """Parse flags, subsample each split, write the rejects."""
    made = parser(__doc__)
    made.add_argument("--manifests", type=Path, nargs="+", required=True, help="md/shard_*.csv")
    made.add_argument("--molecules", type=Path, required=True, help="molecules.csv, for the order of molecules")
    made.add_argument("--conformers", type=Path, nargs=3, required=True, metavar=("TRAIN", "VAL", "TEST"))
    made.add_argument("--quality", type=Path, help="md_quality.csv; replicas that fail there are left out")
    for split in SPLITS:
        made.add_argument(f"--{split}", type=Path, required=True, help=f"trajectories of {split}")
    made.add_argument("--rejects", type=Path, required=True, help="table of what was left out, and why")
    args = made.parse_args(argv)
    settings, dataset = settings_of(args)

    from egi.md.manifest import apply_quality, read_manifests
    from egi.md.subsample import Picker, subsample_split, write_rejects

    picker = Picker.of(dataset.simulation, dataset.subsample)
    rows = read_manifests(args.manifests, args.molecules)
    if args.quality is not None:
        apply_quality(rows, args.quality)
    interval = float(dataset.subsample.interval_ps)
    provenance = {"seed": settings.seed, "subsample": dataset.subsample.plain(), "interval_ps": interval}
    rejects = []
    for split, conformers in zip(SPLITS, args.conformers, strict=True):
        output = getattr(args, split)
        rejects += subsample_split(rows, split, conformers, output, picker, provenance)
    write_rejects(rejects, args.rejects)
    log.info("%d replicas subsampled to %g ps, %d rows in %s; %s", len(rows), interval, len(rejects), args.rejects,
             ", ".join(str(getattr(args, split)) for split in SPLITS))  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(main))
