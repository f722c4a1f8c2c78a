"""Hydrogens on nitrogen, oxygen and sulphur placed as the force field would have them at a temperature.

Heavy atoms do not say where a hydroxyl's hydrogen points, and geometry alone puts it away from the hydrogen bond that
dynamics would show. Each hydrogen here is drawn from its Boltzmann distribution, all other atoms held fixed, one group
after the other, in sweeps: Gibbs sampling of what the frame leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm
from rdkit import Chem

from egi import seeds
from egi.chem.geometry import torsion_angles
from egi.data.storage import MoleculeRecord
from egi.md.common import GAS_CONSTANT, NM_PER_ANGSTROM

_COULOMB = 138.93545764438198  # kJ nm/(mol e²), OpenMM's
_POLAR = (7, 8, 16)
#: places of a group that turns about its bond, as many steps of a full turn
PLACES = 12
SWEEPS = 4
_CHUNK = 256


@dataclass(frozen=True)
class Group:
    """The hydrogens of one polar atom that are not modelled, and what their energy depends on.

    Attributes
    ----------
    atom : int
    heavy : tuple of int
        One modelled neighbour: the hydrogens turn about the bond to it. Two: the one hydrogen lies on either side
        of the plane of the three.
    hydrogens : (h,) int ndarray
    others : (m,) int ndarray
        All atoms but the hydrogens.
    charge, sigma, epsilon : (h, m) ndarray
        Of pairs, exceptions included: kJ nm/mol, nm, kJ/mol.
    torsions : (k, 4) int ndarray
        Those that have one of the hydrogens, in places of `around`.
    around : (a,) int ndarray
    terms : (3, k) ndarray
        Periodicity, phase (radian) and force constant (kJ/mol).
    """

    atom: int
    heavy: tuple[int, ...]
    hydrogens: np.ndarray
    others: np.ndarray
    charge: np.ndarray
    sigma: np.ndarray
    epsilon: np.ndarray
    torsions: np.ndarray
    around: np.ndarray
    terms: np.ndarray

    def places(self, positions: np.ndarray) -> np.ndarray:
        """Where the hydrogens may be, (T, all atoms, 3) to (T, places, h, 3); the first place is the present one."""
        centre = positions[:, None, self.atom]
        arms = positions[:, self.hydrogens] - centre
        to = [positions[:, other] - positions[:, self.atom] for other in self.heavy]
        axis = np.cross(*to) if len(to) == 2 else to[0]
        axis = (axis / np.linalg.norm(axis, axis=-1, keepdims=True))[:, None]  # (T, 1, 3)
        along = (arms * axis).sum(-1, keepdims=True)
        if len(to) == 2:
            return np.stack([arms, arms - 2 * along * axis], 1) + centre[:, None]
        turn = (2 * np.pi / PLACES * np.arange(PLACES))[:, None, None]
        across, up = arms - along * axis, np.cross(axis, arms)
        turned = across[:, None] * np.cos(turn) + up[:, None] * np.sin(turn)
        return turned + (along * axis + centre)[:, None]

    def energies(self, positions: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Energy of each place, kJ/mol but for a constant a frame: (T, places)."""
        frames, count, hydrogens, _ = places.shape
        near = positions[:, self.others]
        flat = places.reshape(frames, -1, 3)
        square = (flat**2).sum(-1)[:, :, None] + (near**2).sum(-1)[:, None] - 2 * flat @ near.swapaxes(1, 2)
        distance = np.sqrt(np.maximum(square, 1e-6)).reshape(frames, count, hydrogens, -1) * NM_PER_ANGSTROM
        sixth = (self.sigma / distance) ** 6
        found = (self.charge / distance + 4 * self.epsilon * (sixth * sixth - sixth)).sum((2, 3))
        if len(self.torsions):
            local = np.repeat(positions[:, None, self.around], count, axis=1)
            local[:, :, np.searchsorted(self.around, self.hydrogens)] = places
            periodicity, phase, force = self.terms
            angles = torsion_angles(local, self.torsions)
            found += (force * (1 + np.cos(periodicity * angles - phase))).sum(-1)
        return found


class PolarHydrogens:
    """The polar hydrogens of a molecule that its frames leave open.

    Parameters
    ----------
    record : MoleculeRecord
    system : openmm.System
        The molecule in the gas phase, without cutoff.
    temperature_kelvin : float
    """

    def __init__(self, record: MoleculeRecord, system: openmm.System, temperature_kelvin: float):
        self.thermal = GAS_CONSTANT * temperature_kelvin
        pairs, torsions = _pairs(system), _torsions(system)
        self.groups = [_group(*found, pairs, torsions) for found in _open_groups(record)]

    def draw(self, positions: np.ndarray, frame_seeds: list[int]) -> np.ndarray:
        """All atoms of frames with their polar hydrogens drawn anew.

        Parameters
        ----------
        positions : (T, all atoms, 3) ndarray
            Å; a frame that is not finite stays as it is.
        frame_seeds : list of int
            One a frame: what is drawn depends on nothing else.

        Returns
        -------
        (T, all atoms, 3) ndarray
        """
        drawn = positions.copy()
        if not self.groups:
            return drawn
        finite = np.flatnonzero(np.isfinite(positions).all((1, 2)))
        for chunk in np.array_split(finite, -(-len(finite) // _CHUNK) or 1):
            drawn[chunk] = self._sweeps(positions[chunk], [frame_seeds[k] for k in chunk])
        return drawn

    def _sweeps(self, positions: np.ndarray, frame_seeds: list[int]) -> np.ndarray:
        positions, shape = positions.copy(), (SWEEPS, len(self.groups))
        dice = np.array([seeds.stream(seed, "hydrogens").random(shape) for seed in frame_seeds]).reshape(-1, *shape)
        for sweep in range(SWEEPS):
            for number, group in enumerate(self.groups):
                places = group.places(positions)
                energies = group.energies(positions, places) / self.thermal
                shares = np.cumsum(np.exp(energies.min(1, keepdims=True) - energies), axis=1)
                chosen = (shares < dice[:, sweep, number, None] * shares[:, -1:]).sum(1)
                positions[:, group.hydrogens] = places[np.arange(len(places)), chosen]
        return positions


def _open_groups(record: MoleculeRecord) -> list[tuple[int, tuple[int, ...], list[int]]]:
    """Polar atoms with their modelled neighbours and their hydrogens, where geometry leaves a choice."""
    modelled, found = set(record.modelled.tolist()), []
    for atom in record.mol.GetAtoms():
        bonds = atom.GetBonds()
        around = [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in bonds]
        heavy = tuple(a for a in around if a in modelled)
        hydrogens = [a for a in around if a not in modelled]
        single = all(bond.GetBondType() == Chem.BondType.SINGLE for bond in bonds)
        free = (len(heavy), len(hydrogens)) in ((1, 1), (1, 2), (1, 3), (2, 1))
        if atom.GetAtomicNum() in _POLAR and single and free:
            found.append((atom.GetIdx(), heavy, hydrogens))
    return found


def _group(atom: int, heavy: tuple[int, ...], hydrogens: list[int], pairs: np.ndarray, torsions: tuple) -> Group:
    """A group with the parameters that it needs of the molecule's."""
    others = np.setdiff1d(np.arange(pairs.shape[1]), hydrogens)
    own = np.isin(torsions[0], hydrogens).any(1)
    around = np.unique(np.concatenate([torsions[0][own].ravel(), hydrogens])).astype(np.int64)
    charge, sigma, epsilon = pairs[:, hydrogens][:, :, others]
    places = np.searchsorted(around, torsions[0][own])
    return Group(atom, heavy, np.array(hydrogens), others, charge, sigma, epsilon, places, around, torsions[1][:, own])


def _force(system: openmm.System, kind: type) -> openmm.Force:
    return next(force for force in system.getForces() if isinstance(force, kind))


def _pairs(system: openmm.System) -> np.ndarray:
    """Charge product (kJ nm/mol), sigma (nm) and epsilon (kJ/mol) of all pairs of atoms, (3, N, N)."""
    force = _force(system, openmm.NonbondedForce)
    each = np.array([[v._value for v in force.getParticleParameters(k)] for k in range(force.getNumParticles())])
    charge, sigma, epsilon = each.T
    made = np.stack([np.outer(charge, charge), (sigma[:, None] + sigma) / 2, np.sqrt(np.outer(epsilon, epsilon))])
    for k in range(force.getNumExceptions()):
        i, j, *values = force.getExceptionParameters(k)
        made[:, i, j] = made[:, j, i] = [value._value for value in values]
    made[0] *= _COULOMB
    return made


def _torsions(system: openmm.System) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (k, 4), and periodicity, phase and force constant (3, k), of all torsion terms."""
    force = _force(system, openmm.PeriodicTorsionForce)
    every = [force.getTorsionParameters(k) for k in range(force.getNumTorsions())]
    atoms = np.array([term[:4] for term in every], dtype=np.int64).reshape(-1, 4)
    terms = np.array([[term[4], term[5]._value, term[6]._value] for term in every], dtype=float).reshape(-1, 3).T
    return atoms, terms
