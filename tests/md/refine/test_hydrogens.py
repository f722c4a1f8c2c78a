"""Polar hydrogens: energies are OpenMM's, shares are Boltzmann's, hydrogen bonds are found, the rest stays."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolTransforms

from egi.chem.molecules import record_of
from egi.config import SimulationSettings
from egi.md.common import GAS_CONSTANT
from egi.md.hydrogens import PLACES, PolarHydrogens
from egi.md.molecule import openff_molecule
from egi.md.system import create_system, parametrised

KELVIN = 300.0


class Built:
    """A molecule with Gasteiger charges (for speed) in the gas phase, with one RDKit conformer."""

    def __init__(self, smiles: str, seed: int = 1):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(mol, randomSeed=seed)
        AllChem.ComputeGasteigerCharges(mol)
        charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()])
        self.record, self.positions = record_of(mol, "m"), mol.GetConformer().GetPositions()
        made, topology = parametrised(openff_molecule(mol), charges - charges.mean(), "openff-2.2.1")
        system = create_system(made, topology, SimulationSettings(solvent="vacuum"))
        self.polar = PolarHydrogens(self.record, system, KELVIN)
        self.context = openmm.Context(
            system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
        )

    def energy(self, positions: np.ndarray) -> float:
        self.context.setPositions(positions * 0.1)
        return self.context.getState(energy=True).getPotentialEnergy()._value


@pytest.fixture(scope="module")
def glycol():
    return Built("OCCO")


@pytest.mark.parametrize(
    ("smiles", "groups"),
    [("OCCO", 2), ("NCC(=O)O", 2), ("C1CCNCC1", 1), ("CNC(=O)CS", 2), ("NC(=O)c1ccccc1O", 2), ("CS(N)(=O)=O", 1)],
)
def test_energies_of_the_places_differ_as_openmms_do(smiles, groups):
    built = Built(smiles)
    assert len(built.polar.groups) == groups
    for group in built.polar.groups:
        places = group.places(built.positions[None])
        np.testing.assert_allclose(places[0, 0], built.positions[group.hydrogens], atol=1e-9)
        found = group.energies(built.positions[None], places)[0]
        wanted = []
        for place in places[0]:
            moved = built.positions.copy()
            moved[group.hydrogens] = place
            wanted.append(built.energy(moved))
        np.testing.assert_allclose(found - found[0], np.array(wanted) - wanted[0], rtol=1e-5, atol=1e-4)


def test_shares_are_boltzmanns(glycol):
    """Both hydroxyls together, against all pairs of places by OpenMM's energies."""
    first, second = glycol.polar.groups
    energies = np.empty((PLACES, PLACES))
    grid = [group.places(glycol.positions[None])[0] for group in (first, second)]
    for i, j in np.ndindex(energies.shape):
        moved = glycol.positions.copy()
        moved[first.hydrogens], moved[second.hydrogens] = grid[0][i], grid[1][j]
        energies[i, j] = glycol.energy(moved)
    wanted = np.exp((energies.min() - energies) / (GAS_CONSTANT * KELVIN))
    wanted /= wanted.sum()
    count = 20000
    drawn = glycol.polar.draw(np.repeat(glycol.positions[None], count, 0), list(range(count)))
    near = [
        np.linalg.norm(drawn[:, group.hydrogens][:, None] - places, axis=-1)[..., 0].argmin(1)
        for group, places in zip((first, second), grid, strict=True)
    ]
    seen = np.zeros_like(wanted)
    np.add.at(seen, tuple(near), 1 / count)
    assert 0.5 < 1 - (wanted**2).sum() < 0.99  # neither one place alone nor all alike
    assert np.abs(seen - wanted).sum() / 2 < 0.04  # sampling error of 20,000 frames in 144 bins: about 0.02


def test_only_polar_hydrogens_move_and_their_bonds_and_angles_stay(glycol):
    frames = np.repeat(glycol.positions[None], 50, 0)
    drawn = glycol.polar.draw(frames, list(range(50)))
    polar = np.concatenate([group.hydrogens for group in glycol.polar.groups])
    still = np.setdiff1d(np.arange(len(glycol.positions)), polar)
    np.testing.assert_array_equal(drawn[:, still], frames[:, still])
    assert np.ptp(drawn[:, polar], axis=0).max() > 1
    for group in glycol.polar.groups:
        for atom in (group.atom, *group.heavy):
            lengths = np.linalg.norm(drawn[:, group.hydrogens] - drawn[:, [atom]], axis=-1)
            np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-6)


def test_a_hydrogen_bond_is_found():
    """Salicylaldehyde: the hydroxyl points to the carbonyl, whichever way it pointed before."""
    built = Built("O=Cc1ccccc1O")
    (group,) = built.polar.groups
    oxygen, *bonded = built.record.mol.GetSubstructMatch(Chem.MolFromSmarts("O=CccO"))
    rdMolTransforms.SetDihedralDeg(_conformer(built), oxygen, *bonded[:3], 0)
    frames = np.repeat(_conformer(built).GetPositions()[None], PLACES, 0)
    frames[:, group.hydrogens] = group.places(frames[:1])[0]
    drawn = built.polar.draw(frames, list(range(PLACES)))
    distance = np.linalg.norm(drawn[:, group.hydrogens[0]] - drawn[:, oxygen], axis=-1)
    nearest = np.linalg.norm(frames[:, group.hydrogens[0]] - frames[:, oxygen], axis=-1).min()
    assert (distance < nearest + 0.3).mean() > 0.9


def _conformer(built: Built) -> Chem.Conformer:
    mol = built.record.mol
    if not mol.GetNumConformers():
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(built.positions)
        mol.AddConformer(conformer)
    return mol.GetConformer()


def test_a_frame_depends_on_its_seed_alone(glycol):
    frames = np.stack([glycol.positions, glycol.positions + 1])
    both = glycol.polar.draw(frames, [5, 6])
    np.testing.assert_array_equal(both[1:], glycol.polar.draw(frames[1:], [6]))
    many = glycol.polar.draw(np.repeat(frames[:1], 20, 0), list(range(20)))
    assert len(np.unique(many.round(6), axis=0)) > 3


def test_frames_that_are_not_finite_stay(glycol):
    frames = np.repeat(glycol.positions[None], 3, 0)
    frames[1, 0] = np.nan
    drawn = glycol.polar.draw(frames, [1, 2, 3])
    np.testing.assert_array_equal(drawn[1], frames[1])
    assert np.isfinite(drawn[[0, 2]]).all()


@pytest.mark.parametrize("smiles", ["CCCC", "c1cc[nH]c1", "CC=N", "CC(=O)C"])
def test_nothing_is_open_without_polar_hydrogens_on_single_bonds(smiles):
    built = Built(smiles)
    assert not built.polar.groups
    np.testing.assert_array_equal(built.polar.draw(built.positions[None], [1]), built.positions[None])
