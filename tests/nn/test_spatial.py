"""EGCL and the GVP transition against their equations, symmetry of the layers, and the chirality term."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import silu

from egi.nn import edges, spatial
from egi.nn.gvp import GVP, GVPTransition
from egi.nn.spatial import EGCL, ChiralEGCL, Graph, SpatialLayer

WIDTH, EDGE_WIDTH, NODES, FRAMES = 16, 4, 6, 3


@pytest.fixture
def graph():
    torch.manual_seed(0)
    pairs = torch.combinations(torch.arange(NODES - 1))  # the last node has no edge
    pairs = pairs[torch.randperm(len(pairs))[:7]]
    source, target = torch.cat([pairs, pairs.flip(1)]).T
    inverse_degree = 1 / torch.bincount(target, minlength=NODES).clamp(min=1).double().view(-1, 1, 1)
    return Graph(torch.stack([source, target]), torch.randn(len(source), 1, EDGE_WIDTH), inverse_degree, NODES)


def cast(graph: Graph, dtype: torch.dtype) -> Graph:
    return Graph(graph.index, graph.features.to(dtype), graph.inverse_degree.to(dtype), NODES)


def state(dtype=torch.float64):
    torch.manual_seed(1)
    return 2 * torch.randn(NODES, FRAMES, 3, dtype=dtype), torch.randn(NODES, FRAMES, WIDTH, dtype=dtype)


def stirred(layer, dtype=torch.float64):
    """Random weights of ordinary size everywhere, output layers too."""
    torch.manual_seed(2)
    for parameter in layer.parameters():
        parameter.data.copy_(torch.randn_like(parameter) / max(parameter.shape[-1], 1) ** 0.5)
    return layer.to(dtype)


def linear(inputs: torch.Tensor, layer) -> torch.Tensor:
    return torch.nn.functional.linear(inputs, layer.weight, layer.bias)


def plain(layer: EGCL, graph: Graph, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """EGCL edge by edge, with concatenated inputs and whole weight matrices."""
    first = torch.cat([layer.from_target.weight, layer.from_source.weight, layer.from_edge.weight], dim=1)
    dx, sums = [torch.zeros_like(x[0]) for _ in range(NODES)], [torch.zeros_like(h[0]) for _ in range(NODES)]
    for j, i, e in zip(graph.source.tolist(), graph.target.tolist(), graph.features[:, 0], strict=True):
        distance = ((x[i] - x[j]).square().sum(-1, keepdim=True) + 1e-12).sqrt()
        inputs = torch.cat([h[i], h[j], distance, e.expand(FRAMES, -1)], dim=-1)
        message = silu(linear(silu(inputs @ first.T + layer.from_target.bias), layer.message))
        degree = int((graph.target == i).sum())
        weight = linear(silu(linear(message, layer.coordinate[0])), layer.coordinate[1])
        dx[i] = dx[i] + weight * (x[i] - x[j]) / (distance + 1) / degree
        sums[i] = sums[i] + message
    phi_h = torch.cat([layer.from_self.weight, layer.from_messages.weight], dim=1)
    hidden = torch.cat([h, torch.stack(sums)], dim=-1) @ phi_h.T + layer.from_messages.bias
    return torch.stack(dx), linear(silu(hidden), layer.invariant)


#: in one piece, in blocks of one frame, and without blocks as on a GPU
@pytest.fixture(params=["whole", "blocks", "composed"])
def form(request, monkeypatch):
    if request.param == "blocks":
        monkeypatch.setattr(edges, "BLOCK_SIZE", 1)
    if request.param == "composed":
        monkeypatch.setattr(spatial, "blocked", lambda tensor: False)
    return request.param


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_egcl_equals_the_plain_form_with_gradients(form, graph, dtype, tolerance):
    layer, graph = stirred(EGCL(WIDTH, EDGE_WIDTH), dtype), cast(graph, dtype)
    results = []
    for form in (layer, lambda *a: plain(layer, *a)):
        inputs = [part.requires_grad_() for part in state(dtype)]
        dx, dh = form(graph, *inputs)
        gradients = torch.autograd.grad(dx.square().sum() + (dh**3).sum(), [*inputs, *layer.parameters()])
        results.append([dx, dh, *gradients])
    for ours, theirs in zip(*results, strict=True):
        scale = max(1.0, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("kind", [EGCL, ChiralEGCL])
def test_frozen_weights_get_no_gradient_and_inputs_the_same(form, graph, kind):
    layer, graph = stirred(kind(WIDTH, EDGE_WIDTH)), cast(graph, torch.float64)
    found = []
    for trained in (True, False):
        layer.requires_grad_(trained)
        inputs = [part.requires_grad_() for part in state()]
        dx, dh = layer(graph, *inputs)
        (dx.square().sum() + dh.square().sum()).backward()
        found.append([part.grad for part in inputs])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_lone_atom_stays(form):
    nothing = Graph(torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, 1, EDGE_WIDTH), torch.ones(1, 1, 1), 1)
    layer = ChiralEGCL(WIDTH, EDGE_WIDTH)
    x, h = torch.randn(1, FRAMES, 3, requires_grad=True), torch.randn(1, FRAMES, WIDTH)
    dx, dh = layer(nothing, x, h)
    (dx.sum() + dh.sum()).backward()
    assert float(dx.detach().abs().max()) == 0.0
    assert dh.shape == h.shape


def test_egcl_node_without_edges_stays(graph):
    dx, dh = stirred(EGCL(WIDTH, EDGE_WIDTH))(cast(graph, torch.float64), *state())
    assert float(dx[-1].detach().abs().max()) == 0.0
    assert torch.isfinite(dh).all()


def test_egcl_is_finite_for_coincident_atoms(graph):
    x, h = state()
    x = torch.zeros_like(x).requires_grad_()
    dx, dh = stirred(EGCL(WIDTH, EDGE_WIDTH))(cast(graph, torch.float64), x, h)
    (gradient,) = torch.autograd.grad(dx.sum() + dh.sum(), x)
    assert torch.isfinite(gradient).all()


def test_one_frame_of_invariants_stands_for_all(graph):
    layer, graph, (x, h) = stirred(EGCL(WIDTH, EDGE_WIDTH)), cast(graph, torch.float64), state()
    once, spread = layer(graph, x, h[:, :1]), layer(graph, x, h[:, :1].expand(-1, FRAMES, -1))
    for a, b in zip(once, spread, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_gvp_equals_its_equations():
    layer = stirred(GVP(WIDTH, 2, 5, 3))
    torch.manual_seed(3)
    s, v = torch.randn(7, WIDTH, dtype=torch.float64), torch.randn(7, 2, 3, dtype=torch.float64)
    hidden = torch.einsum("ij,njc->nic", layer.to_hidden.weight, v)
    lengths = (hidden.square().sum(-1) + 1e-12).sqrt()
    scalars = layer.scalars(torch.cat([s, lengths], dim=-1))
    vectors = torch.sigmoid(layer.gate(scalars))[..., None] * torch.einsum("ij,njc->nic", layer.to_out.weight, hidden)
    ours = layer(s, v)
    torch.testing.assert_close(ours[0], scalars, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours[1], vectors, rtol=1e-12, atol=1e-12)


def test_transition_lets_invariants_and_vector_interact():
    layer = stirred(GVPTransition(WIDTH))
    _, h = state()
    update = torch.randn(NODES, FRAMES, 3, dtype=torch.float64)
    longer = layer(h, 2 * update)[0] - layer(h, update)[0]
    other = layer(h + 1, update)[1] - layer(h, update)[1]
    assert float(longer.detach().abs().max()) > 1e-3
    assert float(other.detach().abs().max()) > 1e-3


def largest(tensor: torch.Tensor) -> float:
    return float(tensor.detach().abs().max())


def rotation() -> torch.Tensor:
    torch.manual_seed(4)
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    return q * torch.linalg.det(q).sign()


@pytest.mark.parametrize("chirality_aware", [False, True])
def test_layer_follows_rotation_and_ignores_translation(graph, chirality_aware):
    layer, graph, (x, h) = (
        stirred(SpatialLayer(WIDTH, EDGE_WIDTH, chirality_aware)), cast(graph, torch.float64), state(),
    )  # fmt: skip
    dx, dh = layer(graph, x, h)
    turned_x, turned_h = layer(graph, x @ rotation() + 7, h)
    torch.testing.assert_close(turned_x, dx @ rotation(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(turned_h, dh, rtol=1e-9, atol=1e-9)


def test_papers_layer_cannot_tell_hands_and_ours_can(graph):
    """EGNN layers follow reflections too, so they give both hands of a molecule the same chance."""
    graph, (x, h) = cast(graph, torch.float64), state()
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    differences = {}
    for kind in (EGCL, ChiralEGCL):
        layer = stirred(kind(WIDTH, EDGE_WIDTH))
        dx, dh = layer(graph, x, h)
        mirrored_x, mirrored_h = layer(graph, x @ mirror, h)
        differences[kind] = [largest(mirrored_x - dx @ mirror), largest(mirrored_h - dh)]
    assert max(differences[EGCL]) < 1e-12
    assert min(differences[ChiralEGCL]) > 1e-3
