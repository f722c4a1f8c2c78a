"""The oneDNN detour gives what torch's linear layer gives, gradients of both orders too."""

from __future__ import annotations

import pytest
import torch

from egi.nn import linear
from egi.nn.linear import Linear, SiLULinear, affine, fast, product


@pytest.fixture(params=["detour", "torch"])
def path(request, monkeypatch):
    monkeypatch.setattr(linear, "LEAST_WORK", 0 if request.param == "detour" else 2**60)
    return request.param


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [Linear, SiLULinear])
def test_output_and_gradients(path, kind, bias):
    torch.manual_seed(0)
    layer = kind(12, 20, bias=bias)
    x = torch.randn(7, 5, 12, requires_grad=True)
    inputs = [x, *layer.parameters()]
    weights = torch.randn(7, 5, 20)
    ours = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    seen = torch.nn.functional.silu(x) if kind is SiLULinear else x
    theirs = torch.autograd.grad((torch.nn.functional.linear(seen, layer.weight, layer.bias) * weights).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_second_gradients(path):
    torch.manual_seed(0)
    x, weight = torch.randn(6, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)

    def curvature(form):
        (gradient,) = torch.autograd.grad(form(x, weight).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), weight)[0]

    torch.testing.assert_close(curvature(product), curvature(torch.nn.functional.linear), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["none", "swish"])
def test_affine_takes_any_strides(path, activation):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(9, 30).t(), torch.randn(9, 8).t(), torch.randn(8)
    wanted = x @ weight.t() + bias
    wanted = torch.nn.functional.silu(wanted) if activation == "swish" else wanted
    torch.testing.assert_close(affine(x, weight, bias, activation), wanted, rtol=1e-5, atol=1e-5)


def test_matrices_with_gaps_are_copied_first(path):
    """oneDNN's code for them is a hundred times slower."""
    torch.manual_seed(0)
    x, weight = torch.randn(64, 3, 40)[:, 1, 4:36], torch.randn(16, 50)[:, :32]
    torch.testing.assert_close(affine(x, weight), x @ weight.t(), rtol=1e-5, atol=1e-5)
    assert linear._dense(x).is_contiguous() and linear._dense(weight.t()).is_contiguous()
    assert linear._dense(weight.contiguous().t()).stride() == (1, 32)


def test_only_float32_products_of_some_size_take_the_detour():
    x, weight = torch.randn(4096, 64), torch.randn(64, 64)
    assert fast(x, weight) is (linear._onednn is not None)
    assert not fast(x.double(), weight.double())
    assert not fast(x[:8], weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not fast(x, weight)
