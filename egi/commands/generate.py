"""Generate trajectories (or conformers) of your own molecule with a trained model.

The checkpoint knows its task. A forward or autoregressive model starts from the first conformer of
--conformer, an interpolation goes from its first to its last one; without the file, conformers
come from RDKit (ETKDGv3, MMFF94). Files hold the modelled atoms: heavy atoms and the few hydrogens
that RDKit keeps.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem

from egi import generation, models
from egi.chem.conformers import sample_conformers
from egi.chem.molecules import identity, parse_smiles, record_of
from egi.cli import UserError
from egi.config import AUTOREGRESSIVE, DiffusionSettings, SamplingSettings
from egi.data.storage import MoleculeRecord, atomic, package_versions
from egi.export import write_sdf, write_trajectory
from egi.seeds import integer

HELP = "trajectories of your own molecule from a trained model"
log = logging.getLogger("egi.generate")


@dataclass(frozen=True)
class Trained:
    """What a checkpoint says about how its model was trained."""

    method: str
    task: str
    frames: int
    interval_ps: float
    diffusion: DiffusionSettings


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="model, as pretrain or finetune wrote it")
    parser.add_argument("--smiles", required=True, help="the molecule")
    parser.add_argument("--name", default="molecule", help="stem of the files")
    parser.add_argument("--conformer", type=Path, metavar="SDF", help="start (and end) frames, of the same molecule")
    parser.add_argument("--frames", type=int, help="frames of a trajectory (default: as the model was trained)")
    parser.add_argument("--samples", type=int, default=1, help="trajectories, or conformers")
    parser.add_argument("--sampler", choices=("ddpm", "ddim", "dpm"), default="ddpm", help="how noise is removed")
    parser.add_argument("--steps", type=int, help="evaluations of the network (default: all diffusion steps)")
    parser.add_argument("--eta", type=float, default=1.0, help="randomness of ddim, 0 to 1")
    parser.add_argument("--alpha", type=float, help="replaces all alphas of an EGInterpolator, 0 to 1")
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema", help="averaged weights or the last ones")
    parser.add_argument("--batch-size", type=int, default=32, help="samples drawn at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--threads", type=int, default=2, help="on the CPU")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the files")


def main(args: argparse.Namespace) -> None:
    """Checkpoint and SMILES in; PDB, XTC, SDF and a JSON file of the settings out."""
    torch.set_num_threads(args.threads)
    trained = trained_of(args.checkpoint)
    mol = molecule(args.smiles, args.conformer, integer(args.seed, "conformers"), args.samples)
    record, given = starts(mol, args.name, trained, args.samples)
    task = task_of(args, trained)
    device = generation.device_of(args.device)
    model = generation.load_model(args.checkpoint, trained.method, task.sampling, device)
    made = next(generation.generate(model, iter([generation.Plan(record, given)]), task, device))
    frames = made.samples[:, :, : args.frames]
    if made.lost == len(frames):
        raise UserError(f"--checkpoint {args.checkpoint}: no sample is finite; train longer or take more --steps")
    args.output.mkdir(parents=True, exist_ok=True)
    stem = args.output / args.name
    if trained.task == "conformers":
        write_sdf(stem.with_name(f"{args.name}.sdf"), record, frames[:, :, 0])
    else:
        for number, sample in enumerate(frames):
            path = stem.with_name(f"{args.name}_{number}")
            write_trajectory(path, record, sample, trained.interval_ps)
            write_sdf(path.with_name(f"{path.name}.sdf"), record, sample.transpose(1, 0, 2))
    summary = {
        "smiles": record.smiles, "checkpoint": args.checkpoint.name, "method": trained.method, "task": trained.task,
        "frames": frames.shape[2], "interval_ps": trained.interval_ps, "sampling": task.sampling.plain(),
        "seed": args.seed, "drawn_again": made.redrawn, "given_up": made.lost, "versions": package_versions(),
    }  # fmt: skip
    with atomic(stem.with_name(f"{args.name}.json")) as partial:
        partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    log.info("%d x %d frames of %s in %s", len(frames), frames.shape[2], record.smiles, args.output)


def trained_of(checkpoint: Path) -> Trained:
    """What the checkpoint was trained for.

    Raises
    ------
    UserError
        If the file is no checkpoint of egi, or does not say its task.
    """
    try:
        content = models.read(checkpoint)
    except ValueError as error:
        raise UserError(f"--checkpoint: {error}") from error
    extra = content["extra"]
    if not {"task", "frames", "interval_ps", "diffusion"} <= set(extra):
        raise UserError(f"--checkpoint {checkpoint} does not say its task; wanted one that pretrain or finetune wrote")
    diffusion = DiffusionSettings.model_validate(extra["diffusion"])
    return Trained(content["method"], extra["task"], extra["frames"], extra["interval_ps"], diffusion)


def molecule(smiles: str, conformer: Path | None, seed: int, count: int) -> Chem.Mol:
    """The molecule with all atoms and its conformers: the file's, else up to `count` (at least 2) of RDKit's.

    Raises
    ------
    UserError
        If the SMILES, the file or the two together make no sense.
    """
    try:
        if conformer is None:
            return sample_conformers(parse_smiles(smiles), max(2, count), seed)[0]
        wanted = identity(smiles)
    except ValueError as error:
        raise UserError(f"--smiles {smiles}: {error}") from error
    if not conformer.is_file():
        raise UserError(f"--conformer {conformer} does not exist")
    entries = [entry for entry in Chem.SDMolSupplier(str(conformer), removeHs=False) if entry is not None]
    if not entries:
        raise UserError(f"--conformer {conformer} holds no molecule that RDKit can read")
    first = Chem.AddHs(entries[0], addCoords=True)
    for number, entry in enumerate(entries):
        seen = Chem.MolToSmiles(Chem.RemoveHs(entry), isomericSmiles=False)
        if seen != wanted:
            raise UserError(f"--conformer {conformer}: entry {number + 1} is {seen}; wanted {wanted} of --smiles")
    for entry in entries[1:]:
        full = Chem.AddHs(entry, addCoords=True)
        positions = full.GetConformer().GetPositions()[list(full.GetSubstructMatch(first))]
        added = Chem.Conformer(first.GetNumAtoms())
        added.SetPositions(np.ascontiguousarray(positions))
        first.AddConformer(added, assignId=True)
    return first


def starts(mol: Chem.Mol, name: str, trained: Trained, samples: int) -> tuple[MoleculeRecord, np.ndarray]:
    """The molecule's record, and the frames given to each sample, [samples, n, given frames, 3] in Å.

    Raises
    ------
    UserError
        If an element is not in the vocabulary, or an interpolation has no second conformer to end at.
    """
    frames = np.stack([conformer.GetPositions() for conformer in mol.GetConformers()]).astype(np.float32)
    try:
        record = record_of(mol, name)
    except ValueError as error:
        raise UserError(f"--smiles: {error}") from error
    frames = frames[:, record.modelled]
    frames -= frames.mean(1, keepdims=True)
    if trained.task == "interpolation":
        if len(frames) < 2:
            raise UserError(f"an interpolation wants two conformers of {record.smiles}; there is one")
        pair = generation.end_on_start(torch.from_numpy(frames[:1]), torch.from_numpy(frames[-1:]))
        return record, pair.numpy().repeat(samples, axis=0)
    if trained.task == "forward":
        return record, frames[:1, :, None].repeat(samples, axis=0)
    if trained.method in AUTOREGRESSIVE:
        return record, frames[np.arange(samples) % len(frames)][:, :, None]
    return record, np.zeros((samples, frames.shape[1], 0, 3), np.float32)


def task_of(args: argparse.Namespace, trained: Trained) -> generation.Task:
    """The generation task, in as many blocks as the wanted frames take.

    Raises
    ------
    UserError
        If the number of frames or a sampling flag is out of range.
    """
    frames, blocks = trained.frames, 1
    if args.frames is not None:
        if trained.task == "conformers" or args.frames < 2 + (trained.task == "interpolation"):
            raise UserError(f"--frames {args.frames} is nothing for {trained.task}")
        if trained.task == "forward":
            blocks = math.ceil((args.frames - 1) / (frames - 1))
        else:
            frames = args.frames
    wanted = {
        "samples": args.samples, "sampler": args.sampler, "steps": args.steps or trained.diffusion.steps,
        "eta": args.eta, "blocks": blocks, "batch_size": args.batch_size, "weights": args.weights,
        "alpha_override": args.alpha,
    }  # fmt: skip
    try:
        sampling = SamplingSettings(**wanted)
    except ValueError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))} = {f['input']}: {f['msg']}" for f in error.errors())
        raise UserError(faults) from error
    return generation.Task(trained.task, frames, sampling, trained.diffusion, integer(args.seed, "generate"))
