import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from egi.chem.graph import EDGE_TYPES, edges

MOLECULES = [
    "CCO",
    "C1CC1",
    "C1CCC1",
    "C1CCCC1C",
    "c1ccccc1C#N",
    "C",
    "CC(C)(C)C=C",
    "O=C1CC2CC1C2",
    "CC[NH2]->[Pt]",
    "[H][H]",
]


def names(mol):
    index, kinds = edges(mol)
    return {(int(i), int(j)): EDGE_TYPES[k] for (i, j), k in zip(index.T, kinds, strict=True)}


@pytest.mark.parametrize("smiles", MOLECULES)
def test_orders_are_topological_distances(smiles):
    mol = Chem.MolFromSmiles(smiles)
    distances = Chem.GetDistanceMatrix(mol)
    found = names(mol)
    assert set(found) == {(i, j) for i, j in np.argwhere((distances > 0) & (distances <= 3)).tolist()}
    for (i, j), name in found.items():
        if distances[i, j] > 1:
            assert name == {2: "second", 3: "third"}[int(distances[i, j])]
        else:
            kind = str(mol.GetBondBetweenAtoms(i, j).GetBondType()).lower()
            assert name == (kind if kind in ("single", "double", "triple", "aromatic") else "other")


def test_lower_order_wins_in_small_rings():
    assert set(names(Chem.MolFromSmiles("C1CC1")).values()) == {"single"}
    ring = names(Chem.MolFromSmiles("C1CCC1"))
    assert ring[0, 2] == "second" and ring[0, 1] == "single" and "third" not in ring.values()


def test_single_atom_has_no_edges():
    index, kinds = edges(Chem.MolFromSmiles("C"))
    assert index.shape == (2, 0) and kinds.shape == (0,)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(MOLECULES), st.randoms(use_true_random=False))
def test_bond_order_and_atom_order_do_not_matter(smiles, random):
    mol = Chem.MolFromSmiles(smiles)
    order = list(range(mol.GetNumAtoms()))
    random.shuffle(order)
    shuffled = Chem.RenumberAtoms(mol, order)
    rebuilt = Chem.RWMol(shuffled)
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondType()) for b in shuffled.GetBonds()]
    for i, j, _ in bonds:
        rebuilt.RemoveBond(i, j)
    random.shuffle(bonds)
    for i, j, kind in bonds:
        rebuilt.AddBond(i, j, kind)
    back = {(order[i], order[j]): name for (i, j), name in names(rebuilt).items()}
    assert back == names(mol)
