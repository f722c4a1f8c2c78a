"""Force-field energies of generated frames beside those of MD frames, all treated alike.

The hydrogens that are not modelled are placed anew by RDKit and relaxed in the gas phase with the modelled atoms held
fixed; the energy is the molecule's OpenFF energy with the charges of its MD. MD frames lose and regain their
hydrogens in the same way, so that the comparison is one of modelled atoms only.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit import Chem

from egi.chem.molecules import modelled_atoms
from egi.config import SimulationSettings
from egi.data.storage import MoleculeRecord
from egi.metrics.scores import Score, Unscorable, mean_score

METRICS = ("energy_overlap", "energy_within", "energy_excess")
#: kJ/mol a heavy atom, either side of the reference's median
BOUND = 10.0
FRAMES = 100
_BINS = 20
_MINIMISER_STEPS = 200
_TOLERANCE = 10.0  # kJ/mol/nm
_NM_PER_ANGSTROM = 0.1


def with_hydrogens(record: MoleculeRecord, frames: np.ndarray) -> np.ndarray:
    """All atoms of frames of modelled atoms, in the molecule's order; RDKit places the hydrogens.

    Parameters
    ----------
    record : MoleculeRecord
    frames : (T, n, 3) ndarray
        Å.

    Returns
    -------
    (T, all atoms, 3) ndarray
    """
    bare = modelled_atoms(record.mol)[0]
    for frame in frames:
        conformer = Chem.Conformer(bare.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(frame, dtype=float))
        bare.AddConformer(conformer, assignId=True)
    full = Chem.AddHs(bare, addCoords=True)
    positions = np.stack([conformer.GetPositions() for conformer in full.GetConformers()])
    order = np.empty(record.mol.GetNumAtoms(), dtype=np.int64)
    order[record.modelled] = np.arange(len(record.modelled))
    for place, atom in enumerate(record.modelled.tolist()):
        wanted = _added(record.mol, atom, set(record.modelled.tolist()))
        order[wanted] = _added(full, place, set(range(len(record.modelled))))
    return positions[:, order]


def _added(mol: Chem.Mol, atom: int, modelled: set[int]) -> list[int]:
    """Hydrogens on an atom that are not modelled."""
    return [n.GetIdx() for n in mol.GetAtomWithIdx(atom).GetNeighbors() if n.GetIdx() not in modelled]


@dataclass(frozen=True)
class GasPhase:
    """A molecule in the gas phase, its modelled atoms fixed.

    Attributes
    ----------
    record : MoleculeRecord
    context : openmm.Context
    """

    record: MoleculeRecord
    context: object

    def energies(self, frames: np.ndarray) -> np.ndarray:
        """Energy of each frame after relaxing its hydrogens, (T, n, 3) Å to (T,) kJ/mol; NaN where there is none."""
        from openmm import LocalEnergyMinimizer, OpenMMException  # slow to import, absent without the md extra

        found = np.full(len(frames), np.nan)
        for k, positions in enumerate(with_hydrogens(self.record, frames) * _NM_PER_ANGSTROM):
            try:
                self.context.setPositions(positions)
                LocalEnergyMinimizer.minimize(self.context, _TOLERANCE, _MINIMISER_STEPS)
                found[k] = self.context.getState(getEnergy=True).getPotentialEnergy()._value
            except OpenMMException:
                continue  # atoms on top of each other: no finite energy
        return np.where(np.isfinite(found), found, np.nan)


def charges_of(record: MoleculeRecord, md: Path, simulation: SimulationSettings, seed: int) -> tuple[np.ndarray, str]:
    """Charges (all atoms,) of a molecule's MD, and a note; by NAGL where the trajectories were released without any.

    Parameters
    ----------
    record : MoleculeRecord
    md : Path
        Folder of the simulations, with ``{molecule}/charges.json``.
    simulation : SimulationSettings
    seed : int

    Raises
    ------
    Unscorable
        If there are none.
    """
    from egi.md.charges import molecule_charges  # absent without the md extra
    from egi.md.common import Rejected

    path = md / record.id / "charges.json"
    if path.is_file():
        return np.array(json.loads(path.read_text(encoding="utf-8"))["charges"]), ""
    if simulation.source != "released":
        raise Unscorable("failed", f"{path} does not exist")
    by_nagl = simulation.model_copy(update={"charges": "nagl", "charges_fallback": None})
    try:
        with tempfile.TemporaryDirectory() as scratch:
            charges = molecule_charges(record.mol, record.id, by_nagl, seed, Path(scratch) / "charges.json")
    except Rejected as error:
        raise Unscorable("failed", error.reason) from error
    return charges, "charges by NAGL"


def gas_phase(record: MoleculeRecord, charges: np.ndarray, force_field: str) -> GasPhase:
    """The molecule in the gas phase.

    Parameters
    ----------
    record : MoleculeRecord
    charges : (all atoms,) ndarray
        In units of the elementary charge, as in ``charges.json``.
    force_field : str
        Such as ``openff-2.2.1``.

    Raises
    ------
    Unscorable
        If the force field cannot describe it.
    """
    import openmm  # absent without the md extra

    from egi.md.common import Rejected
    from egi.md.molecule import openff_molecule
    from egi.md.system import parametrised

    if len(charges) != record.mol.GetNumAtoms():
        raise Unscorable("failed", f"{len(charges)} charges for {record.mol.GetNumAtoms()} atoms")
    try:
        made, topology = parametrised(openff_molecule(record.mol), charges, force_field)
    except Rejected as error:
        raise Unscorable("failed", error.reason) from error
    system = made.createSystem(topology, constraints=None, rigidWater=False)
    for atom in record.modelled.tolist():
        system.setParticleMass(atom, 0.0)
    platform = openmm.Platform.getPlatformByName("Reference")
    return GasPhase(record, openmm.Context(system, openmm.VerletIntegrator(0.001), platform))


def evenly(frames: np.ndarray, most: int = FRAMES) -> np.ndarray:
    """At most so many frames, evenly spread."""
    return frames[np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(int))]


def energy_scores(reference: np.ndarray, generated: np.ndarray, heavy_atoms: int, note: str = "") -> list[Score]:
    """Overlap of energy distributions, share of frames near the reference's median, median excess.

    Parameters
    ----------
    reference, generated : (frames,) ndarray
        kJ/mol; NaN where a frame has no finite energy.
    heavy_atoms : int
    note : str
        Goes to the reason column.

    Raises
    ------
    Unscorable
        If no energy of a side is finite.
    """
    known = [int(np.isfinite(e).sum()) for e in (reference, generated)]
    if not all(known):
        raise Unscorable("failed", f"{known[0]} reference and {known[1]} generated energies are finite")
    own = excess(generated, reference, heavy_atoms)
    lost = len(generated) - known[1]
    note = "; ".join(filter(None, [note, f"{lost} frames without a finite energy" if lost else ""]))
    return [
        mean_score("energy_overlap", overlap(reference, generated), note),
        mean_score("energy_within", np.abs(own) < BOUND, note),
        mean_score("energy_excess", np.nanmedian(own), note),
    ]


def excess(energies: np.ndarray, reference: np.ndarray, heavy_atoms: int) -> np.ndarray:
    """Energies (frames,) above the median of the reference's, kJ/mol a heavy atom."""
    return (energies - np.nanmedian(reference)) / heavy_atoms


def overlap(reference: np.ndarray, generated: np.ndarray) -> float:
    """Overlap of two histograms of energies (frames,): bins over the reference's range, and two outer ones.

    A frame without a finite energy counts in no bin. The number is the same for energies that are shifted and scaled.
    """
    known = reference[np.isfinite(reference)]
    edges = np.concatenate([[-np.inf], np.linspace(known.min(), known.max(), _BINS + 1), [np.inf]])
    edges[-2] = np.nextafter(edges[-2], np.inf)  # the largest reference energy is within its range
    shares = [np.histogram(e, edges)[0] / len(e) for e in (reference, generated)]
    return float(np.minimum(*shares).sum())
