"""Is a replica's trajectory trustworthy? A row of ``md_quality.csv`` a replica, with a verdict.

A replica passes if all its frames are there, temperature and density are what the protocol should give, the
potential energy does not drift, no bond leaves its equilibrium length, no stereocentre or double bond changes
hand, the graph that the coordinates show is the molecule's, and no ring is pierced or twisted.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import unit
from rdkit import Chem
from tqdm import tqdm

from egi.config import SimulationSettings
from egi.data.storage import Reader, atomic
from egi.md.common import NM_PER_ANGSTROM
from egi.md.frames import read_frames
from egi.md.molecule import handedness, with_conformer
from egi.md.rings import ring_faults
from egi.units import whole_multiple

QUALITY = (
    "molecule", "split", "replica", "verdict", "reasons", "frames", "temperature_kelvin",
    "temperature_expected_error_kelvin", "temperature_spread_kelvin", "temperature_expected_spread_kelvin",
    "density_g_ml", "potential_energy_kj_mol", "potential_energy_drift_spreads", "bond_deviation_angstrom",
    "rigid_bond_deviation_angstrom", "flipped_centres", "broken_bonds", "extra_bond_frames",
    "pierced_rings", "twisted_rings", "flipped_chairs",
)  # fmt: skip
#: mean temperature: this many expected standard errors, plus a share for the time step's bias
TEMPERATURE_ERRORS, TEMPERATURE_SHARE = 5.0, 0.01
#: solvated boxes, g/mL; TIP3P itself has 0.98 to 1.00
DENSITY_RANGE = (0.85, 1.15)
#: difference of the halves' mean potential energies, in spreads of a half
DRIFT_SPREADS = 3.0
#: from the force field's equilibrium; carbon to iodine, the softest, was seen 0.43 off in 400 ps
BOND_DEVIATION_ANGSTROM = 0.6
#: rigid bonds: constraint tolerance and the 0.01 Å grid of XTC
RIGID_DEVIATION_ANGSTROM = 0.03
#: two atoms are bonded in coordinates below this multiple of the sum of their covalent radii
BONDED_FACTOR = 1.3
#: share of frames in which atoms that are not bonded may come that close
EXTRA_BOND_SHARE = 0.01
_CHUNK = 500


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Columns of a replica's log, (rows,) each; empty fields are NaN."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names}


def log_summary(path: Path) -> dict[str, float | str]:
    """Mean temperature and density of a replica for the manifest; density is empty in vacuum."""
    columns = read_log(path)
    density = columns["density_g_ml"]
    return {
        "temperature_kelvin": round(float(columns["temperature_kelvin"].mean()), 2),
        "density_g_ml": "" if np.isnan(density).all() else round(float(density.mean()), 4),
    }


def degrees_of_freedom(system: openmm.System) -> int:
    """Degrees of freedom that carry kinetic energy."""
    massive = sum(system.getParticleMass(i).value_in_unit(unit.dalton) > 0 for i in range(system.getNumParticles()))
    removes_drift = any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces())
    return 3 * massive - system.getNumConstraints() - 3 * removes_drift


def assess_all(
    rows: list[dict[str, Any]], conformers: dict[str, Path], settings: SimulationSettings
) -> list[dict[str, Any]]:
    """Quality of all replicas; those that simulation rejected get the verdict ``rejected`` with its reason.

    Parameters
    ----------
    rows : list of dict
        As `egi.md.manifest.read_manifests` gives them.
    conformers : dict of str to path
        Conformer file of each split, for the molecules.
    settings : SimulationSettings
    """
    found = []
    for split, path in conformers.items():
        chosen = [row for row in rows if row["split"] == split]
        if not chosen:
            continue
        with Reader(path, "egi-conformers") as reader:
            for row in tqdm(chosen, desc=f"quality {split}"):
                if row["status"] == "ok":
                    found.append(assess(row, reader.record(row["molecule"]).mol, settings))
                else:
                    identity = {k: row[k] for k in ("molecule", "split", "replica")}
                    found.append({**identity, "verdict": "rejected", "reasons": f"{row['stage']}: {row['reason']}"})
    return found


def assess(row: dict[str, Any], mol: Chem.Mol, settings: SimulationSettings) -> dict[str, Any]:
    """Quality of one replica.

    Parameters
    ----------
    row : dict
        Of the manifest, with `path`; status ok.
    mol : Chem.Mol
        All atoms.
    settings : SimulationSettings

    Returns
    -------
    dict
        Columns of `QUALITY`; ``verdict`` is ``pass`` or ``fail``, ``reasons`` says what failed.
    """
    path: Path = row["path"]
    positions = read_frames(path)[0] / NM_PER_ANGSTROM
    found = {"frames": len(positions), **_structure(positions, mol)}
    if settings.source == "openmm":  # released trajectories come without a system and a log
        system = openmm.XmlSerializer.deserialize((path.parent / "system.xml").read_text())
        found |= _thermodynamics(read_log(path.with_suffix(".csv")), system, settings)
        found |= _deviations(positions, system)
    reasons = _faults(found, settings)
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}
    identity = {k: row[k] for k in ("molecule", "split", "replica")}
    return {**identity, "verdict": "fail" if reasons else "pass", "reasons": "; ".join(reasons), **rounded}


def _thermodynamics(
    log: dict[str, np.ndarray], system: openmm.System, settings: SimulationSettings
) -> dict[str, float | str]:
    """Means and spreads of the log, and what theory expects.

    The kinetic energy of f degrees of freedom gives an instantaneous temperature of spread T sqrt(2/f); with
    friction g it forgets itself over about 1/g, so the mean over a time t has a standard error of
    spread sqrt(2 / (g t)).
    """
    wanted, temperature = settings.temperature_kelvin, log["temperature_kelvin"]
    spread = wanted * np.sqrt(2 / degrees_of_freedom(system))
    independent = max(1.0, settings.friction_per_ps * float(settings.production_ps) / 2)
    potential = log["potential_energy_kj_mol"]
    first, second = np.array_split(potential, 2) if len(potential) > 1 else (potential, potential)
    within = np.sqrt((first.var() + second.var()) / 2)
    density = log["density_g_ml"]
    return {
        "temperature_kelvin": float(temperature.mean()),
        "temperature_expected_error_kelvin": float(spread / np.sqrt(independent)),
        "temperature_spread_kelvin": float(temperature.std()),
        "temperature_expected_spread_kelvin": float(spread),
        "density_g_ml": "" if np.isnan(density).all() else float(density[len(density) // 2 :].mean()),
        "potential_energy_kj_mol": float(potential.mean()),
        "potential_energy_drift_spreads": float((second.mean() - first.mean()) / within) if within > 0 else 0.0,
    }


def _structure(positions: np.ndarray, mol: Chem.Mol) -> dict[str, int]:
    """Hands, graph and rings of all frames; `positions` (frames, atoms, 3) in Å."""
    broken, extra = graph_faults(positions, mol)
    return {
        "flipped_centres": flipped_centres(positions, mol),
        "broken_bonds": broken,
        "extra_bond_frames": extra,
        **ring_faults(positions, mol),
    }


def _deviations(positions: np.ndarray, system: openmm.System) -> dict[str, float]:
    """Bond lengths of all frames against equilibrium; `positions` (frames, atoms, 3) in Å."""
    flexible, rigid = _equilibrium_lengths(system, positions.shape[1])
    return {
        "bond_deviation_angstrom": _deviation(positions, *flexible),
        "rigid_bond_deviation_angstrom": _deviation(positions, *rigid),
    }


def _equilibrium_lengths(system: openmm.System, atoms: int) -> tuple[tuple, tuple]:
    """Pairs (bonds, 2) and lengths (bonds,) in Å of the solute's flexible bonds and of its rigid ones."""
    force = next(f for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce))
    bonds = [force.getBondParameters(i)[:3] for i in range(force.getNumBonds())]
    rigid = [system.getConstraintParameters(i) for i in range(system.getNumConstraints())]
    return tuple(
        (
            np.array([(i, j) for i, j, _ in terms if max(i, j) < atoms], dtype=int).reshape(-1, 2),
            np.array([r.value_in_unit(unit.angstrom) for i, j, r in terms if max(i, j) < atoms]),
        )
        for terms in (bonds, rigid)
    )


def _deviation(positions: np.ndarray, pairs: np.ndarray, lengths: np.ndarray) -> float:
    """Largest departure of a distance from its equilibrium, Å."""
    if not len(pairs):
        return 0.0
    seen = np.linalg.norm(positions[:, pairs[:, 0]] - positions[:, pairs[:, 1]], axis=-1)
    return float(np.abs(seen - lengths).max())


def flipped_centres(positions: np.ndarray, mol: Chem.Mol) -> int:
    """Number of defined stereocentres and double bonds that have, from 3D, another hand in some frame than in `mol`.

    Parameters
    ----------
    positions : (frames, atoms, 3) ndarray
    mol : Chem.Mol
        All atoms, with its stereochemistry.
    """
    flipped, first = 0, handedness(with_conformer(mol, positions[0]))
    for (kind, index), label in handedness(mol).items():
        if kind == "atom":
            atom = mol.GetAtomWithIdx(index)
            ends = [n.GetIdx() for n in atom.GetNeighbors()][:3]
            hand = np.linalg.det(positions[:, ends] - positions[:, [index]])
        else:
            bond = mol.GetBondWithIdx(index)
            begin, end = bond.GetBeginAtom(), bond.GetEndAtom()
            one = next(n.GetIdx() for n in begin.GetNeighbors() if n.GetIdx() != end.GetIdx())
            two = next(n.GetIdx() for n in end.GetNeighbors() if n.GetIdx() != begin.GetIdx())
            hand = _same_side(*(positions[:, i] for i in (one, begin.GetIdx(), end.GetIdx(), two)))
        flipped += first.get((kind, index)) != label or bool((np.sign(hand) != np.sign(hand[0])).any())
    return flipped


def _same_side(one: np.ndarray, begin: np.ndarray, end: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Positive (frames,) where both ends (frames, 3) lie on one side of the bond, negative where they do not."""
    axis = (end - begin) / np.linalg.norm(end - begin, axis=-1, keepdims=True)
    across = [v - (v * axis).sum(-1, keepdims=True) * axis for v in (one - begin, two - end)]
    return (across[0] * across[1]).sum(-1)


def graph_faults(positions: np.ndarray, mol: Chem.Mol) -> tuple[int, int]:
    """Bonds that are broken in some frame, and frames with a bond too many, by covalent radii.

    Atoms with a common neighbour come that close in strained rings and are no new bond.

    Parameters
    ----------
    positions : (frames, atoms, 3) ndarray
        Å.
    mol : Chem.Mol
        All atoms.
    """
    table = Chem.GetPeriodicTable()
    radii = np.array([table.GetRcovalent(a.GetAtomicNum()) for a in mol.GetAtoms()])
    i, j = np.triu_indices(len(radii), 1)
    separation = Chem.GetDistanceMatrix(mol)[i, j]
    bonded, apart = separation == 1, separation > 2
    limit = BONDED_FACTOR * (radii[i] + radii[j])
    broken, extra = np.zeros(bonded.sum(), dtype=bool), 0
    for chunk in np.array_split(positions, max(1, len(positions) // _CHUNK)):
        near = np.linalg.norm(chunk[:, i] - chunk[:, j], axis=-1) < limit
        broken |= ~near[:, bonded].all(axis=0)
        extra += int(near[:, apart].any(axis=1).sum())
    return int(broken.sum()), extra


def _faults(found: dict[str, Any], settings: SimulationSettings) -> list[str]:
    """What is wrong, in words."""
    frames = whole_multiple(settings.production_ps, settings.frame_interval_ps, "production", "frame_interval")
    checks = {
        f"{found['frames']} frames instead of {frames}": found["frames"] != frames,
        **(_physics_checks(found, settings) if settings.source == "openmm" else {}),
        f"{found['flipped_centres']} stereocentres changed hand": found["flipped_centres"] > 0,
        f"{found['broken_bonds']} bonds broke": found["broken_bonds"] > 0,
        f"new bonds in {found['extra_bond_frames']} frames": found["extra_bond_frames"]
        > EXTRA_BOND_SHARE * found["frames"],
        f"a bond goes through {found['pierced_rings']} rings": found["pierced_rings"] > 0,
        f"{found['twisted_rings']} rings twisted at a double or aromatic bond": found["twisted_rings"] > 0,
    }
    return [text for text, wrong in checks.items() if wrong]


def _physics_checks(found: dict[str, Any], settings: SimulationSettings) -> dict[str, bool]:
    """Whether temperature, density, energy and bond lengths are wrong."""
    wanted = settings.temperature_kelvin
    allowed = TEMPERATURE_ERRORS * found["temperature_expected_error_kelvin"] + TEMPERATURE_SHARE * wanted
    density = found["density_g_ml"]
    low, high = DENSITY_RANGE
    return {
        f"mean temperature {found['temperature_kelvin']:.1f} K": not abs(found["temperature_kelvin"] - wanted)
        <= allowed,
        f"density {density} g/mL": density != "" and not low <= density <= high,
        "potential energy drifts": not abs(found["potential_energy_drift_spreads"]) <= DRIFT_SPREADS,
        f"a bond {found['bond_deviation_angstrom']:.2f} angstrom off": not found["bond_deviation_angstrom"]
        <= BOND_DEVIATION_ANGSTROM,
        "a rigid bond moved": not found["rigid_bond_deviation_angstrom"] <= RIGID_DEVIATION_ANGSTROM,
    }


def write_quality(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the table."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, QUALITY, restval="")
        writer.writeheader()
        writer.writerows(rows)
