"""Bonds, angles and torsions of a molecule, and their values in many frames at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import TorsionFingerprints

from egi.chem.molecules import modelled_atoms
from egi.data.storage import MoleculeRecord


@dataclass(frozen=True)
class InternalCoordinates:
    """Atom indices (among the modelled atoms) of what is measured.

    Attributes
    ----------
    bonds : (b, 2) int ndarray
        Between heavy atoms.
    angles : (a, 3) int ndarray
        Between heavy atoms, the vertex in the middle.
    torsions : (t, 4) int ndarray
        One an entry of RDKit's TorsionFingerprints list: rotatable bonds and ring bonds, without those inside an
        aromatic ring.
    """

    bonds: np.ndarray
    angles: np.ndarray
    torsions: np.ndarray


def internal_coordinates(record: MoleculeRecord) -> InternalCoordinates:
    """Bonds, angles and torsions that the metrics measure."""
    mol = modelled_atoms(record.mol)[0]
    heavy = np.array([atom.GetAtomicNum() > 1 for atom in mol.GetAtoms()])
    pairs = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    bonds = _rows(sorted((min(p), max(p)) for p in pairs if heavy[list(p)].all()), 2)
    neighbours = [[] for _ in range(mol.GetNumAtoms())]
    for i, j in bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    angles = [(i, j, k) for j, around in enumerate(neighbours) for i in around for k in around if i < k]
    return InternalCoordinates(bonds, _rows(angles, 3), _rows(_torsions(mol), 4))


def _torsions(mol: Chem.Mol) -> list[tuple[int, ...]]:
    chains, rings = TorsionFingerprints.CalculateTorsionLists(mol)
    quadruples = [tuple(equivalent[0]) for equivalent, _ in chains]
    for around, _ in rings:
        if not all(mol.GetAtomWithIdx(i).GetIsAromatic() for torsion in around for i in torsion):
            quadruples += [tuple(torsion) for torsion in around if len(set(torsion)) == 4]
    return list(dict.fromkeys(min(q, q[::-1]) for q in quadruples))


def _rows(tuples: list[tuple[int, ...]], width: int) -> np.ndarray:
    return np.array(tuples, dtype=np.int64).reshape(-1, width)


def bond_lengths(frames: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Lengths in Å.

    Parameters
    ----------
    frames : (..., T, n, 3) ndarray
    bonds : (b, 2) int ndarray

    Returns
    -------
    (..., T, b) ndarray
    """
    return np.linalg.norm(_difference(frames, bonds, 0, 1), axis=-1)


def bond_angles(frames: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Angles in [0, pi].

    Parameters
    ----------
    frames : (..., T, n, 3) ndarray
    angles : (a, 3) int ndarray
        The vertex in the middle.

    Returns
    -------
    (..., T, a) ndarray
    """
    left, right = _difference(frames, angles, 1, 0), _difference(frames, angles, 1, 2)
    return np.arctan2(np.linalg.norm(np.cross(left, right), axis=-1), (left * right).sum(-1))


def torsion_angles(frames: np.ndarray, torsions: np.ndarray) -> np.ndarray:
    """Signed torsions in [-pi, pi], positive clockwise along the middle bond (IUPAC).

    Parameters
    ----------
    frames : (..., T, n, 3) ndarray
    torsions : (t, 4) int ndarray

    Returns
    -------
    (..., T, t) ndarray
    """
    first, middle, last = (_difference(frames, torsions, k, k + 1) for k in range(3))
    left, right = np.cross(first, middle), np.cross(middle, last)
    sine = (first * right).sum(-1) * np.linalg.norm(middle, axis=-1)
    return np.arctan2(sine, (left * right).sum(-1))


def _difference(frames: np.ndarray, tuples: np.ndarray, start: int, end: int) -> np.ndarray:
    """Vectors from column `start` to column `end` of the index tuples, [..., T, k, 3]."""
    frames = np.asarray(frames)
    if frames.ndim < 2 or frames.shape[-1] != 3:
        raise ValueError(f"frames has shape {frames.shape}; wanted (..., atoms, 3)")
    return frames[..., tuples[:, end], :] - frames[..., tuples[:, start], :]
