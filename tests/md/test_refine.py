"""Refined frames: the MD's own distributions, the molecule's hand and hydrogens, flags for what cannot be refined."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import replace

import mdtraj
import numpy as np
import openmm
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi import seeds
from egi.__main__ import main as command
from egi.chem.geometry import bond_angles, bond_lengths, internal_coordinates, torsion_angles
from egi.chem.molecules import modelled_atoms, record_of
from egi.config import SimulationSettings, load_settings, parse_settings
from egi.data.storage import Reader, create
from egi.md import refine as module
from egi.md.common import Rejected
from egi.md.frames import write_frames
from egi.md.refine import STATUSES, Refiner
from egi.md.refine_samples import Source, refine_molecule
from egi.md.refinement_settings import RefinementSettings
from egi.units import ConfigError

SMILES = "C[C@H](O)C[C@@H](F)C"
FRAMES = 200


def status(found) -> list[str]:
    return [STATUSES[k] for k in found.status]


@pytest.fixture(scope="module")
def molecule():
    """Record and charges (Gasteiger, for speed) of a molecule with two stereocentres."""
    mol = Chem.AddHs(Chem.MolFromSmiles(SMILES))
    AllChem.EmbedMolecule(mol, randomSeed=2)
    AllChem.ComputeGasteigerCharges(mol)
    charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()])
    return record_of(mol, "m"), mol.GetConformer().GetPositions(), charges - charges.mean()


@pytest.fixture(scope="module")
def refiner(molecule):
    record, _, charges = molecule
    return Refiner(record, charges, SimulationSettings(), RefinementSettings())


@pytest.fixture(scope="module")
def md(molecule, refiner):
    """Frames of unrestrained gas-phase dynamics with the same force field, all atoms and energies."""
    system = openmm.XmlSerializer.clone(refiner._system)
    system.removeForce(system.getNumForces() - 1)
    integrator = openmm.LangevinMiddleIntegrator(300, 5, 0.004)
    integrator.setRandomNumberSeed(3)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(molecule[1] * 0.1)
    openmm.LocalEnergyMinimizer.minimize(context, 100, 100)
    context.setVelocitiesToTemperature(300, 3)
    integrator.step(2000)
    positions, energies = [], []
    for _ in range(2 * FRAMES):
        integrator.step(100)
        state = context.getState(positions=True, energy=True)
        positions.append(state.getPositions(asNumpy=True)._value * 10)
        energies.append(state.getPotentialEnergy()._value)
    return np.array(positions), np.array(energies)


@pytest.fixture(scope="module")
def refined(molecule, refiner, md):
    """Every other MD frame, refined."""
    frames = md[0][::2][:, molecule[0].modelled]
    return frames, refiner.refine(frames, [seeds.integer(1, frame) for frame in range(FRAMES)])


def within_error(seen: np.ndarray, wanted: np.ndarray, blocks: int = 10) -> np.ndarray:
    """Differences of means [columns] in standard errors from block means."""
    errors = [
        np.std([b.mean(0) for b in np.array_split(x, blocks)], axis=0, ddof=1) / blocks**0.5 for x in (seen, wanted)
    ]
    return np.abs(seen.mean(0) - wanted.mean(0)) / np.hypot(*errors)


def test_md_frames_come_out_statistically_unchanged(molecule, md, refined):
    measured = internal_coordinates(molecule[0])
    before = md[0][:, molecule[0].modelled]
    after = refined[1].all_atoms[:, molecule[0].modelled].astype(float)
    assert set(status(refined[1])) == {"ok"}
    for values in (lambda x: bond_lengths(x, measured.bonds), lambda x: bond_angles(x, measured.angles)):
        assert within_error(values(after), values(before)).max() < 4.5
        np.testing.assert_allclose(values(after).std(0) / values(before).std(0), 1, atol=0.25)
    energy = refined[1].energy_after.astype(float)
    assert within_error(energy[:, None], md[1][:, None]).max() < 4.5
    assert energy.std() / md[1].std() == pytest.approx(1, abs=0.25)


def test_distorted_frames_get_the_mds_energies(molecule, refiner, md):
    rng = np.random.default_rng(0)
    frames = md[0][:100, molecule[0].modelled]
    found = refiner.refine(frames + rng.normal(0, 0.08, frames.shape), list(range(1, 101)))
    ok = found.status == 0
    assert ok.mean() > 0.9
    assert (found.moved_stiff[ok] < np.pi / 6).mean() >= 0.95
    assert np.median(found.energy_before[ok]) > md[1].mean() + 100
    assert np.median(found.energy_after[ok]) == pytest.approx(md[1].mean(), abs=5)


def test_torsions_stay_while_held_stiffly(refined):
    _, found = refined
    assert (found.moved_stiff < np.pi / 6).mean() >= 0.95
    assert np.median(found.moved_stiff) < np.median(found.moved)


def test_moved_is_the_largest_change_of_a_torsion(molecule, refined):
    frames, found = refined
    torsions = internal_coordinates(molecule[0]).torsions
    after = found.all_atoms[:, molecule[0].modelled].astype(float)
    change = np.exp(1j * (torsion_angles(after, torsions) - torsion_angles(frames, torsions)))
    np.testing.assert_allclose(found.moved, np.abs(np.angle(change)).max(1), atol=1e-3)


def test_restraint_is_the_periodic_one_of_the_docstring(molecule, refiner, refined):
    """Its energy in the last frame, by hand: k (1 - cos) of how far each torsion is from its generated value."""
    record, frames = molecule[0], refined[0]
    found = refiner.refine(frames[:1], [9])
    after = found.all_atoms[:, record.modelled].astype(float)
    angles = [torsion_angles(x, refiner.torsions)[0] for x in (after, frames[:1])]
    energy = refiner._context.getState(energy=True, groups={1}).getPotentialEnergy()._value
    wanted = RefinementSettings().soft_kilojoule_per_mole * (1 - np.cos(angles[0] - angles[1])).sum()
    assert energy == pytest.approx(wanted, rel=1e-3)


def test_mirror_images_are_reflected_and_counted(molecule, refined, refiner):
    record = molecule[0]
    frames = refined[0][:6].copy()
    frames[::2, :, 1] *= -1
    found = refiner.refine(frames, list(range(6)))
    assert found.hand.tolist() == [-1, 1] * 3
    assert found.reflected.tolist() == [True, False] * 3
    assert set(status(found)) == {"ok"}
    for positions in found.all_atoms:
        assert smiles_of(record, positions) == Chem.CanonSmiles(SMILES)


def test_mirror_images_stay_where_reflection_is_off(molecule, refined):
    record, _, charges = molecule
    kept = Refiner(record, charges, SimulationSettings(), RefinementSettings(reflect=False))
    frames = refined[0][:2] * [1, 1, -1]
    found = kept.refine(frames, [1, 2])
    assert (found.hand == -1).all() and not found.reflected.any()
    assert smiles_of(record, found.all_atoms[0]) == Chem.CanonSmiles("C[C@@H](O)C[C@H](F)C")


def smiles_of(record, positions: np.ndarray) -> str:
    """SMILES with the stereochemistry that all-atom coordinates show."""
    mol = Chem.Mol(record.mol)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(positions.astype(float))
    mol.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(mol, replaceExistingTags=True)
    return Chem.MolToSmiles(Chem.RemoveHs(mol))


def test_hydrogens_are_all_there_and_on_their_atoms(molecule, refined):
    record = molecule[0]
    positions = refined[1].all_atoms
    assert positions.shape == (FRAMES, record.mol.GetNumAtoms(), 3)
    distance = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    bonded = Chem.GetAdjacencyMatrix(record.mol).astype(bool)
    hydrogen = np.array([atom.GetAtomicNum() == 1 for atom in record.mol.GetAtoms()])
    assert hydrogen.sum() == 11
    near = (distance < 1.25) & ~np.eye(len(hydrogen), dtype=bool)
    assert (near[:, hydrogen] == bonded[hydrogen]).all()


def test_refined_frames_lie_on_the_generated_ones(molecule, refined):
    frames, found = refined
    after = found.all_atoms[:, molecule[0].modelled]
    np.testing.assert_allclose(after.mean(1), frames.mean(1), atol=1e-3)
    assert np.sqrt(((after - frames) ** 2).sum(-1).mean(1)).max() < 1.5


def test_same_seed_same_frames_whatever_else_is_refined(refined, refiner):
    frames = refined[0][:4]
    first = refiner.refine(frames, [1, 2, 3, 4])
    again = refiner.refine(frames[2:], [3, 4])
    other = refiner.refine(frames[2:], [3, 5])
    np.testing.assert_array_equal(first.all_atoms[2:], again.all_atoms)
    assert not np.array_equal(other.all_atoms[1], again.all_atoms[1])


def test_bad_frames_are_flagged_and_left_out(molecule, refined, refiner):
    frames = refined[0][:4].copy()
    frames[0, 0, 0] = np.nan
    frames[1, 0] = frames[1, 3] + 0.1
    centre, others = refiner._centres.centre[0], refiner._centres.neighbours[0]
    frames[2, centre] += 1.6 * (frames[2, others].mean(0) - frames[2, centre])  # through the plane of its neighbours
    found = refiner.refine(frames, [1, 2, 3, 4])
    assert status(found) == ["not_finite", "overlap", "some_inverted", "ok"]
    assert np.isnan(found.all_atoms[:3]).all() and np.isfinite(found.all_atoms[3]).all()
    assert np.isnan(found.energy_after[:3]).all()
    wrong = refiner.refine(frames[:, :-1], [1, 2, 3, 4])
    assert set(status(wrong)) == {"wrong_atoms"}


def test_the_wrong_isomer_of_a_double_bond_is_flagged():
    def embedded(smiles):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(mol, randomSeed=1)
        record = record_of(mol, "x")
        return record, mol.GetConformer().GetPositions()[record.modelled]

    (record, trans), (_, cis) = embedded("C/C=C/CO"), embedded("C/C=C\\CO")
    atoms = record.mol.GetNumAtoms()
    refiner = Refiner(record, np.resize([0.1, -0.1], atoms), SimulationSettings(), RefinementSettings())
    found = refiner.refine(np.stack([cis, trans, -trans]), [1, 2, 3])
    assert status(found) == ["wrong_double_bond", "ok", "ok"] and np.isnan(found.all_atoms[0]).all()
    assert smiles_of(record, found.all_atoms[1]) == Chem.CanonSmiles("C/C=C/CO")


def test_a_frame_that_explodes_is_flagged_alone(refined, refiner, monkeypatch):
    def fails(context, *_):
        calls.append(1)
        if len(calls) == 1:
            raise openmm.OpenMMException("Particle coordinate is NaN")

    calls: list[int] = []
    monkeypatch.setattr(module.openmm.LocalEnergyMinimizer, "minimize", fails)
    found = refiner.refine(refined[0][:2], [1, 2])
    assert status(found) == ["unstable", "ok"]


@pytest.mark.parametrize("smiles", ["CC#CCO", "C", "c1ccccc1", "OCC(=O)[O-]", "C1CC12CC2"])
def test_any_small_molecule(smiles):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    record = record_of(mol, "x")
    charges = np.resize([0.05, -0.05], mol.GetNumAtoms()) + Chem.GetFormalCharge(mol) / mol.GetNumAtoms()
    found = Refiner(record, charges, SimulationSettings(), RefinementSettings()).refine(
        mol.GetConformer().GetPositions()[None, record.modelled], [1]
    )
    assert status(found) == ["ok"] and found.hand.tolist() == [1]


def test_a_molecule_without_charges_or_parameters_is_rejected(molecule):
    record, _, charges = molecule
    with pytest.raises(Rejected, match="2 charges for 18 atoms"):
        Refiner(record, charges[:2], SimulationSettings(), RefinementSettings())
    silane = record_of(Chem.AddHs(Chem.MolFromSmiles("C[SiH3]")), "silane")
    with pytest.raises(Rejected, match="parameters"):
        Refiner(silane, np.resize([0.1, -0.1], 8), SimulationSettings(), RefinementSettings())


def test_settings_have_units_and_whole_numbers_of_steps():
    assert RefinementSettings().plain()["stiff"] == "300.0 kJ/mol"
    assert RefinementSettings.model_validate({"soft": "5 kcal/mol"}).soft_kilojoule_per_mole == pytest.approx(20.92)
    with pytest.raises(ValueError, match=r"stiff_time = 0\.003 ps is no whole number of timestep"):
        RefinementSettings.model_validate({"stiff_time": "3 fs"})
    with pytest.raises(ConfigError, match=r"refinement\.stiff = 3"):
        values = load_settings("config/config.yaml").plain()
        next(iter(values["datasets"].values()))["refinement"]["stiff"] = 3
        parse_settings(values)


@pytest.fixture
def source(tmp_path, molecule, refined) -> Source:
    """A samples file of two samples of three frames, one of them mirrored, one not finite."""
    record, _, charges = molecule
    samples = refined[0][:6].reshape(2, 3, -1, 3).transpose(0, 2, 1, 3).astype(np.float32)
    samples[0, :, 1, 0] *= -1
    samples[1, :, 2] = np.nan
    header = {"task": "forward", "method": "egi", "interval_ps": 0.4, "refined": False}
    with create(tmp_path / "egi.h5", "egi-samples", {}, **header) as writer:
        given = np.array([True, False, False])
        writer.add(record, {"samples": samples, "given": given}, redrawn=1)
        other = record_of(Chem.AddHs(Chem.MolFromSmiles("CCO")), "other")
        writer.add(other, {"samples": np.zeros((1, 3, 2, 3), np.float32), "given": given[:2]}, redrawn=0)
    (tmp_path / "md" / "m").mkdir(parents=True)
    (tmp_path / "md" / "m" / "charges.json").write_text(json.dumps({"charges": charges.tolist()}))
    return Source(tmp_path / "egi.h5", tmp_path / "md", SimulationSettings(), RefinementSettings(), 4)


def test_a_molecules_samples(source, molecule):
    made = refine_molecule(source, "m")
    atoms = molecule[0].mol.GetNumAtoms()
    assert made.arrays["samples"].shape == (2, 7, 3, 3) and made.arrays["all_atoms"].shape == (2, atoms, 3, 3)
    np.testing.assert_array_equal(made.arrays["samples"], made.arrays["all_atoms"][:, molecule[0].modelled])
    assert made.arrays["status"].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert made.arrays["reflected"].tolist() == [[False, True, False], [False, False, False]]
    assert made.attributes == {"redrawn": 1}
    assert (made.row["frames"], made.row["ok"], made.row["reflected"], made.row["not_finite"]) == (6, 5, 1, 1)
    assert made.arrays["energy_md"].shape == (0,) and made.row["all_atom_overlap"] == ""  # no MD here
    missing = refine_molecule(source, "other")
    assert (missing.arrays["status"] == STATUSES.index("no_parameters")).all()
    assert "charges.json does not exist" in missing.row["reason"]


def test_energies_are_compared_with_those_of_the_mds_frames(source, md):
    positions, energies = md
    for replica, part in enumerate((positions[:300], positions[300:])):
        times = np.arange(len(part)) * 0.4
        write_frames(source.md / "m" / f"replica_{replica}.xtc", part * 0.1, times, np.zeros((len(part), 3, 3)))
    made = refine_molecule(source, "m")
    np.testing.assert_allclose(made.arrays["energy_md"], energies, atol=8.0)  # XTC keeps 0.01 angstrom
    assert made.row["energy_md_median"] == pytest.approx(np.median(energies), abs=1)
    assert 0.1 < made.row["all_atom_overlap"] <= 1


def test_conformers_take_the_samples_place_as_a_null_model(source, molecule):
    made = refine_molecule(replace(source, etkdg=True), "m")
    assert made.row["method"] == "etkdg" and made.row["ok"] == 6 and not made.arrays["given"].any()
    assert made.arrays["samples"].shape == (2, 7, 3, 3)
    for positions in made.arrays["all_atoms"].transpose(0, 2, 1, 3).reshape(6, -1, 3):
        assert smiles_of(molecule[0], positions) == Chem.CanonSmiles(SMILES)


@pytest.mark.slow
def test_workers_give_what_one_gives(source, tmp_path, refine_script):
    made = []
    for threads in ("1", "2"):
        outputs = tmp_path / f"{threads}.h5", tmp_path / f"{threads}.csv"
        flags = ["--samples", source.samples, "--md", source.md, "--output", outputs[0], "--table", outputs[1]]
        refine_script(["--threads", threads, *map(str, flags)])
        with Reader(outputs[0], "egi-samples") as reader:
            arrays = {
                (m, name): reader.array(m, name) for m in reader.ids for name in ("all_atoms", "energy_after", "status")
            }
        made.append((arrays, outputs[1].read_text()))
    assert made[0][1] == made[1][1] and list(made[0][0]) == list(made[1][0])
    for key, values in made[0][0].items():
        np.testing.assert_array_equal(values, made[1][0][key])


def test_a_molecule_that_stops_the_script_leaves_no_output(source, tmp_path, refine_script, monkeypatch):
    flags = [
        "--samples",
        source.samples,
        "--md",
        source.md,
        "--output",
        tmp_path / "o.h5",
        "--table",
        tmp_path / "o.csv",
    ]
    monkeypatch.setattr(Refiner, "refine", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        refine_script(["--threads", "1", *map(str, flags)])
    assert not list(tmp_path.glob("o*"))


def test_script(source, tmp_path, refine_script):
    outputs = tmp_path / "egi_refined.h5", tmp_path / "egi_refined.csv"
    flags = ["--samples", source.samples, "--md", source.md, "--output", outputs[0], "--table", outputs[1]]
    refine_script(["--threads", "1", *map(str, flags)])
    with Reader(outputs[0], "egi-samples") as reader:
        assert reader.attributes["refined"] and reader.attributes["method"] == "egi"
        assert reader.attributes["statuses"].split(",")[0] == "ok"
        assert np.isfinite(reader.array("m", "samples")[:, :, :2]).all()
        assert reader.record("m").smiles == Chem.CanonSmiles(SMILES)
    with outputs[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["molecule"] for row in rows] == ["m", "other"] and rows[0]["mirror_images"] == "1"


@pytest.fixture
def refine_script():
    """The script's main function."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "workflow" / "scripts" / "refine.py"
    spec = importlib.util.spec_from_file_location("refine_script", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found.main


def write_user_files(folder, record, positions, charges) -> list[str]:
    mol = modelled_atoms(record.mol)[0]
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(positions[3].astype(float))
    mol.AddConformer(conformer)
    Chem.MolToMolFile(mol, str(folder / "mol.sdf"))
    np.save(folder / "frames.npy", positions)
    (folder / "charges.json").write_text(json.dumps({"charges": charges.tolist()}))
    return ["refine", "--input", str(folder / "frames.npy"), "--topology", str(folder / "mol.sdf"), "--charges-file",
            str(folder / "charges.json"), "--output", str(folder / "out")]  # fmt: skip


def test_command(tmp_path, molecule, refined):
    record, _, charges = molecule
    frames = refined[0][:4].copy()
    frames[1] = np.nan
    frames[2, :, 0] *= -1
    flags = write_user_files(tmp_path, record, frames, charges)
    assert command([*flags, "--interval-ps", "2"]) == 0
    read = mdtraj.load(tmp_path / "out" / "refined.xtc", top=tmp_path / "out" / "topology.pdb")
    assert (read.n_frames, read.n_atoms) == (3, record.mol.GetNumAtoms())
    np.testing.assert_allclose(read.time, [0, 4, 6])
    with (tmp_path / "out" / "refined.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "not_finite", "ok", "ok"]
    assert [row["reflected"] for row in rows] == ["False", "False", "True", "False"]
    summary = json.loads((tmp_path / "out" / "refined.json").read_text())
    assert (summary["frames"], summary["refined"], summary["reflected"]) == (4, 3, 1)


def test_command_keeps_the_times_of_the_file(tmp_path, molecule, refined):
    record, _, charges = molecule
    frames = refined[0][:3].copy()
    flags = write_user_files(tmp_path, record, np.concatenate([frames, frames]), charges)
    write_frames(tmp_path / "frames.xtc", frames * 0.1, np.arange(3) * 2.5, np.zeros((3, 3, 3)))
    flags[flags.index("--input") + 1] = str(tmp_path / "frames.xtc")
    assert command(flags) == 0
    read = mdtraj.load(tmp_path / "out" / "refined.xtc", top=tmp_path / "out" / "topology.pdb")
    np.testing.assert_allclose(read.time, [0, 2.5, 5])


def test_command_names_what_is_wrong(tmp_path, molecule, refined, caplog):
    record, _, charges = molecule
    flags = write_user_files(tmp_path, record, refined[0][:4], charges)
    with caplog.at_level(logging.ERROR):
        assert command([*flags, "--stiff", "300"]) == 2
        assert "--stiff 300: Value error, needs a value with a unit" in caplog.text
        assert command([*flags, "--force-field", "openff-0.0.7"]) == 2
        assert "--force-field openff-0.0.7: Can't load" in caplog.text
        np.save(tmp_path / "frames.npy", refined[0][:4, :-1])
        assert command(flags) == 2
        assert "has 6 atoms" in caplog.text
