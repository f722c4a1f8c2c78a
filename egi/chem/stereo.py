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
    """Centres with four neighbours whose hand the molecule states, at least three of them modelled."""
    found = [of_centre[0] for of_centre in _triples(record)]
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
    """Stereocentres as columns of one array, for networks that see handedness.

    Returns
    -------
    (4, k) int ndarray
        A centre, then three of its modelled neighbours in the order that makes their signed volume about the centre
        positive in the molecule's own hand. A centre has a column for each choice of three: one, or four.
    """
    columns = [
        [centre, *(others if sign > 0 else others[::-1])]
        for of_centre in _triples(record) for centre, others, sign in of_centre
    ]  # fmt: skip
    return np.array(columns, dtype=np.int64).reshape(-1, 4).T


def _triples(record: MoleculeRecord) -> list[list[tuple[int, list[int], int]]]:
    """A list a centre: the centre, three of its modelled neighbours, and the sign of their signed volume.

    RDKit's tag says which way neighbours 2 to 4 turn seen from the first. The neighbour that is left out (a hydrogen
    that is not modelled, or each in turn) is put first, at the cost of a sign for each place that it moves.
    """
    place = {atom: i for i, atom in enumerate(record.modelled.tolist())}
    turn = {Chem.ChiralType.CHI_TETRAHEDRAL_CCW: -1, Chem.ChiralType.CHI_TETRAHEDRAL_CW: 1}
    found = []
    for atom in record.mol.GetAtoms():
        around = [bond.GetOtherAtomIdx(atom.GetIdx()) for bond in atom.GetBonds()]
        missing = [i for i, a in enumerate(around) if a not in place]
        if atom.GetChiralTag() in turn and len(around) == 4 and len(missing) <= 1 and atom.GetIdx() in place:
            found.append([
                (place[atom.GetIdx()], [place[a] for i, a in enumerate(around) if i != out],
                 turn[atom.GetChiralTag()] * (-1) ** out)
                for out in missing or range(4)
            ])  # fmt: skip
    return found
