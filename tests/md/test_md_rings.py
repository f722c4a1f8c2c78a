from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from rdkit.Chem.rdMolTransforms import SetDihedralDeg

from egi.md.rings import ring_faults

SOUND = {"pierced_rings": 0, "twisted_rings": 0, "flipped_chairs": 0}


def _embedded(smiles: str, count: int = 1) -> tuple[Chem.Mol, np.ndarray]:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, count, randomSeed=1)
    return mol, np.array([c.GetPositions() for c in mol.GetConformers()])


@pytest.mark.parametrize(
    "smiles",
    ["c1ccccc1CCc1ccncc1", "C1CC2CCC1CC2", "C1C2CC3CC1CC(C2)C3", "C12C3C4C1C5C2C3C45", "C1CC1C1CCCC=C1", "C1CC=CCCC1",
     "CC(C)(C)c1ccc2[nH]ccc2c1", "CCCC", "CC(=O)N1CCN(C)CC1", "c1ccc2c(c1)Cc1ccccc1C2"],
)  # fmt: skip
def test_sound_rings_cages_and_chains_have_no_fault(smiles):
    mol, positions = _embedded(smiles, 5)
    faults = ring_faults(positions, mol)
    assert faults["pierced_rings"] == faults["twisted_rings"] == 0


def test_a_bond_through_a_ring_is_a_fault():
    """Ethane's bond, moved along an axis through benzene's centre, and past it."""
    mol, positions = _embedded("c1ccccc1.CC")
    ring = positions[0, :6]
    centre, (_, _, axes) = ring.mean(axis=0), np.linalg.svd(ring - ring.mean(axis=0))
    ethane = [6, 7]
    for shift, wanted in ((0.0, 1), (0.7, 1), (-0.9, 0), (2.0, 0)):  # its ends lie 0.75 to either side
        moved = positions.copy()
        moved[0, 8:] = moved[0, 8:] + 1000  # hydrogens out of the way: only ethane's C-C is of interest
        moved[0, ethane] = centre + np.outer([0.75 + shift, -0.75 + shift], axes[2])
        assert ring_faults(moved, mol)["pierced_rings"] == wanted
    beside = positions.copy()
    beside[0, 8:] += 1000
    beside[0, ethane] = centre + np.outer([0.75, -0.75], axes[2]) + 2.5 * axes[0]
    assert ring_faults(beside, mol)["pierced_rings"] == 0


def test_a_trans_double_bond_in_a_ring_is_a_fault():
    """Cycloheptene, opened opposite its double bond, twisted about that, closed again."""
    mol, positions = _embedded("C1CC=CCCC1")
    assert ring_faults(positions, mol) == SOUND
    opened = Chem.RWMol(mol)
    opened.RemoveBond(5, 6)
    Chem.GetSSSR(opened)
    SetDihedralDeg(opened.GetConformer(), 1, 2, 3, 4, 130.0)
    twisted = np.array([positions[0], opened.GetConformer().GetPositions()])
    assert ring_faults(twisted, mol)["twisted_rings"] == 1


def test_a_chair_and_its_mirror_image_are_a_flip_but_no_fault():
    mol, _ = _embedded("C1CCCCC1")
    AllChem.MMFFOptimizeMolecule(mol)
    chair = mol.GetConformer().GetPositions()
    assert ring_faults(np.array([chair, chair]), mol) == SOUND
    assert ring_faults(np.array([chair, chair * [-1, 1, 1]]), mol) == {**SOUND, "flipped_chairs": 1}
    benzene, flat = _embedded("c1ccccc1")
    assert ring_faults(np.array([flat[0], flat[0] * [-1, 1, 1]]), benzene) == SOUND
