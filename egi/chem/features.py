"""The 43 atom features of the paper's Table 6.

They are those of the graph that the networks see, the molecule after `Chem.RemoveHs` (A-4): degree counts
modelled neighbours, and implicit valence counts the hydrogens that are not nodes, whether RDKit calls them
implicit or explicit, so that ``[C@H]`` and ``C`` or ``[nH]`` and ``n`` differ only in what differs chemically.
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdPartialCharges

#: Atomic numbers in the vocabulary; an atom's embedding index is its position here.
ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)
FEATURE_WIDTH = 43

_HYBRIDIZATIONS = tuple(getattr(Chem.HybridizationType, name) for name in ("SP", "SP2", "SP3", "SP3D", "SP3D2"))
_CHIRALITIES = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)
_RING_SIZES = (3, 4, 5, 6, 7, 8)


def atom_features(mol: Chem.Mol) -> np.ndarray:
    """Features of Table 6.

    Parameters
    ----------
    mol : Chem.Mol
        Modelled atoms only, as `egi.chem.molecules.modelled_atoms` gives them.

    Returns
    -------
    (n, 43) float32 ndarray
    """
    atoms = list(mol.GetAtoms())
    rings = mol.GetRingInfo()
    membership = [set(rings.AtomRingSizes(i)) for i in range(len(atoms))]
    blocks = [
        _one_hot([a.GetIsAromatic() for a in atoms], (True, False), other=False),
        _one_hot([a.GetHybridization() for a in atoms], _HYBRIDIZATIONS),
        partial_charges(mol)[:, None],
        _one_hot([a.GetTotalNumHs() for a in atoms], range(7)),
        _one_hot([a.GetDegree() for a in atoms], range(7)),
        _one_hot([a.GetFormalCharge() for a in atoms], (-1, 0, 1)),
        [[size in sizes for size in _RING_SIZES] + [any(s > 8 for s in sizes)] for sizes in membership],
        _one_hot([rings.NumAtomRings(i) for i in range(len(atoms))], (0, 1, 2)),
        _one_hot([a.GetChiralTag() for a in atoms], _CHIRALITIES),
    ]
    return np.concatenate([np.asarray(block, dtype=np.float32) for block in blocks], axis=1)  # [n, 43]


def partial_charges(mol: Chem.Mol) -> np.ndarray:
    """Gasteiger charges; formal charges for a molecule for which Gasteiger has no finite answer.

    RDKit lacks parameters for some valence states (pentavalent phosphorus, hypervalent silicon), and one such atom
    spoils the charges of the whole molecule; formal charges then keep the total right.

    Returns
    -------
    (n,) float ndarray, in units of e
    """
    copy = Chem.Mol(mol)
    rdPartialCharges.ComputeGasteigerCharges(copy, throwOnParamFailure=False)
    charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in copy.GetAtoms()])
    if np.isfinite(charges).all():
        return charges
    return np.array([atom.GetFormalCharge() for atom in mol.GetAtoms()], dtype=float)


def _one_hot(values: list, options, other: bool = True) -> np.ndarray:
    """Rows of zeros with a one at the value's option; the last column takes the rest if `other`."""
    place = {option: index for index, option in enumerate(options)}
    width = len(place) + other
    index = np.array([place.get(value, width - 1) for value in values], dtype=int)
    return np.eye(width, dtype=np.float32)[index]
