"""Graph, stereochemistry and clashes of RDKit's conformers and of spoiled ones."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.molecules import record_of
from egi.chem.stereo import stereocentres
from egi.metrics import comparison, validity
from egi.metrics.ensembles import Ensemble, measures_of, observe
from egi.metrics.scores import Unscorable

CHIRAL = ["C[C@H](O)CC#N", "C[C@@H](O)CC#N", "C[C@](F)(Cl)CO", "C[C@@](F)(Cl)CO", "O[C@H]1CC[C@@H](C)C[C@@H]1N"]


def conformers(smiles: str, count: int = 5):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, count, randomSeed=7)
    positions = np.stack([c.GetPositions() for c in mol.GetConformers()])
    record = record_of(mol, "m")
    return record, positions[:, record.modelled]


@pytest.mark.parametrize("smiles", CHIRAL)
def test_conformers_have_the_right_hand_and_their_mirror_images_the_other(smiles):
    record, frames = conformers(smiles)
    centres = stereocentres(record)
    assert len(centres.centre) == smiles.count("[C@")
    assert (validity.hands(frames, centres) == 1).all()
    assert (validity.hands(frames * [1, 1, -1], centres) == -1).all()


def test_flips_by_hand():
    hands = np.array([[1, 1], [1, -1], [1, 1], [-1, 1], [-1, 1]])
    np.testing.assert_allclose(validity.flips([hands]), [0.25, 0.5])
    with pytest.raises(Unscorable, match="no_stereocentre"):
        validity.flips([np.empty((5, 0))])
    with pytest.raises(Unscorable, match="too_few_frames"):
        validity.flips([np.ones((1, 1))])


@pytest.mark.parametrize(
    "smiles", ["CCCCO", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "CS(=O)(=O)NC1CC1", "ClC(Cl)CBr", "CN=[N+]=[N-]"]
)
def test_conformers_have_their_graph_and_no_clash(smiles):
    record, frames = conformers(smiles)
    intact, clashing = validity.graph_and_clashes(frames, validity.contacts(record))
    assert intact.all() and not clashing.any()


def test_broken_bonds_and_clashes_are_seen():
    record, frames = conformers("CCCCO", 3)
    frames[1, 0] += 3 * (frames[1, 0] - frames[1, 1])  # a bond pulled apart
    frames[2, 4] = frames[2, 0] + 1.7  # an atom near one four bonds away
    frames[2, 4] = frames[2, 0] + np.array([0, 0, 1.9])
    intact, clashing = validity.graph_and_clashes(frames, validity.contacts(record))
    assert intact.tolist() == [True, False, False] and clashing.tolist() == [False, False, True]


def shares(record, frames) -> dict[str, float | str]:
    """Value, or status where there is none, of each metric of validity."""
    measures = measures_of(record)
    found = comparison.validity_scores(observe(Ensemble("egi", [frames]), measures), measures)
    assert tuple(score.metric for score in found) == comparison.VALIDITY_METRICS
    return {score.metric: score.status if score.value is None else score.value for score in found}


def test_shares_of_stereoisomers():
    record, frames = conformers("O[C@H]1CC[C@@H](C)C[C@@H]1N", 4)
    frames[1] *= [1, -1, 1]
    own = stereocentres(record)
    centre, around = own.centre[1], own.neighbours[1]
    frames[2, centre] += 1.6 * (frames[2, around].mean(0) - frames[2, centre])  # through the plane of its neighbours
    found = shares(record, frames)
    assert found["mirror_images"] == 0.25 and found["partly_inverted"] == 0.25
    assert found["right_hand"] == pytest.approx(2 / 3) and found["wrong_double_bonds"] == "no_stereocentre"
    record, frames = conformers("C/C=C/CO", 4)
    frames[3] = conformers("C/C=C\\CO", 1)[1]
    found = shares(record, frames)
    assert found["wrong_double_bonds"] == 0.25 and found["mirror_images"] == "no_stereocentre"
