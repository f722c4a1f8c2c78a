"""Read conformers from their source, filter them and store them by split."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.chem.collect import Outputs, collect
from egi.cli import UserError, parser, run, settings_of
from egi.config import SPLITS

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Parse the flags, collect, log what was made."""
    flags = parser(__doc__)
    flags.add_argument("--files", nargs="+", required=True, metavar="SPLIT=PATH", help="train, val, test; or all")
    for split in SPLITS:
        flags.add_argument(f"--{split}", type=Path, required=True, help=f"HDF5 file of the {split} conformers to write")
    flags.add_argument("--rejects", type=Path, required=True, help="CSV file of rejected conformers to write")
    flags.add_argument("--counts", type=Path, required=True, help="CSV file of counts by filter to write")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)
    geom = dataset.geom
    files = files_of(args.files)
    outputs = Outputs({split: getattr(args, split) for split in SPLITS}, args.rejects, args.counts)
    tally = collect(files, geom, settings.seed, outputs, args.dataset)
    made = ", ".join(f"{s} {tally.molecules[s]} molecules {tally.conformers[s]} conformers" for s in SPLITS)
    log.info(
        "made %s; rejected %d (see %s); in %s", made, sum(tally.rejected.values()), args.rejects, args.train.parent
    )


def files_of(flags: list[str]) -> dict[str, Path]:
    """`train=PATH val=PATH test=PATH`, or `all=PATH`, as a dict."""
    files = {}
    for flag in flags:
        split, equals, path = flag.partition("=")
        if not equals or not path or split not in (*SPLITS, "all"):
            raise UserError(f"--files has {flag!r}; wanted SPLIT=PATH with SPLIT one of {', '.join(SPLITS)} or all")
        files[split] = Path(path)
    if set(files) not in ({"all"}, set(SPLITS)):
        raise UserError(f"--files names {', '.join(files)}; wanted all alone, or {', '.join(SPLITS)}")
    return files


if __name__ == "__main__":
    raise SystemExit(run(main))
