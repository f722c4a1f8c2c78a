"""Rings that came out wrong: a bond through a ring, a double bond in a ring twisted towards trans; chairs that flipped.

A force field knows lengths and angles but no topology: a start conformer with a bond through a ring, or a trans double
bond in a small ring, can run for nanoseconds with bond lengths and a graph that look sound.
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem

from egi.chem.geometry import torsion_angles

#: rings up to this size let no bond through and have no stable trans double bond
SMALL_RING = 7
#: torsion about a ring's double or aromatic bond; vibration stays below 40
TWIST_DEGREES = 60.0
#: mean alternating torsion beyond which a six-ring is a chair; an ideal one has 55
CHAIR_DEGREES = 30.0
#: a bond cannot leave a ring without breaking, so that some frames speak for all
PIERCE_FRAMES = 100


def ring_faults(positions: np.ndarray, mol: Chem.Mol) -> dict[str, int]:
    """Small rings (up to 7 atoms) with a fault in some frame, and six-rings that were seen as both chairs.

    Parameters
    ----------
    positions : (frames, atoms, 3) ndarray
    mol : Chem.Mol
        All atoms.

    Returns
    -------
    dict of str to int
        ``pierced_rings`` (a bond goes through), ``twisted_rings`` (a double or aromatic bond far from planar),
        ``flipped_chairs`` (no fault, but sampling).
    """
    chosen = np.unique(np.linspace(0, len(positions) - 1, PIERCE_FRAMES).astype(int))
    found = {"pierced_rings": 0, "twisted_rings": 0, "flipped_chairs": 0}
    for ring in (list(ring) for ring in Chem.GetSSSR(mol)):
        if len(ring) > SMALL_RING:
            continue
        found["pierced_rings"] += pierced(positions[chosen], mol, ring)
        if len(ring) == 3:
            continue
        around = np.array([np.roll(ring, -k)[:4] for k in range(len(ring))])
        angles = np.degrees(torsion_angles(positions, around))  # [frames, ring]
        flat = [mol.GetBondBetweenAtoms(int(j), int(k)).GetBondType() in _FLAT for _, j, k, _ in around]
        found["twisted_rings"] += bool((np.abs(angles[:, flat]) > TWIST_DEGREES).any())
        if len(ring) == 6:
            chair = (angles * [1, -1, 1, -1, 1, -1]).mean(axis=1)
            found["flipped_chairs"] += bool(chair.max() > CHAIR_DEGREES and chair.min() < -CHAIR_DEGREES)
    return found


_FLAT = (Chem.BondType.DOUBLE, Chem.BondType.AROMATIC)


def pierced(positions: np.ndarray, mol: Chem.Mol, ring: list[int]) -> bool:
    """Whether a bond between other atoms crosses the ring's surface, a fan of triangles around its centre.

    Segment against triangle as Möller and Trumbore do it (J. Graphics Tools 2, 21, 1997).

    Parameters
    ----------
    positions : (frames, atoms, 3) ndarray
    mol : Chem.Mol
    ring : list of int
        Atoms of the ring, in order.
    """
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    begin, end = np.array([pair for pair in bonds if not set(pair) & set(ring)], dtype=int).reshape(-1, 2).T
    centred = positions.astype(float) - positions[:, ring].mean(axis=1, keepdims=True)
    start, along = centred[:, begin], centred[:, end] - centred[:, begin]  # [frames, bonds, 3]
    for one, two in zip(ring, np.roll(ring, -1), strict=True):
        side, other = centred[:, one, None], centred[:, two, None]
        normal, across = np.cross(along, other), np.cross(start, side)
        volume = (side * normal).sum(-1)
        parts = [(start * normal).sum(-1), (along * across).sum(-1), (other * across).sum(-1)]
        with np.errstate(divide="ignore", invalid="ignore"):  # a bond parallel to the triangle: never inside
            u, v, t = (part / volume for part in parts)
        if ((u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= 1)).any():
            return True
    return False
