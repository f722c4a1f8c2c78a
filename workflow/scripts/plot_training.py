"""Draw loss curves of every model and the interpolation weights alpha of every layer (paper figures 13-16)."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from egi.cli import parser, run
from egi.config import TASKS
from egi.figures.style import look, name_of, save
from egi.figures.training import alpha_logits, training_curves
from egi.models import load

log = logging.getLogger("egi")


def main(argv: list[str] | None = None) -> None:
    """Training curves and checkpoints in, two figures (SVG, PNG beside) out."""
    flags = parser(__doc__)
    flags.add_argument("--curves", nargs="+", type=Path, required=True, metavar="CSV",
                       help="models/structure.csv and models/TASK/METHOD.csv")  # fmt: skip
    flags.add_argument("--checkpoints", nargs="*", type=Path, default=[], metavar="CKPT",
                       help="models/TASK/METHOD.ckpt of models with interpolation weights")  # fmt: skip
    flags.add_argument("--training", type=Path, required=True, help="SVG to write")
    flags.add_argument("--alphas", type=Path, required=True, help="SVG to write")
    args = flags.parse_args(argv)

    curves: dict[str, dict[str, pd.DataFrame]] = {}
    for path in args.curves:
        stage = path.parent.name if path.parent.name in TASKS else "pretraining"
        curves.setdefault(stage, {})[path.stem] = pd.read_csv(path)
    models = {f"{path.parent.name}: {name_of(path.stem)}": load(path) for path in args.checkpoints}
    logits = {title: model.alphas() for title, model in models.items() if hasattr(model, "alphas")}
    with look():
        save(training_curves(curves), args.training)
        save(alpha_logits(logits), args.alphas)
    log.info(
        "%d training curves: %s; weights of %d models: %s", len(args.curves), args.training, len(logits), args.alphas
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
