"""Superposition of point clouds, many at a time (FACTS 11, Eq. 9; Kabsch 1976)."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def rotations(mobile: Tensor, target: Tensor, weights: Tensor, batch: Tensor, clouds: int) -> Tensor:
    """Proper rotations that superpose each cloud of `mobile` on `target`, about the origin.

    Minimises sum_p w_p |R x_p - y_p|^2 over rotations with determinant +1, in float64 and without
    gradient. Clouds that leave the rotation undetermined (points on a line, a single point) get one
    of the best rotations.

    Parameters
    ----------
    mobile, target : [nodes, frames, 3] Tensor
        The points x and y, one cloud being all frames of all nodes of a graph.
    weights : [nodes, frames] Tensor
        Weights or mask; points of weight zero do not count.
    batch : [nodes] long Tensor
        Cloud of each node.
    clouds : int
        Number of clouds.

    Returns
    -------
    [clouds, 3, 3] float64 Tensor
    """
    weighted = mobile.double() * weights.unsqueeze(-1).double()
    per_node = weighted.transpose(1, 2) @ target.double()  # [nodes, 3, 3]
    covariance = per_node.new_zeros(clouds, 3, 3).index_add_(0, batch, per_node)
    left, _, right = torch.linalg.svd(covariance)
    signs = per_node.new_ones(clouds, 3)
    signs[:, 2] = torch.det(left @ right).sign()
    return (right.transpose(1, 2) * signs.unsqueeze(1)) @ left.transpose(1, 2)


def rotate(positions: Tensor, rotation: Tensor, batch: Tensor) -> Tensor:
    """Positions turned about the origin by the rotation of their cloud, R x_p.

    Parameters
    ----------
    positions : [nodes, frames, 3] Tensor
    rotation : [clouds, 3, 3] Tensor
    batch : [nodes] long Tensor
        Cloud of each node.

    Returns
    -------
    [nodes, frames, 3] Tensor
        Of the positions' type; computed in the rotation's.
    """
    return (positions.to(rotation.dtype) @ rotation[batch].transpose(1, 2)).to(positions.dtype)


def align(mobile: Tensor, target: Tensor, weights: Tensor, batch: Tensor, clouds: int) -> Tensor:
    """Points turned about the origin onto their targets (FACTS 11, Eq. 9).

    Parameters
    ----------
    mobile, target, weights, batch, clouds
        As for `rotations`.

    Returns
    -------
    [nodes, frames, 3] Tensor
        All points of `mobile`, also those of weight zero, turned with their cloud.
    """
    return rotate(mobile, rotations(mobile, target, weights, batch, clouds), batch)


def superpose(mobile: Tensor, target: Tensor) -> Tensor:
    """One frame moved and turned onto another, all nodes weighing the same.

    Parameters
    ----------
    mobile, target : [nodes, 3] Tensor

    Returns
    -------
    [nodes, 3] Tensor
        `mobile` with `target`'s centre and orientation.
    """
    centre = target.mean(0)
    clouds = [(frame - frame.mean(0)).unsqueeze(1) for frame in (mobile, target)]
    nodes = torch.zeros(len(mobile), dtype=torch.long, device=mobile.device)
    return align(*clouds, torch.ones_like(clouds[0][..., 0]), nodes, 1).squeeze(1) + centre
