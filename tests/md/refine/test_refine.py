"""Refined frames: the MD's own distributions, the molecule's hand and hydrogens, flags for what cannot be refined."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.geometry import bond_angles, bond_lengths, internal_coordinates, torsion_angles
from egi.chem.molecules import record_of
from egi.config import SimulationSettings, load_settings, parse_settings
from egi.md import refine as module
from egi.md.common import Rejected
from egi.md.refine import STATUSES, Refiner
from egi.md.refinement_settings import RefinementSettings
from egi.units import ConfigError


def status(found) -> list[str]:
    return [STATUSES[k] for k in found.status]


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
    assert found.kept_stiff[ok].mean() >= 0.95
    assert np.median(found.energy_before[ok]) > md[1].mean() + 100
    assert np.median(found.energy_after[ok]) == pytest.approx(md[1].mean(), abs=5)


def test_torsions_stay_while_held_stiffly(refined):
    _, found = refined
    assert found.kept_stiff.mean() >= 0.95
    assert np.median(found.moved_stiff) < np.median(found.moved)


def test_moved_is_the_largest_change_of_a_torsion_and_kept_the_share_that_changed_little(molecule, refined):
    frames, found = refined
    torsions = internal_coordinates(molecule[0]).torsions
    after = found.all_atoms[:, molecule[0].modelled].astype(float)
    change = np.exp(1j * (torsion_angles(after, torsions) - torsion_angles(frames, torsions)))
    moved = np.abs(np.angle(change))
    np.testing.assert_allclose(found.moved, moved.max(1), atol=1e-3)
    assert 0 < found.kept.mean() < 1
    np.testing.assert_allclose(found.kept, (moved < np.pi / 6).mean(1), atol=1e-6)


def test_restraint_is_the_periodic_one_of_the_docstring(molecule, refiner, refined):
    """Its energy in the last frame, by hand: k (1 - cos) of how far each torsion is from its generated value."""
    record, frames = molecule[0], refined[0]
    found = refiner.refine(frames[:1], [9])
    after = found.all_atoms[:, record.modelled].astype(float)
    angles = [torsion_angles(x, refiner.torsions)[0] for x in (after, frames[:1])]
    energy = refiner._context.getState(energy=True, groups={1}).getPotentialEnergy()._value
    wanted = RefinementSettings().soft_kilojoule_per_mole * (1 - np.cos(angles[0] - angles[1])).sum()
    assert energy == pytest.approx(wanted, rel=1e-3)


def test_mirror_images_are_reflected_and_counted(molecule, refined, refiner, smiles_of):
    record = molecule[0]
    frames = refined[0][:6].copy()
    frames[::2, :, 1] *= -1
    found = refiner.refine(frames, list(range(6)))
    assert found.hand.tolist() == [-1, 1] * 3
    assert found.reflected.tolist() == [True, False] * 3
    assert set(status(found)) == {"ok"}
    for positions in found.all_atoms:
        assert smiles_of(record, positions) == molecule[0].smiles


def test_mirror_images_stay_where_reflection_is_off(molecule, refined, smiles_of):
    record, _, charges = molecule
    kept = Refiner(record, charges, SimulationSettings(), RefinementSettings(reflect=False))
    frames = refined[0][:2] * [1, 1, -1]
    found = kept.refine(frames, [1, 2])
    assert (found.hand == -1).all() and not found.reflected.any()
    assert smiles_of(record, found.all_atoms[0]) == Chem.CanonSmiles("C[C@@H](O)C[C@H](F)C")


def test_hydrogens_are_all_there_and_on_their_atoms(molecule, refined):
    record = molecule[0]
    positions = refined[1].all_atoms
    assert positions.shape == (len(refined[0]), record.mol.GetNumAtoms(), 3)
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


def test_the_wrong_isomer_of_a_double_bond_is_flagged(smiles_of):
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


def test_hydroxyls_come_out_as_in_the_md(unrestrained):
    """Two carboxylic acids, a hydroxyl: with RDKit's hydrogens these frames end 26 kJ/mol above the MD's."""
    mol = Chem.AddHs(Chem.MolFromSmiles("OC(=O)C(O)C(=O)O"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    AllChem.ComputeGasteigerCharges(mol)
    charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()]) * 1.5
    record = record_of(mol, "x")
    refiner = Refiner(record, charges - charges.mean(), SimulationSettings(), RefinementSettings())
    start = refiner._hydrogens.draw(mol.GetConformer().GetPositions()[None], [0])
    positions, energies = unrestrained(refiner, start[0], 200)
    found = refiner.refine(positions[:, record.modelled], list(range(200)))
    assert found.energy_after.mean() == pytest.approx(energies.mean(), abs=4)
