from __future__ import annotations

import shutil

import numpy as np
import pytest
from rdkit import Chem

from egi.cli import UserError
from egi.md import quality
from egi.md.frames import read_frames, write_frames
from egi.md.manifest import apply_quality
from egi.md.protocol import Engine, Replica, run_replica
from egi.md.quality import assess, flipped_centres, write_quality
from egi.md.system import build


@pytest.fixture(scope="module")
def butanol(md, tmp_path_factory):
    """A finished replica of a chiral molecule, and its molecule."""
    folder = tmp_path_factory.mktemp("butanol") / "mol"
    job, settings = md.job("C[C@H](O)CC"), md.settings(production="80 ps", segment="80 ps")
    build(job, settings, 1, folder)
    run_replica(Replica(folder, "mol", 0, settings, 1), Engine("Reference"), 15)
    return folder, job.mol, settings


@pytest.fixture
def replica(butanol, tmp_path):
    folder = shutil.copytree(butanol[0], tmp_path / "mol")
    row = {"molecule": "mol", "split": "train", "replica": 0, "path": folder / "replica_0.xtc"}
    return row, butanol[1], butanol[2]


def _change(row, change) -> None:
    positions, times, boxes = read_frames(row["path"])
    write_frames(row["path"], change(positions), times[: len(change(positions))], boxes[: len(change(positions))])


def test_a_sound_replica_passes(replica):
    found = assess(*replica)
    assert (found["verdict"], found["reasons"]) == ("pass", "")
    assert found["frames"] == 1000 and found["flipped_centres"] == found["broken_bonds"] == 0
    assert 0.05 < found["bond_deviation_angstrom"] < 0.4
    assert found["rigid_bond_deviation_angstrom"] < 0.02  # the grid of XTC
    assert found["temperature_spread_kelvin"] == pytest.approx(found["temperature_expected_spread_kelvin"], rel=0.15)


def test_a_mirrored_second_half_is_noticed(replica):
    def mirror(x):
        return np.concatenate([x[:500], x[500:] * np.array([-1, 1, 1], dtype=x.dtype)])

    _change(replica[0], mirror)
    assert assess(*replica)["reasons"] == "1 stereocentres changed hand"


def test_a_wrong_hand_from_the_first_frame_on_is_noticed(replica):
    """As after a flip in equilibration, which no later frame gives away."""
    _change(replica[0], lambda x: x * np.array([-1, 1, 1], dtype=x.dtype))
    assert assess(*replica)["reasons"] == "1 stereocentres changed hand"


def test_a_stretched_bond_and_missing_frames_are_noticed(replica):
    def stretch(x):
        x = x[:900].copy()
        x[100, 0] += (x[100, 0] - x[100, 1]) * 0.8
        return x

    _change(replica[0], stretch)
    found = assess(*replica)
    assert found["verdict"] == "fail"
    assert found["reasons"].startswith("900 frames instead of 1000; a bond 1.")
    assert "bonds broke" in found["reasons"]


def test_a_wrong_temperature_is_noticed(replica):
    path = replica[0]["path"].with_suffix(".csv")
    lines = [line.split(",") for line in path.read_text().splitlines()]
    hot = [lines[0]] + [[t, e, str(float(k) * 1.7), d] for t, e, k, d in lines[1:]]
    path.write_text("\n".join(",".join(line) for line in hot))
    assert "mean temperature" in assess(*replica)["reasons"]


def test_distant_atoms_that_meet_are_a_new_bond(replica):
    def fold(x):
        x = x.copy()
        x[:200, 14] = x[:200, 0] + 0.08  # a hydrogen of the far methyl group onto the first carbon
        return x

    _change(replica[0], fold)
    assert "new bonds in 200 frames" in assess(*replica)["reasons"]


def test_ring_faults_fail_a_replica_and_flipped_chairs_do_not(replica, monkeypatch):
    found = {"pierced_rings": 1, "twisted_rings": 2, "flipped_chairs": 3}
    monkeypatch.setattr(quality, "ring_faults", lambda positions, mol: found)
    row = assess(*replica)
    assert row["verdict"] == "fail" and row["flipped_chairs"] == 3
    assert row["reasons"] == "a bond goes through 1 rings; 2 rings twisted at a double or aromatic bond"


def test_double_bonds_count_as_centres():
    mol = Chem.AddHs(Chem.MolFromSmiles("C/C=C/F"))
    from rdkit.Chem import AllChem

    frames = []
    for smiles in ("C/C=C/F", "C/C=C\\F"):
        other = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(other, randomSeed=1)
        frames.append(other.GetConformer().GetPositions())
    assert flipped_centres(np.array([frames[0], frames[0]]), mol) == 0
    assert flipped_centres(np.array(frames), mol) == 1


def test_subsampling_takes_only_what_passes(tmp_path):
    path = tmp_path / "md_quality.csv"
    write_quality([{"molecule": "a", "replica": 0, "verdict": "fail", "reasons": "1 bonds broke"},
                   {"molecule": "a", "replica": 1, "verdict": "pass", "reasons": ""}], path)  # fmt: skip
    rows = [{"molecule": "a", "replica": k, "status": "ok", "stage": "", "reason": ""} for k in (0, 1)]
    apply_quality(rows, path)
    assert [r["status"] for r in rows] == ["rejected", "ok"]
    assert (rows[0]["stage"], rows[0]["reason"]) == ("quality", "1 bonds broke")
    with pytest.raises(UserError, match=r"md_quality.csv lacks replica 2 of a; it is older than the manifest"):
        apply_quality([{"molecule": "a", "replica": 2, "status": "ok"}], path)
