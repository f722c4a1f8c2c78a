"""EGInterpolator: temporal layers interpolated with a pretrained structure model (FACTS 9; DESIGN 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from egi.config import ModelSettings
from egi.models.base import Network, hold
from egi.models.basices import BasicES, spatial_layer
from egi.nn.embedding import Embedding
from egi.nn.spatial import Graph
from egi.nn.temporal import TemporalAttention

STEPS = ("et_1", "es", "et_2")


class TemporalBlock(nn.Module):
    """The trained layers beside one ES layer of the structure model: ET, ES, ET, each behind a LayerNorm.

    The LayerNorms act on the invariants that a temporal layer reads, its increment is added to the
    raw ones. So the structure model's path is never normalised, and the block starts near identity.

    Parameters
    ----------
    settings : ModelSettings
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width, count = settings.hidden, settings.temporal_frequencies
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in STEPS)
        self.et_1 = TemporalAttention(width, count)
        self.es = spatial_layer(settings)
        self.et_2 = TemporalAttention(width, count)
        #: k of alpha = sigmoid(k); rows STEPS, columns x and h
        self.logits = nn.Parameter(torch.zeros(len(STEPS), 2))

    def forward(self, graph: Graph, state: tuple[Tensor, Tensor], condition: Tensor | None,
                offset: Tensor | None, alpha: float | None) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The cascade: after each layer, z = alpha z_structure + (1 - alpha) z_temporal for z = x and z = h.

        Parameters
        ----------
        graph : Graph
        state : tuple of [nodes, frames, 3] Tensor (Å) and [nodes, frames, hidden] Tensor
            Output of the structure model's ES layer, the anchor of all three interpolations.
        condition : [nodes, frames] bool Tensor or None
        offset : [nodes, frames, hidden] Tensor or None
            Condition embedding, added to the temporal path's invariants.
        alpha : float or None
            Replaces all learned alphas.

        Returns
        -------
        tuple like `state`
        """
        alphas = self.logits.sigmoid() if alpha is None else torch.full_like(self.logits, alpha)
        (anchor_x, anchor_h), (x, h) = state, state
        if offset is not None:
            h = h + offset
        layers = (self.et_1, self.es, self.et_2)
        for layer, norm, (alpha_x, alpha_h) in zip(layers, self.norms, alphas, strict=True):
            inputs = (x, norm(h)) if isinstance(layer, TemporalAttention) else (graph, x, norm(h))
            dx, dh = layer(*inputs)
            x = torch.lerp(x + hold(dx, condition), anchor_x, alpha_x)
            h = torch.lerp(h + dh, anchor_h, alpha_h)
        return x, h


class EGInterpolator(Network):
    """A block a layer: structure model's ES layer, then the temporal block, interpolated.

    The three variants `egi` (structure frozen), `egi_unfrozen` and `egi_naive` (never pretrained)
    differ only in what `load_structure` and `requires_grad` do. Given frames keep their
    coordinates and are not seen by the structure model; they take part in the temporal blocks.

    Parameters
    ----------
    method, settings
        As for `Network`.

    Attributes
    ----------
    alpha_override : float or None
        One number for all alphas, None for the learned ones.
    """

    def __init__(self, method: str, settings: ModelSettings) -> None:
        super().__init__(method, settings)
        self.structure = BasicES("basices", settings)
        self.blocks = nn.ModuleList(TemporalBlock(settings) for _ in range(settings.layers))
        self.condition = nn.Embedding(2, settings.hidden)
        nn.init.normal_(self.condition.weight, std=0.1)
        self._alpha_override: float | None = None
        if method == "egi":
            self.structure.requires_grad_(False)

    @property
    def alpha_override(self) -> float | None:
        """One number from 0 to 1 for all alphas, or None for the learned ones; ValueError if set to another.

        1 is exactly the structure model, frame by frame; numbers between dial temporal consistency (FACTS 9).
        """
        return self._alpha_override

    @alpha_override.setter
    def alpha_override(self, alpha: float | None) -> None:
        """See the property."""
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"alpha_override = {alpha}; wanted a number from 0 to 1, or None")
        self._alpha_override = alpha

    def alphas(self) -> dict[str, tuple[float, float]]:
        """Logits k of every interpolation, alpha = sigmoid(k) (FACTS 9).

        Returns
        -------
        dict of str to (float, float)
            Of x and of h, by layer name such as 'block_1.et_1'.
        """
        return {
            f"block_{number}.{name}": (float(x), float(h))
            for number, block in enumerate(self.blocks, start=1)
            for name, (x, h) in zip(STEPS, block.logits.tolist(), strict=True)
        }

    def embedder(self) -> Embedding:
        """See `Network.embedder`."""
        return self.structure.embedding

    def evolve(self, graph: Graph, x: Tensor, h: Tensor, condition: Tensor | None) -> Tensor:
        """See `Network.evolve`."""
        if self.alpha_override == 1:
            return self.structure.evolve(graph, x, h, condition)
        given = condition if condition is not None else x.new_zeros(x.shape[:2], dtype=torch.bool)
        offset = self.condition(given.long())
        for layer, block in zip(self.structure.layers, self.blocks, strict=True):
            dx, dh = self.run(layer, graph, x, h)
            state = (x + hold(dx, condition), h + hold(dh, condition))
            x, h = self.run(block, graph, state, condition, offset, self.alpha_override)
            offset = None  # only after the first ES layer
        return x
