"""Geometric vector perceptrons (Jing et al. 2021), with gated vectors."""

from __future__ import annotations

from torch import Tensor, nn

from egi.nn.basic import at_least_float32, full_precision, norm, shrink
from egi.nn.linear import Linear, product

#: vector channels between the two layers of a transition
VECTOR_CHANNELS = 4


class GVP(nn.Module):
    """One geometric vector perceptron.

    V_h = W_h V, s' = W_m [s, |V_h|] + b, V' = sigmoid(W_g s' + b_g) * W_v V_h.

    Parameters
    ----------
    hidden : int
        Width of the invariants, in and out.
    channels_in, channels_hidden, channels_out : int
        Vector channels.
    """

    def __init__(self, hidden: int, channels_in: int, channels_hidden: int, channels_out: int) -> None:
        super().__init__()
        self.to_hidden = Linear(channels_in, channels_hidden, bias=False)
        self.to_out = Linear(channels_hidden, channels_out, bias=False)
        self.scalars = Linear(hidden + channels_hidden, hidden)
        self.gate = Linear(hidden, channels_out)

    def forward(self, scalars: Tensor, vectors: Tensor, activated: bool = False) -> tuple[Tensor, Tensor]:
        """Map invariants and vectors.

        Parameters
        ----------
        scalars : [..., hidden] Tensor
        vectors : [..., channels_in, 3] Tensor
        activated : bool
            Whether s is SiLU(scalars) rather than the scalars themselves.

        Returns
        -------
        tuple of [..., hidden] Tensor (before any activation) and [..., channels_out, 3] Tensor
        """
        with full_precision(vectors):
            mixed = self.to_hidden.weight @ vectors
            out = self.to_out.weight @ mixed
            lengths = norm(mixed).squeeze(-1)
        # W_m [s, |V_h|] without storing the concatenation
        width = scalars.shape[-1]
        weight = self.scalars.weight
        scalars = product(scalars, weight[:, :width], self.scalars.bias, activated)
        scalars = scalars + product(lengths, weight[:, width:])
        gate = at_least_float32(self.gate(scalars).sigmoid())
        return scalars, gate.unsqueeze(-1) * out


class GVPTransition(nn.Module):
    """Two GVPs in a row on invariants and one vector, the coordinate update (FACTS 8; DESIGN 4).

    Returns increments; the layer that holds it adds them (residual on both).

    Parameters
    ----------
    hidden : int
        Width of the invariants.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first = GVP(hidden, 1, VECTOR_CHANNELS, VECTOR_CHANNELS)
        self.second = GVP(hidden, VECTOR_CHANNELS, VECTOR_CHANNELS, 1)
        shrink(self.second.scalars, 0.1)

    def forward(self, h: Tensor, update: Tensor) -> tuple[Tensor, Tensor]:
        """Increments of invariants and coordinate update.

        Parameters
        ----------
        h : [nodes, frames, hidden] Tensor
        update : [nodes, frames, 3] Tensor
            EGCL's, Å.

        Returns
        -------
        tuple of [nodes, frames, hidden] Tensor and [nodes, frames, 3] Tensor (Å)
        """
        scalars, vectors = self.first(h, update.unsqueeze(-2))
        scalars, vectors = self.second(scalars, vectors, activated=True)
        return scalars, vectors.squeeze(-2)
