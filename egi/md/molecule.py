"""From an RDKit molecule and its start conformers to an OpenFF molecule in the same atom order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Geometry import Point3D

from egi.md.common import Rejected

#: atoms nearer than this cannot be brought apart safely by minimisation
CLASH_ANGSTROM = 0.6
#: elements whose undefined stereo is no fault: they invert (amines), or the toolkit sees centres where there are none
_LENIENT = (7, 16)


@dataclass(frozen=True)
class Job:
    """One molecule to simulate.

    Attributes
    ----------
    id : str
    split : str
    mol : Chem.Mol
        All atoms, no conformers.
    starts : dict of int to (atoms, 3) ndarray
        Start conformer of each replica, Å.
    """

    id: str
    split: str
    mol: Chem.Mol
    starts: dict[int, np.ndarray] = field(repr=False)


def with_conformer(mol: Chem.Mol, positions: np.ndarray) -> Chem.Mol:
    """A copy of `mol` with one conformer, `positions` (atoms, 3) in Å, and its stereochemistry taken from it."""
    made = Chem.Mol(mol)
    made.RemoveAllConformers()
    conformer = Chem.Conformer(made.GetNumAtoms())
    for index, point in enumerate(positions.astype(float)):
        conformer.SetAtomPosition(index, Point3D(*point))
    made.AddConformer(conformer)
    for atom in made.GetAtoms():
        atom.SetAtomMapNum(0)  # map numbers make the toolkit see false stereo errors
    Chem.AssignStereochemistryFrom3D(made, replaceExistingTags=True)
    return made


def handedness(mol: Chem.Mol) -> dict[tuple[str, int], str]:
    """Labels of a molecule's defined stereocentres (R, S) and double bonds (E, Z), nitrogen left out."""
    mol = Chem.Mol(mol)
    Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    atoms = {
        ("atom", a.GetIdx()): a.GetProp("_CIPCode")
        for a in mol.GetAtoms()
        if a.HasProp("_CIPCode") and a.GetAtomicNum() != 7
    }
    names = {Chem.BondStereo.STEREOZ: "Z", Chem.BondStereo.STEREOE: "E", Chem.BondStereo.STEREOCIS: "Z",
             Chem.BondStereo.STEREOTRANS: "E"}  # fmt: skip
    bonds = {("bond", b.GetIdx()): names[b.GetStereo()] for b in mol.GetBonds() if b.GetStereo() in names}
    return atoms | bonds


def check_start(mol: Chem.Mol, positions: np.ndarray, wanted: dict[tuple[str, int], str]) -> None:
    """Reject a start conformer of several molecules, or that is incomplete, clashes, or has another hand than `wanted`.

    Parameters
    ----------
    mol : Chem.Mol
        All atoms.
    positions : (atoms, 3) ndarray
        Å.
    wanted : dict
        As `handedness` gives it; centres missing from it are free.

    Raises
    ------
    Rejected
    """
    fragments = len(Chem.GetMolFrags(mol))
    if fragments != 1:
        raise Rejected("build", f"{fragments} separate molecules; allowed: one, without counter-ions or solvent")
    if positions.shape != (mol.GetNumAtoms(), 3) or not np.isfinite(positions).all():
        raise Rejected("build", f"start conformer has shape {positions.shape} or values that are not finite")
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    if distances.min() < CLASH_ANGSTROM:
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        raise Rejected("build", f"start conformer has atoms {i} and {j} {distances.min():.2f} angstrom apart")
    seen = handedness(with_conformer(mol, positions))
    for (kind, index), label in wanted.items():
        if seen.get((kind, index)) != label:
            found = seen.get((kind, index), "none")
            raise Rejected("build", f"start conformer has {found} at {kind} {index}; the molecule has {label}")


def openff_molecule(mol: Chem.Mol):
    """OpenFF molecule of an RDKit molecule with one conformer, atoms in the same order.

    Undefined stereochemistry is let pass only where nitrogen or sulphur is the reason.

    Raises
    ------
    Rejected
    """
    from openff.toolkit import Molecule
    from openff.toolkit.utils.exceptions import UndefinedStereochemistryError

    RDLogger.DisableLog("rdApp.*")
    try:
        made = Molecule.from_rdkit(mol, hydrogens_are_explicit=True)
    except UndefinedStereochemistryError:
        offenders = _undefined_stereo(mol)
        if not offenders or any(not set(elements) & set(_LENIENT) for elements in offenders.values()):
            raise Rejected("build", f"undefined stereochemistry at {', '.join(offenders) or 'unknown'}") from None
        made = Molecule.from_rdkit(mol, hydrogens_are_explicit=True, allow_undefined_stereo=True)
    except Exception as error:  # the toolkit's exceptions share no base class; one molecule is at stake
        raise Rejected("build", f"{type(error).__name__}: {str(error)[:200]}") from error
    if [a.atomic_number for a in made.atoms] != [a.GetAtomicNum() for a in mol.GetAtoms()]:
        raise Rejected("build", "the OpenFF toolkit changed the order of the atoms")
    return made


def _undefined_stereo(mol: Chem.Mol) -> dict[str, tuple[int, ...]]:
    """Undefined centres and double bonds, by the toolkit's criterion, with their atomic numbers."""
    mol = Chem.Mol(mol)
    Chem.AssignStereochemistry(mol, force=True, flagPossibleStereoCenters=True)
    found = {
        f"atom {a.GetIdx()} ({a.GetSymbol()})": (a.GetAtomicNum(),)
        for a in mol.GetAtoms()
        if a.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED and a.HasProp("_ChiralityPossible")
    }
    Chem.FindPotentialStereoBonds(mol)
    for bond in mol.GetBonds():
        if bond.GetStereo() == Chem.BondStereo.STEREOANY:
            ends = bond.GetBeginAtom(), bond.GetEndAtom()
            name = "-".join(f"{a.GetIdx()} ({a.GetSymbol()})" for a in ends)
            found[f"bond {name}"] = tuple(a.GetAtomicNum() for a in ends)
    return found
