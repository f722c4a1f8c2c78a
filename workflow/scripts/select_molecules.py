"""Choose the molecules to simulate and the conformers that their replicas start from."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from egi.cli import UserError, parser, run, settings_of
from egi.config import SPLITS
from egi.data.selection import select_molecules, write_molecules

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Parse the flags, select, log what was made."""
    flags = parser(__doc__)
    flags.add_argument("--conformers", nargs=3, type=Path, required=True, metavar=("TRAIN", "VAL", "TEST"))
    flags.add_argument("--output", type=Path, required=True, help="CSV file to write")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)
    rows = select_molecules(dict(zip(SPLITS, args.conformers, strict=True)), dataset.selection, settings.seed)
    if not rows:
        raise UserError(f"no molecule of {', '.join(map(str, args.conformers))} can be selected")
    write_molecules(args.output, rows)
    counts = Counter(row["split"] for row in rows)
    log.info("made %s: %s molecules, %d replicas each", args.output,
             ", ".join(f"{counts[s]} {s}" for s in SPLITS), dataset.selection.replicas)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(main))
