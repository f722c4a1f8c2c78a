"""Conformers relaxed with GFN2-xTB (10.1021/acs.jctc.8b01176) through tblite, an extra dependency.

As GEOM's conformers are: in vacuum, weighted by exp(-E / RT) at 298.15 K.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDetermineBonds
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from egi.chem.conformers import rmsd
from egi.chem.filters import HARTREE
from egi.chem.molecules import canonical_smiles, with_stereo_from_3d
from egi.units import ConfigError

BOHR_ANGSTROM = 0.529177210903
RT = 8.314462618e-3 * 298.15  # kJ/mol
#: largest component of the gradient at a minimum, hartree/bohr
CONVERGED = 4.5e-4
_STEPS = 500
#: conformers nearer than this in energy and heavy atoms are one minimum; about CREST's thresholds (10.1039/c9cp06869d)
SAME_KJ_MOL, SAME_ANGSTROM = 0.2, 0.1


@dataclass(frozen=True)
class Refined:
    """Conformers after refinement, in their old order.

    Attributes
    ----------
    mol : Chem.Mol
        All atoms; a conformer with a fault keeps its old coordinates.
    energies : (C,) ndarray
        kJ/mol, NaN where there is a fault.
    weights : (C,) ndarray
        Boltzmann weights, without degeneracies; 0 where there is a fault.
    faults : dict
        Why a conformer, by its place, cannot be used.
    """

    mol: Chem.Mol
    energies: np.ndarray
    weights: np.ndarray
    faults: dict[int, str]


def check_installed() -> None:
    """Stop before any work where tblite is missing.

    Raises
    ------
    ConfigError
    """
    if find_spec("tblite") is None:
        raise ConfigError(
            "geom.refine = gfn2-xtb: the package tblite is not installed; allowed: pip install tblite, or refine: none"
        )


def refine(mol: Chem.Mol) -> Refined:
    """Relax each conformer to a minimum of GFN2-xTB; those that react, flip or fall together are faults.

    Parameters
    ----------
    mol : Chem.Mol
        All atoms, sanitised, with conformers. Its formal charge and radical electrons are those of the calculation.
    """
    import_module("tblite.interface")  # limits reach only what is loaded
    result, faults = Chem.Mol(mol), {}
    energies = np.full(mol.GetNumConformers(), np.nan)
    with threadpool_limits(1, "openmp"):  # molecules are what runs in parallel
        for place, conformer in enumerate(result.GetConformers()):
            before = conformer.GetPositions()
            try:
                energy, positions = _relax(mol, before)
            except RuntimeError as error:  # tblite's own, such as charges that do not converge
                faults[place] = f"GFN2-xTB: {str(error).strip()}"
                continue
            conformer.SetPositions(positions)
            if fault := _changed(mol, result, conformer.GetId()):
                conformer.SetPositions(before)
                faults[place] = fault
            else:
                energies[place] = energy
    _merge(result, energies, faults)
    return Refined(result, energies, _boltzmann(energies), faults)


def _relax(mol: Chem.Mol, positions: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy in kJ/mol and coordinates [atoms, 3] in Å of the minimum downhill."""
    from tblite.interface import Calculator

    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
    start = positions / BOHR_ANGSTROM
    calculator = Calculator("GFN2-xTB", numbers, start, float(Chem.GetFormalCharge(mol)), unpaired)
    calculator.set("verbosity", 0)
    last = None

    def energy_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        """In hartree and hartree/bohr."""
        nonlocal last
        calculator.update(flat.reshape(-1, 3))
        last = calculator.singlepoint(last)  # starts from the last wave function
        return last.get("energy"), last.get("gradient").ravel()

    options = {"maxiter": _STEPS, "gtol": CONVERGED, "ftol": 1e-12}
    found = minimize(energy_and_gradient, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    if np.abs(found.jac).max() > CONVERGED:
        raise RuntimeError(f"no minimum after {found.nit} steps: {found.message}")
    return found.fun * HARTREE, found.x.reshape(-1, 3) * BOHR_ANGSTROM


def _changed(before: Chem.Mol, after: Chem.Mol, conformer: int) -> str:
    """What relaxing did to the molecule other than move its atoms, '' if nothing."""
    bare = Chem.RWMol(Chem.Mol(after, False, conformer))
    for bond in list(bare.GetBonds()):
        bare.RemoveBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    rdDetermineBonds.DetermineConnectivity(bare)
    if (Chem.GetAdjacencyMatrix(bare) != Chem.GetAdjacencyMatrix(after)).any():
        return "GFN2-xTB: bonds changed"
    seen = [canonical_smiles(with_stereo_from_3d(mol, conformer)) for mol in (before, after)]
    return "" if seen[0] == seen[1] else f"GFN2-xTB: configuration changed to {seen[1]}"


def _merge(mol: Chem.Mol, energies: np.ndarray, faults: dict[int, str]) -> None:
    """Going up in energy, make a conformer a fault if a lower one is the same.

    The same are those of one energy and one shape of the heavy atoms: turned methyl groups would count thrice.
    """
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1] or list(range(mol.GetNumAtoms()))
    positions = np.stack([conformer.GetPositions()[heavy] for conformer in mol.GetConformers()])
    kept: list[int] = []
    for place in np.argsort(energies, kind="stable").tolist():
        if place in faults:
            continue
        near = [k for k in kept if energies[place] - energies[k] < SAME_KJ_MOL]
        apart = rmsd(positions[place], positions[near]) if near else np.array([np.inf])
        if apart.min() < SAME_ANGSTROM:
            faults[place] = f"GFN2-xTB: same minimum as conformer {near[apart.argmin()]}"
        else:
            kept.append(place)
    energies[list(faults)] = np.nan


def _boltzmann(energies: np.ndarray) -> np.ndarray:
    usable = np.isfinite(energies)
    if not usable.any():
        return np.zeros_like(energies)
    factors = np.where(usable, np.exp(-(energies - energies[usable].min()) / RT), 0.0)
    return factors / factors.sum()
