"""Train a trajectory model for one task."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from egi.cli import UserError, parser, run, settings_of
from egi.config import METHODS, PRETRAINED, TASKS
from egi.data.datasets import SegmentDataset
from egi.data.storage import Reader
from egi.models import build, load_structure
from egi.seeds import integer
from egi.training import Run, file_identity, loss_of, train

log = logging.getLogger("egi.finetune")


def main(argv: list[str] | None = None) -> None:
    """Trajectories (and the structure model) in, trajectory model and training curve out."""
    flags = parser(__doc__)
    flags.add_argument("--task", choices=TASKS, required=True)
    flags.add_argument("--method", choices=METHODS, required=True)
    flags.add_argument("--train", type=Path, required=True, help="trajectories to train on (HDF5)")
    flags.add_argument("--val", type=Path, required=True, help="trajectories of the validation loss (HDF5)")
    flags.add_argument("--structure", type=Path, help=f"structure model; needed by {', '.join(PRETRAINED)}")
    flags.add_argument("--output", type=Path, required=True, help="checkpoint to write")
    flags.add_argument("--curve", type=Path, required=True, help="training curve to write (CSV)")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)
    if args.task not in dataset.tasks:
        raise UserError(f"--task {args.task}: dataset {args.dataset} has only {', '.join(dataset.tasks)}")
    if (args.method in PRETRAINED) != (args.structure is not None):
        raise UserError(f"--structure is {args.structure} for method {args.method}; only {PRETRAINED} take one")
    task = dataset.tasks[args.task]
    torch.set_num_threads(settings.threads)

    seed = integer(settings.seed, args.dataset, "finetune", args.task, args.method)
    torch.manual_seed(seed)
    model = build(args.method, dataset.model)
    files = [args.train, args.val]
    if args.structure is not None:
        load_structure(model, args.structure)
        files.append(args.structure)
    with Reader(args.train, "egi-trajectories") as reader:
        interval_ps = float(reader.attributes["interval_ps"])
    identity = {
        "dataset": args.dataset,
        "task": args.task,
        "method": args.method,
        "frames": task.frames,
        "interval_ps": interval_ps,
        "model": dataset.model.plain(),
        "diffusion": dataset.diffusion.plain(),
        "files": file_identity(*files),
    }
    training = Run(task.training, seed, args.output, args.curve, identity, settings.device)
    sets = [SegmentDataset(path, task.frames, seed) for path in (args.train, args.val)]
    steps = train(model, loss_of(args.method, args.task, dataset.diffusion), *sets, training)
    log.info(
        "%s for %s of %s: %d steps on %d trajectories, in %s",
        args.method, args.task, args.dataset, steps, len(sets[0]), args.output,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(main))
