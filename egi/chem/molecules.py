"""Molecules and their modelled atoms: what `Chem.RemoveHs` keeps, retained hydrogens included (FACTS A-7)."""

from __future__ import annotations

import numpy as np
from rdkit import Chem

from egi.chem.features import ELEMENTS, atom_features
from egi.chem.graph import edges
from egi.data.storage import MoleculeRecord

_INDEX = "_egi_index"
_TETRAHEDRAL = (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW)


def modelled_atoms(mol: Chem.Mol) -> tuple[Chem.Mol, np.ndarray]:
    """The molecule without the hydrogens that RDKit removes.

    Parameters
    ----------
    mol : Chem.Mol
        All atoms.

    Returns
    -------
    modelled : Chem.Mol
        With the conformers' coordinates of its atoms.
    indices : (n,) int64 ndarray
        Of its atoms in `mol`, increasing.
    """
    copy = Chem.Mol(mol)
    for atom in copy.GetAtoms():
        atom.SetIntProp(_INDEX, atom.GetIdx())
    modelled = Chem.RemoveHs(copy)
    indices = np.array([atom.GetIntProp(_INDEX) for atom in modelled.GetAtoms()], dtype=np.int64)
    for atom in modelled.GetAtoms():
        atom.ClearProp(_INDEX)
    return modelled, indices


def canonical_smiles(mol: Chem.Mol, stereo: bool = True) -> str:
    """Canonical SMILES of the molecule without removable hydrogens, atom maps and, on request, stereo."""
    return bare_smiles(Chem.RemoveHs(mol), stereo)


def bare_smiles(modelled: Chem.Mol, stereo: bool = True) -> str:
    """Canonical SMILES of a molecule whose hydrogens are removed; its atom maps are cleared."""
    for atom in modelled.GetAtoms():
        atom.SetAtomMapNum(0)
    return Chem.MolToSmiles(modelled, isomericSmiles=stereo)


def identity(smiles: str) -> str:
    """Canonical SMILES without stereo: equal for molecules that must not stand in two splits.

    Raises
    ------
    ValueError
        If RDKit cannot make a molecule of the SMILES.
    """
    return bare_smiles(parse_smiles(smiles), stereo=False)


def parse_smiles(smiles: str) -> Chem.Mol:
    """A sanitised molecule, hydrogens implicit.

    Raises
    ------
    ValueError
        If RDKit cannot make a molecule of the SMILES.
    """
    mol = Chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        raise ValueError(f"SMILES {smiles!r} gives no valid molecule in RDKit")
    return mol


def with_stereo_from_3d(mol: Chem.Mol, conformer: int = -1) -> Chem.Mol:
    """A copy whose stereochemistry, tetrahedral centres and double bonds, is what the coordinates show."""
    copy = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(copy, confId=conformer, replaceExistingTags=True)
    for atom in copy.GetAtoms():
        if atom.GetChiralTag() not in _TETRAHEDRAL:  # PF5 would be named a stereoisomer, by its trigonal bipyramid
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    return copy


def record_of(mol: Chem.Mol, molecule: str) -> MoleculeRecord:
    """The stored form of a molecule: its graph and features.

    Parameters
    ----------
    mol : Chem.Mol
        All atoms, hydrogens explicit, sanitised; with a conformer, its first sets the stereochemistry.
    molecule : str
        Id.

    Returns
    -------
    MoleculeRecord

    Raises
    ------
    ValueError
        If a modelled atom's element has no place in the vocabulary, or the molecule has no atoms.
    """
    if mol.GetNumAtoms() == 0:
        raise ValueError(f"molecule {molecule} has no atoms")
    mol = with_stereo_from_3d(mol) if mol.GetNumConformers() else Chem.Mol(mol)
    modelled, indices = modelled_atoms(mol)
    mol.RemoveAllConformers()
    numbers = np.array([atom.GetAtomicNum() for atom in modelled.GetAtoms()])
    if unknown := sorted(set(numbers.tolist()) - set(ELEMENTS)):
        symbols = ", ".join(Chem.GetPeriodicTable().GetElementSymbol(number) for number in unknown)
        raise ValueError(f"molecule {molecule} has element {symbols}, which has no place in egi.chem.features.ELEMENTS")
    edge_index, edge_type = edges(modelled)
    modelled.RemoveAllConformers()
    smiles = bare_smiles(modelled)
    return MoleculeRecord(
        id=molecule, smiles=smiles, mol=mol, modelled=indices, atomic_numbers=numbers,
        features=_features(modelled, smiles), edge_index=edge_index, edge_type=edge_type,
    )  # fmt: skip


def _features(modelled: Chem.Mol, smiles: str) -> np.ndarray:
    """Features from the molecule's canonical SMILES, in the order of `modelled`, of which it was just written.

    RDKit's clockwise and counterclockwise depend on the order of atoms and bonds; in the canonical order they, and
    so all features, belong to the molecule and not to how it was written.
    """
    canonical = Chem.MolFromSmiles(smiles)
    if canonical is None or canonical.GetNumAtoms() != modelled.GetNumAtoms():
        return atom_features(modelled)
    order = list(modelled.GetPropsAsDict(includePrivate=True, includeComputed=True)["_smilesAtomOutputOrder"])
    computed = atom_features(canonical)
    features = np.empty_like(computed)
    features[order] = computed
    return features
