"""Equivariant Transformer block of TorchMD-NET (Thölke & De Fabritiis 2022), on the molecular graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from egi.nn.basic import at_least_float32, full_precision, norm
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
        (o1, o2, o3) = W_o y_i,    dh_i = o2 + o1 <U_1 V_i, U_2 V_i>,   dV_i = o3 U_3 V_i + w_i

    Parameters
    ----------
    hidden : int
        A multiple of HEADS.
    edge_width : int

    Raises
    ------
    ValueError
        If `hidden` is no multiple of HEADS.
    """

    def __init__(self, hidden: int, edge_width: int) -> None:
        super().__init__()
        if hidden % HEADS:
            raise ValueError(f"hidden = {hidden}; the equivariant transformer wants a multiple of {HEADS}")
        width = RADIAL_FUNCTIONS + edge_width
        self.norm = nn.LayerNorm(hidden)
        self.query_key_value = nn.Linear(hidden, 5 * hidden)  # q, k, and v of three times the width
        self.modulate = nn.Sequential(nn.Linear(width, 4 * hidden), nn.SiLU())  # D^k and D^v
        self.mix = nn.Linear(hidden, 3 * hidden, bias=False)  # U_1, U_2, U_3
        self.out = nn.Linear(hidden, 3 * hidden)

    def forward(self, graph: Graph, x: Tensor, h: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Increments of invariants and vector features.

        Parameters
        ----------
        graph : Graph
        x : [nodes, frames, 3] Tensor
            Coordinates, Å.
        h : [nodes, frames or 1, hidden] Tensor
        vectors : [nodes, frames, 3, hidden] Tensor

        Returns
        -------
        tuple of [nodes, frames, hidden] Tensor and [nodes, frames, 3, hidden] Tensor
        """
        difference = x[graph.target] - x[graph.source]
        distance = norm(difference)
        edge = torch.cat([radial_basis(distance), graph.features.expand(-1, x.shape[1], -1)], dim=-1)
        hidden = h.shape[-1]
        query, key, value = self.query_key_value(self.norm(h)).split([hidden, hidden, 3 * hidden], dim=-1)
        key_scale, value_scale = self.modulate(edge).split([hidden, 3 * hidden], dim=-1)
        logits = query[graph.target] * key[graph.source] * key_scale  # [edges, frames, hidden]
        weight = nn.functional.silu(at_least_float32(logits).unflatten(-1, (HEADS, -1)).sum(-1, keepdim=True))
        to_h, to_vectors, to_direction = at_least_float32(value[graph.source] * value_scale).chunk(3, dim=-1)
        gathered = graph.sum((weight * to_h.unflatten(-1, (HEADS, -1))).flatten(-2))
        out_dot, out_h, out_vectors = self.out(gathered).chunk(3, dim=-1)
        first, second, third = self.mix(vectors).chunk(3, dim=-1)
        with full_precision(x):
            direction = (difference / distance).unsqueeze(-1)  # [edges, frames, 3, 1]
            messages = to_vectors.unsqueeze(-2) * vectors[graph.source] + to_direction.unsqueeze(-2) * direction
            dv = graph.sum(messages) + out_vectors.unsqueeze(-2) * third
            return out_h + out_dot * (first * second).sum(dim=-2), dv
