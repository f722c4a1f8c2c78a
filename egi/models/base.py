"""What all networks share: the call, the checks, and layers run with or without stored activations."""

from __future__ import annotations

from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

from egi.config import ModelSettings
from egi.nn.checks import check_inputs
from egi.nn.embedding import Embedding
from egi.nn.spatial import Graph


class Network(nn.Module):
    """Base of the networks: output = coordinates after the layers minus coordinates before.

    Subclasses give `evolve`. Coordinates are in Å throughout.

    Parameters
    ----------
    method : str
        Name under which the model was built and is saved.
    settings : ModelSettings

    Attributes
    ----------
    checkpoint_activations : bool
        Recompute each layer in the backward pass instead of storing its activations (False at first).
    """

    #: next-frame models know neither diffusion step nor given frames
    timed = True

    def __init__(self, method: str, settings: ModelSettings) -> None:
        super().__init__()
        self.method, self.settings = method, settings
        self.checkpoint_activations = False

    def forward(self, batch, positions: Tensor, step: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Predicted noise of diffusion models, or displacement to the next frame of next-frame models.

        Parameters
        ----------
        batch : torch_geometric.data.Batch or Data
            Graphs as `egi.data.batches.graph_of` makes them.
        positions : [nodes, frames, 3] Tensor
            Noisy coordinates, Å; given frames clean.
        step : [graphs] long Tensor
            Diffusion step from 1; ignored by next-frame models.
        condition : [nodes, frames] bool Tensor or None
            True = given; ignored by next-frame models.

        Returns
        -------
        [nodes, frames, 3] Tensor
            Noise (in units of its standard deviation; zero on given frames) or displacement (Å).

        Raises
        ------
        ValueError
            Wrong shapes or types, an unknown element, a missing step, or nothing left to generate.
        """
        if not self.timed:
            step = condition = None
        elif step is None:
            raise ValueError(f"step is None; {self.method} wants the diffusion step of each molecule")
        check_inputs(batch, positions, step, condition)
        embedding = self.embedder()
        h = embedding(batch, step, condition)
        return self.evolve(embedding.graph(batch), positions, h, condition) - positions

    def embedder(self) -> Embedding:
        """The embedding that the model uses; EGInterpolator shares its structure model's.

        Returns
        -------
        Embedding
        """
        return self.embedding

    def evolve(self, graph: Graph, x: Tensor, h: Tensor, condition: Tensor | None) -> Tensor:
        """The layers, one after the other.

        Parameters
        ----------
        graph : Graph
        x : [nodes, frames, 3] Tensor
            Coordinates, Å.
        h : [nodes, frames or 1, hidden] Tensor
            Embedded invariants; one frame stands for all.
        condition : [nodes, frames] bool Tensor or None
            True = given: the coordinates come back as they are.

        Returns
        -------
        [nodes, frames, 3] Tensor
            Coordinates after all layers, Å.
        """
        raise NotImplementedError

    def run(self, layer: nn.Module, *inputs):
        """A layer's output, its activations stored or, with `checkpoint_activations`, recomputed.

        Parameters
        ----------
        layer : torch.nn.Module
        inputs
            What the layer's `forward` takes.

        Returns
        -------
        What the layer's `forward` returns
        """
        if self.checkpoint_activations and is_grad_enabled():
            return checkpoint(layer, *inputs, use_reentrant=False)
        return layer(*inputs)


def hold(update: Tensor, condition: Tensor | None) -> Tensor:
    """An update with zeros on given frames, so that they keep what they are (FACTS 9).

    Parameters
    ----------
    update : [nodes, frames, width] Tensor
    condition : [nodes, frames] bool Tensor or None

    Returns
    -------
    [nodes, frames, width] Tensor
    """
    return update if condition is None else update.masked_fill(condition.unsqueeze(-1), 0)
