"""Compare decorrelation times and frame-to-frame coherence of torsions with the reference's."""

from __future__ import annotations

import logging

from egi.cli import run, settings_of
from egi.metrics import evaluation, stage

log = logging.getLogger("egi.evaluate_decorrelation")


def main(argv: list[str] | None = None) -> None:
    """Trajectories and samples in, two tables out."""
    args = stage.flags(__doc__).parse_args(argv)
    settings, dataset = settings_of(args)
    made = stage.evaluate(args, settings, dataset, evaluation.dynamics, evaluation.DYNAMICS_METRICS)
    log.info("%s decorrelation: %s", args.task, made)


if __name__ == "__main__":
    raise SystemExit(run(main))
