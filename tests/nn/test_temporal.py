"""Temporal attention against its equations written out with frames x frames tensors."""

from __future__ import annotations

import pytest
import torch

from egi.nn.basic import frequencies
from egi.nn.temporal import TemporalAttention


def perceptron(layers, inputs: torch.Tensor) -> torch.Tensor:
    first, last = layers
    return torch.nn.functional.silu(inputs @ first.weight.T + first.bias) @ last.weight.T + last.bias


def plain(layer: TemporalAttention, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same layer, equation by equation."""
    frames = h.shape[1]
    query, key, value = (perceptron(part, h) for part in (layer.query, layer.key, layer.value))
    time = torch.arange(frames, dtype=torch.float64)
    angle = (time[:, None] - time[None, :])[..., None] * frequencies(layer.n_frequencies, x.device)
    psi = torch.cat([angle.sin(), angle.cos()], -1).to(h.dtype) @ layer.relative.weight.T  # [t, s, hidden]
    keys = key[:, None, :, :] + psi  # [nodes, t, s, hidden]
    values = value[:, None, :, :] + psi
    attention = torch.softmax(torch.einsum("nth,ntsh->nts", query, keys), dim=-1)
    difference = x[:, :, None, :] - x[:, None, :, :]
    dx = torch.einsum("nts,ns,ntsc->ntc", attention, perceptron(layer.scale, value)[..., 0], difference)
    return dx, torch.einsum("nts,ntsh->nth", attention, values)


@pytest.fixture
def case():
    torch.manual_seed(0)
    layer = TemporalAttention(24, 5)
    for parameter in layer.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return layer, 2 * torch.randn(3, 17, 3) + 4, torch.randn(3, 17, 24)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_equals_the_plain_form_with_gradients(case, dtype, tolerance):
    layer, x, h = case[0].to(dtype), case[1].to(dtype), case[2].to(dtype)
    results = []
    for form in (layer, lambda *a: plain(layer, *a)):
        inputs = [x.clone().requires_grad_(), h.clone().requires_grad_()]
        dx, dh = form(*inputs)
        loss = (dx * torch.linspace(0, 1, dx.numel(), dtype=dtype).view_as(dx)).sum() + dh.square().mean()
        gradients = torch.autograd.grad(loss, [*inputs, *layer.parameters()])
        results.append([dx, dh, *gradients])
    for ours, theirs in zip(*results, strict=True):
        scale = max(1.0, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * scale)


def test_depends_on_time_differences_only(case):
    """Queries see other frames by their distance: reversing time changes the answer, and it is no set function."""
    layer, x, h = (part.double() for part in case)
    dx, dh = layer(x, h)
    order = torch.arange(x.shape[1]).roll(3)
    rolled_x, rolled_h = layer(x[:, order], h[:, order])
    assert not torch.allclose(rolled_h, dh[:, order], atol=1e-6)
    assert not torch.allclose(rolled_x, dx[:, order], atol=1e-6)


def test_one_frame_moves_nothing(case):
    layer, x, h = case
    dx, _ = layer(x[:, :1], h[:, :1])
    assert float(dx.detach().abs().max()) == 0.0


def test_long_trajectories_keep_their_phase():
    """At 4000 frames, float32 equals float64: the phases are computed in float64."""
    torch.manual_seed(1)
    layer = TemporalAttention(8, 16)
    x, h = torch.randn(1, 4000, 3), torch.randn(1, 4000, 8)
    with torch.no_grad():
        single = layer(x, h)
        double = layer.double()(x.double(), h.double())
    for a, b in zip(single, double, strict=True):
        assert float((a - b).abs().max()) < 1e-5


def test_logits_stay_in_float32_under_autocast(case, monkeypatch):
    layer, x, h = case
    seen = []
    attention = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, k, v, **other: (seen.append((q.dtype, v.dtype)), attention(q, k, v, **other))[1],
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dx, _ = layer(x, h)
    assert seen == [(torch.float32, torch.float32)]
    assert dx.dtype == torch.float32
