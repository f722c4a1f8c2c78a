"""A molecule with two stereocentres, its MD, and that MD's frames refined."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi import seeds
from egi.chem.molecules import record_of
from egi.config import SimulationSettings
from egi.md.refine import Refiner
from egi.md.refinement_settings import RefinementSettings

SMILES = "C[C@H](O)C[C@@H](F)C"
FRAMES = 200


@pytest.fixture(scope="session")
def molecule():
    """Record and charges (Gasteiger, for speed) of a molecule with two stereocentres."""
    mol = Chem.AddHs(Chem.MolFromSmiles(SMILES))
    AllChem.EmbedMolecule(mol, randomSeed=2)
    AllChem.ComputeGasteigerCharges(mol)
    charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()])
    return record_of(mol, "m"), mol.GetConformer().GetPositions(), charges - charges.mean()


@pytest.fixture(scope="session")
def refiner(molecule):
    record, _, charges = molecule
    return Refiner(record, charges, SimulationSettings(), RefinementSettings())


@pytest.fixture(scope="session")
def unrestrained():
    """Frames (count, N, 3) of unrestrained gas-phase dynamics with a refiner's force field, and energies (count,)."""

    def run(refiner: Refiner, start: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        system = openmm.XmlSerializer.clone(refiner._system)
        system.removeForce(system.getNumForces() - 1)
        integrator = openmm.LangevinMiddleIntegrator(300, 5, 0.004)
        integrator.setRandomNumberSeed(3)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(start * 0.1)
        openmm.LocalEnergyMinimizer.minimize(context, 100, 100)
        context.setVelocitiesToTemperature(300, 3)
        integrator.step(2000)
        positions, energies = [], []
        for _ in range(count):
            integrator.step(100)
            state = context.getState(positions=True, energy=True)
            positions.append(state.getPositions(asNumpy=True)._value * 10)
            energies.append(state.getPotentialEnergy()._value)
        return np.array(positions), np.array(energies)

    return run


@pytest.fixture(scope="session")
def md(molecule, refiner, unrestrained):
    """Frames of the molecule's MD, all atoms and energies."""
    return unrestrained(refiner, molecule[1], 2 * FRAMES)


@pytest.fixture(scope="session")
def refined(molecule, refiner, md):
    """Every other MD frame, refined."""
    frames = md[0][::2][:, molecule[0].modelled]
    return frames, refiner.refine(frames, [seeds.integer(1, frame) for frame in range(FRAMES)])


@pytest.fixture(scope="session")
def smiles_of():
    """SMILES with the stereochemistry that all-atom coordinates show."""

    def read(record, positions: np.ndarray) -> str:
        mol = Chem.Mol(record.mol)
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(positions.astype(float))
        mol.AddConformer(conformer)
        Chem.AssignStereochemistryFrom3D(mol, replaceExistingTags=True)
        return Chem.MolToSmiles(Chem.RemoveHs(mol))

    return read
