"""Equivariant Transformer block of TorchMD-NET (Thölke & De Fabritiis 2022), on the molecular graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from egi.nn.basic import at_least_float32, full_precision, norm
from egi.nn.linear import Linear
from egi.nn.spatial import Graph

HEADS = 8
#: radial basis functions, and the distance that they resolve, Å
RADIAL_FUNCTIONS, RADIAL_RANGE = 32, 8.0


def radial_basis(distance: Tensor) -> Tensor:
    """Exponential-normal basis, exp(-beta_k (exp(-5 d / r) - mu_k)^2), mu_k even from exp(-5) to 1 (r = 8 Å).

    Parameters
    ----------
    distance : [edges, frames, 1] Tensor
        Å.

    Returns
    -------
    [edges, frames, 32] Tensor
    """
    start = torch.exp(torch.tensor(-5.0, dtype=distance.dtype, device=distance.device))
    means = start + (1 - start) * torch.linspace(0, 1, RADIAL_FUNCTIONS, dtype=distance.dtype, device=distance.device)
    beta = (2 / RADIAL_FUNCTIONS * (1 - start)) ** -2
    return torch.exp(-beta * (torch.exp(-5.0 * distance / RADIAL_RANGE) - means) ** 2)


class EquivariantTransformer(nn.Module):
    """One block: edge-modulated attention, then exchange between invariants h and vector features V.

    With edge features f_ij (radial basis of d_ij and edge embedding), a_ij = SiLU(sum q_i k_j D^k f_ij)
    per head, and D^v f_ij * v_j split in (s^h, s^V, s^r):

        y_i = sum_j a_ij s^h_ij,   w_i = sum_j (s^V_ij V_j + s^r_ij (x_i - x_j) / d_ij)
        (o1, o2, o3) = W_o y_i,    dh_i = o1 + o2 <U_1 V_i, U_2 V_i>,   dV_i = o3 U_3 V_i + w_i

    Parameters
    ----------
    hidden : int
        A multiple of HEADS.
    edge_width : int
    first : bool
        In the first block V is still zero: the terms with V, and their weights, are left out.

    Raises
    ------
    ValueError
        If `hidden` is no multiple of HEADS.
    """

    def __init__(self, hidden: int, edge_width: int, first: bool = False) -> None:
        super().__init__()
        if hidden % HEADS:
            raise ValueError(f"hidden = {hidden}; the equivariant transformer wants a multiple of {HEADS}")
        self.first = first
        self.parts = 2 if first else 3  # of D^v f * v
        width = RADIAL_FUNCTIONS + edge_width
        self.norm = nn.LayerNorm(hidden)
        self.query_key_value = Linear(hidden, (2 + self.parts) * hidden)  # q, k and the parts of v
        self.modulate = nn.Sequential(Linear(width, (1 + self.parts) * hidden), nn.SiLU())  # D^k and D^v
        self.out = Linear(hidden, hidden if first else 3 * hidden)  # W_o
        self.mix = None if first else Linear(hidden, 3 * hidden, bias=False)  # U_1, U_2, U_3

    def forward(self, graph: Graph, x: Tensor, h: Tensor, vectors: Tensor | None) -> tuple[Tensor, Tensor]:
        """Increments of invariants and vector features.

        Parameters
        ----------
        graph : Graph
        x : [nodes, frames, 3] Tensor
            Coordinates, Å.
        h : [nodes, frames or 1, hidden] Tensor
        vectors : [nodes, frames, 3, hidden] Tensor, or None in the first block

        Returns
        -------
        tuple of [nodes, frames, hidden] Tensor and [nodes, frames, 3, hidden] Tensor
        """
        difference = x[graph.target] - x[graph.source]
        distance = norm(difference)
        direction = (difference / distance).unsqueeze(-1)  # [edges, frames, 3, 1]
        edge = torch.cat([radial_basis(distance), graph.features.expand(-1, x.shape[1], -1)], dim=-1)
        hidden = h.shape[-1]
        query, key, value = self.query_key_value(self.norm(h)).split([hidden, hidden, self.parts * hidden], dim=-1)
        key_scale, value_scale = self.modulate(edge).split([hidden, self.parts * hidden], dim=-1)
        logits = at_least_float32(query[graph.target] * key[graph.source] * key_scale)  # [edges, frames, hidden]
        weight = nn.functional.silu(logits.unflatten(-1, (HEADS, -1)).sum(-1, keepdim=True))
        to_h, to_direction, *to_vectors = at_least_float32(value[graph.source] * value_scale).chunk(self.parts, dim=-1)
        out = self.out(graph.sum((weight * to_h.unflatten(-1, (HEADS, -1))).flatten(-2)))
        messages = to_direction.unsqueeze(-2) * direction
        if self.first:
            return out, graph.sum(messages)
        out_h, out_dot, out_vectors = out.chunk(3, dim=-1)
        with full_precision(x):
            mixed = nn.functional.linear(vectors, self.mix.weight)
            first, second, third = mixed.chunk(3, dim=-1)
            dv = graph.sum(messages + to_vectors[0].unsqueeze(-2) * vectors[graph.source])
            dv = dv + at_least_float32(out_vectors).unsqueeze(-2) * third
            return at_least_float32(out_h) + at_least_float32(out_dot) * (first * second).sum(dim=-2), dv
