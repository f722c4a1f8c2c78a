"""Spatial layers: EGCL of EGNN (Satorras et al. 2021b), and the ES layer, EGCL followed by a GVP transition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from egi.nn.basic import at_least_float32, norm, shrink
from egi.nn.edges import BlockedEdges, blocked
from egi.nn.gvp import GVPTransition
from egi.nn.linear import Linear, SiLULinear, mlp

#: triples of neighbour vectors in the chirality term
TRIPLES = 4


@dataclass(frozen=True)
class Graph:
    """Edges of a batch, the same for all frames and layers: bonds and pairs up to three bonds apart (FACTS 7).

    Attributes
    ----------
    index : [2, edges] long Tensor
        Row 0 the source j and row 1 the target i of j -> i.
    features : [edges, 1, edge width] Tensor
        Embedded edge types, e_ij.
    inverse_degree : [nodes, 1, 1] Tensor
        1 / number of edges that end at the node, 0 without edges.
    nodes : int
    stereo : [4, centres] long Tensor or None
        Centre, then neighbours whose triple product is positive.
    """

    index: Tensor
    features: Tensor
    inverse_degree: Tensor
    nodes: int
    stereo: Tensor | None = None

    @property
    def source(self) -> Tensor:
        """[edges] long, j of j -> i."""
        return self.index[0]

    @property
    def target(self) -> Tensor:
        """[edges] long, i of j -> i."""
        return self.index[1]

    def sum(self, messages: Tensor) -> Tensor:
        """Sum over the edges that end at each node, sum_j m_ij.

        Parameters
        ----------
        messages : [edges, frames, width] Tensor

        Returns
        -------
        [nodes, frames, width] Tensor
        """
        out = messages.new_zeros(self.nodes, *messages.shape[1:])
        return out.index_add(0, self.target, messages)


class EGCL(nn.Module):
    """Equivariant graph convolution (DESIGN 4).

        m_ij = phi_e(h_i, h_j, d_ij, e_ij),   d_ij = |x_i - x_j|
        dx_i = mean_j phi_x(m_ij) (x_i - x_j) / (d_ij + 1)
        dh_i = phi_h(h_i, sum_j m_ij)

    phi_e is linear-SiLU-linear-SiLU, phi_x and phi_h are linear-SiLU-linear. The first layers of
    phi_e and phi_h are split by input, so that what depends on h_i or h_j alone is computed once a
    node rather than once an edge.

    Parameters
    ----------
    hidden, edge_width : int
    channels : int
        Outputs of phi_x beside the weight of the coordinate message, for subclasses.
    """

    def __init__(self, hidden: int, edge_width: int, channels: int = 0) -> None:
        super().__init__()
        # phi_e: first layer on h_i, h_j and (d, e); second layer
        self.from_target = Linear(hidden, hidden)
        self.from_source = Linear(hidden, hidden, bias=False)
        self.from_edge = Linear(1 + edge_width, hidden, bias=False)
        self.message = SiLULinear(hidden, hidden)
        # phi_x
        self.coordinate = mlp(hidden, hidden, 1 + channels, last_bias=False)
        self.coordinate[1].weight.data[0] *= 0.1  # a fresh layer moves little
        # phi_h: first layer on h_i and the sum of messages; second layer
        self.from_self = Linear(hidden, hidden, bias=False)
        self.from_messages = Linear(hidden, hidden)
        self.invariant = SiLULinear(hidden, hidden)

    def forward(self, graph: Graph, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Increments of coordinates and invariants.

        Parameters
        ----------
        graph : Graph
        x : [nodes, frames, 3] Tensor
            Coordinates, Å.
        h : [nodes, frames or 1, hidden] Tensor
            Invariants; one frame stands for all.

        Returns
        -------
        tuple of [nodes, frames, 3] Tensor (Å) and [nodes, frames, hidden] Tensor
        """
        direction, distance = geometry(graph, x)
        gathered, channels = self.edges(graph, h, distance)
        dx = graph.sum(channels * direction) * graph.inverse_degree
        dh = self.invariant(self.from_self(h) + self.from_messages(gathered))
        return dx, dh

    def edges(self, graph: Graph, h: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """The part of the layer that runs over edges: messages m_ij = phi_e, and phi_x of them.

        Parameters
        ----------
        graph : Graph
        h : [nodes, frames or 1, hidden] Tensor
        distance : [edges, frames, 1] Tensor
            Å.

        Returns
        -------
        tuple of [nodes, frames, hidden] Tensor (sum_j m_ij) and [edges, frames, 1 + channels] Tensor (phi_x)
        """
        inputs = torch.cat([distance, graph.features.expand(-1, distance.shape[1], -1)], dim=-1)
        of_target, of_source = self.from_target(h), self.from_source(h)
        if blocked(h):
            frames = distance.shape[1]
            nodes = (part.expand(-1, frames, -1) for part in (of_target, of_source))
            linear, last = self.coordinate
            return BlockedEdges.apply(
                graph.index, *nodes, inputs, self.from_edge.weight, self.message.weight, self.message.bias,
                linear.weight, linear.bias, last.weight,
            )  # fmt: skip
        first = of_target.index_select(0, graph.target) + of_source.index_select(0, graph.source)
        message = nn.functional.silu(self.message(first + self.from_edge(inputs)))
        return graph.sum(message), at_least_float32(self.coordinate(message))


class ChiralEGCL(EGCL):
    """EGCL that sees handedness (setting `chirality_aware`; not in the paper).

    Each node sums K triples of neighbour vectors, gated by further outputs of phi_x,

        a_i^k, b_i^k, c_i^k = sum_j tanh(phi_x^k(m_ij)) (x_i - x_j) / (d_ij + 1),

    the triple products p_i^k = a . (b x c), squashed to p / (1 + |p|), enter phi_h, and the cross
    products a x b, weighted by invariants, enter dx. Where the graph lists stereocentres with their
    neighbours in the molecule's own order, the triple product of those neighbours enters too, and
    centre and neighbours move along its gradient, by a weight learned from the centre's invariants.
    All this follows rotations exactly; under a reflection triple products change their sign.

    Parameters
    ----------
    hidden, edge_width : int
    """

    def __init__(self, hidden: int, edge_width: int) -> None:
        super().__init__(hidden, edge_width, channels=3 * TRIPLES)
        self.coordinate[1].weight.data[1:] *= 8  # gates of order one, else their products are too faint to learn from
        self.from_triples = Linear(TRIPLES + 1, hidden, bias=False)  # the last for stereocentres
        self.turn = shrink(SiLULinear(hidden, TRIPLES + 1), 0.3)

    def forward(self, graph: Graph, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Increments of coordinates and invariants; arguments and results as those of `EGCL.forward`."""
        direction, distance = geometry(graph, x)
        gathered, channels = self.edges(graph, h, distance)
        gates = channels[..., 1:].tanh().unsqueeze(-2)
        vectors = graph.sum((direction.unsqueeze(-1) * gates).flatten(-2))
        first, second, third = vectors.unflatten(-1, (3, -1)).chunk(3, dim=-1)  # [nodes, frames, 3, TRIPLES] each
        cross = torch.linalg.cross(first, second, dim=-2)
        product = (cross * third).sum(dim=-2)
        places, volume, gradient = stereo_volume(graph, x)
        own = x.new_zeros(*x.shape[:2], 1).index_add(0, places[0], volume)
        handed = self.from_triples(torch.cat([product / (1 + product.abs()), own], dim=-1))
        hidden = self.from_self(h) + self.from_messages(gathered) + handed
        turn = at_least_float32(self.turn(hidden))  # [nodes, frames, TRIPLES + 1]
        dx = graph.sum(channels[..., :1] * direction) * graph.inverse_degree
        dx = dx + (turn[..., :TRIPLES].unsqueeze(-2) * cross).sum(dim=-1)
        push = turn[..., TRIPLES:].index_select(0, places[0]) * gradient  # [4, centres, frames, 3]
        return dx.index_add(0, places.flatten(), push.flatten(0, 1)), self.invariant(hidden)


def stereo_volume(graph: Graph, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Triple product of each stereocentre's neighbour vectors, each divided by its length + 1, and where it grows.

    Parameters
    ----------
    graph : Graph
    x : [nodes, frames, 3] Tensor
        Å.

    Returns
    -------
    tuple of [4, centres] long Tensor, [centres, frames, 1] Tensor v = a . (b x c), and [4, centres, frames, 3] Tensor
        Atoms (centre first), product, and directions - (b x c + c x a + a x b), b x c, c x a, a x b.
    """
    places = graph.index.new_zeros(4, 0) if graph.stereo is None else graph.stereo
    centre = x.index_select(0, places[0])
    vectors = (x.index_select(0, place) - centre for place in places[1:])
    a, b, c = (vector / (norm(vector) + 1) for vector in vectors)
    crosses = torch.stack([torch.linalg.cross(*pair, dim=-1) for pair in ((b, c), (c, a), (a, b))])
    gradient = torch.cat([-crosses.sum(dim=0, keepdim=True), crosses])
    return places, (a * crosses[0]).sum(dim=-1, keepdim=True), gradient


def geometry(graph: Graph, x: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (x_i - x_j) / (d_ij + 1) and distances d_ij = |x_i - x_j| of EGCL (DESIGN 4).

    Parameters
    ----------
    graph : Graph
    x : [nodes, frames, 3] Tensor
        Å.

    Returns
    -------
    tuple of [edges, frames, 3] Tensor (no unit) and [edges, frames, 1] Tensor (Å)
    """
    difference = x.index_select(0, graph.target) - x.index_select(0, graph.source)
    distance = norm(difference)
    return difference / (distance + 1), distance


class SpatialLayer(nn.Module):
    """ES layer: EGCL, then a two-layer GVP transition on (invariants, coordinate update), residual on both.

    (dx, dh) = EGCL(x, h);  (dx', dh') = GVP(dx, h + dh);  the layer gives dx + dx' and dh + dh' (FACTS 8, Eq. 4).

    Parameters
    ----------
    hidden, edge_width : int
    chirality_aware : bool
        `ChiralEGCL` in place of the paper's `EGCL`.
    """

    def __init__(self, hidden: int, edge_width: int, chirality_aware: bool) -> None:
        super().__init__()
        self.egcl = (ChiralEGCL if chirality_aware else EGCL)(hidden, edge_width)
        self.transition = GVPTransition(hidden)

    def forward(self, graph: Graph, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Increments of coordinates and invariants; arguments and results as those of `EGCL.forward`."""
        dx, dh = self.egcl(graph, x, h)
        more_h, more_x = self.transition(h + dh, dx)
        return dx + more_x, dh + more_h
