"""Generation: the reverse diffusion and the autoregressive roll-out (FACTS 11, 12, 14)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from egi.config import SamplingSettings
from egi.diffusion import frames
from egi.diffusion.loss import Model
from egi.diffusion.schedule import Schedule
from egi.nn.checks import check_inputs

#: times that the non-finite samples of a batch are drawn again before they are given up
MAX_REDRAWS = 10
#: coordinates beyond this, in Å, end an autoregressive roll-out
DIVERGED_ANGSTROM = 1e4


class Samples(NamedTuple):
    """Generated coordinates and what it took.

    Attributes
    ----------
    positions : [nodes, frames, 3] Tensor
        NaN in the generated frames of a sample that was given up.
    redrawn : [graphs] long Tensor
        How often each molecule's sample was not finite and drawn again; in a roll-out, 1 where it
        diverged and was held at its last frame of finite size.
    """

    positions: Tensor
    redrawn: Tensor


@torch.no_grad()
def sample(
    model: Model,
    schedule: Schedule,
    batch: Batch,
    given: Tensor,
    condition: Tensor,
    sampling: SamplingSettings,
    generator: torch.Generator,
) -> Samples:
    """Draw a trajectory (or, with one frame, a conformer) a molecule.

    A sample that is not finite is drawn again, `MAX_REDRAWS` times at most, and then given up; so is one whose given
    frames are not finite. The others of the batch do not suffer from it.

    Parameters
    ----------
    model : callable
        ``model(batch, positions, step, condition)`` predicts the noise.
    schedule : Schedule
    batch : torch_geometric.data.Batch, one graph a sample
    given : [nodes, frames, 3] Tensor
        Given frames in Å, which come back bit for bit; the others are ignored.
    condition : [nodes, frames] bool Tensor
        True where a frame is given.
    sampling : SamplingSettings
    generator : torch.Generator, on the device of `given`

    Returns
    -------
    Samples

    Raises
    ------
    ValueError
        If shapes do not fit or nothing is left to generate.
    """
    check_inputs(batch, given, None, condition)
    fixed, graphs = condition.unsqueeze(-1), torch.arange(batch.num_graphs, device=given.device)
    result, redrawn = given.masked_fill(~fixed, torch.nan), torch.zeros_like(graphs)
    wanted = graphs[~torch.isin(graphs, _not_finite(given.masked_fill(~fixed, 0.0), batch.batch))]
    for attempt in range(MAX_REDRAWS + 1):
        if not len(wanted):
            break
        redrawn[wanted] += int(attempt > 0)
        nodes = torch.isin(batch.batch, wanted)
        part = batch if nodes.all() else Batch.from_data_list(batch.index_select(wanted.cpu()))
        drawn = _reverse(model, schedule, part, given[nodes], condition[nodes], sampling, generator)
        wanted = _not_finite(drawn, batch.batch[nodes])
        result[nodes] = torch.where(torch.isin(batch.batch[nodes], wanted)[:, None, None], result[nodes], drawn)
    return Samples(result, redrawn)


def _not_finite(positions: Tensor, graphs: Tensor) -> Tensor:
    """Which of the graphs, one a node, have a position that is not finite."""
    return graphs[~positions.isfinite().all(-1).all(-1)].unique()


def _reverse(model, schedule, batch, given, condition, sampling, generator) -> Tensor:
    """One pass of the reverse process for all molecules of the batch."""
    nodes, graphs = batch.batch, batch.num_graphs
    fixed, noisy = condition.unsqueeze(-1), ~condition
    origin = frames.origin_of(torch.where(fixed, given, 0.0), condition, nodes, graphs)[nodes].unsqueeze(1)
    anchored = torch.where(fixed, given - origin, 0.0)
    mask = condition if bool(condition.any()) else None
    current = frames.noise_like(anchored, noisy, nodes, graphs, generator) + anchored
    for step, update in schedule.reverse(sampling, generator):
        steps = torch.full((graphs,), step, dtype=torch.long, device=given.device)
        noise = frames.remove_centre(model(batch, current, steps, mask), noisy, nodes, graphs)
        # the scheduler's own noise is not centred: centring its result is the same, for it is linear
        current = frames.remove_centre(update(current, noise), noisy, nodes, graphs) + anchored
    return torch.where(fixed, given, current + origin)


@torch.no_grad()
def roll_out(model: Model, batch: Batch, start: Tensor, frame_count: int) -> Samples:
    """Next-frame prediction from a start frame, again and again (FACTS 10).

    Parameters
    ----------
    model : callable
        ``model(batch, positions, step, condition)`` predicts the displacement to the next frame.
    batch : torch_geometric.data.Batch
    start : [nodes, 3] Tensor
        First frame in Å; comes back bit for bit.
    frame_count : int
        Frames in all, the start included.

    Returns
    -------
    Samples
        A molecule whose coordinates leave the finite range (1e4 Å) is held at its last frame within it.
    """
    step = torch.ones(batch.num_graphs, dtype=torch.long, device=start.device)
    diverged = torch.zeros(batch.num_graphs, dtype=torch.bool, device=start.device)
    trajectory = start.new_empty(len(start), frame_count, 3)
    trajectory[:, 0] = current = start
    for frame in range(1, frame_count):
        following = current + model(batch, current.unsqueeze(1), step, None).squeeze(1)
        bad = ~(following.abs() < DIVERGED_ANGSTROM).all(1)  # not-a-number compares false
        diverged[batch.batch[bad]] = True
        current = torch.where(diverged[batch.batch].unsqueeze(1), current, following)
        trajectory[:, frame] = current
    return Samples(trajectory, diverged.long())
