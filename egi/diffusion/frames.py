"""The frame of reference: where the origin is, and which frames are noisy (A-13, A-15).

Noise and predictions have zero centre of mass over the noisy frames of a molecule, taken as one
cloud of all atoms in all noisy frames. Without given frames the origin is the centre of that
cloud; with given frames it is the centre of the first given frame, on which MD frames are
centred too (each frame is, DESIGN 3), so the noisy frames' cloud keeps its centre there.
"""

from __future__ import annotations

import torch
from torch import Tensor


def condition_mask(task: str, nodes: int, frame_count: int) -> Tensor | None:
    """Frames that a task gives (FACTS 12).

    Parameters
    ----------
    task : {"conformers", "unconditional", "forward", "interpolation"}
    nodes, frame_count : int

    Returns
    -------
    [nodes, frame_count] bool Tensor or None
        True for the first frame (forward), the first and last (interpolation); None if none are given.

    Raises
    ------
    ValueError
        Unknown task.
    """
    given = {"conformers": [], "unconditional": [], "forward": [0], "interpolation": [0, frame_count - 1]}
    if task not in given:
        raise ValueError(f"task = {task!r}; wanted one of {', '.join(given)}")
    if not given[task]:
        return None
    mask = torch.zeros(nodes, frame_count, dtype=torch.bool)
    mask[:, given[task]] = True
    return mask


def centre_of(positions: Tensor, weights: Tensor, batch: Tensor, graphs: int) -> Tensor:
    """Weighted centre of each molecule's cloud.

    Parameters
    ----------
    positions : [nodes, frames, 3] Tensor
    weights : [nodes, frames] Tensor
        Mask of the points that count.
    batch : [nodes] long Tensor
    graphs : int

    Returns
    -------
    [graphs, 3] Tensor
        Zero for a molecule without counting points.
    """
    weights = weights.to(positions.dtype)
    totals = positions.new_zeros(graphs, 4)
    summed = torch.cat([(positions * weights.unsqueeze(-1)).sum(1), weights.sum(1, keepdim=True)], dim=1)
    totals.index_add_(0, batch, summed)
    return totals[:, :3] / totals[:, 3:].clamp_min(1)


def remove_centre(values: Tensor, noisy: Tensor, batch: Tensor, graphs: int) -> Tensor:
    """Values with zero mean over each molecule's noisy frames (A-15), and zero in the others.

    Parameters
    ----------
    values : [nodes, frames, 3] Tensor
        Coordinates or noise.
    noisy : [nodes, frames] bool Tensor
    batch : [nodes] long Tensor
        Molecule of each node.
    graphs : int

    Returns
    -------
    [nodes, frames, 3] Tensor
    """
    centre = centre_of(values, noisy, batch, graphs)
    return (values - centre[batch].unsqueeze(1)) * noisy.unsqueeze(-1)


def noise_like(positions: Tensor, noisy: Tensor, batch: Tensor, graphs: int, generator: torch.Generator) -> Tensor:
    """Standard normal noise of zero centre over the noisy frames (A-15), zero in the given ones.

    Parameters
    ----------
    positions : [nodes, frames, 3] Tensor
        For shape, type and device.
    noisy : [nodes, frames] bool Tensor
    batch : [nodes] long Tensor
        Molecule of each node.
    graphs : int
    generator : torch.Generator
        On the positions' device.

    Returns
    -------
    [nodes, frames, 3] Tensor
    """
    drawn = torch.randn(positions.shape, generator=generator, device=positions.device, dtype=positions.dtype)
    return remove_centre(drawn, noisy, batch, graphs)


def origin_of(positions: Tensor, condition: Tensor | None, batch: Tensor, graphs: int) -> Tensor:
    """Origin of each molecule: the centre of its first given frame, else of all its frames (A-15).

    Parameters
    ----------
    positions : [nodes, frames, 3] Tensor
        Å.
    condition : [nodes, frames] bool Tensor or None
        True where a frame is given.
    batch : [nodes] long Tensor
        Molecule of each node.
    graphs : int

    Returns
    -------
    [graphs, 3] Tensor
        Å.
    """
    if condition is None:
        return centre_of(positions, torch.ones_like(positions[..., 0]), batch, graphs)
    first = condition & (condition.cumsum(1) == 1)
    weights = torch.where(condition.any(1, keepdim=True), first, True)
    return centre_of(positions, weights, batch, graphs)
