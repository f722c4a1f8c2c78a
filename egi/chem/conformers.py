"""Conformers of a molecule from its graph: ETKDGv3, then MMFF94."""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from egi.chem.molecules import with_stereo_from_3d

KJ_PER_KCAL = 4.184
_MINIMISER_STEPS = 2000


def sample_conformers(mol: Chem.Mol, count: int, seed: int, prune_angstrom: float = 0.1) -> tuple[Chem.Mol, np.ndarray]:
    """Distinct low-energy conformers.

    Twice the wanted number is embedded and minimised. Going up in energy, conformers whose heavy atoms differ are
    taken first, then those whose hydrogens do, so that the wanted number is normally reached.

    Parameters
    ----------
    mol : Chem.Mol
        Sanitised; hydrogens are added. Undefined stereocentres get the configuration of the first embedding, one for
        all conformers.
    count : int
        Wanted number.
    seed : int
        31-bit.
    prune_angstrom : float
        Conformers with a smaller RMSD are the same.

    Returns
    -------
    mol : Chem.Mol
        All atoms, at least one and at most `count` conformers.
    energies : (C,) ndarray
        kJ/mol, increasing; of MMFF94, or of UFF for a molecule that MMFF94 has no parameters for.

    Raises
    ------
    ValueError
        If no conformer can be embedded.
    """
    full = Chem.AddHs(mol)
    _embed(full, 1, seed)
    full = with_stereo_from_3d(full)
    _embed(full, 2 * count, seed)
    energies = _minimise(full)
    positions = np.stack([conformer.GetPositions() for conformer in full.GetConformers()])  # [C, atoms, 3]
    heavy = np.array([atom.GetAtomicNum() > 1 for atom in full.GetAtoms()])
    finite = np.isfinite(energies) & np.isfinite(positions).all(axis=(1, 2))
    if not finite.any():
        raise ValueError("minimisation gave no finite conformer")
    order = [k for k in np.argsort(energies, kind="stable").tolist() if finite[k]]
    kept = _distinct(positions[:, heavy], order, [], count, prune_angstrom)
    kept = sorted(_distinct(positions, order, kept, count, prune_angstrom), key=order.index)
    chosen = Chem.Mol(full)
    chosen.RemoveAllConformers()
    for k in kept:
        chosen.AddConformer(full.GetConformer(full.GetConformers()[k].GetId()), assignId=True)
    return chosen, energies[kept]


def _embed(mol: Chem.Mol, count: int, seed: int) -> None:
    """Embed in place, from random coordinates where the ordinary start fails."""
    settings = rdDistGeom.ETKDGv3()
    settings.randomSeed = seed
    settings.numThreads = 1
    for random in (False, True):
        settings.useRandomCoords = random
        if len(rdDistGeom.EmbedMultipleConfs(mol, count, settings)):
            return
    raise ValueError("ETKDGv3 found no conformer")


def _minimise(mol: Chem.Mol) -> np.ndarray:
    """Minimise all conformers in place; energies in kJ/mol."""
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        results = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, numThreads=1, maxIters=_MINIMISER_STEPS)
    elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        results = rdForceFieldHelpers.UFFOptimizeMoleculeConfs(mol, numThreads=1, maxIters=_MINIMISER_STEPS)
    else:
        raise ValueError("neither MMFF94 nor UFF has parameters for the molecule")
    return np.array([energy for _, energy in results]) * KJ_PER_KCAL


def _distinct(positions: np.ndarray, order: list[int], kept: list[int], count: int, threshold: float) -> list[int]:
    """`kept`, and further conformers in `order` that differ from all kept ones, up to `count`."""
    kept = list(kept)
    for k in order:
        if len(kept) >= count:
            break
        if k not in kept and (not kept or rmsd(positions[k], positions[kept]).min() > threshold):
            kept.append(k)
    return kept


def rmsd(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """RMSD after optimal superposition (proper rotation), atoms matched by order.

    Parameters
    ----------
    one : (n, 3) ndarray
    many : (C, n, 3) ndarray

    Returns
    -------
    (C,) ndarray
    """
    one = one - one.mean(-2)
    many = many - many.mean(-2, keepdims=True)
    covariance = np.einsum("na,cnb->cab", one, many)
    singular = np.linalg.svd(covariance, compute_uv=False)
    singular[:, 2] *= np.sign(np.linalg.det(covariance))
    squared = (one**2).sum() + (many**2).sum(axis=(1, 2)) - 2 * singular.sum(-1)
    return np.sqrt(np.maximum(squared, 0) / len(one))
