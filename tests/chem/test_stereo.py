"""Stereocentres as networks see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem
from torch_geometric.data import Batch

from egi.chem.molecules import record_of
from egi.chem.stereo import double_bonds, stereo_index
from egi.data.batches import graph_of
from egi.metrics.validity import isomers


@pytest.mark.parametrize(
    ("smiles", "columns"),
    [("C[C@@H](O)CC#N", 1), ("C[C@H](O)CC#N", 1), ("C#C[C@@](O)(CC)COC", 4), ("C#C[C@](O)(CC)COC", 4),
     ("O[C@H]1CCO[C@@H]1C", 2), ("CCO", 0)],
)  # fmt: skip
def test_neighbours_stand_in_the_order_of_a_positive_volume(smiles, columns):
    """All choices of three of a centre's modelled neighbours."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=3)
    positions = mol.GetConformer().GetPositions()
    record = record_of(mol, "m")
    index = stereo_index(record)
    assert index.shape == (4, columns) and len({tuple(sorted(column)) for column in index.T.tolist()}) == columns
    centre, *neighbours = positions[record.modelled][index]
    a, b, c = (n - centre for n in neighbours)
    assert (np.einsum("ki,ki->k", a, np.cross(b, c)) > 0).all()


def test_centres_of_a_batch_point_at_their_own_molecule():
    records = [record_of(Chem.AddHs(Chem.MolFromSmiles(s)), s) for s in ("CCO", "C[C@@H](O)CC#N", "C[C@H](N)CO")]
    batch = Batch.from_data_list([graph_of(record) for record in records])
    assert batch.stereo_index.shape == (4, 2)
    assert torch.equal(batch.batch[batch.stereo_index], torch.tensor([[1, 2]] * 4))


@pytest.mark.parametrize(
    "smiles", ["C/C=C/C", "C/C=C\\C", "OC(=O)/C=C/C(=O)O", "C/C(CO)=C(/C)CN", "C/C=C/C=C\\C", "C/C=N/O", "F/C=C/C"]
)
def test_conformers_are_their_own_isomer_and_turning_one_side_makes_the_other(smiles):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=3)
    record = record_of(mol, "m")
    bonds = double_bonds(record)
    assert len(bonds.cis) == sum(b.GetStereo() != Chem.BondStereo.STEREONONE for b in mol.GetBonds()) > 0
    frame = mol.GetConformer().GetPositions()[record.modelled]
    assert isomers(frame[None], bonds).all() and isomers(-frame[None], bonds).all()
    _, here, there, last = bonds.torsions[0]
    axis = (frame[there] - frame[here]) / np.linalg.norm(frame[there] - frame[here])
    turned = frame.copy()
    turned[last] = frame[there] + 2 * axis * (axis @ (frame[last] - frame[there])) - (frame[last] - frame[there])
    assert not isomers(turned[None], bonds)[0, 0]


def test_molecules_without_a_stated_isomer_have_no_double_bonds():
    for smiles in ("CC=CC", "C=C", "c1ccccc1", "C1CC=CCC1"):
        assert not len(double_bonds(record_of(Chem.AddHs(Chem.MolFromSmiles(smiles)), "m")).cis)
