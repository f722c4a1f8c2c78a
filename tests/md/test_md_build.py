from __future__ import annotations

import json

import numpy as np
import openmm
import pytest
from openmm import app, unit
from rdkit import Chem

from egi.md import system as systems
from egi.md.common import Rejected
from egi.md.molecule import handedness, openff_molecule, with_conformer


def test_build_writes_its_files_in_rdkit_order(md, ethanol):
    topology = app.PDBFile(str(ethanol / "topology.pdb"))
    order = [atom.element.atomic_number for atom in topology.topology.atoms()]
    assert order == [a.GetAtomicNum() for a in md.job("CCO").mol.GetAtoms()]
    provenance = json.loads((ethanol / "provenance.json").read_text())
    assert provenance["atoms"] == provenance["solute_atoms"] == 9
    assert provenance["charges"] == "nagl" and provenance["versions"]["openmm"]


def test_second_build_reads_the_first_and_changed_settings_build_again(md, ethanol, tmp_path, monkeypatch, caplog):
    job = md.job("CO")
    first = systems.build(job, md.settings(), 1, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(systems, "molecule_charges", None)
        assert systems.build(job, md.settings(production="8 ps"), 1, tmp_path) == json.loads(json.dumps(first))
    caplog.set_level("INFO", "egi")
    systems.build(job, md.settings(hydrogen_mass="2 amu"), 1, tmp_path)
    assert "build settings changed; building afresh" in caplog.text


def _interchange_energy(molecule, charges, positions_angstrom) -> float:
    """Energy by OpenFF Interchange, without OpenMM's ForceField or templates."""
    from openff.toolkit import ForceField

    interchange = ForceField("openff-2.2.1.offxml").create_interchange(
        molecule.to_topology(), charge_from_molecules=[molecule]
    )
    return _energy(interchange.to_openmm_system(), positions_angstrom)


def _energy(system: openmm.System, positions_angstrom: np.ndarray) -> float:
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_angstrom / 10)
    return context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


@pytest.mark.parametrize(
    "smiles", ["CCO", "C[C@H](O)C(=O)[O-]", "CC[NH2+]C", "c1ccncc1C(=O)NC", "CS(=O)(=O)N(C)C", "FC(F)(F)C#N"]
)
def test_vacuum_energy_equals_interchange(md, smiles):
    job = md.job(smiles)
    molecule = openff_molecule(with_conformer(job.mol, job.starts[0]))
    charges = np.linspace(-0.3, 0.3, job.mol.GetNumAtoms()) + Chem.GetFormalCharge(job.mol) / job.mol.GetNumAtoms()
    force_field, topology = systems.parametrised(molecule, charges, "openff-2.2.1")
    ours = _energy(systems.create_system(force_field, topology, md.settings()), job.starts[0])
    theirs = _interchange_energy(molecule, charges, job.starts[0])
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-3)


def _system_of_water(model: app.Modeller, settings) -> openmm.System:
    """Water and ions alone, by OpenMM's own force field files."""
    bare = app.Modeller(model.topology, model.positions)
    bare.delete([next(bare.topology.residues())])
    return systems.create_system(app.ForceField(*systems.BASE_FORCE_FIELDS), bare.topology, settings)


def _joined(solute: openmm.System, water: openmm.System) -> openmm.System:
    """Both systems in one: bonded terms of the solute and constraints as they are, water after it, PME for all."""
    for i in range(water.getNumParticles()):
        solute.addParticle(water.getParticleMass(i))
    shift = solute.getNumParticles() - water.getNumParticles()
    ours, theirs = (next(f for f in s.getForces() if isinstance(f, openmm.NonbondedForce)) for s in (solute, water))
    for i in range(theirs.getNumParticles()):
        ours.addParticle(*theirs.getParticleParameters(i))
    for k in range(theirs.getNumExceptions()):
        i, j, *values = theirs.getExceptionParameters(k)
        ours.addException(i + shift, j + shift, *values)
    ours.setNonbondedMethod(openmm.NonbondedForce.PME)
    ours.setCutoffDistance(theirs.getCutoffDistance())
    ours.setUseSwitchingFunction(True)
    ours.setSwitchingDistance(theirs.getSwitchingDistance())
    ours.setUseDispersionCorrection(True)
    solute.setDefaultPeriodicBoxVectors(*water.getDefaultPeriodicBoxVectors())
    return solute


@pytest.mark.slow
@pytest.mark.parametrize("smiles", ["CCO", "C[C@H](O)C(=O)[O-]", "CC[NH2+]C", "c1ccncc1C(=O)NC"])
def test_solvated_energy_equals_interchange_joined_with_water(md, tmp_path, smiles):
    """The whole box, and the solute's share of it: OpenFF Interchange's solute in OpenMM's TIP3P with HFE ions."""
    from openff.toolkit import ForceField, Quantity

    settings = md.settings(solvent="explicit", padding="5 angstrom", cutoff="6 angstrom", switch_distance="5 angstrom")
    job = md.job(smiles)
    systems.build(job, settings, 1, tmp_path)
    ours = openmm.XmlSerializer.deserialize((tmp_path / "system.xml").read_text())
    with np.load(tmp_path / "start.npz") as stored:
        positions = stored["replica_0"]
    charges = json.loads((tmp_path / "charges.json").read_text())["charges"]
    molecule = openff_molecule(with_conformer(job.mol, job.starts[0]))
    molecule.partial_charges = Quantity(charges, "elementary_charge")
    interchange = ForceField("openff-2.2.1.offxml").create_interchange(
        molecule.to_topology(), charge_from_molecules=[molecule]
    )
    file = app.PDBFile(str(tmp_path / "solvated.pdb"))
    model = app.Modeller(file.topology, file.positions)
    joined = _joined(interchange.to_openmm_system(combine_nonbonded_forces=True), _system_of_water(model, settings))
    assert joined.getNumParticles() == ours.getNumParticles()
    found, wanted = (_energy(system, positions) for system in (ours, joined))
    assert found == pytest.approx(wanted, rel=1e-4)
    assert found == pytest.approx(wanted, abs=0.05)  # kJ/mol: the box's energy is mostly water's


@pytest.mark.parametrize("smiles", ["C([NH3+])C(=O)[O-]", "[NH3+]CCC(=O)[O-]"])
def test_zwitterions_are_built_as_given(md, tmp_path, smiles):
    built = systems.build(md.job(smiles), md.settings(), 1, tmp_path)
    assert built["rejected_replicas"] == {} and built["atoms"] == md.job(smiles).mol.GetNumAtoms()
    system = openmm.XmlSerializer.deserialize((tmp_path / "system.xml").read_text())
    assert abs(sum(_charges(system))) < 1e-6


def test_boron_is_rejected_before_charges_are_computed(md, tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "molecule_charges", None)
    with pytest.raises(Rejected, match=r"parameters: openff-2.2.1 has no parameters for B"):
        systems.build(md.job("CCB(O)O"), md.settings(), 1, tmp_path)


def test_clashing_and_mirrored_starts_reject_their_replica_only(md, tmp_path):
    job = md.job("C[C@H](O)CC", replicas=4)
    job.starts[1][3] = job.starts[1][2] + 0.1
    job.starts[2][:] = job.starts[2] * [-1, 1, 1]
    job.starts[3][0] = np.nan
    rejected = systems.build(job, md.settings(), 1, tmp_path)["rejected_replicas"]
    assert set(rejected) == {"1", "2", "3"}
    assert "atoms 2 and 3 0.17 angstrom apart" in rejected["1"][1]
    assert "start conformer has R at atom 1; the molecule has S" in rejected["2"][1]
    assert "not finite" in rejected["3"][1]
    assert set(np.load(tmp_path / "start.npz")) == {"box", "replica_0"}


def test_salts_are_rejected(md, tmp_path):
    with pytest.raises(Rejected, match=r"build: 2 separate molecules; allowed: one, without counter-ions"):
        systems.build(md.job("CC(=O)[O-].C[NH3+]"), md.settings(), 1, tmp_path)


def test_open_centres_take_the_first_conformers_hand(md, tmp_path):
    job = md.job("CC(O)CC", replicas=1)
    job.starts[1] = job.starts[0] * [-1, 1, 1]
    assert set(systems.build(job, md.settings(), 1, tmp_path)["rejected_replicas"]) == {"1"}


def test_undefined_stereo_passes_for_nitrogen_only():
    assert openff_molecule(Chem.AddHs(Chem.MolFromSmiles("CN1CC1"))).n_atoms == 11
    with pytest.raises(Rejected, match=r"undefined stereochemistry at atom 1 \(C\)"):
        openff_molecule(Chem.AddHs(Chem.MolFromSmiles("CC(F)Cl")))
    with pytest.raises(Rejected, match=r"undefined stereochemistry at bond 1 \(C\)-2 \(C\)"):
        openff_molecule(Chem.AddHs(Chem.MolFromSmiles("CC=CC")))


def test_handedness_names_centres_and_double_bonds():
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](O)/C=C/C"))
    assert handedness(mol) == {("atom", 1): "S", ("bond", 3): "E"}


@pytest.mark.slow
@pytest.mark.parametrize("box", ["cube", "dodecahedron"])
def test_replicas_share_one_solvated_system(md, tmp_path, box):
    job = md.job("CC[NH3+]", replicas=2)
    settings = md.settings(solvent="explicit", box=box, cutoff="6 angstrom", switch_distance="5 angstrom",
                           padding="5 angstrom")  # fmt: skip
    provenance = systems.build(job, settings, 1, tmp_path)
    system = openmm.XmlSerializer.deserialize((tmp_path / "system.xml").read_text())
    with np.load(tmp_path / "start.npz") as stored:
        vectors = stored["box"]
        shapes = {stored[f"replica_{k}"].shape for k in (0, 1)}
        solute = stored["replica_1"][: job.mol.GetNumAtoms()]
    assert shapes == {(system.getNumParticles(), 3)}
    assert provenance["atoms"] == 11 + 3 * provenance["waters"] + provenance["ions"]
    assert provenance["ions"] == 1 and provenance["box_enlarged"]
    assert vectors.diagonal().min() == pytest.approx(2.4 * 6)
    pairs = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (solute, job.starts[1])]
    np.testing.assert_allclose(*pairs, atol=1e-6)
    charge = sum(_charges(system))
    assert abs(charge) < 1e-6


def _charges(system: openmm.System) -> list[float]:
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    return [
        force.getParticleParameters(i)[0].value_in_unit(unit.elementary_charge) for i in range(force.getNumParticles())
    ]


@pytest.mark.parametrize("box", ["cube", "dodecahedron"])
def test_box_follows_openmms_padding_rule(md, box):
    settings = md.settings(solvent="explicit", padding="5 angstrom", box=box, cutoff="3 angstrom",
                           switch_distance="2 angstrom")  # fmt: skip
    job = md.job("CCCCCC")
    vectors, details = systems.box_vectors([job.starts[0]], settings)
    molecule = openff_molecule(with_conformer(job.mol, job.starts[0]))
    force_field, topology = systems.parametrised(
        molecule, np.linspace(-0.1, 0.1, job.mol.GetNumAtoms()), "openff-2.2.1"
    )
    model = app.Modeller(topology, job.starts[0] / 10 * unit.nanometer)
    model.addSolvent(force_field, padding=0.5 * unit.nanometer, boxShape=box)
    expected = np.array(model.topology.getPeriodicBoxVectors().value_in_unit(unit.angstrom))
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert not details["box_enlarged"]
