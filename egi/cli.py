"""What every script shares: the common flags, logging, and a summary at the end."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from egi.config import ConfigError, DatasetSettings, Settings, load_settings

log = logging.getLogger("egi")


class UserError(ValueError):
    """A fault in what the user gave; shown as one line without a traceback."""


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the flags that every script takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    common = made.add_argument_group("common")
    common.add_argument(
        "--config", nargs="+", type=Path, default=[Path("config/config.yaml")], metavar="FILE",
        help="YAML files, later ones overriding",
    )  # fmt: skip
    common.add_argument("--dataset", default="qm9", help="dataset of the config whose settings are used")
    common.add_argument("--seed", type=int, default=None, help="overrides the config's seed")
    common.add_argument("--threads", type=int, default=None, help="overrides the config's threads")
    return made


def settings_of(args: argparse.Namespace) -> tuple[Settings, DatasetSettings]:
    """Settings of the run and of the dataset, with `--seed` and `--threads` applied."""
    settings = load_settings(*args.config)
    given = {"seed": args.seed, "threads": args.threads}
    settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    return settings, settings.dataset(args.dataset)


def run(main, argv: list[str] | None = None) -> int:
    """Run a script's `main(argv)` with logging to stderr; errors of the user's making end in one line."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    try:
        main(argv)
    except (UserError, ConfigError, OSError) as error:  # OSError: a missing file, a full disk
        log.error("%s", error)
        return 2
    except Exception:
        log.exception("stopped by an unexpected error")
        raise
    return 0
