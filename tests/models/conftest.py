"""Small molecules for the tests of the networks."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch, Data

from egi.chem.features import ELEMENTS, FEATURE_WIDTH
from egi.config import ModelSettings


def random_molecule(nodes: int, seed: int) -> Data:
    """A chain with second and third neighbours, random elements and features."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.combinations(torch.arange(nodes)).T
    near = second - first <= 3
    first, second = first[near], second[near]
    kind = torch.tensor([0, 1, 6, 7])[second - first]
    return Data(
        atomic_numbers=torch.tensor(ELEMENTS)[torch.randint(len(ELEMENTS), (nodes,), generator=generator)],
        features=torch.rand(nodes, FEATURE_WIDTH, generator=generator),
        edge_index=torch.stack([torch.cat([first, second]), torch.cat([second, first])]),
        edge_type=torch.cat([kind, kind]),
        stereo_index=torch.tensor([[2, 1], [0, 2], [1, 3], [3, 4]]),
        num_nodes=nodes,
    )


@pytest.fixture
def settings() -> ModelSettings:
    return ModelSettings(hidden=16, layers=2)


@pytest.fixture
def molecules() -> list[Data]:
    return [random_molecule(5, 1), random_molecule(7, 2)]


@pytest.fixture
def batch(molecules) -> Batch:
    return Batch.from_data_list(molecules)


@pytest.fixture
def inputs(batch):
    """Positions [12, 4, 3], steps and a condition with the first frame given."""
    torch.manual_seed(3)
    condition = torch.zeros(batch.num_nodes, 4, dtype=torch.bool)
    condition[:, 0] = True
    return 1.5 * torch.randn(batch.num_nodes, 4, 3), torch.tensor([40, 700]), condition


@pytest.fixture
def stir():
    """Moves a model's weights off their small beginnings, so that every path carries something."""

    def moved(model, size: float = 0.05):
        torch.manual_seed(4)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(size * torch.randn_like(parameter))
        return model

    return moved
