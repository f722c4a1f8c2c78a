"""The command `egi`: one subcommand a module of `egi.commands`.

A module gives ``HELP``, ``add_flags(parser)`` and ``main(args)``; only the chosen one is imported.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from egi.cli import run

COMMANDS = ("generate", "evaluate", "refine")


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="egi", description="Molecular trajectories from a generative model.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{" + ",".join(COMMANDS) + "}")
    for name in [name for name in COMMANDS if argv[:1] == [name]] or COMMANDS:
        module = import_module(f"egi.commands.{name}")
        module.add_flags(commands.add_parser(name, help=module.HELP, description=module.__doc__,
                                             formatter_class=argparse.ArgumentDefaultsHelpFormatter))  # fmt: skip
    args = parser.parse_args(argv)
    return run(lambda _: import_module(f"egi.commands.{args.command}").main(args))


if __name__ == "__main__":
    raise SystemExit(main())
