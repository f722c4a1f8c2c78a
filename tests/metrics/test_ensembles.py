"""Null models, the cut oracle, and how its score depends on its length."""

from __future__ import annotations

import numpy as np
from rdkit import Chem

from egi.chem.molecules import record_of
from egi.metrics import nulls
from egi.metrics.comparison import attempted, distribution_scores
from egi.metrics.ensembles import Ensemble, cut, measures_of, observe
from egi.metrics.tica import fit_tica

LARGE = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)NCCN1CCC(CC1)c1ccc(F)cc1"


def record(smiles: str):
    return record_of(Chem.AddHs(Chem.MolFromSmiles(smiles)), "m")


def trajectories(*lengths: int) -> list[np.ndarray]:
    return [np.full((length, 2, 3), float(k)) for k, length in enumerate(lengths)]


def test_matched_oracle_has_the_frames_and_the_length_of_what_was_generated():
    oracle, generated = Ensemble("md_oracle", trajectories(100, 100)), Ensemble("egi", trajectories(30, 30, 30, 30, 30))
    made = cut(oracle, generated, "md_oracle_matched")
    assert [len(t) for t in made.trajectories] == [30, 30, 30, 10, 30, 20] and made.note == ""
    assert [t[0, 0, 0] for t in made.trajectories] == [0, 0, 0, 0, 1, 1]
    same = cut(oracle, Ensemble("egi", trajectories(100, 50)), "md_oracle_matched")
    assert [len(t) for t in same.trajectories] == [100, 50]
    short = cut(Ensemble("md_oracle", trajectories(20)), generated, "md_oracle_matched")
    assert short.frames == 20 and short.note == "20 frames where 150 were generated"


def test_shuffled_frames_are_the_references():
    reference = Ensemble("reference", [np.arange(30.0).reshape(10, 1, 3)])
    made = nulls.shuffled(reference, 10, np.random.default_rng(0)).trajectories[0]
    assert not np.array_equal(made, reference.trajectories[0])
    np.testing.assert_array_equal(np.sort(made.ravel()), np.arange(30))


def test_etkdg_is_reproducible_and_says_when_there_are_fewer_conformers():
    made = nulls.etkdg(record("CCCO"), 70, 5, most=60)
    assert made.frames == 60 and made.note == "60 conformers where 70 frames were generated"
    np.testing.assert_array_equal(made.trajectories[0], nulls.etkdg(record("CCCO"), 60, 5).trajectories[0])


def test_etkdg_keeps_what_it_has_when_time_is_up(monkeypatch):
    monkeypatch.setattr(nulls, "_TIMEOUT_SECONDS", 4)
    monkeypatch.setattr(nulls, "_BATCH", 5)
    made = nulls.etkdg(record(LARGE), 5000, 1)
    assert 0 < made.frames < 5000 and f"{made.frames} conformers where 5000" in made.note


def test_score_of_the_oracle_against_the_reference_falls_with_its_length(synthetic):
    record, mol = synthetic.embedded("CCCCO", "m")
    measures, rng = measures_of(record), np.random.default_rng(6)
    made = [synthetic.hopping(record, mol, 600, rng).transpose(1, 0, 2) for _ in range(4)]
    reference, oracle = Ensemble("reference", made[:3]), Ensemble("md_oracle", made[3:])
    seen = observe(reference, measures)
    tica = attempted(lambda: fit_tica(seen.series, 2))
    found = {}
    for frames in (20, 100, 600):
        short = observe(cut(oracle, Ensemble("", trajectories(frames)), "md_oracle_matched"), measures)
        scores = distribution_scores(seen, short, tica)
        found[frames] = {score.metric: score.value for score in scores}
    for metric in found[20]:
        assert found[20][metric] > 1.1 * found[100][metric] > 1.1**2 * found[600][metric] > 0, metric
