"""From atoms, bonds and the diffusion step to the first invariants (FACTS 7; Tables 5 and 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from egi.chem.features import ELEMENTS, FEATURE_WIDTH
from egi.chem.graph import EDGE_TYPES
from egi.config import ModelSettings
from egi.nn.basic import at_least_float32, sinusoids
from egi.nn.checks import check_range, check_shape, graph_of_node
from egi.nn.linear import Linear
from egi.nn.spatial import Graph


class Embedding(nn.Module):
    """Atom embedding joined with the 43 features, time, and projection to the hidden width; edge embedding.

    h = W_p [W_a [embed(z), features], sin(w tau), cos(w tau)], with linear maps W_a to the atom
    width and W_p to the hidden width. Given frames carry no noise, so their tau is 0.

    Parameters
    ----------
    settings : ModelSettings
    timed : bool
        False for next-frame models, which have no diffusion step.
    """

    def __init__(self, settings: ModelSettings, timed: bool = True) -> None:
        super().__init__()
        self.time_width = settings.time_width if timed else 0
        self.atom = nn.Embedding(len(ELEMENTS), settings.atom_width)
        self.edge = nn.Embedding(len(EDGE_TYPES), settings.edge_width)
        self.join = Linear(settings.atom_width + FEATURE_WIDTH, settings.atom_width)
        self.project = Linear(settings.atom_width + self.time_width, settings.hidden)

    def forward(self, batch, step: Tensor | None, condition: Tensor | None) -> Tensor:
        """Invariants before the first layer.

        Parameters
        ----------
        batch : torch_geometric.data.Batch or Data
            With `atomic_numbers` [nodes], `features` [nodes, 43] and, for several molecules, `batch` [nodes].
        step : [graphs] long Tensor or None
            Diffusion step, from 1; None for next-frame models.
        condition : [nodes, frames] bool Tensor or None
            True = given frame.

        Returns
        -------
        [nodes, frames or 1, hidden] Tensor, one frame if all are alike

        Raises
        ------
        ValueError
            Unknown element, or features of another width.
        """
        check_shape("features", batch.features, (batch.num_nodes, FEATURE_WIDTH))
        dtype = self.join.weight.dtype
        atoms = self.atom(element_indices(batch.atomic_numbers))
        atoms = self.join(torch.cat([atoms, batch.features.to(dtype)], dim=-1)).unsqueeze(1)  # [nodes, 1, atom width]
        if self.time_width:
            times = step[graph_of_node(batch)].unsqueeze(1)  # [nodes, 1]
            if condition is not None:
                times = torch.where(condition, 0, times)  # [nodes, frames]
            time = torch.cat(sinusoids(times, self.time_width // 2, dtype), dim=-1)
            atoms = torch.cat([atoms.expand(-1, time.shape[1], -1), time.to(atoms.dtype)], dim=-1)
        return at_least_float32(self.project(atoms))

    def graph(self, batch) -> Graph:
        """Edges of a batch with their embeddings, and its stereocentres if it lists them.

        `stereo_index` [4, centres] of the batch, read by chirality-aware layers: centre and three
        neighbours in an order that makes (a - centre) . ((b - centre) x (c - centre)) positive.

        Parameters
        ----------
        batch : torch_geometric.data.Batch or Data
            With `edge_index` [2, edges], `edge_type` [edges] and perhaps `stereo_index`.

        Returns
        -------
        Graph

        Raises
        ------
        ValueError
            If edge types or edges have other shapes or values than the vocabulary and the nodes allow.
        """
        edges, kinds = batch.edge_index, batch.edge_type
        check_shape("edge_index", edges, (2, "edges"))
        check_shape("edge_type", kinds, (edges.shape[1],))
        check_range("edge_type has values", kinds, len(EDGE_TYPES))
        check_range("edge_index has nodes", edges, batch.num_nodes)
        dtype = self.edge.weight.dtype
        degree = torch.zeros(batch.num_nodes, dtype=dtype, device=edges.device)
        degree = degree.index_add(0, edges[1], torch.ones_like(edges[1], dtype=dtype))
        inverse = (1 / degree.clamp(min=1)).view(-1, 1, 1)
        stereo = getattr(batch, "stereo_index", None)
        if stereo is not None:
            check_shape("stereo_index", stereo, (4, "centres"))
            check_range("stereo_index has nodes", stereo, batch.num_nodes)
        return Graph(edges, self.edge(kinds).unsqueeze(1), inverse, batch.num_nodes, stereo)


def element_indices(atomic_numbers: Tensor) -> Tensor:
    """Position of each atomic number in ELEMENTS, the vocabulary of the atom embedding (FACTS Table 5).

    Parameters
    ----------
    atomic_numbers : [nodes] long Tensor

    Returns
    -------
    [nodes] long Tensor

    Raises
    ------
    ValueError
        For an element that is not there.
    """
    known = torch.tensor(ELEMENTS, device=atomic_numbers.device)
    index = torch.searchsorted(known, atomic_numbers.contiguous()).clamp(max=len(ELEMENTS) - 1)
    unknown = known[index] != atomic_numbers
    if unknown.any():
        seen = sorted(set(atomic_numbers[unknown].tolist()))
        raise ValueError(f"atomic_numbers has {seen}; wanted only elements of the vocabulary, {list(ELEMENTS)}")
    return index
