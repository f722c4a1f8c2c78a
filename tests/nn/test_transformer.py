"""The Equivariant Transformer block: symmetry, locality, and its equations edge by edge."""

from __future__ import annotations

import pytest
import torch

from egi.nn.spatial import Graph
from egi.nn.transformer import HEADS, EquivariantTransformer, radial_basis

WIDTH, NODES, FRAMES = 16, 4, 2


@pytest.fixture
def case():
    torch.manual_seed(0)
    source, target = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    graph = Graph(torch.stack([source, target]), torch.randn(6, 1, 4).double(), torch.ones(NODES, 1, 1).double(), NODES)
    x, h = torch.randn(NODES, FRAMES, 3).double(), torch.randn(NODES, FRAMES, WIDTH).double()
    return graph, x, h, torch.randn(NODES, FRAMES, 3, WIDTH).double()


@pytest.mark.parametrize("first", [True, False])
def test_equals_its_equations(case, first):
    graph, x, h, vectors = case
    layer = EquivariantTransformer(WIDTH, 4, first=first).double()
    parts = 2 if first else 3
    q, k, v = layer.query_key_value(layer.norm(h)).split([WIDTH, WIDTH, parts * WIDTH], dim=-1)
    y, w = torch.zeros_like(h), torch.zeros_like(vectors)
    for j, i, e in zip(graph.source.tolist(), graph.target.tolist(), graph.features[:, 0], strict=True):
        distance = (x[i] - x[j]).norm(dim=-1, keepdim=True)
        d_k, d_v = layer.modulate(torch.cat([radial_basis(distance), e.expand(FRAMES, -1)], -1)).split(
            [WIDTH, parts * WIDTH], dim=-1
        )
        a = torch.nn.functional.silu((q[i] * k[j] * d_k).view(FRAMES, HEADS, -1).sum(-1))
        s = (d_v * v[j]).split(WIDTH, dim=-1)
        y[i] += (a[..., None] * s[0].view(FRAMES, HEADS, -1)).flatten(1)
        w[i] += s[1][:, None] * ((x[i] - x[j]) / distance)[..., None]
        if not first:
            w[i] += s[2][:, None] * vectors[j]
    out = layer.out(y)
    if not first:
        u1, u2, u3 = layer.mix(vectors).chunk(3, dim=-1)
        o1, o2, o3 = out.chunk(3, dim=-1)
        out, w = o1 + o2 * (u1 * u2).sum(-2), w + o3[:, :, None] * u3
    dh, dv = layer(graph, x, h, None if first else vectors)
    torch.testing.assert_close(dh, out, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dv, w, rtol=1e-9, atol=1e-9)


def test_follows_rotation(case):
    graph, x, h, vectors = case
    q = torch.linalg.qr(torch.randn(3, 3).double())[0]
    layer = EquivariantTransformer(WIDTH, 4).double()
    dh, dv = layer(graph, x, h, vectors)
    turned = torch.einsum("nfcw,cd->nfdw", vectors, q)
    turned_h, turned_v = layer(graph, x @ q + 3, h, turned)
    torch.testing.assert_close(turned_h, dh, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(turned_v, torch.einsum("nfcw,cd->nfdw", dv, q), rtol=1e-9, atol=1e-9)


def test_width_must_divide_into_heads():
    with pytest.raises(ValueError, match=r"hidden = 12; .* multiple of 8"):
        EquivariantTransformer(12, 4)
