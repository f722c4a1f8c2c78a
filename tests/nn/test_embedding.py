"""First invariants and the graph's edges."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch, Data

from egi.chem.features import ELEMENTS, FEATURE_WIDTH
from egi.config import ModelSettings
from egi.nn.embedding import Embedding, element_indices

SETTINGS = ModelSettings(hidden=16, layers=2)


def molecule(nodes: int = 3) -> Data:
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    return Data(
        atomic_numbers=torch.tensor([6, 7, 8]), features=torch.rand(nodes, FEATURE_WIDTH), edge_index=edge_index,
        edge_type=torch.tensor([1, 1, 2, 2]), num_nodes=nodes,
    )  # fmt: skip


def test_every_element_has_its_place():
    assert element_indices(torch.tensor(ELEMENTS)).tolist() == list(range(len(ELEMENTS)))


@pytest.mark.parametrize("number", [0, 2, 54, 92])
def test_unknown_element_is_named(number):
    with pytest.raises(ValueError, match=rf"atomic_numbers has \[{number}\]; wanted only elements"):
        element_indices(torch.tensor([6, number]))


def test_step_belongs_to_its_molecule_and_given_frames_have_none():
    embedding = Embedding(SETTINGS)
    batch = Batch.from_data_list([molecule(), molecule()])
    condition = torch.zeros(6, 4, dtype=torch.bool)
    condition[:, 0] = True
    early, late = (embedding(batch, torch.tensor([5, step]), condition) for step in (5, 800))
    assert torch.equal(early[:3], late[:3])
    assert torch.equal(early[:, 0], late[:, 0])
    assert not torch.allclose(early[3:, 1:], late[3:, 1:])
    torch.testing.assert_close(early[:, 1:2], embedding(batch, torch.tensor([5, 5]), None))


def test_graph_counts_edges_that_end_at_a_node():
    graph = Embedding(SETTINGS).graph(molecule())
    torch.testing.assert_close(graph.inverse_degree.flatten(), torch.tensor([1.0, 0.5, 1.0]))
    messages = torch.arange(4.0).view(4, 1, 1)
    assert graph.sum(messages).flatten().tolist() == [1.0, 0.0 + 3.0, 2.0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("features", torch.zeros(3, 42), r"features has shape \[3, 42\]; wanted \[3, 43\]"),
        ("edge_type", torch.tensor([1, 1, 2, 8]), r"edge_type has values 1..8; wanted 0..7"),
        ("edge_type", torch.tensor([1, 1, 2]), r"edge_type has shape \[3\]; wanted \[4\]"),
        ("edge_index", torch.zeros(3, 4, dtype=torch.long), r"edge_index has shape \[3, 4\]; wanted \[2, edges\]"),
        ("edge_index", torch.tensor([[0, 1, 1, 3], [1, 0, 2, 1]]), r"edge_index has nodes 0..3; wanted 0..2"),
    ],
)
def test_bad_graphs_are_named(field, value, message):
    data = molecule()
    data[field] = value
    embedding = Embedding(SETTINGS)
    with pytest.raises(ValueError, match=message):
        embedding(data, torch.tensor([1]), None) if field == "features" else embedding.graph(data)
