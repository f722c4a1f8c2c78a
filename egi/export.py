"""Generated molecules in formats that other programs read: PDB, XTC and SDF, modelled atoms only."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
from rdkit import Chem
from rdkit.Geometry import Point3D

from egi.chem.molecules import modelled_atoms
from egi.data.storage import MoleculeRecord, atomic

_NM_PER_ANGSTROM = 0.1


def export(stem: Path, record: MoleculeRecord, samples: np.ndarray, interval_ps: float) -> None:
    """Write the first trajectory as ``{stem}.pdb`` and ``{stem}.xtc``, or conformers as ``{stem}.sdf``.

    Parameters
    ----------
    stem : Path
    record : MoleculeRecord
    samples : (samples, n, frames, 3) ndarray
        Å; samples of one frame are conformers.
    interval_ps : float
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    if samples.shape[2] == 1:
        write_sdf(stem.with_name(f"{stem.name}.sdf"), record, samples[:, :, 0])
    else:
        write_trajectory(stem, record, samples[0], interval_ps)


def topology(record: MoleculeRecord) -> mdtraj.Topology:
    """The modelled atoms and the bonds among them as one residue."""
    top = mdtraj.Topology()
    residue = top.add_residue("MOL", top.add_chain(), resSeq=1)
    elements = [mdtraj.element.Element.getByAtomicNumber(int(number)) for number in record.atomic_numbers]
    atoms = {
        int(index): top.add_atom(f"{element.symbol}{place}", element, residue)
        for place, (index, element) in enumerate(zip(record.modelled, elements, strict=True), start=1)
    }
    for bond in record.mol.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if all(end in atoms for end in ends):
            top.add_bond(atoms[ends[0]], atoms[ends[1]])
    return top


def write_trajectory(stem: Path, record: MoleculeRecord, positions: np.ndarray, interval_ps: float) -> None:
    """Write ``{stem}.pdb`` (first frame) and ``{stem}.xtc`` (all frames).

    Frames that are not finite are left out; if none is, nothing is written.

    Parameters
    ----------
    stem : Path
        Path without suffix; its folder is made.
    record : MoleculeRecord
    positions : (n, frames, 3) ndarray
        Å.
    interval_ps : float
        Time between frames.
    """
    finite = np.flatnonzero(np.isfinite(positions).all((0, 2)))
    if not len(finite):
        return
    frames = np.ascontiguousarray(positions.transpose(1, 0, 2)[finite]) * _NM_PER_ANGSTROM
    trajectory = mdtraj.Trajectory(frames, topology(record), time=finite * interval_ps)
    with atomic(stem.with_name(f"{stem.name}.pdb")) as partial:
        trajectory[0].save_pdb(str(partial))
    with atomic(stem.with_name(f"{stem.name}.xtc")) as partial:
        trajectory.save_xtc(str(partial))


def write_sdf(path: Path, record: MoleculeRecord, frames: np.ndarray) -> None:
    """Write each of the frames [count, n, 3], in Å, that is finite as an entry of an SDF file."""
    modelled, _ = modelled_atoms(record.mol)
    modelled.SetProp("_Name", record.id)
    with atomic(path) as partial, Chem.SDWriter(str(partial)) as writer:
        for frame in frames[np.isfinite(frames).all((1, 2))]:
            conformer = Chem.Conformer(len(frame))
            for atom, point in enumerate(frame.astype(float)):
                conformer.SetAtomPosition(atom, Point3D(*point))
            modelled.RemoveAllConformers()
            modelled.AddConformer(conformer)
            writer.write(modelled)
