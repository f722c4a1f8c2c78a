"""Training losses: predicted noise (paper Eq. 1, 2) and next-frame displacement (A-18)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from egi.diffusion import frames
from egi.diffusion.kabsch import align
from egi.diffusion.schedule import Schedule
from egi.nn.checks import check_inputs

#: (batch, positions [nodes, frames, 3], step [graphs], condition [nodes, frames] or None) -> [nodes, frames, 3]
Model = Callable[..., Tensor]


def noised(
    schedule: Schedule, batch, clean: Tensor, noisy: Tensor, step: Tensor, generator: torch.Generator,
    aligned: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Noisy frames, aligned on the clean ones, and the noise that is left between them (FACTS 11, Eq. 9).

    x_step = sqrt(abar) x_0 + sqrt(1 - abar) noise; the noisy frames of a molecule, as one cloud, are
    turned onto x_0, x' = R x_step; the target is noise' = (x' - sqrt(abar) x_0) / sqrt(1 - abar).
    Only noisy frames enter the alignment.

    Parameters
    ----------
    schedule : Schedule
    batch : torch_geometric.data.Batch
    clean : [nodes, frames, 3] Tensor
        x_0; the noisy frames of each molecule centred at the origin.
    noisy : [nodes, frames] bool Tensor
        Frames to noise; the others come back as they are, with zero noise.
    step : [graphs] long Tensor
    generator : torch.Generator
    aligned : bool
        False leaves the noisy frames where the forward process put them.

    Returns
    -------
    positions, noise : [nodes, frames, 3] Tensor
    """
    graphs = batch.num_graphs
    signal, spread = (scale[batch.batch] for scale in schedule.scales(step))
    noise = frames.noise_like(clean, noisy, batch.batch, graphs, generator)
    positions = signal * clean + spread * noise
    if aligned:
        positions = align(positions, clean, noisy, batch.batch, graphs)
    positions = torch.where(noisy.unsqueeze(-1), positions, clean)
    return positions, (positions - signal * clean) / spread * noisy.unsqueeze(-1)


def diffusion_loss(
    model: Model, schedule: Schedule, batch, positions: Tensor, condition: Tensor | None, generator: torch.Generator,
    align_conditional: bool = False,
) -> Tensor:  # fmt: skip
    """Mean squared error of the predicted noise over the noisy frames (Eq. 1 and 2).

    Without given frames, the noisy ones are aligned on the clean ones (`noised`). Given frames fix the
    frame of reference already. To turn the noisy frames against them, by a rotation that only training
    knows, would tell the network that the noise has the answer's orientation, which in sampling it has
    not: generated frames then come out turned against the given one (in a trial by 13-18 degrees rather
    than 9, with bond length errors a quarter to a half larger). So by default they stay (A-13).

    Parameters
    ----------
    model : callable
        ``model(batch, positions, step, condition)`` predicts the noise.
    schedule : Schedule
    batch : torch_geometric.data.Batch
    positions : [nodes, frames, 3] Tensor
        Clean coordinates in Å.
    condition : [nodes, frames] bool Tensor or None
        True where a frame is given: it keeps its place and carries no noise.
    generator : torch.Generator
        Steps and noise are drawn from it; on the positions' device.
    align_conditional : bool
        Align the noisy frames also where frames are given.

    Returns
    -------
    () Tensor
        Mean over atoms, noisy frames and axes.

    Raises
    ------
    ValueError
        If shapes do not fit or nothing is left to generate.
    """
    check_inputs(batch, positions, None, condition)
    graphs, noisy = batch.num_graphs, _noisy(positions, condition)
    clean = positions - frames.origin_of(positions, condition, batch.batch, graphs)[batch.batch].unsqueeze(1)
    if condition is not None:  # the noisy cloud's centre is the origin, as it will be in sampling
        clean = torch.where(noisy.unsqueeze(-1), frames.remove_centre(clean, noisy, batch.batch, graphs), clean)
    step = schedule.draw_steps(graphs, generator)
    with torch.no_grad():
        aligned = condition is None or align_conditional
        inputs, target = noised(schedule, batch, clean, noisy, step, generator, aligned)
    predicted = frames.remove_centre(model(batch, inputs, step, condition), noisy, batch.batch, graphs)
    return (predicted - target).square().sum() / (3 * noisy.sum())


def autoregressive_loss(model: Model, batch, positions: Tensor) -> Tensor:
    """Mean squared error of the predicted displacement from each frame to the next (FACTS 10, A-18).

    Parameters
    ----------
    model : callable
        ``model(batch, positions, step, condition)`` predicts x(t + 1) - x(t), each frame on its own.
    batch : torch_geometric.data.Batch
    positions : [nodes, frames, 3] Tensor

    Returns
    -------
    () Tensor

    Raises
    ------
    ValueError
        If shapes do not fit or there is only one frame.
    """
    check_inputs(batch, positions, None, None)
    if positions.shape[1] < 2:
        raise ValueError(f"positions has {positions.shape[1]} frame; wanted at least 2 for a displacement")
    step = torch.ones(batch.num_graphs, dtype=torch.long, device=positions.device)
    predicted = model(batch, positions[:, :-1], step, None)
    return (predicted - (positions[:, 1:] - positions[:, :-1])).square().mean()


def _noisy(positions: Tensor, condition: Tensor | None) -> Tensor:
    if condition is None:
        return torch.ones(positions.shape[:2], dtype=torch.bool, device=positions.device)
    return ~condition
