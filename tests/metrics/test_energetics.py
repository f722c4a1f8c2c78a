"""Energies of frames: hydrogens come back where they were, spoiled frames are seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.molecules import record_of
from egi.config import SimulationSettings
from egi.metrics import energetics
from egi.metrics.scores import Unscorable

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def molecule():
    """Record, all-atom conformers and Gasteiger charges of a small chiral alcohol."""
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](O)CF"))
    AllChem.EmbedMultipleConfs(mol, 6, randomSeed=2)
    AllChem.MMFFOptimizeMoleculeConfs(mol)
    AllChem.ComputeGasteigerCharges(mol)
    charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()])
    positions = np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])
    return record_of(mol, "m"), positions, charges - charges.mean()


def test_hydrogens_return_to_their_atoms(molecule):
    record, positions, _ = molecule
    placed = energetics.with_hydrogens(record, positions[:, record.modelled])
    assert placed.shape == positions.shape
    np.testing.assert_allclose(placed[:, record.modelled], positions[:, record.modelled], atol=1e-6)
    for bond in record.mol.GetBonds():
        pair = placed[:, [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]]
        length = np.linalg.norm(pair[:, 0] - pair[:, 1], axis=-1)
        assert ((length > 0.9) & (length < 1.6)).all()
    middle = record.mol.GetSubstructMatch(Chem.MolFromSmarts("[C@@H,C@H]"))[0]
    hydrogen = next(a.GetIdx() for a in record.mol.GetAtomWithIdx(middle).GetNeighbors() if a.GetAtomicNum() == 1)
    assert np.linalg.norm(placed[:, hydrogen] - positions[:, hydrogen], axis=-1).max() < 0.2


def test_scores_of_known_energies():
    reference = RNG.normal(0, 5, 4000)
    same = {s.metric: s.value for s in energetics.energy_scores(reference, RNG.normal(0, 5, 4000), 5)}
    assert same["energy_overlap"] > 0.93 and same["energy_within"] == 1 and abs(same["energy_excess"]) < 0.1
    high = {s.metric: s for s in energetics.energy_scores(reference, reference + 100, 5)}
    assert high["energy_overlap"].value < 0.01 and high["energy_within"].value == 0
    assert high["energy_excess"].value == pytest.approx(20, abs=0.1)
    broken = np.where(np.arange(4000) % 2, reference, np.nan)
    half = {s.metric: s for s in energetics.energy_scores(reference, broken, 5)}
    assert half["energy_within"].value == 0.5 and half["energy_overlap"].value < 0.55
    assert half["energy_overlap"].reason == "2000 frames without a finite energy"
    with pytest.raises(Unscorable, match="failed"):
        energetics.energy_scores(reference, np.full(3, np.nan), 5)
    assert energetics.overlap(reference, reference) == 1  # shifted and scaled alike
    assert energetics.overlap(reference, reference * 1.5) == energetics.overlap(
        reference / 7 - 3, reference * 1.5 / 7 - 3
    )
    assert len(energetics.evenly(np.zeros((1000, 2, 3)))) == 100


@pytest.mark.slow
def test_charges_of_released_trajectories_are_nagls(tmp_path, molecule):
    pytest.importorskip("openff.nagl")
    record, _, _ = molecule
    ours = SimulationSettings()
    with pytest.raises(Unscorable, match=r"charges\.json does not exist"):
        energetics.charges_of(record, tmp_path, ours, 0)
    released = SimulationSettings(source="released", released_path="theirs")
    charges, note = energetics.charges_of(record, tmp_path, released, 0)
    assert note == "charges by NAGL" and len(charges) == record.mol.GetNumAtoms() and np.ptp(charges) > 0.3
    assert charges.sum() == pytest.approx(0, abs=1e-6) and not list(tmp_path.iterdir())
    folder = tmp_path / record.id
    folder.mkdir()
    (folder / "charges.json").write_text(json.dumps({"charges": [0.5, -0.5]}))
    assert energetics.charges_of(record, tmp_path, ours, 0)[0].tolist() == [0.5, -0.5]


@pytest.mark.slow
def test_strained_frames_have_higher_energies(molecule):
    pytest.importorskip("openmm")
    pytest.importorskip("openff.toolkit")
    record, positions, charges = molecule
    gas = energetics.gas_phase(record, charges, "openff-2.2.1")
    frames = positions[:, record.modelled]
    good = gas.energies(frames)
    assert np.isfinite(good).all() and np.ptp(good) < 60
    np.testing.assert_allclose(gas.energies(frames + 3), good, atol=0.5)  # translation
    bad = gas.energies(frames + RNG.normal(0, 0.15, frames.shape))
    assert (bad > good + 20).all()
    collapsed = frames.copy()
    collapsed[0] = 0
    collapsed[1, 0] = np.nan
    energies = gas.energies(collapsed)
    assert not (energies[0] < good.max() + 100) and np.isnan(energies[1]) and np.isfinite(energies[2:]).all()
    with pytest.raises(Unscorable, match="3 charges"):
        energetics.gas_phase(record, charges[:3], "openff-2.2.1")
