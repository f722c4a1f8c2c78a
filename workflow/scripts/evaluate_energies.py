"""Compare force-field energies of generated frames with those of MD frames, hydrogens relaxed."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from egi.cli import run, settings_of
from egi.metrics import energetics, evaluation, stage

log = logging.getLogger("egi.evaluate_energies")


def main(argv: list[str] | None = None) -> None:
    """Trajectories and samples in, two tables and the energies of frames out."""
    flags = stage.flags(__doc__, figures=True)
    flags.add_argument("--md", type=Path, required=True, help="folder of the simulations, for their charges")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)
    score = partial(evaluation.energies, md=args.md, simulation=dataset.simulation)
    made = stage.evaluate(args, settings, dataset, score, energetics.METRICS)
    log.info("%s energies: %s", args.task, made)


if __name__ == "__main__":
    raise SystemExit(run(main))
