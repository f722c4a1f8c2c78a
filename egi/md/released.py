"""Trajectories that others have published, read in place of our own simulation (``simulation.source: released``).

A folder below ``{train,val,test}``, however deep, is a trajectory: ``traj.xtc`` (all atoms but water), ``system.pdb``,
``mol.pkl`` (RDKit molecule with hydrogens) and ``smiles.txt``. Which of our molecules it is of follows from the graph
and the configuration in 3D, never from the folder's name, which only orders the replicas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from egi.chem.molecules import canonical_smiles, identity, record_of
from egi.chem.unpickle import LazyMol, UnpickleError, load
from egi.cli import UserError
from egi.config import SPLITS
from egi.md.common import NM_PER_ANGSTROM, Rejected
from egi.md.molecule import Job, check_start, handedness, with_conformer
from egi.md.quality import graph_faults

STAGE = "released"


@dataclass(frozen=True)
class Trajectory:
    """A folder, as far as it says what molecule it is of.

    Attributes
    ----------
    folder : path
    split : str
    mol : Chem.Mol
        All atoms in the file's order, one conformer: the first frame, which also gives the stereochemistry.
    solute : (atoms,) int ndarray
        Their indices among the atoms of ``traj.xtc``.
    """

    folder: Path
    split: str
    mol: Chem.Mol
    solute: np.ndarray


def find_folders(root: Path) -> list[tuple[str, Path]]:
    """Split and folder of each trajectory; those of a name but for a number at its end stand in that number's order.

    Raises
    ------
    UserError
        If there is none.
    """
    found = [(split, path.parent) for split in SPLITS for path in (root / split).rglob("traj.xtc")]
    if not found:
        raise UserError(f"{root} has no traj.xtc below {', '.join(SPLITS)}; wanted a folder a trajectory")
    return sorted(found, key=lambda item: (SPLITS.index(item[0]), *_numbered(item[1])))


def _numbered(folder: Path) -> tuple[str, int, str]:
    stem, number = re.fullmatch(r"(.*?)(\d*)", folder.name).groups()
    return stem, int(number or 0), str(folder)


def read_folder(split: str, folder: Path) -> Trajectory:
    """A trajectory's molecule, its atoms checked against the topology and the first frame.

    Raises
    ------
    Rejected
        If a file is missing or damaged, or they do not fit together.
    """
    mol = _read_molecule(folder)
    first, _, boxes = read_positions(folder / "traj.xtc", frames=1)  # [1, atoms of the file, 3]
    solute = _solute(folder / "system.pdb", mol, first.shape[1])
    with rdBase.BlockLogs():
        made = with_conformer(mol, whole(first[:, solute], boxes, mol)[0] / NM_PER_ANGSTROM)
    return Trajectory(folder, split, made, solute)


def _read_molecule(folder: Path) -> Chem.Mol:
    """The molecule of mol.pkl, sanitised; it must be that of smiles.txt, where that can be read."""
    try:
        with (folder / "mol.pkl").open("rb") as file:
            found = load(file)
        if not isinstance(found, LazyMol):
            raise UnpickleError(f"it holds {type(found).__name__}; wanted an RDKit molecule")
        mol = found.mol()
        with rdBase.BlockLogs():
            Chem.SanitizeMol(mol)
    except (OSError, ValueError) as error:  # UnpickleError and RDKit's are ValueErrors
        raise Rejected(STAGE, f"mol.pkl: {error}") from error
    if any(atom.GetNumImplicitHs() for atom in mol.GetAtoms()):
        raise Rejected(STAGE, "mol.pkl lacks hydrogens")
    try:
        with rdBase.BlockLogs():
            wanted = identity((folder / "smiles.txt").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):  # the file is for people; some have notes in it
        return mol
    if (seen := canonical_smiles(mol, stereo=False)) != wanted:
        raise Rejected(STAGE, f"mol.pkl is {seen}, smiles.txt says {wanted}")
    return mol


def read_positions(path: Path, frames: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Positions (frames, atoms, 3) in nm, times (frames,) in ps and boxes (frames, 3, 3) in nm of a foreign file."""
    from mdtraj.formats import XTCTrajectoryFile

    try:
        with XTCTrajectoryFile(str(path)) as file:
            positions, times, _, boxes = file.read(frames)
    except (OSError, RuntimeError) as error:
        raise Rejected(STAGE, f"{path.name} cannot be read: {error}") from error
    if not len(positions) or not np.isfinite(positions).all():
        raise Rejected(STAGE, f"{path.name} has no frames, or coordinates that are not finite")
    return positions, times, boxes


def _solute(path: Path, mol: Chem.Mol, atoms: int) -> np.ndarray:
    """Indices in the trajectory of the molecule's atoms: what is neither water nor an ion in system.pdb."""
    import mdtraj

    try:
        topology = mdtraj.load_topology(str(path), standard_names=False)
    except Exception as error:  # mdtraj's errors share no base class; one trajectory is at stake
        raise Rejected(STAGE, f"{path.name} cannot be read: {type(error).__name__} {error}") from error
    listed = list(topology.atoms)
    dry = [atom for atom in listed if not atom.residue.is_water]
    if atoms not in (len(listed), len(dry)):
        raise Rejected(
            STAGE, f"traj.xtc has {atoms} atoms, {path.name} {len(listed)} with and {len(dry)} without water"
        )
    saved = listed if atoms == len(listed) else dry
    indices = [k for k, atom in enumerate(saved) if not atom.residue.is_water and atom.residue.n_atoms > 1]
    seen = [saved[k].element.symbol for k in indices]
    wanted = [atom.GetSymbol() for atom in mol.GetAtoms()]
    if len(seen) != len(wanted):
        raise Rejected(STAGE, f"{path.name} has {len(seen)} atoms besides water and ions, mol.pkl {len(wanted)}")
    if differing := [k for k in range(len(seen)) if seen[k] != wanted[k]]:
        k = differing[0]
        raise Rejected(STAGE, f"{path.name} has {seen[k]} as atom {k} of the molecule, mol.pkl {wanted[k]}")
    return np.array(indices)


def match(trajectory: Trajectory, jobs: dict[str, list[Job]]) -> tuple[Job, np.ndarray]:
    """Which of our molecules a trajectory is of.

    Parameters
    ----------
    trajectory : Trajectory
    jobs : dict
        Our molecules by canonical SMILES without stereo.

    Returns
    -------
    job : Job
    order : (atoms,) int ndarray
        For each of our atoms, its index among those of ``trajectory.mol``.

    Raises
    ------
    Rejected
        If the first frame does not show the bonds of mol.pkl, or none of ours has its graph, configuration and split.
    """
    positions = trajectory.mol.GetConformer().GetPositions()
    if any(graph_faults(positions[None], trajectory.mol)):
        raise Rejected(STAGE, "bonds in the first frame are not those of mol.pkl: another molecule or order of atoms")
    graph = canonical_smiles(trajectory.mol, stereo=False)
    if graph not in jobs:
        raise Rejected(STAGE, f"none of the selected molecules has the graph {graph}")
    for job in jobs[graph]:
        if (order := _order(job.mol, trajectory.mol)) is not None:
            break
    else:
        ours = ", ".join(canonical_smiles(job.mol) for job in jobs[graph])
        raise Rejected(STAGE, f"its configuration in 3D is {canonical_smiles(trajectory.mol)}; selected: {ours}")
    if job.split != trajectory.split:
        raise Rejected(STAGE, f"it stands in {trajectory.split}, its molecule {job.id} is in our {job.split}")
    return job, order


def _order(ours: Chem.Mol, theirs: Chem.Mol) -> np.ndarray | None:
    """Their atoms in our order, the order that is there before any other; None if elements, bonds or hands differ."""
    positions = theirs.GetConformer().GetPositions()
    for order in _orders(ours, theirs):
        try:
            check_start(ours, positions[order], handedness(ours))
        except Rejected:
            continue
        return order
    return None


def _orders(ours: Chem.Mol, theirs: Chem.Mol) -> Iterator[np.ndarray]:
    if np.array_equal(_coloured(ours), _coloured(theirs)):
        yield np.arange(ours.GetNumAtoms())
    found = theirs.GetSubstructMatch(ours, useChirality=True)
    if len(found) == ours.GetNumAtoms() == theirs.GetNumAtoms():
        yield np.array(found)


def _coloured(mol: Chem.Mol) -> np.ndarray:
    """Bonds, with elements and charges on the diagonal."""
    matrix = Chem.GetAdjacencyMatrix(mol).astype(int)
    np.fill_diagonal(matrix, [100 * atom.GetAtomicNum() + atom.GetFormalCharge() for atom in mol.GetAtoms()])
    return matrix


def smiles_of(trajectory: Trajectory) -> str:
    """Canonical SMILES as the conformer files have it."""
    return record_of(trajectory.mol, trajectory.folder.name).smiles


def whole(positions: np.ndarray, boxes: np.ndarray | None, mol: Chem.Mol) -> np.ndarray:
    """Molecule in one piece: each atom is the periodic image next to the one it is bonded to.

    Parameters
    ----------
    positions : (frames, atoms, 3) ndarray
    boxes : (frames, 3, 3) ndarray or None
        Rows are the box vectors; None or zero without a box.
    mol : Chem.Mol

    Returns
    -------
    (frames, atoms, 3) ndarray
    """
    if boxes is None or np.ndim(boxes) != 3 or not np.linalg.det(boxes).all():
        return positions
    moved, inverse = positions.astype(float), np.linalg.inv(boxes)
    distances = Chem.GetDistanceMatrix(mol)[0]  # bonds from atom 0
    parents = np.where(Chem.GetAdjacencyMatrix(mol) > 0, distances[None], np.inf).argmin(1)
    for depth in range(1, int(distances.max()) + 1):
        atoms = np.flatnonzero(distances == depth)
        steps = moved[:, atoms] - moved[:, parents[atoms]]
        moved[:, atoms] -= np.rint(steps @ inverse) @ boxes
    return moved
