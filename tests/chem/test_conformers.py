import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers as force_field
from rdkit.Chem import rdMolAlign
from scipy.spatial.transform import Rotation

from egi.chem.conformers import KJ_PER_KCAL, rmsd, sample_conformers
from egi.chem.molecules import canonical_smiles, with_stereo_from_3d


def positions(mol):
    return np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])


def test_number_energies_and_seed():
    mol = Chem.MolFromSmiles("CC[C@H](C)O")
    first, energies = sample_conformers(mol, 8, 3)
    again, _ = sample_conformers(mol, 8, 3)
    other, _ = sample_conformers(mol, 8, 4)
    assert first.GetNumConformers() == len(energies) == 8
    assert (np.diff(energies) >= 0).all()
    np.testing.assert_array_equal(positions(first), positions(again))
    assert not np.allclose(positions(first)[0], positions(other)[0])


def test_energies_are_mmff94_minima_in_kj():
    mol, energies = sample_conformers(Chem.MolFromSmiles("OCCO"), 4, 1)
    properties = force_field.MMFFGetMoleculeProperties(mol)
    for conformer, energy in zip(mol.GetConformers(), energies, strict=True):
        field = force_field.MMFFGetMoleculeForceField(mol, properties, confId=conformer.GetId())
        assert field.CalcEnergy() * KJ_PER_KCAL == pytest.approx(energy, abs=1e-4)
        assert np.abs(field.CalcGrad()).max() < 0.1


def test_heavy_atom_conformers_come_before_rotated_hydrogens():
    mol, _ = sample_conformers(Chem.MolFromSmiles("CCCCC"), 3, 1)
    heavy = Chem.RemoveHs(mol)
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert all(rdMolAlign.AlignMol(heavy, heavy, j, i) > 0.1 for i, j in pairs)


def test_undefined_stereo_is_the_same_in_all_conformers():
    mol, _ = sample_conformers(Chem.MolFromSmiles("CC(O)C(N)C=CC"), 10, 2)
    seen = {canonical_smiles(with_stereo_from_3d(mol, c.GetId())) for c in mol.GetConformers()}
    assert len(seen) == 1 and "@" in seen.pop()


def test_molecule_without_mmff_parameters_uses_uff():
    mol = Chem.MolFromSmiles("CB(O)O")
    assert not force_field.MMFFHasAllMoleculeParams(Chem.AddHs(mol))
    assert np.isfinite(sample_conformers(mol, 2, 1)[1]).all()


def test_impossible_molecule_is_an_error():
    with pytest.raises(ValueError, match="ETKDGv3 found no conformer"):
        sample_conformers(Chem.MolFromSmiles("C1#CC1"), 1, 1)


def test_rmsd_equals_rdkits_and_ignores_rigid_motion():
    mol = Chem.RemoveHs(sample_conformers(Chem.MolFromSmiles("CC[C@H](C)OCC"), 4, 1)[0])
    frames = positions(mol)
    expected = [0, *(rdMolAlign.AlignMol(Chem.Mol(mol), mol, 0, k) for k in range(1, 4))]
    np.testing.assert_allclose(rmsd(frames[0], frames), expected, atol=1e-6)
    moved = frames @ Rotation.random(random_state=0).as_matrix().T + [1, 2, 3]
    np.testing.assert_allclose(rmsd(frames[0], moved), expected, atol=1e-6)
    assert rmsd(frames[0], frames[:1] * [1, 1, -1])[0] > 0.1
