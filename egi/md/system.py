"""Build: charges, parameters, solvation and system of one molecule, with a file for each.

A molecule's folder then holds ``charges.json``, ``topology.pdb`` (the solute, RDKit's atom order),
``solvated.pdb`` (explicit solvent only), ``system.xml``, ``start.npz`` (``box`` and ``replica_{k}``: start
positions of all atoms, Å) and, written last, ``provenance.json``. All replicas share one system: the same
box, number of waters and ions.
"""

from __future__ import annotations

import json
import logging
import random
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit
from rdkit import Chem

from egi import seeds
from egi.config import SimulationSettings
from egi.data.storage import atomic, package_versions
from egi.md.charges import molecule_charges
from egi.md.common import NM_PER_ANGSTROM, Rejected, digest
from egi.md.molecule import Job, check_start, handedness, openff_molecule, with_conformer

log = logging.getLogger("egi")
for _name in ("openff", "openmmforcefields"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # a line an atom otherwise
logging.getLogger("pint").setLevel(logging.ERROR)  # openff-units redefines a unit of pint's, and it says so

BASE_FORCE_FIELDS = ("amber/protein.ff14SB.xml", "amber/tip3p_standard.xml", "amber/tip3p_HFE_multivalent.xml")
#: least box height in cutoffs: the barostat shrinks the box, and below 2 OpenMM stops
LEAST_HEIGHT = 2.4
BUILD_FILES = ("charges.json", "topology.pdb", "system.xml", "start.npz")
#: settings (as in YAML) that change what is built
BUILD_KEYS = ("force_field", "charges", "charges_fallback", "solvent", "box", "padding", "cutoff", "switch_distance",
              "hydrogen_mass")  # fmt: skip
_UNIT_VECTORS = {
    "cube": np.eye(3),
    "dodecahedron": np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.5**0.5]]),
}


def build(job: Job, settings: SimulationSettings, seed: int, folder: Path) -> dict[str, Any]:
    """Build a molecule's system, or take what an earlier run built from the same input.

    Parameters
    ----------
    job : Job
    settings : SimulationSettings
    seed : int
    folder : path
        The molecule's folder; made if missing.

    Returns
    -------
    dict
        What went into ``provenance.json``; ``rejected_replicas`` maps a replica to (stage, reason).

    Raises
    ------
    Rejected
        If no replica of the molecule can be simulated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for half_written in folder.glob(".*.tmp"):  # left by a kill; nothing of this molecule runs yet
        half_written.unlink()
    key = _build_key(job, settings, seed)
    stored = read_provenance(folder)
    if stored.get("build_key") == key and all((folder / name).is_file() for name in BUILD_FILES):
        return stored
    if stored:
        log.info("%s: molecule or build settings changed; building afresh", job.id)
        (folder / "provenance.json").unlink()
    started = time.monotonic()
    usable, rejected = _usable_starts(job)
    molecule = openff_molecule(with_conformer(job.mol, next(iter(usable.values()))))
    check_parameters(molecule, settings.force_field)  # before the charges, which take longer
    charges = molecule_charges(job.mol, job.id, settings, seed, folder / "charges.json")
    content = {
        "build_key": key,
        "molecule": job.id,
        "smiles": Chem.MolToSmiles(Chem.RemoveHs(job.mol)),
        "settings": settings.plain(),
        "seed": seed,
        "versions": package_versions(),
        "charges": json.loads((folder / "charges.json").read_text())["method"],
        "rejected_replicas": rejected,
        **_write_system(molecule, usable, charges, settings, seed, folder),
        "build_seconds": round(time.monotonic() - started, 2),
    }
    write_json(folder / "provenance.json", content)
    return content


def _build_key(job: Job, settings: SimulationSettings, seed: int) -> str:
    """Hash of everything that decides what is built."""
    plain = settings.plain()
    starts = {str(k): digest(np.ascontiguousarray(x, dtype="<f8").tobytes()) for k, x in job.starts.items()}
    return digest(Chem.MolToJSON(job.mol), starts, {name: plain[name] for name in BUILD_KEYS}, seed)


def read_provenance(folder: Path) -> dict[str, Any]:
    """The molecule's ``provenance.json``; empty if there is none."""
    path = folder / "provenance.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write, then rename."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(content, indent=1))


def _usable_starts(job: Job) -> tuple[dict[int, np.ndarray], dict[str, tuple[str, str]]]:
    """Start conformers that pass, and (stage, reason) of those that do not."""
    wanted = handedness(job.mol)
    usable, rejected = {}, {}
    for replica, positions in job.starts.items():
        try:
            check_start(job.mol, positions, wanted)
        except Rejected as failure:
            rejected[str(replica)] = (failure.stage, failure.reason)
            continue
        if not usable:  # centres that the SMILES leaves open: the first conformer decides
            wanted = handedness(with_conformer(job.mol, positions))
        usable[replica] = positions
    if not usable:
        raise Rejected(*(next(iter(rejected.values())) if rejected else ("build", "no start conformer")))
    return usable, rejected


def _write_system(
    molecule, starts: dict[int, np.ndarray], charges: np.ndarray, settings: SimulationSettings, seed: int, folder: Path
) -> dict[str, Any]:
    """Parametrise, solvate and write the files; returns box and atom counts."""
    force_field, topology = parametrised(molecule, charges, settings.force_field)
    solute_atoms = topology.getNumAtoms()
    first = next(iter(starts))
    with atomic(folder / "topology.pdb") as partial:
        write_pdb(topology, starts[first], partial)
    if settings.solvent == "explicit":
        topology, positions, box, details = _solvated(topology, starts, force_field, settings, seed)
        with atomic(folder / "solvated.pdb") as partial:
            write_pdb(topology, positions[first], partial)
    else:
        positions, box, details = starts, np.zeros((3, 3)), {}
    system = create_system(force_field, topology, settings)
    _check_charges(system, charges)
    with atomic(folder / "system.xml") as partial:
        partial.write_text(openmm.XmlSerializer.serialize(system))
    with atomic(folder / "start.npz") as partial, partial.open("wb") as file:
        np.savez(file, box=box, **{f"replica_{k}": x for k, x in positions.items()})
    return {"atoms": topology.getNumAtoms(), "solute_atoms": solute_atoms, **details}


def parametrised(molecule, charges: np.ndarray, force_field: str) -> tuple[app.ForceField, app.Topology]:
    """An OpenMM force field that knows this one molecule, and the molecule's topology.

    One molecule a ForceField and no template cache: both mix up charges between molecules.

    Raises
    ------
    Rejected
        If the small-molecule force field lacks parameters for it.
    """
    from openff.units import unit as openff_unit
    from openmmforcefields.generators import SMIRNOFFTemplateGenerator

    molecule.partial_charges = charges * openff_unit.elementary_charge
    molecule.generate_unique_atom_names()
    made = app.ForceField(*BASE_FORCE_FIELDS)
    generator = SMIRNOFFTemplateGenerator(molecules=[molecule], forcefield=force_field, cache=None)
    made.registerTemplateGenerator(generator.generator)
    topology = molecule.to_topology().to_openmm()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.createSystem(topology)
    except Exception as error:  # many exception types, none shared; one molecule is at stake
        raise Rejected("parameters", f"{force_field}: {type(error).__name__}: {str(error)[:200]}") from error
    return made, topology


def check_parameters(molecule, force_field: str) -> None:
    """Reject a molecule with an element that the small-molecule force field does not know."""
    from openff.toolkit import ForceField

    handler = ForceField(f"{force_field}.offxml").get_parameter_handler("vdW")
    matched = {atoms[0] for atoms in handler.find_matches(molecule.to_topology())}
    missing = sorted({a.symbol for i, a in enumerate(molecule.atoms) if i not in matched})
    if missing:
        raise Rejected("parameters", f"{force_field} has no parameters for {', '.join(missing)}")


def create_system(force_field: app.ForceField, topology: app.Topology, settings: SimulationSettings) -> openmm.System:
    """The system without barostat: PME in a box, no cutoff in vacuum; bonds to hydrogen rigid (FACTS 4)."""
    shared = {"constraints": app.HBonds, "hydrogenMass": settings.hydrogen_mass_amu * unit.amu}
    if settings.solvent == "vacuum":
        return force_field.createSystem(topology, nonbondedMethod=app.NoCutoff, **shared)
    return force_field.createSystem(
        topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=settings.cutoff_angstrom * unit.angstrom,
        switchDistance=settings.switch_distance_angstrom * unit.angstrom,
        **shared,
    )


def box_vectors(starts: list[np.ndarray], settings: SimulationSettings) -> tuple[np.ndarray, dict[str, Any]]:
    """One box for all start conformers, by OpenMM's padding rule, at least 2.4 cutoffs high.

    Parameters
    ----------
    starts : list of (atoms, 3) ndarray
        Å.
    settings : SimulationSettings

    Returns
    -------
    vectors : (3, 3) ndarray
        Reduced box vectors as rows, Å.
    details : dict
        Width, least height, and whether the box had to be made larger.
    """
    centres = [(x.min(axis=0) + x.max(axis=0)) / 2 for x in starts]
    radius = max(np.linalg.norm(x - c, axis=1).max() for x, c in zip(starts, centres, strict=True))
    padding = settings.padding_angstrom
    width = max(2 * radius + padding, 2 * padding)
    shape = _UNIT_VECTORS[settings.box]
    least_width = LEAST_HEIGHT * settings.cutoff_angstrom / shape.diagonal().min()
    enlarged = bool(width < least_width)
    vectors = shape * max(width, least_width)
    details = {"box_width_angstrom": round(float(vectors[0, 0]), 4), "box_enlarged": enlarged,
               "box_height_angstrom": round(float(vectors.diagonal().min()), 4)}  # fmt: skip
    return vectors, details


def _solvated(
    topology: app.Topology, starts: dict[int, np.ndarray], force_field: app.ForceField,
    settings: SimulationSettings, seed: int,
) -> tuple[app.Topology, dict[int, np.ndarray], np.ndarray, dict[str, Any]]:  # fmt: skip
    """TIP3P around each start conformer; surplus waters go, so that all replicas have the same atoms."""
    vectors, details = box_vectors(list(starts.values()), settings)
    if details["box_enlarged"]:
        log.info("box made larger: %.2f angstrom = %g cutoffs", details["box_height_angstrom"], LEAST_HEIGHT)
    boxes = {}
    for replica, positions in starts.items():
        centred = positions - (positions.min(axis=0) + positions.max(axis=0)) / 2 + vectors.sum(axis=0) / 2
        model = app.Modeller(topology, _quantity(centred))
        random.seed(seeds.integer(seed, replica, "ions"))  # OpenMM places ions with Python's global generator
        try:
            model.addSolvent(force_field, model="tip3p", boxVectors=_quantity(vectors))
        except Exception as error:  # OpenMM raises plain Exception here; one molecule is at stake
            raise Rejected("solvation", f"{type(error).__name__}: {str(error)[:200]}") from error
        boxes[replica] = model
    fewest = min(len(_waters(model)) for model in boxes.values())
    if fewest == 0:
        raise Rejected("solvation", f"no water fits into a box of {details['box_width_angstrom']} angstrom")
    for model in boxes.values():
        waters = _waters(model)
        surplus = np.linspace(0, len(waters) - 1, len(waters) - fewest).astype(int)
        model.delete([waters[i] for i in surplus])
    first = next(iter(boxes.values())).topology
    positions = {k: _plain(m.positions) for k, m in boxes.items()}
    details |= {"waters": fewest, "ions": first.getNumResidues() - fewest - topology.getNumResidues()}
    return first, positions, vectors, details


def _waters(model: app.Modeller) -> list:
    return [residue for residue in model.topology.residues() if residue.name == "HOH"]


def _check_charges(system: openmm.System, charges: np.ndarray) -> None:
    """The solute's charges in the system are those computed, in the same order."""
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    seen = [force.getParticleParameters(i)[0].value_in_unit(unit.elementary_charge) for i in range(len(charges))]
    worst = np.abs(np.array(seen) - charges).max()
    if worst > 1e-4:
        raise Rejected("parameters", f"charges in the system differ from charges.json by up to {worst:.4f} e")


def write_pdb(topology: app.Topology, positions: np.ndarray, path: Path) -> None:
    """PDB file of positions (atoms, 3) in Å."""
    with path.open("w", encoding="utf-8") as file:
        app.PDBFile.writeFile(topology, _quantity(positions), file, keepIds=True)


def _quantity(angstrom: np.ndarray) -> unit.Quantity:
    return [openmm.Vec3(*row) for row in angstrom * NM_PER_ANGSTROM] * unit.nanometer


def _plain(positions: unit.Quantity) -> np.ndarray:
    return np.array(positions.value_in_unit(unit.nanometer)) / NM_PER_ANGSTROM
