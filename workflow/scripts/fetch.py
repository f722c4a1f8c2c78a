"""Bring an archive to a path: download it by URL or DOI, or link a local file or folder."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from egi.cli import run
from egi.data.fetch import fetch

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Parse the flags, fetch, log what was made."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    flags.add_argument("--source", required=True, help="URL, doi:10.5281/zenodo.N/FILE, or a local path")
    flags.add_argument("--output", type=Path, required=True, help="path to write")
    flags.add_argument("--checksum", help="md5:... or sha256:...")
    args = flags.parse_args(argv)
    made = fetch(args.source, args.output, args.checksum)
    size = f"{made.stat().st_size / 1e6:.1f} MB" if made.is_file() else "folder"
    log.info("made %s (%s) from %s", made, size, args.source)


if __name__ == "__main__":
    raise SystemExit(run(main))
