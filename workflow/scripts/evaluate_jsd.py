"""Compare bonds, angles, torsions and TICA components of generated frames with the reference's."""

from __future__ import annotations

import logging

from egi.cli import run, settings_of
from egi.metrics import evaluation, stage

log = logging.getLogger("egi.evaluate_jsd")


def main(argv: list[str] | None = None) -> None:
    """Trajectories and samples in, two tables and the arrays for figures out."""
    args = stage.flags(__doc__, figures=True).parse_args(argv)
    settings, dataset = settings_of(args)
    made = stage.evaluate(args, settings, dataset, evaluation.distributions, evaluation.FRAME_METRICS)
    log.info("%s distributions: %s", args.task, made)


if __name__ == "__main__":
    raise SystemExit(run(main))
