"""Edges of the molecular graph: bonds, angle ends and torsion ends (Table 5, paper C.1)."""

from __future__ import annotations

import numpy as np
from rdkit import Chem

#: An edge's stored type is its position here; "none" is reserved and never stored.
EDGE_TYPES = ("none", "single", "double", "triple", "aromatic", "other", "second", "third")

_BONDS = {
    Chem.BondType.SINGLE: EDGE_TYPES.index("single"),
    Chem.BondType.DOUBLE: EDGE_TYPES.index("double"),
    Chem.BondType.TRIPLE: EDGE_TYPES.index("triple"),
    Chem.BondType.AROMATIC: EDGE_TYPES.index("aromatic"),
}


def edges(mol: Chem.Mol) -> tuple[np.ndarray, np.ndarray]:
    """Bonds with their type, and pairs two or three bonds apart; a pair has its lowest order.

    Parameters
    ----------
    mol : Chem.Mol
        Modelled atoms only.

    Returns
    -------
    edge_index : (2, edges) int64 ndarray
        Source and target, both directions, sorted, so that the order of bonds does not matter.
    edge_type : (edges,) int64 ndarray
        Index into `EDGE_TYPES`.
    """
    n = mol.GetNumAtoms()
    kinds = np.zeros((n, n), dtype=np.int64)
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        kinds[i, j] = kinds[j, i] = _BONDS.get(bond.GetBondType(), EDGE_TYPES.index("other"))
    bonded = (kinds > 0).astype(np.int64)
    walks = bonded
    for order in ("second", "third"):
        walks = walks @ bonded
        far = (walks > 0) & (kinds == 0) & ~np.eye(n, dtype=bool)
        kinds[far] = EDGE_TYPES.index(order)
    edge_index = np.stack(np.nonzero(kinds))  # [2, edges]
    return edge_index, kinds[tuple(edge_index)]
