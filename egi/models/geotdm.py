"""GeoTDM, the baseline: EGCL and temporal attention in turn (Han et al. 2024; FACTS 10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from egi.config import ModelSettings
from egi.models.base import Network, hold
from egi.nn.embedding import Embedding
from egi.nn.spatial import EGCL, ChiralEGCL, Graph
from egi.nn.temporal import TemporalAttention


class GeoTDM(Network):
    """Six times EGCL and ET layer, residual on coordinates and invariants.

    Same embeddings as EGInterpolator; the condition embedding is added after the first EGCL; given
    frames keep their coordinates.

    Parameters
    ----------
    method, settings
        As for `Network`.
    """

    def __init__(self, method: str, settings: ModelSettings) -> None:
        super().__init__(method, settings)
        spatial = ChiralEGCL if settings.chirality_aware else EGCL
        self.embedding = Embedding(settings)
        self.spatial = nn.ModuleList(spatial(settings.hidden, settings.edge_width) for _ in range(settings.layers))
        self.temporal = nn.ModuleList(
            TemporalAttention(settings.hidden, settings.temporal_frequencies) for _ in range(settings.layers)
        )
        self.condition = nn.Embedding(2, settings.hidden)
        nn.init.normal_(self.condition.weight, std=0.1)

    def evolve(self, graph: Graph, x: Tensor, h: Tensor, condition: Tensor | None) -> Tensor:
        """See `Network.evolve`."""
        given = condition if condition is not None else x.new_zeros(x.shape[:2], dtype=torch.bool)
        offset = self.condition(given.long())
        for spatial, temporal in zip(self.spatial, self.temporal, strict=True):
            dx, dh = self.run(spatial, graph, x, h)
            x, h = x + hold(dx, condition), h + dh + offset
            dx, dh = self.run(temporal, x, h)
            x, h = x + hold(dx, condition), h + dh
            offset = 0  # only after the first EGCL
        return x
