"""Backward passes of our own keep the forward pass's precision, wherever `backward` is called."""

from __future__ import annotations

import pytest
import torch

from egi.nn import attention, linear
from egi.nn.attention import attend
from egi.nn.linear import product
from egi.nn.spatial import EGCL, Graph


def egcl(x, h):
    torch.manual_seed(1)
    ring = torch.arange(4)
    index = torch.stack([ring, ring.roll(1)])
    layer = EGCL(h.shape[-1], 2)
    return torch.cat(layer(Graph(index, torch.randn(4, 1, 2), torch.ones(4, 1, 1), 4), x, h), dim=-1)


@pytest.mark.parametrize(
    ("form", "shapes"),
    [(product, [(6, 40), (30, 40)]), (attend, [(4, 9, 8), (4, 9, 8), (4, 9, 5)]), (egcl, [(4, 3, 3), (4, 3, 16)])],
)
def test_backward_under_autocast_is_float32_where_the_forward_pass_was(form, shapes, monkeypatch):
    monkeypatch.setattr(linear, "LEAST_WORK", 0)
    monkeypatch.setattr(attention, "LEAST_FRAMES", 0)
    torch.manual_seed(0)
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    wanted = torch.autograd.grad(form(*inputs).square().sum(), inputs)
    loss = form(*inputs).square().sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = torch.autograd.grad(loss, inputs)
    for ours, theirs in zip(seen, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
