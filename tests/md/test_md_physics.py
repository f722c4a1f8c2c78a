"""The protocol samples what the force field says: temperature, density, energy conservation, populations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from egi.md.common import GAS_CONSTANT
from egi.md.frames import read_frames
from egi.md.molecule import openff_molecule, with_conformer
from egi.md.protocol import Engine, Replica, run_replica
from egi.md.quality import degrees_of_freedom, read_log
from egi.md.system import build, parametrised

pytestmark = pytest.mark.slow
#: gauche butane lies below this torsion, trans above
BARRIER = np.radians(120)


def _standard_error(values: np.ndarray, blocks: int = 16) -> float:
    """Of the mean of correlated values, from block means."""
    means = [block.mean() for block in np.array_split(values, blocks)]
    return np.std(means, ddof=1) / np.sqrt(blocks)


def _butane(md, folder: Path, temperature: float, nanoseconds: int, seed: int = 1) -> np.ndarray:
    """A gas-phase replica of butane; the log's temperatures."""
    length = f"{nanoseconds} ns"
    settings = md.settings(production=length, segment=length, frame_interval="0.4 ps", nvt="20 ps", warmup="1 ps",
                           temperature=f"{temperature} K")  # fmt: skip
    build(md.job("CCCC"), settings, seed, folder)
    run_replica(Replica(folder, "mol", 0, settings, seed), Engine("Reference"), 14)
    return read_log(folder / "replica_0.csv")["temperature_kelvin"]


def test_mean_temperature_within_three_standard_errors(md, tmp_path):
    temperature = _butane(md, tmp_path, 300, 4)
    assert _standard_error(temperature) < 8
    assert abs(temperature.mean() - 300) < 3 * _standard_error(temperature)


def test_butanes_gauche_to_trans_ratio_is_the_boltzmann_integral(md, tmp_path):
    """At 500 K, where the torsion turns often enough for a sharp test; the first three seeds together."""
    shares, errors = [], []
    for seed in (1, 2, 3):
        folder = tmp_path / str(seed)
        _butane(md, folder, 500, 16, seed)
        gauche = np.abs(_dihedral(read_frames(folder / "replica_0.xtc")[0][:, :4].astype(float))) < BARRIER
        shares.append(gauche.mean())
        errors.append(_standard_error(gauche))
    error = np.linalg.norm(errors) / len(errors)
    assert error < 0.015
    assert abs(np.mean(shares) - _gauche_share(md, folder, 500)) < 2 * error


def _dihedral(points: np.ndarray) -> np.ndarray:
    """Angle (frames,) of four points (frames, 4, 3), radian."""
    b0, b1, b2 = (points[:, k + 1] - points[:, k] for k in range(3))
    n0, n1 = np.cross(b0, b1), np.cross(b1, b2)
    return np.arctan2((np.cross(n0, n1) * b1).sum(-1) / np.linalg.norm(b1, axis=-1), (n0 * n1).sum(-1))


def _gauche_share(md, folder: Path, temperature: float) -> float:
    """Population of gauche butane from its torsion's relaxed profile with harmonic modes across it.

    Z(phi) = exp(-U/RT) sqrt(det I) / sqrt(det' H) at the minimum for a given phi: I is the tensor of rotation, H the
    Hessian of the energy with a stiff restraint of phi, six zero modes left out. Bonds to hydrogen are flexible here.
    """
    job = md.job("CCCC")
    charges = np.array(json.loads((folder / "charges.json").read_text())["charges"])
    molecule = openff_molecule(with_conformer(job.mol, job.starts[0]))
    force_field, topology = parametrised(molecule, charges, "openff-2.2.1")
    system = force_field.createSystem(topology, nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    restraint = openmm.CustomTorsionForce("5e4*d^2; d=min(abs(theta-phi),6.283185307179586-abs(theta-phi))")
    restraint.addGlobalParameter("phi", 0.0)
    restraint.addTorsion(0, 1, 2, 3, [])
    restraint.setForceGroup(1)
    system.addForce(restraint)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(job.starts[0] / 10)
    angles, logs = np.radians(np.arange(180, -1, -7.5)), []
    for phi in angles:
        context.setParameter("phi", phi)
        openmm.LocalEnergyMinimizer.minimize(context, 1e-3, 0)
        logs.append(_log_partition(context, temperature))
    weights = np.exp(np.array(logs) - max(logs))
    gauche = angles <= BARRIER + 1e-9
    return np.trapezoid(weights[gauche], angles[gauche]) / np.trapezoid(weights, angles)


def _log_partition(context: openmm.Context, temperature: float) -> float:
    """ln Z of the state at the restraint's minimum, up to a constant."""

    def forces(x):
        context.setPositions(x.reshape(-1, 3))
        return context.getState(forces=True).getForces(asNumpy=True)._value.ravel()

    state = context.getState(positions=True)
    x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer).ravel()
    energy = context.getState(energy=True, groups={0}).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    step = 1e-5
    hessian = np.array([(forces(x - step * e) - forces(x + step * e)) / (2 * step) for e in np.eye(len(x))])
    context.setPositions(x.reshape(-1, 3))
    modes = np.sort(np.abs(np.linalg.eigvalsh((hessian + hessian.T) / 2)))[6:]
    centred = x.reshape(-1, 3) - x.reshape(-1, 3).mean(axis=0)
    rotation = np.eye(3) * (centred**2).sum() - centred.T @ centred
    return -energy / (GAS_CONSTANT * temperature) + (np.linalg.slogdet(rotation)[1] - np.log(modes).sum()) / 2


def test_energy_is_conserved_at_4_fs_and_1_5_amu(md, tmp_path):
    """Without a thermostat, butane's total energy drifts by less than 0.01 RT a degree of freedom and nanosecond."""
    build(md.job("CCCC"), md.settings(), 1, tmp_path)
    system = openmm.XmlSerializer.deserialize((tmp_path / "system.xml").read_text())
    integrator = openmm.VerletIntegrator(0.004)
    integrator.setConstraintTolerance(1e-7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    with np.load(tmp_path / "start.npz") as stored:
        context.setPositions(stored["replica_0"] / 10)
    openmm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(300, 3)
    energies = []
    for _ in range(1000):
        integrator.step(250)
        state = context.getState(energy=True)
        energies.append((state.getPotentialEnergy() + state.getKineticEnergy()).value_in_unit(unit.kilojoule_per_mole))
    drift = np.polyfit(np.arange(1000) * 1e-3, energies, 1)[0]  # kJ/mol/ns
    assert abs(drift) / degrees_of_freedom(system) < 0.01 * GAS_CONSTANT * 300


def test_water_has_tip3ps_density(md, tmp_path):
    settings = md.settings(solvent="explicit", padding="7 angstrom", cutoff="7 angstrom", switch_distance="6 angstrom",
                           warmup="0.4 ps", nvt="2 ps", production="50 ps", segment="50 ps", frame_interval="0.4 ps",
                           platform="CPU")  # fmt: skip
    built = build(md.job("CO"), settings, 1, tmp_path)
    run_replica(Replica(tmp_path, "mol", 0, settings, 1), Engine("CPU", 1), built["solute_atoms"])
    log = read_log(tmp_path / "replica_0.csv")
    density = log["density_g_ml"][log["time_ps"] > 12]
    assert density.mean() == pytest.approx(0.985, rel=0.02)
    assert log["temperature_kelvin"][log["time_ps"] > 12].mean() == pytest.approx(300, abs=5)
