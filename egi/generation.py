"""The generation tasks: unconditional, forward roll-out, interpolation, and conformers (FACTS 12, 14).

A task is planned first: `plan_*` yields molecules with the frames that are given to each of their
samples. `generate` then draws the samples of all molecules in batches and yields a molecule as soon
as its last sample is drawn, so memory holds about one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from egi import models
from egi.config import AUTOREGRESSIVE, DiffusionSettings, SamplingSettings
from egi.data.batches import graph_of
from egi.data.storage import MoleculeRecord, Reader, StorageError
from egi.diffusion import samplers
from egi.diffusion.frames import condition_mask
from egi.diffusion.kabsch import align
from egi.diffusion.schedule import Schedule
from egi.seeds import stream, torch_generator


@dataclass(frozen=True)
class Plan:
    """A molecule to be sampled.

    Attributes
    ----------
    record : MoleculeRecord
    given : (samples, n, given frames, 3) float32 ndarray
        Frames that the samples start from (and, in interpolation, end at), Å; none is an axis of length 0.
    """

    record: MoleculeRecord
    given: np.ndarray


@dataclass(frozen=True)
class Task:
    """What is drawn for every molecule.

    Attributes
    ----------
    name : {"conformers", "unconditional", "forward", "interpolation"}
    frames : int
        Frames of one block, given ones included; 1 for conformers.
    sampling : SamplingSettings
    diffusion : DiffusionSettings
    seed : int
    """

    name: str
    frames: int
    sampling: SamplingSettings
    diffusion: DiffusionSettings
    seed: int

    @property
    def total_frames(self) -> int:
        """Frames of a sample: the first, and `frames - 1` for each block."""
        return 1 + self.sampling.blocks * (self.frames - 1)


@dataclass(frozen=True)
class Generated:
    """All samples of a molecule.

    Attributes
    ----------
    record : MoleculeRecord
    samples : (samples, n, frames, 3) float32 ndarray
        Given frames included, Å; NaN from where on a sample was given up.
    given : (frames,) bool ndarray
        Frames that were given.
    redrawn : int
        Samples that were not finite and drawn again; of autoregressive models, those that diverged.
    """

    record: MoleculeRecord
    samples: np.ndarray
    given: np.ndarray
    redrawn: int

    @property
    def lost(self) -> int:
        """Samples with frames that are not finite."""
        return int((~np.isfinite(self.samples).all((1, 2, 3))).sum())


def device_of(wanted: str) -> str:
    """ "cpu" or "cuda" from the config's device, "auto" taking a GPU where there is one."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def load_model(path, method: str, sampling: SamplingSettings, device: str) -> nn.Module:
    """A trained network with the weights and the alphas that the sampling settings ask for.

    Raises
    ------
    ValueError
        If the checkpoint is of another method, or alphas are to be set in a model that has none.
    """
    model = models.load(path, sampling.weights, device, method)
    if sampling.alpha_override is not None:
        if not hasattr(model, "alpha_override"):
            raise ValueError(f"sampling.alpha_override = {sampling.alpha_override}, but {method} has no alphas")
        model.alpha_override = sampling.alpha_override
    return model


def plan(task: Task, method: str, files: dict[str, Reader]) -> Iterator[Plan]:
    """The molecules of a task and the frames given to their samples.

    Parameters
    ----------
    task : Task
    method : str
    files : dict
        Open files by name: "conformers", "trajectories", "pairs", as far as the task needs them.

    Raises
    ------
    ValueError
        If a file that the task needs is missing.
    """
    starts = task.name == "unconditional" and method in AUTOREGRESSIVE
    needed = {"conformers": ["conformers"], "interpolation": ["pairs"]}.get(task.name, ["trajectories"])
    for name in needed + ["conformers"] * starts:
        if name not in files:
            raise ValueError(f"{name} is missing; {task.name} with {method} needs it")
    if starts:
        return plan_from_conformers(files["trajectories"], files["conformers"], task.sampling, task.seed)
    plans = {
        "conformers": plan_conformers,
        "unconditional": plan_unconditional,
        "forward": plan_forward,
        "interpolation": plan_interpolation,
    }
    return plans[task.name](files[needed[0]], task.sampling)


def plan_conformers(conformers: Reader, sampling: SamplingSettings) -> Iterator[Plan]:
    """`sampling.samples` times as many conformers as the reference has, of each molecule of the file."""
    for molecule in conformers.ids[: sampling.max_molecules]:
        count = sampling.samples * len(conformers.group(molecule)["positions"])
        yield _free(conformers.record(molecule), count)


def plan_unconditional(trajectories: Reader, sampling: SamplingSettings) -> Iterator[Plan]:
    """`sampling.samples` trajectories from nothing, of each molecule of the file."""
    for molecule in trajectories.ids[: sampling.max_molecules]:
        yield _free(trajectories.record(molecule), sampling.samples)


def plan_from_conformers(
    trajectories: Reader, conformers: Reader, sampling: SamplingSettings, seed: int
) -> Iterator[Plan]:
    """Starts of autoregressive models in the unconditional task: ensemble conformers, in a random order, in turn."""
    for molecule in trajectories.ids[: sampling.max_molecules]:
        record = trajectories.record(molecule)
        every = conformers.array(molecule, "positions")
        order = stream(seed, "start", molecule).permutation(len(every))
        chosen = every[order[np.arange(sampling.samples) % len(every)]][:, record.modelled].astype(np.float32)
        yield Plan(record, (chosen - chosen.mean(1, keepdims=True))[:, :, None])


def plan_forward(trajectories: Reader, sampling: SamplingSettings) -> Iterator[Plan]:
    """`sampling.samples` roll-outs from the first frames of the reference replicas, in turn.

    Raises
    ------
    StorageError
        If a molecule has no reference replica.
    """
    for molecule in trajectories.ids[: sampling.max_molecules]:
        group = trajectories.group(molecule)
        names = sorted(
            (name for name in group if name.startswith("replica_") and group[name].attrs["role"] == "reference"),
            key=lambda name: int(name.removeprefix("replica_")),
        )
        if not names:
            raise StorageError(f"{trajectories.path}: molecule {molecule!r} has no reference replica to start from")
        starts = np.stack([group[name][0, :, 0] for name in names])
        yield Plan(trajectories.record(molecule), starts[np.arange(sampling.samples) % len(names)][:, :, None])


def plan_interpolation(pairs: Reader, sampling: SamplingSettings) -> Iterator[Plan]:
    """One trajectory for each of the first `sampling.samples` pairs of start and end frame.

    The end frame is superposed on the start frame: the two may come from different replicas.
    """
    for molecule in pairs.ids[: sampling.max_molecules]:
        start, end = (torch.from_numpy(pairs.array(molecule, name)[: sampling.samples]) for name in ("start", "end"))
        if len(start):
            yield Plan(pairs.record(molecule), end_on_start(start, end).numpy())


def end_on_start(start: Tensor, end: Tensor) -> Tensor:
    """Start frames and, superposed on them, end frames: two of [pairs, n, 3] become [pairs, n, 2, 3]."""
    count, nodes = start.shape[:2]
    centre = start.mean(1, keepdim=True)
    clouds = ((frame - frame.mean(1, keepdim=True)).reshape(-1, 1, 3) for frame in (end, start))
    of_pair = torch.arange(count).repeat_interleave(nodes)
    turned = align(*clouds, torch.ones(count * nodes, 1), of_pair, count).view(count, nodes, 3)
    return torch.stack([start, turned + centre], dim=2)


def _free(record: MoleculeRecord, samples: int) -> Plan:
    return Plan(record, np.zeros((samples, len(record.modelled), 0, 3), np.float32))


def generate(model: nn.Module, plans: Iterator[Plan], task: Task, device: str = "cpu") -> Iterator[Generated]:
    """Draw every sample of every planned molecule.

    The random numbers of a batch follow from (seed, molecule and sample that it begins with).

    Parameters
    ----------
    model : nn.Module
    plans : iterable of Plan
    task : Task
    device : str

    Yields
    ------
    Generated
        One molecule after another, in the order of `plans`.

    """
    schedule = Schedule(task.diffusion)
    given = condition_mask("forward" if model.method in AUTOREGRESSIVE else task.name, 1, task.total_frames)
    given = np.zeros(task.total_frames, bool) if given is None else given[0].numpy()
    samples: list[np.ndarray] = []
    redrawn = 0
    for pieces in _batches(plans, task.sampling.batch_size):
        drawn, counts = (iter(values) for values in _draw(model, schedule, pieces, task, device))
        for piece in pieces:
            samples.extend(islice(drawn, piece.count))
            redrawn += sum(islice(counts, piece.count))
            if piece.last:
                yield Generated(piece.plan.record, np.stack(samples), given, redrawn)
                samples, redrawn = [], 0


class _Piece(NamedTuple):
    """Consecutive samples of one molecule within a batch."""

    plan: Plan
    first: int
    count: int

    @property
    def given(self) -> np.ndarray:
        """Given frames of these samples, [samples, n, given frames, 3]."""
        return self.plan.given[self.first : self.first + self.count]

    @property
    def last(self) -> bool:
        """Whether the molecule ends here."""
        return self.first + self.count == len(self.plan.given)


def _batches(plans: Iterator[Plan], size: int) -> Iterator[list[_Piece]]:
    """Batches of `size` samples, molecules going on in the next batch where they do not fit."""
    pieces, room = [], size
    for molecule in plans:
        first = 0
        while first < len(molecule.given):
            pieces.append(_Piece(molecule, first, min(len(molecule.given) - first, room)))
            first += pieces[-1].count
            room -= pieces[-1].count
            if not room:
                yield pieces
                pieces, room = [], size
    if pieces:
        yield pieces


def _draw(
    model, schedule: Schedule, pieces: list[_Piece], task: Task, device: str
) -> tuple[list[np.ndarray], list[int]]:
    """The samples of one batch, each [n, frames, 3], and how often each was drawn again."""
    graphs = [graph_of(piece.plan.record) for piece in pieces for _ in range(piece.count)]
    batch = Batch.from_data_list(graphs).to(device)
    given = np.concatenate([frames for piece in pieces for frames in piece.given])
    start = torch.from_numpy(given).to(device)  # [nodes, given frames, 3]
    if model.method in AUTOREGRESSIVE:
        result = samplers.roll_out(model, batch, start[:, 0], task.total_frames)
    else:
        generator = torch_generator(task.seed, pieces[0].plan.record.id, pieces[0].first, device=device)
        result = _blocks(model, schedule, batch, start, task, generator)
    positions = result.positions.cpu().split(torch.bincount(batch.batch).tolist())
    return [part.numpy() for part in positions], result.redrawn.tolist()


def _blocks(model, schedule: Schedule, batch: Batch, start: Tensor, task: Task, generator) -> samplers.Samples:
    """Block after block, each given the last frame of the one before, in one frame of reference."""
    nodes = batch.num_nodes
    mask = condition_mask(task.name, nodes, task.frames)
    mask = torch.zeros(nodes, task.frames, dtype=torch.bool) if mask is None else mask
    condition, parts, redrawn = mask.to(start.device), [], 0
    for _ in range(task.sampling.blocks):
        given = start.new_zeros(nodes, task.frames, 3)
        given[:, condition[0]] = start
        drawn = samplers.sample(model, schedule, batch, given, condition, task.sampling, generator)
        parts.append(drawn.positions if not parts else drawn.positions[:, 1:])
        redrawn, start = redrawn + drawn.redrawn, drawn.positions[:, -1:]
    return samplers.Samples(torch.cat(parts, dim=1), redrawn)
