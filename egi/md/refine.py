"""Refinement: frames of modelled atoms become all-atom frames that obey the force field.

Each frame gets its hydrogens, is minimised, has its polar hydrogens drawn anew and gets a little Langevin dynamics in
the gas phase, with the force field, charges and temperature of the molecule's MD. Its torsions are restrained at the
generated values, first stiffly, then softly. One system and context serves all frames of a molecule; only the
restraints' centres and the seed change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openmm

from egi import seeds
from egi.chem.geometry import internal_coordinates, torsion_angles
from egi.chem.stereo import double_bonds, stereocentres
from egi.config import SimulationSettings
from egi.data.storage import MoleculeRecord
from egi.md.common import NM_PER_ANGSTROM, Rejected
from egi.md.hydrogens import PolarHydrogens
from egi.md.molecule import CLASH_ANGSTROM, openff_molecule
from egi.md.refinement_settings import RefinementSettings
from egi.md.system import create_system, parametrised
from egi.metrics.energetics import with_hydrogens
from egi.metrics.validity import contacts, hands, isomers
from egi.units import whole_multiple

log = logging.getLogger("egi")

#: what can become of a frame; the number that is stored is the place in this list. Only ok frames have coordinates
STATUSES = ("ok", "not_finite", "overlap", "wrong_atoms", "some_inverted", "wrong_double_bond", "no_parameters",
            "unstable", "broken")  # fmt: skip
OK, NOT_FINITE, OVERLAP, WRONG_ATOMS, SOME_INVERTED, WRONG_DOUBLE_BOND, NO_PARAMETERS, UNSTABLE, BROKEN = range(
    len(STATUSES)
)
#: a torsion counts as kept if it changes by less, radian
KEPT = np.pi / 6
#: of the restraint, so that it is left out of energies
_GROUP = 1
_TOLERANCE = 100.0  # kJ/mol/nm: the dynamics that follow remove what is left
#: constraint tolerance while minimising; OpenMM's minimiser is slow with a tight one
_LOOSE, _TIGHT = 1e-3, 1e-5


@dataclass
class Refined:
    """Frames after refinement; a frame that is not ok has NaN for coordinates and what could not be measured.

    Attributes
    ----------
    all_atoms : (T, N, 3) float32 ndarray
        Å, in the molecule's atom order, laid onto the generated frame.
    status : (T,) int8 ndarray
        Place in `STATUSES`.
    hand : (T,) int8 ndarray
        Of the generated frame: 1 right (or no stereocentre), -1 all stereocentres inverted, 0 some, or unknown.
    reflected : (T,) bool ndarray
    energy_before, energy_after : (T,) ndarray
        kJ/mol, without restraints: with the hydrogens just placed, and at the end.
    moved_stiff, moved : (T,) float32 ndarray
        Largest change of a torsion since generation, radian: at the end of the stiff restraint, and at the end.
    kept_stiff, kept : (T,) float32 ndarray
        Share of the torsions that changed by less than `KEPT`, likewise; NaN without torsions.
    """

    all_atoms: np.ndarray
    status: np.ndarray
    hand: np.ndarray
    reflected: np.ndarray
    energy_before: np.ndarray
    energy_after: np.ndarray
    moved_stiff: np.ndarray
    moved: np.ndarray
    kept_stiff: np.ndarray
    kept: np.ndarray

    @classmethod
    def empty(cls, frames: int, atoms: int, status: int) -> Refined:
        """As many frames, none refined."""
        return cls(
            np.full((frames, atoms, 3), np.nan, np.float32), np.full(frames, status, np.int8),
            np.zeros(frames, np.int8), np.zeros(frames, bool),
            *(np.full(frames, np.nan) for _ in range(2)), *(np.full(frames, np.nan, np.float32) for _ in range(4)),
        )  # fmt: skip


class Refiner:
    """One molecule in the gas phase with restrained torsions.

    Parameters
    ----------
    record : MoleculeRecord
    charges : (N,) ndarray
        In units of the elementary charge, as in ``charges.json``.
    simulation : SimulationSettings
        Force field, hydrogen mass and temperature.
    settings : RefinementSettings

    Raises
    ------
    Rejected
        If the force field cannot describe the molecule.
    """

    def __init__(
        self, record: MoleculeRecord, charges: np.ndarray, simulation: SimulationSettings, settings: RefinementSettings
    ):
        if len(charges) != record.mol.GetNumAtoms():
            raise Rejected("charges", f"{len(charges)} charges for {record.mol.GetNumAtoms()} atoms")
        self.record, self.settings, self.temperature = record, settings, simulation.temperature_kelvin
        self.torsions = internal_coordinates(record).torsions
        self._centres, self._contacts = stereocentres(record), contacts(record)
        self._double_bonds = double_bonds(record)
        made, self.topology = parametrised(openff_molecule(record.mol), charges, simulation.force_field)
        self._system = create_system(made, self.topology, simulation.model_copy(update={"solvent": "vacuum"}))
        self._hydrogens = PolarHydrogens(record, self._system, self.temperature)
        self._restraint = openmm.PeriodicTorsionForce()  # k (1 + cos(theta - phase)): the phase is opposite the centre
        self._held = record.modelled[self.torsions].tolist()
        for atoms in self._held:
            self._restraint.addTorsion(*atoms, 1, 0.0, settings.stiff_kilojoule_per_mole)
        self._restraint.setForceGroup(_GROUP)
        self._system.addForce(self._restraint)
        self._integrator = openmm.LangevinMiddleIntegrator(
            self.temperature, settings.friction_per_ps, float(settings.timestep_ps)
        )
        self._context = openmm.Context(self._system, self._integrator, openmm.Platform.getPlatformByName("Reference"))
        self._steps = [
            whole_multiple(settings.stiff_time_ps, settings.timestep_ps, "stiff_time", "timestep"),
            whole_multiple(settings.soft_time_ps, settings.timestep_ps, "soft_time", "timestep"),
        ]

    def refine(self, frames: np.ndarray, frame_seeds: list[int]) -> Refined:
        """Refine frames, each on its own.

        Parameters
        ----------
        frames : (T, n, 3) ndarray
            Modelled atoms, Å.
        frame_seeds : list of int
            One a frame: equal seeds and frames give equal results, whatever the other frames are.
        """
        atoms = self.record.mol.GetNumAtoms()
        if frames.ndim != 3 or frames.shape[1:] != (len(self.record.modelled), 3):
            return Refined.empty(len(frames), atoms, WRONG_ATOMS)
        frames = frames.astype(float)
        made = Refined.empty(len(frames), atoms, OK)
        self._judge(frames, made)
        frames[made.reflected, :, 0] *= -1
        chosen = np.flatnonzero(made.status == OK)
        if not len(chosen):
            return made
        wanted = torsion_angles(frames[chosen], self.torsions)
        own_seeds = [frame_seeds[frame] for frame in chosen]
        placed = with_hydrogens(self.record, frames[chosen])
        made.energy_before[chosen], minimised = self._each(self._minimised, 1, placed, wanted)
        drawn = self._hydrogens.draw(minimised[:, 0], own_seeds)
        made.energy_after[chosen], moving = self._each(self._dynamics, 2, drawn, wanted, own_seeds)
        stiff, relaxed = moving[:, 0], moving[:, 1]
        modelled = relaxed[:, self.record.modelled]
        made.moved_stiff[chosen], made.kept_stiff[chosen] = self._moved(stiff[:, self.record.modelled], wanted)
        made.moved[chosen], made.kept[chosen] = self._moved(modelled, wanted)
        made.status[chosen] = self._outcome(frames[chosen], modelled, made.energy_after[chosen])
        made.all_atoms[chosen] = _laid_onto(relaxed, modelled, frames[chosen])
        made.all_atoms[made.status != OK] = np.nan
        return made

    def energies(self, positions: np.ndarray) -> np.ndarray:
        """Force-field energies of all-atom frames as they are, (T, N, 3) Å to (T,) kJ/mol."""
        found = np.empty(len(positions))
        for frame, place in enumerate(positions * NM_PER_ANGSTROM):
            self._context.setPositions(place)
            found[frame] = self._energy()
        return found

    def _judge(self, frames: np.ndarray, made: Refined) -> None:
        """Set the status of frames that cannot be refined, the hand of all others, and which are reflected."""
        finite = np.isfinite(frames).all((1, 2))
        known, pairs = frames[finite], self._contacts.pairs
        seen = hands(known, self._centres)
        hand = np.where((seen > 0).all(1), 1, np.where((seen < 0).all(1), -1, 0))
        nearest = np.linalg.norm(known[:, pairs[:, 0]] - known[:, pairs[:, 1]], axis=-1).min(1, initial=np.inf)
        right = isomers(known, self._double_bonds).all(1)
        faults = [nearest < CLASH_ANGSTROM, hand == 0, ~right]
        made.hand[finite] = hand
        made.status[~finite] = NOT_FINITE
        made.status[finite] = np.select(faults, [OVERLAP, SOME_INVERTED, WRONG_DOUBLE_BOND], OK)
        made.reflected[:] = self.settings.reflect & (made.status == OK) & (made.hand == -1)

    def _each(self, stage: Callable, snapshots: int, *columns) -> tuple[np.ndarray, np.ndarray]:
        """Energy (T,) and positions (T, snapshots, N, 3) in Å of each frame's stage; NaN where OpenMM met NaN."""
        energies = np.full(len(columns[0]), np.nan)
        positions = np.full((len(energies), snapshots, self.record.mol.GetNumAtoms(), 3), np.nan)
        for frame, arguments in enumerate(zip(*columns, strict=True)):  # OpenMM takes one at a time
            try:
                energies[frame], positions[frame] = stage(*arguments)
            except openmm.OpenMMException as error:  # this frame cannot be refined
                log.debug("%s: %s", self.record.id, error)
        return energies, positions

    def _minimised(self, placed: np.ndarray, angles: np.ndarray) -> tuple[float, list[np.ndarray]]:
        """The energy of `placed` (N, 3), and its positions after minimisation with torsions held at `angles`."""
        self._hold(angles, self.settings.stiff_kilojoule_per_mole)
        self._context.setPositions(placed * NM_PER_ANGSTROM)
        before = self._energy()
        self._integrator.setConstraintTolerance(_LOOSE)
        openmm.LocalEnergyMinimizer.minimize(self._context, _TOLERANCE, self.settings.minimise_iterations)
        return before, [self._positions()]

    def _dynamics(self, start: np.ndarray, angles: np.ndarray, seed: int) -> tuple[float, list[np.ndarray]]:
        """Energy at the end; positions at the end of the stiff and of the soft restraint."""
        stiff, soft = self.settings.stiff_kilojoule_per_mole, self.settings.soft_kilojoule_per_mole
        self._hold(angles, stiff)
        self._integrator.setConstraintTolerance(_TIGHT)
        self._integrator.setRandomNumberSeed(seeds.integer(seed, "noise"))
        self._context.reinitialize()  # takes up the seed
        self._context.setPositions(start * NM_PER_ANGSTROM)
        self._context.applyConstraints(_TIGHT)
        self._context.setVelocitiesToTemperature(self.temperature, seeds.integer(seed, "velocities"))
        found = []
        for stiffness, steps in zip((stiff, soft), self._steps, strict=True):
            self._hold(angles, stiffness)
            self._integrator.step(steps)
            found.append(self._positions())
        return self._energy(), found

    def _hold(self, angles: np.ndarray, stiffness: float) -> None:
        """Restrain the torsions at `angles`, radian, with `stiffness`, kJ/mol."""
        for number, (atoms, phase) in enumerate(zip(self._held, (angles + np.pi).tolist(), strict=True)):
            self._restraint.setTorsionParameters(number, *atoms, 1, phase, stiffness)
        self._restraint.updateParametersInContext(self._context)

    def _positions(self) -> np.ndarray:
        """All atoms (N, 3), Å."""
        return self._context.getState(positions=True).getPositions(asNumpy=True)._value / NM_PER_ANGSTROM

    def _energy(self) -> float:
        """Force-field energy without the restraints, kJ/mol."""
        return self._context.getState(energy=True, groups={0}).getPotentialEnergy()._value

    def _moved(self, modelled: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Largest change of a torsion of each frame, radian, and the share of its torsions that changed little."""
        change = torsion_angles(modelled, self.torsions) - wanted
        moved = np.abs((change + np.pi) % (2 * np.pi) - np.pi)
        lost = np.isnan(moved).any(1) | (moved.shape[1] == 0)
        return moved.max(1, initial=0), np.where(lost, np.nan, (moved < KEPT).sum(1) / max(moved.shape[1], 1))

    def _outcome(self, before: np.ndarray, after: np.ndarray, energy: np.ndarray) -> np.ndarray:
        """Status of refined frames: finite, all bonds still bonds, every stereocentre and double bond as it was."""
        i, j = self._contacts.pairs[self._contacts.bonded].T
        lengths = np.linalg.norm(after[:, i] - after[:, j], axis=-1)
        whole = (lengths < self._contacts.bond_angstrom[self._contacts.bonded]).all(1)
        whole &= (hands(after, self._centres) == hands(before, self._centres)).all(1)
        whole &= isomers(after, self._double_bonds).all(1)
        finite = np.isfinite(after).all((1, 2)) & np.isfinite(energy)
        return np.where(finite, np.where(whole, OK, BROKEN), UNSTABLE)


def _laid_onto(full: np.ndarray, modelled: np.ndarray, target: np.ndarray) -> np.ndarray:
    """All atoms (T, N, 3) moved and turned so that their modelled atoms lie best on `target` (T, n, 3) (Kabsch)."""
    finite = np.isfinite(modelled).all((1, 2))
    moved = full.copy()
    centre, goal = (x[finite].mean(1, keepdims=True) for x in (modelled, target))
    u, _, v = np.linalg.svd((modelled[finite] - centre).swapaxes(1, 2) @ (target[finite] - goal))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ v))[:, None]
    moved[finite] = (full[finite] - centre) @ (u @ v) + goal
    return moved
