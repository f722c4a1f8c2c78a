"""Train the structure model (BasicES) on conformers."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from egi.cli import parser, run, settings_of
from egi.data.datasets import ConformerDataset
from egi.models import build
from egi.seeds import integer
from egi.training import Run, file_identity, loss_of, train

log = logging.getLogger("egi.pretrain")


def main(argv: list[str] | None = None) -> None:
    """Conformers in, structure model and training curve out."""
    flags = parser(__doc__)
    flags.add_argument("--train", type=Path, required=True, help="conformers to train on (HDF5)")
    flags.add_argument("--val", type=Path, required=True, help="conformers of the validation loss (HDF5)")
    flags.add_argument("--output", type=Path, required=True, help="checkpoint to write")
    flags.add_argument("--curve", type=Path, required=True, help="training curve to write (CSV)")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)
    torch.set_num_threads(settings.threads)

    seed = integer(settings.seed, args.dataset, "pretrain")
    torch.manual_seed(seed)
    model = build("basices", dataset.model)
    identity = {
        "dataset": args.dataset,
        "task": "conformers",
        "frames": 1,
        "interval_ps": 0.0,
        "model": dataset.model.plain(),
        "diffusion": dataset.diffusion.plain(),
        "files": file_identity(args.train, args.val),
    }
    training = Run(dataset.pretraining, seed, args.output, args.curve, identity, settings.device)
    sets = ConformerDataset(args.train, seed), ConformerDataset(args.val, seed)
    steps = train(model, loss_of("basices", "conformers", dataset.diffusion), *sets, training)
    log.info("structure model of %s: %d steps on %d conformers, in %s", args.dataset, steps, len(sets[0]), args.output)


if __name__ == "__main__":
    raise SystemExit(run(main))
