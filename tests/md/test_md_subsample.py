from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from egi.config import SimulationSettings, SubsampleSettings
from egi.md.common import Rejected
from egi.md.frames import write_frames
from egi.md.subsample import Picker, model_frames, remove_rigid_motion, roles
from egi.units import ConfigError


def test_paper_numbers_give_stride_13_and_961_frames():
    picker = Picker.of(SimulationSettings(), SubsampleSettings(phases=13))
    assert (picker.stride, picker.saved) == (13, 12500)
    times = (picker.indices + 1) * Decimal("0.4")
    assert times.shape == (13, 961)
    assert list(times[0, :3]) == [Decimal("5.2"), Decimal("10.4"), Decimal("15.6")]
    assert len(np.unique(picker.indices)) == 13 * 961 and picker.indices.min() == 0


def test_phases_are_spread_evenly():
    assert Picker(4, 13, 2).indices.tolist() == [[3, 7, 11], [1, 5, 9]]


def test_a_broken_ratio_names_both_settings():
    with pytest.raises(ConfigError, match=r"subsample.interval = 5 ps is no whole number of simulation.frame_interval"):
        Picker.of(SimulationSettings(), SubsampleSettings(interval="5 ps"))


def test_rigid_motion_is_removed_and_shape_kept():
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(7, 3))
    moved = np.stack([r.apply(shape) + rng.normal(size=3) * 10 for r in Rotation.random(20, random_state=1)])
    still = remove_rigid_motion(moved[None])[0]
    np.testing.assert_allclose(still, np.broadcast_to(still[0], still.shape), atol=1e-10)
    np.testing.assert_allclose(still[0], moved[0] - moved[0].mean(axis=0), atol=1e-12)


def test_superposition_is_the_best_proper_rotation_and_keeps_handedness():
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(30, 5, 3))
    frames[1] = frames[0] * [1, 1, -1]
    still = remove_rigid_motion(frames)
    centred = frames - frames.mean(axis=1, keepdims=True)
    for k in range(30):
        _, rssd = Rotation.align_vectors(centred[0], centred[k])
        assert np.linalg.norm(still[k] - still[0]) == pytest.approx(rssd, abs=1e-6)

    def hand(x):
        return np.sign(np.linalg.det(x[..., 1:4, :] - x[..., :1, :]))

    np.testing.assert_array_equal(hand(frames), hand(still))


@pytest.mark.parametrize("atoms", [1, 2])
def test_degenerate_molecules_stay_finite(atoms):
    still = remove_rigid_motion(np.random.default_rng(2).normal(size=(4, atoms, 3)))
    assert np.isfinite(still).all()
    linear = np.random.default_rng(3).normal(size=(6, 1, 3)) * np.arange(3)[:, None]
    assert np.isfinite(remove_rigid_motion(linear)).all()


def _trajectory(path, frames=10, atoms=4):
    positions = np.random.default_rng(4).normal(size=(frames, atoms, 3))
    write_frames(path, positions, np.arange(1, frames + 1) * 0.4, np.zeros((frames, 3, 3)))
    return positions * 10


def test_model_frames_take_modelled_atoms_by_index(tmp_path):
    positions = _trajectory(tmp_path / "a.xtc")
    found = model_frames(tmp_path / "a.xtc", np.array([3, 0]), 4, Picker(3, 10))
    assert found.shape == (1, 2, 3, 3) and found.dtype == np.float32
    wanted = np.linalg.norm(positions[[2, 5, 8], 3] - positions[[2, 5, 8], 0], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found[0, 0] - found[0, 1], axis=-1), wanted, atol=0.02)
    assert abs(found.mean(axis=1)).max() < 1e-5


@pytest.mark.parametrize(("frames", "atoms", "message"), [(9, 4, r"shape \(9, 4, 3\)"), (10, 5, r"shape \(10, 5, 3\)")])
def test_incomplete_or_foreign_trajectories_are_rejected(tmp_path, frames, atoms, message):
    _trajectory(tmp_path / "a.xtc", frames, atoms)
    with pytest.raises(Rejected, match=message + r"; wanted \(10, 4, 3\)"):
        model_frames(tmp_path / "a.xtc", np.arange(3), 4, Picker(2, 10))
    with pytest.raises(Rejected, match=r"does not exist"):
        model_frames(tmp_path / "b.xtc", np.arange(3), 4, Picker(2, 10))


def test_roles():
    assert roles([0, 1, 2, 3, 4], "test") == {**dict.fromkeys(range(4), "reference"), 4: "oracle"}
    assert roles([0, 3, 1], "test")[3] == "oracle"
    assert set(roles([0, 1], "train").values()) == {"reference"}
    with pytest.raises(Rejected, match=r"2 usable replicas; an oracle and 2 references need 3"):
        roles([0, 1], "test")
    with pytest.raises(Rejected, match=r"no usable replica"):
        roles([], "val")
