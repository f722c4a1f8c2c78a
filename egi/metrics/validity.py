"""Whether frames are the molecule: its graph, its stereochemistry, no atoms in each other's place.

Covalent and van der Waals radii are RDKit's. A frame has the molecule's graph if exactly the bonded pairs are closer
than 1.3 times the sum of their covalent radii. A clash is a pair three or more bonds apart, closer than 0.6 times the
sum of the van der Waals radii.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from egi.chem.geometry import torsion_angles
from egi.chem.stereo import DoubleBonds, Stereocentres
from egi.data.storage import MoleculeRecord
from egi.metrics.scores import Unscorable

BOND_FACTOR = 1.3
CLASH_FACTOR = 0.6
_CHUNK = 2000


def hands(frames: np.ndarray, centres: Stereocentres) -> np.ndarray:
    """1 where a stereocentre has the molecule's hand, -1 where it has the other.

    Parameters
    ----------
    frames : (T, n, 3) ndarray
    centres : Stereocentres

    Returns
    -------
    (T, k) int8 ndarray
    """
    a, b, c = (frames[:, centres.neighbours[:, i]] - frames[:, centres.centre] for i in range(3))
    volume = (a * np.cross(b, c)).sum(-1)
    return np.where(volume * centres.sign > 0, 1, -1).astype(np.int8)


def isomers(frames: np.ndarray, bonds: DoubleBonds) -> np.ndarray:
    """Whether each double bond is the molecule's isomer (E or Z).

    Parameters
    ----------
    frames : (T, n, 3) ndarray
    bonds : DoubleBonds

    Returns
    -------
    (T, k) bool ndarray
    """
    return (np.cos(torsion_angles(frames, bonds.torsions)) > 0) == bonds.cis


@dataclass(frozen=True)
class Contacts:
    """Atom pairs and the distances that tell a bond or a clash.

    Attributes
    ----------
    pairs : (p, 2) int ndarray
        All pairs of modelled atoms.
    bonded : (p,) bool ndarray
    bond_angstrom : (p,) ndarray
        Closer than this is a bond.
    clash_angstrom : (p,) ndarray
        Closer than this is a clash; 0 for pairs less than three bonds apart.
    """

    pairs: np.ndarray
    bonded: np.ndarray
    bond_angstrom: np.ndarray
    clash_angstrom: np.ndarray


def contacts(record: MoleculeRecord) -> Contacts:
    """Pairs of a molecule's modelled atoms with their limits."""
    table = Chem.GetPeriodicTable()
    numbers = record.atomic_numbers.tolist()
    covalent, vdw = (np.array([f(z) for z in numbers]) for f in (table.GetRcovalent, table.GetRvdw))
    bonds_between = Chem.GetDistanceMatrix(record.mol)[np.ix_(record.modelled, record.modelled)]
    i, j = np.triu_indices(len(numbers), k=1)
    apart = bonds_between[i, j]
    clash = np.where(apart >= 3, CLASH_FACTOR * (vdw[i] + vdw[j]), 0.0)
    return Contacts(np.stack([i, j], 1), apart == 1, BOND_FACTOR * (covalent[i] + covalent[j]), clash)


def relative_bonds(frames: np.ndarray, limits: Contacts) -> np.ndarray:
    """Bond lengths (T, n, 3) -> (T, bonds) over the sums of the covalent radii; about 1 where the unit is Å."""
    pairs = limits.pairs[limits.bonded]
    lengths = np.linalg.norm(frames[:, pairs[:, 0]] - frames[:, pairs[:, 1]], axis=-1)
    return BOND_FACTOR * lengths / limits.bond_angstrom[limits.bonded]


def in_nanometres(frames: np.ndarray, limits: Contacts) -> bool:
    """Whether frames are in nm: nearly all bonds a tenth of what they are in Å, which no broken frames are."""
    ratios = relative_bonds(frames[np.isfinite(frames).all((1, 2))], limits)
    return bool(ratios.size) and bool(((ratios > 0.07) & (ratios < 0.14)).mean() > 0.95)


def graph_and_clashes(frames: np.ndarray, limits: Contacts) -> tuple[np.ndarray, np.ndarray]:
    """Whether each frame has the molecule's graph, and whether it has a clash.

    Parameters
    ----------
    frames : (T, n, 3) ndarray
    limits : Contacts

    Returns
    -------
    ((T,) bool ndarray, (T,) bool ndarray)
    """
    intact, clashing = np.empty(len(frames), bool), np.empty(len(frames), bool)
    for start in range(0, len(frames), _CHUNK):
        part = frames[start : start + _CHUNK]
        distance = np.linalg.norm(part[:, limits.pairs[:, 0]] - part[:, limits.pairs[:, 1]], axis=-1)
        intact[start : start + _CHUNK] = ((distance < limits.bond_angstrom) == limits.bonded).all(1)
        clashing[start : start + _CHUNK] = (distance < limits.clash_angstrom).any(1)
    return intact, clashing


def flips(series: list[np.ndarray]) -> np.ndarray:
    """Share of neighbouring frames between which each stereocentre changes its hand, [k].

    Parameters
    ----------
    series : list of (T, k) ndarray
        Hands, one a trajectory.

    Raises
    ------
    Unscorable
        If there is no stereocentre, or no trajectory has two frames.
    """
    if series[0].shape[1] == 0:
        raise Unscorable("no_stereocentre", "the molecule has no stereocentre among its modelled atoms")
    changed = [s[1:] != s[:-1] for s in series if len(s) > 1]
    if not changed:
        raise Unscorable("too_few_frames", "no trajectory has two frames")
    return np.concatenate(changed).mean(0)
