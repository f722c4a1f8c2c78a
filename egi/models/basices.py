"""BasicES, the structure model: stacked ES layers on single conformers (FACTS 8)."""

from __future__ import annotations

from torch import Tensor, nn

from egi.config import ModelSettings
from egi.models.base import Network, hold
from egi.nn.embedding import Embedding
from egi.nn.spatial import Graph, SpatialLayer


class BasicES(Network):
    """Six ES layers (EGCL and GVP transition; Eq. 4); every frame is a conformer of its own.

    Given frames pass unchanged, coordinates and invariants.

    Parameters
    ----------
    method, settings
        As for `Network`.
    """

    def __init__(self, method: str, settings: ModelSettings) -> None:
        super().__init__(method, settings)
        self.embedding = Embedding(settings)
        self.layers = nn.ModuleList(spatial_layer(settings) for _ in range(settings.layers))

    def evolve(self, graph: Graph, x: Tensor, h: Tensor, condition: Tensor | None) -> Tensor:
        """See `Network.evolve`."""
        for layer in self.layers:
            dx, dh = self.run(layer, graph, x, h)
            x, h = x + hold(dx, condition), h + hold(dh, condition)
        return x


def spatial_layer(settings: ModelSettings) -> SpatialLayer:
    """An ES layer of the settings' widths.

    Parameters
    ----------
    settings : ModelSettings

    Returns
    -------
    SpatialLayer
    """
    return SpatialLayer(settings.hidden, settings.edge_width, settings.chirality_aware)
