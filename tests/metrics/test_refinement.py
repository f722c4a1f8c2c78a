"""The table of what refinement did, from made-up tables of refined frames and distances."""

from __future__ import annotations

import pandas as pd
import pytest

from egi.metrics import refinement
from egi.metrics.tables import Tables

STATUSES = (
    "not_finite",
    "overlap",
    "some_inverted",
    "wrong_double_bond",
    "unstable",
    "broken",
    "wrong_atoms",
    "no_parameters",
)


def counted(**changes) -> pd.DataFrame:
    row = {
        "method": "egi",
        "molecule": "a",
        "frames": 10,
        "ok": 6,
        "reflected": 2,
        "reason": None,
        "all_atom_overlap": 0.9,
        "torsions_kept_stiff": 1.0,
        "torsions_kept": 0.8,
        **dict.fromkeys(STATUSES, 0),
        "overlap": 1,
        "some_inverted": 2,
        "broken": 1,
    }
    return pd.DataFrame([row | changes])


def distances() -> pd.DataFrame:
    values = {
        ("md_oracle_matched", False): (0.1, 0.2, 0.3),
        ("egi", False): (0.5, 0.4, 0.45),
        ("egi", True): (0.12, 0.3, 0.4),
    }
    return pd.DataFrame(
        [
            {"method": method, "refined": refined, "molecule": "a", "metric": metric, "value": value}
            for (method, refined), own in values.items()
            for metric, value in zip(("jsd_bond_length", "jsd_bond_angle", "jsd_torsion"), own, strict=True)
        ]
    )


def test_ratios_shares_and_flags(tmp_path):
    found = {row.score.metric: row.score.value for row in refinement.rows(counted(), distances())}
    assert tuple(found) == refinement.METRICS
    wanted = {
        "bond_ratio": 1.2,
        "angle_ratio": 1.5,
        "torsion_change": -0.05,
        "refined_share": 0.6,
        "reflected_share": 0.2,
        "flagged_frame": 0.1,
        "flagged_stereo": 0.2,
        "flagged_dynamics": 0.1,
        "flagged_molecule": 0.0,
        "all_atom_overlap": 0.9,
        "torsions_kept_stiff": 1.0,
        "torsions_kept": 0.8,
    }
    assert found == pytest.approx(wanted)
    made = Tables(tmp_path / "t.csv", tmp_path / "m.csv", refinement.METRICS, 10, 0)
    made.write(refinement.rows(counted(), distances()))
    assert pd.read_csv(tmp_path / "t.csv")["refined"].tolist() == [True]


def test_a_molecule_of_which_no_frame_was_refined_has_its_reason():
    none = counted(
        ok=0,
        no_parameters=10,
        overlap=0,
        some_inverted=0,
        broken=0,
        reason="charges.json does not exist",
        all_atom_overlap=None,
        torsions_kept=None,
        torsions_kept_stiff=None,
    )
    raw = distances().query("not refined")
    found = {row.score.metric: row.score for row in refinement.rows(none, raw)}
    assert found["flagged_molecule"].value == 1 and found["flagged_molecule"].reason == "charges.json does not exist"
    assert found["bond_ratio"].value is None and "refined frames" in found["bond_ratio"].reason
    assert found["torsions_kept"].reason == "charges.json does not exist"


def test_a_molecule_without_torsions_kept_none():
    rigid = counted(torsions_kept=None, torsions_kept_stiff=None)
    found = {row.score.metric: row.score for row in refinement.rows(rigid, distances())}
    for metric in ("torsions_kept", "torsions_kept_stiff"):
        assert found[metric].value is None and found[metric].status == "no_internal_coordinates"
    assert found["bond_ratio"].value == pytest.approx(1.2)


def test_few_refined_frames_are_not_compared_with_many():
    """Distances fall with the number of frames, so those of a few refined ones say nothing."""
    found = {row.score.metric: row.score for row in refinement.rows(counted(ok=4), distances())}
    for metric in ("bond_ratio", "angle_ratio", "torsion_change", "all_atom_overlap"):
        assert found[metric].value is None and found[metric].status == "too_few_frames"
        assert found[metric].reason == "only 4 of 10 frames were refined"
    assert found["refined_share"].value == 0.4 and found["torsions_kept"].value == 0.8
    assert refinement.rows(counted(ok=5), distances())[0].score.value == pytest.approx(1.2)


def test_tables_without_their_columns_are_refused():
    with pytest.raises(ValueError, match="no column overlap"):
        refinement.rows(counted().drop(columns="overlap"), distances())
    with pytest.raises(ValueError, match="no column metric"):
        refinement.rows(counted(), distances().drop(columns="metric"))
