"""Molecular graphs as PyTorch Geometric data."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from egi.chem.stereo import stereo_index
from egi.data.storage import MoleculeRecord


def graph_of(record: MoleculeRecord) -> Data:
    """The graph of a molecule, without coordinates.

    Returns
    -------
    Data
        ``atomic_numbers`` [n] long, ``features`` [n, 43] float32, ``edge_index`` [2, edges] long,
        ``edge_type`` [edges] long, ``stereo_index`` [4, centres] long, ``num_nodes`` and ``mol_id``.
    """
    return Data(
        atomic_numbers=torch.as_tensor(record.atomic_numbers, dtype=torch.long),
        features=torch.as_tensor(record.features, dtype=torch.float32),
        edge_index=torch.as_tensor(record.edge_index, dtype=torch.long),
        edge_type=torch.as_tensor(record.edge_type, dtype=torch.long),
        stereo_index=torch.as_tensor(stereo_index(record), dtype=torch.long),
        num_nodes=len(record.atomic_numbers),
        mol_id=record.id,
    )
