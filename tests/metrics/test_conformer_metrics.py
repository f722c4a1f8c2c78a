"""RMSD against RDKit, symmetric molecules, coverage and matching of constructed sets."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolAlign
from scipy.spatial.transform import Rotation

from egi.chem.molecules import record_of
from egi.metrics.conformers import best_rmsd, conformer_scores, coverage_and_matching, heavy_molecule, symmetries
from egi.metrics.scores import Unscorable

RNG = np.random.default_rng(2)


def ensemble(smiles: str, count: int):
    """Record, heavy-atom molecule with conformers, and positions of the modelled atoms."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, count, randomSeed=3)
    positions = np.stack([c.GetPositions() for c in mol.GetConformers()])
    record = record_of(mol, "m")
    return record, Chem.RemoveHs(mol), positions[:, record.modelled]


@pytest.mark.parametrize(
    "smiles", ["CCCCO", "CC(C)(C)CC#N", "Cc1ccc(CCO)cc1", "OC(=O)CCC([O-])=O", "C[N+](=O)[O-]", "CC(F)(F)F", "C1CCCCC1"]
)
def test_rmsd_is_rdkits(smiles):
    record, mol, positions = ensemble(smiles, 4)
    bare, heavy = heavy_molecule(record.mol, record.modelled)
    ours = best_rmsd(positions[:, heavy], positions[:, heavy], symmetries(bare))
    for i in range(4):
        for j in range(4):
            assert ours[i, j] == pytest.approx(rdMolAlign.GetBestRMS(Chem.Mol(mol), mol, i, j), abs=2e-3)


@pytest.mark.parametrize(("smiles", "count"), [("CC(C)(C)O", 6), ("Cc1ccc(O)cc1", 2), ("CC(=O)[O-]", 2), ("CCO", 1)])
def test_number_of_symmetries(smiles, count):
    assert len(symmetries(Chem.MolFromSmiles(smiles))) == count


def test_permuted_rotated_tert_butyl_is_the_same_conformer_and_its_mirror_image_is_not():
    record, _mol, positions = ensemble("CC(C)(C)C[C@H](O)F", 1)
    bare, _heavy = heavy_molecule(record.mol, record.modelled)
    mappings = symmetries(bare)
    moved = positions[:, mappings[3]] @ Rotation.random(random_state=1).as_matrix() + 5
    assert best_rmsd(moved, positions, mappings)[0, 0] == pytest.approx(0, abs=1e-3)
    assert best_rmsd(positions * [1, 1, -1], positions, mappings)[0, 0] > 0.2


def test_planar_and_two_atom_molecules():
    flat = np.concatenate([RNG.normal(size=(1, 6, 2)), np.zeros((1, 6, 1))], axis=2)
    turned = flat @ Rotation.random(random_state=4).as_matrix()
    assert best_rmsd(flat, turned, np.arange(6)[None])[0, 0] == pytest.approx(0, abs=1e-5)
    pair = np.array([[[0, 0, 0], [1.0, 0, 0]]])
    assert best_rmsd(pair, 1.2 * pair, np.arange(2)[None])[0, 0] == pytest.approx(0.1, abs=1e-6)


def test_coverage_and_matching_by_hand():
    # two generated, three references
    rmsd = np.array([[0.1, 0.6, 2.0], [0.4, 0.3, 1.0]])
    scores = {s.metric: s.value for s in coverage_and_matching(rmsd, 0.35)}
    assert scores["cov_r"] == pytest.approx(100 * 2 / 3) and scores["mat_r"] == pytest.approx((0.1 + 0.3 + 1.0) / 3)
    assert scores["cov_p"] == 100 and scores["mat_p"] == pytest.approx(0.2)


def test_constructed_sets():
    record, _, positions = ensemble("CCCC(C)(C)C", 6)
    scores = {s.metric: s for s in conformer_scores(record, positions, positions[:3], 0.05)}
    assert scores["cov_r"].value == 100 and scores["mat_r"].value == pytest.approx(0, abs=1e-3)
    assert scores["cov_p"].value >= 50 and scores["cov_r"].extra["symmetries"] == 6
    broken = positions.copy()
    broken[0, 0] = np.nan
    scored = conformer_scores(record, broken, positions[:3], 0.05)
    assert scored[0].reason == "1 generated conformers are not finite"
    with pytest.raises(Unscorable, match="no_finite_frames"):
        conformer_scores(record, broken[:1], positions, 0.05)


def test_a_flipped_para_substituted_ring_is_the_same_conformer():
    record, _, positions = ensemble("Cc1ccc(C#N)cc1", 1)
    _, heavy = heavy_molecule(record.mol, record.modelled)
    flipped = positions.copy()
    flipped[:, [2, 3, 7, 8]] = positions[:, [8, 7, 3, 2]]  # ortho with ortho, meta with meta
    assert Chem.RemoveHs(record.mol).GetAtomWithIdx(2).GetDegree() == 2 and heavy.tolist() == list(range(9))
    scores = {s.metric: s.value for s in conformer_scores(record, flipped, positions, 0.1)}
    assert scores["cov_r"] == scores["cov_p"] == 100 and scores["mat_r"] == pytest.approx(0, abs=1e-3)
    one_side = positions.copy()
    one_side[:, [2, 8]] = positions[:, [8, 2]]  # ortho only: another molecule's geometry
    assert {s.metric: s.value for s in conformer_scores(record, one_side, positions, 0.1)}["mat_r"] > 0.5


def test_time_limit_and_shapes():
    cloud = RNG.normal(size=(2, 4, 3))
    with pytest.raises(Unscorable, match="timeout"):
        best_rmsd(cloud, cloud, np.arange(4)[None], timeout_seconds=0)
    with pytest.raises(ValueError, match="wanted"):
        best_rmsd(cloud, cloud[:, :3], np.arange(4)[None])
