import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolTransforms

from egi.chem.geometry import bond_angles, bond_lengths, internal_coordinates, torsion_angles
from egi.chem.molecules import modelled_atoms, record_of


def frames_of(mol):
    modelled, _ = modelled_atoms(mol)
    return modelled, np.stack([c.GetPositions() for c in modelled.GetConformers()])


@pytest.mark.parametrize("smiles", ["CC[C@H](O)C1CCC1c1ccccc1", "NCC(=O)NCC#N", "[H]/N=C/CC"])
def test_values_equal_rdkits(smiles):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, 3, randomSeed=5)
    modelled, frames = frames_of(mol)
    coordinates = internal_coordinates(record_of(mol, "x"))
    measured = (
        (bond_lengths, coordinates.bonds, rdMolTransforms.GetBondLength),
        (bond_angles, coordinates.angles, rdMolTransforms.GetAngleRad),
        (torsion_angles, coordinates.torsions, rdMolTransforms.GetDihedralRad),
    )
    for function, tuples, oracle in measured:
        expected = [[oracle(c, *map(int, row)) for row in tuples] for c in modelled.GetConformers()]
        np.testing.assert_allclose(function(frames, tuples), expected, atol=1e-9)


def test_leading_axes_and_float32():
    frames = np.random.default_rng(0).normal(size=(2, 5, 7, 4, 3)).astype(np.float32)
    assert bond_lengths(frames, np.array([[0, 1], [2, 3]])).shape == (2, 5, 7, 2)
    assert bond_angles(frames, np.array([[0, 1, 2]])).shape == (2, 5, 7, 1)
    assert torsion_angles(frames, np.empty((0, 4), dtype=int)).shape == (2, 5, 7, 0)


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"frames has shape \(4, 2\); wanted"):
        bond_lengths(np.zeros((4, 2)), np.array([[0, 1]]))


@settings(deadline=None, max_examples=50)
@given(st.floats(-3.1, 3.1), st.floats(0.2, 3.0))
def test_torsion_and_angle_of_a_built_chain(torsion, angle):
    last = [1.5 + np.cos(np.pi - 1.9), np.sin(1.9) * np.cos(torsion), np.sin(1.9) * np.sin(torsion)]
    frame = np.array([[[np.cos(angle), np.sin(angle), 0], [0, 0, 0], [1.5, 0, 0], last]])
    assert bond_angles(frame, np.array([[0, 1, 2]]))[0, 0] == pytest.approx(angle)
    assert torsion_angles(frame, np.array([[0, 1, 2, 3]]))[0, 0] == pytest.approx(torsion)
    mirrored = frame * [1, 1, -1]
    assert torsion_angles(mirrored, np.array([[0, 1, 2, 3]]))[0, 0] == pytest.approx(-torsion)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, (3, 4, 3), elements=st.floats(-5, 5)))
def test_always_finite_and_in_range(frames):
    angles = bond_angles(frames, np.array([[0, 1, 2]]))
    assert ((angles >= 0) & (angles <= np.pi)).all()
    assert (np.abs(torsion_angles(frames, np.array([[0, 1, 2, 3]]))) <= np.pi).all()


def lists(smiles):
    return internal_coordinates(record_of(Chem.AddHs(Chem.MolFromSmiles(smiles)), "x"))


def test_no_torsion_inside_an_aromatic_ring():
    assert len(lists("c1ccccc1").torsions) == 0
    assert len(lists("c1ccccc1CC").torsions) == 1
    assert len(lists("C1CCCCC1").torsions) == 6
    assert len(lists("C1CC1").torsions) == 0  # a three-ring has no four different atoms


def test_one_torsion_a_rotatable_bond():
    assert lists("CC(C)C(C)C").torsions.shape == (1, 4)
    assert lists("CCCC").torsions.tolist() == [[0, 1, 2, 3]]


def test_counts_of_heavy_atoms_only():
    coordinates = lists("[H]/N=C(/C)CC")
    heavy = lists("N=C(C)CC")
    assert len(coordinates.bonds) == len(heavy.bonds) == 4
    assert len(coordinates.angles) == len(heavy.angles) == 4
    single = lists("C")
    assert single.bonds.shape == (0, 2) and single.angles.shape == (0, 3) and single.torsions.shape == (0, 4)
