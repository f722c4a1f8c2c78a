"""Alignment against scipy, on every kind of cloud that makes Kabsch fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from egi.diffusion import kabsch


def cloud(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


def ones(points):
    return torch.ones(points.shape[:2])


def test_equals_scipy_for_every_molecule_of_a_batch():
    batch = torch.tensor([0] * 4 + [1] * 7 + [2] * 2)
    mobile, target = cloud(13, 5, 3), cloud(13, 5, 3, seed=1)
    weights = torch.tensor(np.random.default_rng(2).integers(0, 2, (13, 5)))
    found = kabsch.rotations(mobile, target, weights, batch, 3)
    for molecule in range(3):
        own = batch == molecule
        wanted, _ = Rotation.align_vectors(
            target[own].reshape(-1, 3), mobile[own].reshape(-1, 3), weights[own].reshape(-1)
        )
        np.testing.assert_allclose(found[molecule], wanted.as_matrix(), atol=1e-10)


@pytest.mark.parametrize(
    "points",
    [
        cloud(6, 1, 3) * torch.tensor([1.0, 1.0, 0.0]),
        cloud(6, 1, 3) * torch.tensor([1.0, 0.0, 0.0]),
        torch.tensor([[[0.7, 0, 0]], [[-0.7, 0, 0]]], dtype=torch.float64),
        torch.zeros(1, 1, 3, dtype=torch.float64),
        cloud(6, 3, 3),
    ],
    ids=["planar", "linear", "two atoms", "one atom", "full"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_undoes_a_rotation(points, dtype):
    turn = torch.tensor(Rotation.random(random_state=3).as_matrix())
    target = (points @ turn.T).to(dtype)
    batch = torch.zeros(len(points), dtype=torch.long)
    rotation = kabsch.rotations(points.to(dtype), target, ones(points), batch, 1)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(1, dtype=torch.float64))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64)[None])
    torch.testing.assert_close(kabsch.rotate(points.to(dtype), rotation, batch), target, atol=1e-5, rtol=0)


def test_identical_clouds_stay():
    points = cloud(5, 4, 3)
    batch = torch.zeros(5, dtype=torch.long)
    torch.testing.assert_close(kabsch.align(points, points, ones(points), batch, 1), points)


def test_mirror_image_is_not_reached_by_reflection():
    points = cloud(6, 1, 3)
    mirrored = points * torch.tensor([-1.0, 1, 1])
    batch = torch.zeros(6, dtype=torch.long)
    rotation = kabsch.rotations(points, mirrored, ones(points), batch, 1)
    wanted, _ = Rotation.align_vectors(mirrored[:, 0], points[:, 0])
    assert torch.linalg.det(rotation).item() == pytest.approx(1)
    np.testing.assert_allclose(rotation[0], wanted.as_matrix(), atol=1e-10)


def test_no_gradient_and_float64_under_autocast():
    points = cloud(5, 2, 3).float().requires_grad_()
    batch = torch.zeros(5, dtype=torch.long)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rotation = kabsch.rotations(points, points.flip(0), ones(points), batch, 1)
    assert rotation.dtype == torch.float64 and not rotation.requires_grad
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64)[None])


def test_superpose_moves_a_frame_onto_another():
    frame = cloud(5, 3)
    turn = torch.tensor(Rotation.random(random_state=1).as_matrix())
    moved = frame @ turn.T + torch.tensor([3.0, -1, 2])
    torch.testing.assert_close(kabsch.superpose(moved, frame), frame)


def test_autocast_leaves_the_alignment_in_float64():
    batch, mobile, target = torch.zeros(5, dtype=torch.long), cloud(5, 2, 3), cloud(5, 2, 3, seed=1)
    wanted = kabsch.align(mobile, target, ones(mobile), batch, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = kabsch.align(mobile.float(), target.float(), ones(mobile), batch, 1)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen.double(), wanted, rtol=1e-5, atol=1e-5)
