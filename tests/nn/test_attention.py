"""Attention in blocks equals the fused kernel and the softmax written out."""

from __future__ import annotations

import pytest
import torch

from egi.nn import attention, linear
from egi.nn.attention import attend


@pytest.mark.parametrize("block", [1, 40, 2**20])
@pytest.mark.parametrize("widths", [(8, 8), (8, 12), (12, 8)])
def test_blocks_fused_kernel_and_equation_agree(block, widths, monkeypatch):
    torch.manual_seed(0)
    parts = [torch.randn(3, 11, width, requires_grad=True) for width in (widths[0], widths[0], widths[1])]
    weights = torch.randn(3, 11, widths[1])

    def both(form):
        out = form(*parts)
        return [out, *torch.autograd.grad((out * weights).sum(), parts)]

    plain = both(lambda q, k, v: torch.softmax(q @ k.mT, dim=-1) @ v)
    fused = both(attend)
    monkeypatch.setattr(attention, "LEAST_FRAMES", 0)
    monkeypatch.setattr(attention, "BLOCK_SIZE", block)
    monkeypatch.setattr(linear, "LEAST_WORK", 0)
    blocked = both(attend)
    for wanted, *seen in zip(plain, fused, blocked, strict=True):
        for tensor in seen:
            torch.testing.assert_close(tensor, wanted, rtol=1e-5, atol=1e-5)


def test_large_logits_stay_finite(monkeypatch):
    monkeypatch.setattr(attention, "LEAST_FRAMES", 0)
    monkeypatch.setattr(linear, "LEAST_WORK", 0)
    query = torch.full((1, 4, 2), 30.0).requires_grad_()
    out = attend(query, 30 * torch.randn(1, 4, 2), torch.randn(1, 4, 3))
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(query.grad).all()


def test_long_trajectories_take_the_blocks(monkeypatch):
    seen = []
    monkeypatch.setattr(attention._Blocked, "apply", lambda *parts: seen.append(len(parts)) or parts[2])
    attend(*(torch.zeros(2, frames, 32) for frames in (400, 400, 400)))
    attend(*(torch.zeros(2, frames, 32) for frames in (20, 20, 20)))
    attend(*(torch.zeros(2, 400, 32, dtype=torch.float64) for _ in range(3)))
    assert seen == ([3] if linear._onednn is not None else [])
