"""Next-frame models: displacement from one frame to the next, rolled out from a start frame (FACTS 10; A-18).

Neither sees diffusion steps or given frames, and each frame is treated alone. They start from a real
frame, so they see handedness only where `chirality_aware` changes their layers (`ar_egnn`).
"""

from __future__ import annotations

from torch import Tensor, nn

from egi.config import ModelSettings
from egi.models.base import Network
from egi.models.basices import spatial_layer
from egi.nn.basic import at_least_float32, full_precision, shrink
from egi.nn.embedding import Embedding
from egi.nn.linear import Linear, mlp
from egi.nn.spatial import Graph
from egi.nn.transformer import EquivariantTransformer


class AutoregressiveEGNN(Network):
    """The structure model's layers without a diffusion step: x(t + 1) = x(t) + sum of their updates.

    Parameters
    ----------
    method, settings
        As for `Network`.
    """

    timed = False

    def __init__(self, method: str, settings: ModelSettings) -> None:
        super().__init__(method, settings)
        self.embedding = Embedding(settings, timed=False)
        self.layers = nn.ModuleList(spatial_layer(settings) for _ in range(settings.layers))

    def evolve(self, graph: Graph, x: Tensor, h: Tensor, condition: Tensor | None) -> Tensor:
        """See `Network.evolve`."""
        for layer in self.layers:
            dx, dh = self.run(layer, graph, x, h)
            x, h = x + dx, h + dh
        return x


class AutoregressiveET(Network):
    """Equivariant Transformer blocks on the molecular graph.

    x(t + 1) = x(t) + mean_f gate_f(h) (U V)_f, with invariants h and vector features V after the last block
    (Thölke & De Fabritiis 2022), gate a two-layer perceptron.

    Parameters
    ----------
    method, settings
        As for `Network`; `settings.hidden` a multiple of 8.

    Raises
    ------
    ValueError
        If it is none.
    """

    timed = False

    def __init__(self, method: str, settings: ModelSettings) -> None:
        super().__init__(method, settings)
        self.embedding = Embedding(settings, timed=False)
        self.layers = nn.ModuleList(
            EquivariantTransformer(settings.hidden, settings.edge_width, first=not index)
            for index in range(settings.layers)
        )
        self.gate = mlp(settings.hidden, settings.hidden, settings.hidden)
        self.out = shrink(Linear(settings.hidden, settings.hidden, bias=False), 0.1)

    def evolve(self, graph: Graph, x: Tensor, h: Tensor, condition: Tensor | None) -> Tensor:
        """See `Network.evolve`."""
        vectors = None
        for layer in self.layers:
            dh, dv = self.run(layer, graph, x, h, vectors)
            h, vectors = h + dh, dv if vectors is None else vectors + dv
        gate = at_least_float32(self.gate(h)).unsqueeze(-2)
        with full_precision(x):
            return x + (gate * self.out(vectors)).mean(dim=-1)
