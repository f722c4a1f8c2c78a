"""Spatial layers: EGCL of EGNN (Satorras et al. 2021b), and the ES layer, EGCL followed by a GVP transition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from egi.nn.basic import at_least_float32, norm, shrink
from egi.nn.gvp import GVPTransition

#: triples of neighbour vectors in the chirality term
TRIPLES = 4


@dataclass(frozen=True)
class Graph:
    """Edges of a batch, the same for all frames and layers."""

    source: Tensor  #: [edges] long, j of j -> i
    target: Tensor  #: [edges] long, i
    features: Tensor  #: [edges, 1, edge width]
    inverse_degree: Tensor  #: [nodes, 1, 1], 1 / number of edges that end at the node (0 if none)
    nodes: int

    def sum(self, messages: Tensor) -> Tensor:
        """[edges, frames, width] summed over the edges that end at each node: [nodes, frames, width]."""
        out = messages.new_zeros(self.nodes, *messages.shape[1:])
        return out.index_add(0, self.target, messages)


class EGCL(nn.Module):
    """Equivariant graph convolution (DESIGN 4).

        m_ij = phi_e(h_i, h_j, d_ij, e_ij),   d_ij = |x_i - x_j|
        dx_i = mean_j phi_x(m_ij) (x_i - x_j) / (d_ij + 1)
        dh_i = phi_h(h_i, sum_j m_ij)

    phi_e is linear-SiLU-linear-SiLU, phi_x and phi_h are linear-SiLU-linear. The first layer of
    phi_e is split: what depends on h_i or h_j alone is computed once a node, in one product with
    phi_h's share.

    Parameters
    ----------
    hidden, edge_width : int
    """

    def __init__(self, hidden: int, edge_width: int) -> None:
        super().__init__()
        self.node = nn.Linear(hidden, 3 * hidden, bias=False)  # rows: phi_e on h_i, phi_e on h_j, phi_h on h_i
        self.edge = nn.Linear(1 + edge_width, hidden)  # phi_e on d, then e; its bias
        self.message = nn.Linear(hidden, hidden)
        self.coordinate = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1, bias=False))
        shrink(self.coordinate[2], 0.1)
        self.gathered = nn.Linear(hidden, hidden)  # phi_h on the sum of messages; its bias
        self.invariant = nn.Linear(hidden, hidden)

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
        of_target, of_source, of_node = self.node(h).chunk(3, dim=-1)
        direction, distance = self.geometry(graph, x)
        message = self.messages(graph, of_target, of_source, distance)
        gathered = graph.sum(message)
        dx = self.pull(graph, message, direction)
        dh = self.invariant(nn.functional.silu(of_node + self.gathered(gathered)))
        return dx, dh

    def geometry(self, graph: Graph, x: Tensor) -> tuple[Tensor, Tensor]:
        """(x_i - x_j) / (d_ij + 1) [edges, frames, 3] and d_ij [edges, frames, 1] in Å."""
        difference = x[graph.target] - x[graph.source]
        distance = norm(difference)
        return difference / (distance + 1), distance

    def messages(self, graph: Graph, of_target: Tensor, of_source: Tensor, distance: Tensor) -> Tensor:
        """m_ij [edges, frames, hidden] from the node shares of phi_e's first layer."""
        constant = nn.functional.linear(graph.features, self.edge.weight[:, 1:], self.edge.bias)  # [edges, 1, hidden]
        first = of_target[graph.target] + of_source[graph.source] + constant
        first = torch.addcmul(first, distance.to(first.dtype), self.edge.weight[:, 0].to(first.dtype))
        return nn.functional.silu(self.message(nn.functional.silu(first)))

    def pull(self, graph: Graph, message: Tensor, direction: Tensor) -> Tensor:
        """dx [nodes, frames, 3] in Å, in at least float32."""
        weight = at_least_float32(self.coordinate(message))
        return graph.sum(weight * direction) * graph.inverse_degree


class ChiralEGCL(EGCL):
    """EGCL that sees handedness (setting `chirality_aware`; not in the paper).

    Each node sums K triples of neighbour vectors, gated by the messages,

        a_i^k, b_i^k, c_i^k = sum_j tanh(gate^k(m_ij)) (x_i - x_j) / (d_ij + 1),

    the triple products p_i^k = a . (b x c), squashed to p / (1 + |p|), enter phi_h, and the cross
    products a x b, weighted by invariants, enter dx. Both follow rotations exactly; under a
    reflection p changes its sign, and a x b turns as no vector does.
    """

    def __init__(self, hidden: int, edge_width: int) -> None:
        super().__init__(hidden, edge_width)
        self.gates = nn.Linear(hidden, 3 * TRIPLES)
        self.handed = nn.Linear(TRIPLES, hidden, bias=False)
        self.turn = shrink(nn.Linear(hidden, TRIPLES), 0.1)

    def forward(self, graph: Graph, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """As `EGCL.forward`."""
        of_target, of_source, of_node = self.node(h).chunk(3, dim=-1)
        direction, distance = self.geometry(graph, x)
        message = self.messages(graph, of_target, of_source, distance)
        gates = at_least_float32(self.gates(message)).tanh()
        vectors = graph.sum((gates.unsqueeze(-1) * direction.unsqueeze(-2)).flatten(-2))
        first, second, third = vectors.unflatten(-1, (3, TRIPLES, 3)).unbind(-3)  # [nodes, frames, TRIPLES, 3] each
        cross = torch.linalg.cross(first, second, dim=-1)
        product = (cross * third).sum(dim=-1)
        handed = self.handed(product / (1 + product.abs()))
        hidden = nn.functional.silu(of_node + self.gathered(graph.sum(message)) + handed)
        turn = at_least_float32(self.turn(hidden)).unsqueeze(-1)
        dx = self.pull(graph, message, direction) + (turn * cross).sum(dim=-2)
        return dx, self.invariant(hidden)


class SpatialLayer(nn.Module):
    """ES layer: EGCL, then a two-layer GVP transition on (invariants, coordinate update), residual on both."""

    def __init__(self, hidden: int, edge_width: int, chirality_aware: bool) -> None:
        super().__init__()
        self.egcl = (ChiralEGCL if chirality_aware else EGCL)(hidden, edge_width)
        self.transition = GVPTransition(hidden)

    def forward(self, graph: Graph, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Increments of coordinates [nodes, frames, 3] (Å) and invariants [nodes, frames, hidden]."""
        dx, dh = self.egcl(graph, x, h)
        more_h, more_x = self.transition(h + dh, dx)
        return dx + more_x, dh + more_h
