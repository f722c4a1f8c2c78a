"""Draw samples of the test molecules from a trained model."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import torch
from tqdm import tqdm

from egi import generation
from egi.cli import UserError, parser, run, settings_of
from egi.config import METHODS, TASKS
from egi.data.storage import Reader, create
from egi.export import export
from egi.seeds import integer

log = logging.getLogger("egi.sample")
#: molecules whose first sample is exported
EXPORTED = 5
KINDS = {"trajectories": "egi-trajectories", "conformers": "egi-conformers", "pairs": "egi-samples"}


def main(argv: list[str] | None = None) -> None:
    """A model and what its samples start from in, samples out."""
    args = arguments(argv)
    settings, dataset = settings_of(args)
    if args.task not in (*dataset.tasks, "conformers"):
        raise UserError(f"--task {args.task}: dataset {args.dataset} has only {', '.join(dataset.tasks)}, conformers")
    torch.set_num_threads(settings.threads)
    device = generation.device_of(settings.device)
    seed = integer(settings.seed, args.dataset, "sample", args.task, args.method)
    section = dataset.tasks.get(args.task)  # none: conformers
    frames, sampling = (section.frames, section.sampling) if section else (1, dataset.conformer_sampling)
    task = generation.Task(args.task, frames, sampling, dataset.diffusion, seed)
    model = generation.load_model(args.model, args.method, task.sampling, device)
    provenance = {"seed": settings.seed, "sampling": task.sampling.plain(), "diffusion": task.diffusion.plain()}
    totals = Counter()
    with ExitStack() as stack:
        given = {"trajectories": args.trajectories, "conformers": args.conformers, "pairs": args.pairs}
        files = {name: stack.enter_context(Reader(path, KINDS[name])) for name, path in given.items() if path}
        interval_ps = float(files["trajectories"].attributes["interval_ps"]) if "trajectories" in files else 0.0
        header = {"task": args.task, "method": args.method, "interval_ps": interval_ps, "refined": False}
        writer = stack.enter_context(create(args.output, "egi-samples", provenance, **header))
        plans = generation.plan(task, args.method, files)
        for made in tqdm(generation.generate(model, plans, task, device), unit="molecule", mininterval=5, ascii=True):
            counts = {"redrawn": made.redrawn, "lost": made.lost}
            writer.add(made.record, {"samples": made.samples, "given": made.given}, **counts)
            if made.lost:
                log.warning("%s: %d of %d samples were given up", made.record.id, made.lost, len(made.samples))
            if args.export_dir and totals["molecules"] < EXPORTED:
                export(args.export_dir / made.record.id, made.record, made.samples, interval_ps)
            totals.update(molecules=1, samples=len(made.samples), **counts)
        if 0 < totals["samples"] == totals["lost"]:
            raise UserError(f"{args.model}: no sample is finite; train longer or take more sampling steps")
    log.info("%d samples of %d molecules (%d drawn again, %d given up), in %s",
             *(totals[name] for name in ("samples", "molecules", "redrawn", "lost")), args.output)  # fmt: skip


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    flags = parser(__doc__)
    flags.add_argument("--task", choices=("conformers", *TASKS), required=True)
    flags.add_argument("--method", choices=("basices", *METHODS), required=True)
    flags.add_argument("--model", type=Path, required=True, help="checkpoint")
    flags.add_argument("--trajectories", type=Path, help="test trajectories (HDF5): molecules and start frames")
    flags.add_argument("--conformers", type=Path, help="test conformers (HDF5)")
    flags.add_argument("--pairs", type=Path, help="start and end frames of interpolations (HDF5)")
    flags.add_argument("--output", type=Path, required=True, help="samples to write (HDF5)")
    flags.add_argument("--export-dir", type=Path, help=f"folder for files of {EXPORTED} molecules' first samples")
    return flags.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(run(main))
