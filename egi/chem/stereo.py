"""Tetrahedral stereocentres and double bonds among the modelled atoms, and the hand or isomer stated for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from egi.data.storage import MoleculeRecord


@dataclass(frozen=True)
class Stereocentres:
    """Tetrahedral centres of a molecule among its modelled atoms.

    Attributes
    ----------
    centre : (k,) int ndarray
    neighbours : (k, 3) int ndarray
    sign : (k,) ndarray
        Sign of the neighbours' signed volume about the centre in the right hand.
    """

    centre: np.ndarray
    neighbours: np.ndarray
    sign: np.ndarray


def stereocentres(record: MoleculeRecord) -> Stereocentres:
    """Centres with four neighbours whose hand the molecule states, at least three of them modelled.

    RDKit's tag says which way neighbours 2 to 4 turn seen from the first; the neighbour that is not modelled (a
    hydrogen) is put first, at the cost of a sign for each place that it moves.
    """
    place = {atom: i for i, atom in enumerate(record.modelled.tolist())}
    turn = {Chem.ChiralType.CHI_TETRAHEDRAL_CCW: -1, Chem.ChiralType.CHI_TETRAHEDRAL_CW: 1}
    found = []
    for atom in record.mol.GetAtoms():
        around = [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()]
        missing = [i for i, a in enumerate(around) if a not in place]
        if atom.GetChiralTag() in turn and len(around) == 4 and len(missing) <= 1 and atom.GetIdx() in place:
            first = missing[0] if missing else 0
            others = [place[a] for i, a in enumerate(around) if i != first]
            found.append((place[atom.GetIdx()], others, turn[atom.GetChiralTag()] * (-1) ** first))
    return Stereocentres(
        np.array([c for c, _, _ in found], dtype=np.int64),
        np.array([n for _, n, _ in found], dtype=np.int64).reshape(-1, 3),
        np.array([s for _, _, s in found], dtype=float),
    )


@dataclass(frozen=True)
class DoubleBonds:
    """Double bonds whose isomer (E or Z) a molecule states, among its modelled atoms.

    Attributes
    ----------
    torsions : (k, 4) int ndarray
        A neighbour, the two bonded atoms, a neighbour of the second.
    cis : (k,) bool ndarray
        Whether the two neighbours lie on the same side in the right isomer.
    """

    torsions: np.ndarray
    cis: np.ndarray


def double_bonds(record: MoleculeRecord) -> DoubleBonds:
    """Double bonds with a stated isomer, the atoms it is stated for all modelled."""
    place = {atom: i for i, atom in enumerate(record.modelled.tolist())}
    same = {Chem.BondStereo.STEREOZ: True, Chem.BondStereo.STEREOCIS: True,
            Chem.BondStereo.STEREOE: False, Chem.BondStereo.STEREOTRANS: False}  # fmt: skip
    found = []
    for bond in record.mol.GetBonds():
        around = list(bond.GetStereoAtoms())
        if bond.GetStereo() not in same or len(around) != 2:
            continue
        atoms = [around[0], bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), around[1]]
        if all(atom in place for atom in atoms):
            found.append(([place[atom] for atom in atoms], same[bond.GetStereo()]))
    return DoubleBonds(
        np.array([torsion for torsion, _ in found], dtype=np.int64).reshape(-1, 4),
        np.array([cis for _, cis in found], dtype=bool),
    )


def stereo_index(record: MoleculeRecord) -> np.ndarray:
    """Stereocentres as rows of one array, for networks that see handedness.

    Returns
    -------
    (4, k) int ndarray
        The centre, then three neighbours in the order that makes their signed volume about the centre positive in
        the molecule's own hand.
    """
    centres = stereocentres(record)
    swapped = centres.neighbours[:, [0, 2, 1]]
    ordered = np.where(centres.sign[:, None] < 0, swapped, centres.neighbours)
    return np.column_stack([centres.centre, ordered]).T
