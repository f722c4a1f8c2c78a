"""Compare occupancies of the reference's metastates, and the kinetics between them."""

from __future__ import annotations

import logging

from egi.cli import run, settings_of
from egi.metrics import evaluation, stage

log = logging.getLogger("egi.evaluate_occupancy")


def main(argv: list[str] | None = None) -> None:
    """Trajectories and samples in, two tables out."""
    args = stage.flags(__doc__).parse_args(argv)
    settings, dataset = settings_of(args)
    made = stage.evaluate(args, settings, dataset, evaluation.occupancies, evaluation.OCCUPANCY_METRICS)
    log.info("%s occupancy: %s", args.task, made)


if __name__ == "__main__":
    raise SystemExit(run(main))
