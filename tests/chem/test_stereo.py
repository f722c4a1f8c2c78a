"""Stereocentres as networks see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem
from torch_geometric.data import Batch

from egi.chem.molecules import record_of
from egi.chem.stereo import stereo_index
from egi.data.batches import graph_of


@pytest.mark.parametrize("smiles", ["C[C@@H](O)CC#N", "C[C@H](O)CC#N", "C#C[C@@](O)(CC)COC", "O[C@H]1CCO[C@@H]1C"])
def test_neighbours_stand_in_the_order_of_a_positive_volume(smiles):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=3)
    positions = mol.GetConformer().GetPositions()
    record = record_of(mol, "m")
    index = stereo_index(record)
    assert index.shape == (4, smiles.count("[C@"))
    centre, *neighbours = positions[record.modelled][index]
    a, b, c = (n - centre for n in neighbours)
    assert (np.einsum("ki,ki->k", a, np.cross(b, c)) > 0).all()


def test_centres_of_a_batch_point_at_their_own_molecule():
    records = [record_of(Chem.AddHs(Chem.MolFromSmiles(s)), s) for s in ("CCO", "C[C@@H](O)CC#N", "C[C@H](N)CO")]
    batch = Batch.from_data_list([graph_of(record) for record in records])
    assert batch.stereo_index.shape == (4, 2)
    assert torch.equal(batch.batch[batch.stereo_index], torch.tensor([[1, 2]] * 4))
