"""The training loop: it learns, it can be killed, and it says what went wrong."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from torch_geometric.data import Data

from egi import models, training
from egi.chem.features import ELEMENTS, FEATURE_WIDTH
from egi.config import DiffusionSettings, ModelSettings, TrainingSettings
from egi.seeds import stream

SMALL = ModelSettings(hidden=8, layers=1, temporal_frequencies=2)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Chains(Dataset):
    """Bent three-atom chains, another bend each epoch."""

    def __init__(self, items=6, frames=1):
        self.items, self.frames = items, frames

    def __len__(self):
        return self.items

    def __getitem__(self, pair):
        epoch, index = pair
        bend = stream(0, epoch, index).uniform(1.5, 2.5, self.frames)
        apex = np.zeros_like(bend)
        positions = np.stack(
            [np.stack([-1.5 * np.sin(bend / 2), 1.5 * np.cos(bend / 2), apex], -1), np.stack([apex] * 3, -1),
             np.stack([1.5 * np.sin(bend / 2), 1.5 * np.cos(bend / 2), apex], -1)]
        )  # fmt: skip
        return Data(
            atomic_numbers=torch.tensor([ELEMENTS[2]] * 3),
            features=torch.zeros(3, FEATURE_WIDTH),
            edge_index=torch.tensor([[0, 1, 1, 2, 0, 2], [1, 0, 2, 1, 2, 0]]),
            edge_type=torch.tensor([1, 1, 1, 1, 6, 6]),
            num_nodes=3,
            positions=torch.tensor(positions - positions.mean(0), dtype=torch.float32),
        )


def settings(**more):
    return TrainingSettings(**{"steps": 20, "batch_size": 4, "validate_every": 10, "learning_rate": 1e-2, **more})


def run_in(folder, name="model", seed=1, **more):
    return training.Run(settings(**more), seed, folder / f"{name}.ckpt", folder / f"{name}.csv", {"name": "x"}, "cpu")


def fresh(method="basices"):
    torch.manual_seed(0)
    return models.build(method, SMALL)


def loss(method="basices", task="conformers"):
    return training.loss_of(method, task, DiffusionSettings())


def rows(run):
    with run.curve.open(newline="") as file:
        return list(csv.DictReader(file))


def weights(path, kind):
    return models.read(path)[kind]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_training_lowers_the_loss_and_writes_both_weights(tmp_path):
    run = run_in(tmp_path, steps=300, validate_every=100, batch_size=16, ema_decay=0.9)
    assert training.train(fresh(), loss(), Chains(), Chains(), run) == 300
    curve = rows(run)
    assert [row["step"] for row in curve] == ["100", "200", "300"]
    assert list(curve[0]) == list(training.CURVE)
    assert float(curve[-1]["train_loss"]) < 0.8 * float(curve[0]["train_loss"])
    assert float(curve[-1]["val_loss"]) < float(curve[0]["val_loss"])
    assert not same(weights(run.output, "ema"), weights(run.output, "raw"))
    assert models.read(run.output)["extra"]["settings"]["learning_rate"] == 1e-2
    assert not run.work.exists() and sorted(p.name for p in tmp_path.iterdir()) == ["model.ckpt", "model.csv"]


def test_epochs_in_bounded_batches_show_every_item(tmp_path):
    class Sized(Chains):
        shown: list = []  # noqa: RUF012

        def costs(self):
            return self.frames * np.tile([3, 6], (self.items, 1))

        def __getitem__(self, pair):
            self.shown.append(pair)
            return super().__getitem__(pair)

    run = run_in(tmp_path, steps=None, epochs=2, max_edge_frames=12)
    data = Sized()
    assert training.train(fresh(), loss(), data, None, run) == 6  # twelve items, two a batch
    assert sorted(data.shown) == [(epoch, k) for epoch in range(2) for k in range(6)]
    with pytest.raises(ValueError, match="wanted max_node_frames and max_edge_frames no smaller than the largest"):
        training.train(fresh(), loss(), data, None, run_in(tmp_path, "small", max_node_frames=2))


@pytest.mark.parametrize(
    ("method", "task"), [("egi", "forward"), ("geotdm", "interpolation"), ("ar_egnn", "unconditional")]
)
def test_every_kind_of_model_trains_and_frozen_weights_stay(method, task, tmp_path):
    model, run = fresh(method), run_in(tmp_path, steps=2, validate_every=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training.train(model, loss(method, task), Chains(frames=4), Chains(frames=4), run)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moved <= wanted and len(moved) > len(wanted) / 2
    assert all(np.isfinite(float(row["val_loss"])) for row in rows(run))


@pytest.mark.parametrize(("method", "task"), [("egi", "forward"), ("ar_et", "unconditional")])
def test_bf16_trains_float32_weights_close_to_float32(method, task, tmp_path):
    curves = []
    for precision in ("32-true", "bf16-mixed"):
        run = run_in(tmp_path, precision, steps=2, validate_every=1, precision=precision)
        training.train(fresh(method), loss(method, task), Chains(frames=4), Chains(frames=4), run)
        curves.append([float(row[kind]) for row in rows(run) for kind in ("train_loss", "val_loss")])
        assert {tensor.dtype for tensor in weights(run.output, "ema").values()} == {torch.float32}
    assert curves[1] != curves[0] and curves[1] == pytest.approx(curves[0], rel=0.05)


def test_same_seed_same_weights(tmp_path):
    runs = [run_in(tmp_path, name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    for run in runs:
        training.train(fresh(), loss(), Chains(), Chains(), run)
    first, again, other = (weights(run.output, "ema") for run in runs)
    assert same(first, again) and not same(first, other)


class Killed(RuntimeError):
    pass


def dying(inner, at):
    """A loss that kills the run at its `at`-th call."""
    calls = []

    def call(model, batch, generator):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return inner(model, batch, generator)

    return call


def test_a_killed_run_resumed_equals_an_unbroken_one(tmp_path):
    whole, broken = run_in(tmp_path, "whole"), run_in(tmp_path, "broken", checkpoint_every="0.000001 s")
    training.train(fresh(), loss(), Chains(), None, whole)
    with pytest.raises(Killed):
        training.train(fresh(), dying(loss(), 14), Chains(), None, broken)
    assert broken.last.is_file() and not broken.output.exists()
    assert torch.load(broken.last, weights_only=True)["step"] == 13
    training.train(fresh(), loss(), Chains(), None, broken)
    for kind in models.checkpoint.WEIGHTS:
        assert same(weights(whole.output, kind), weights(broken.output, kind))
    cut = [[{k: row[k] for k in ("step", "train_loss")} for row in rows(run)] for run in (whole, broken)]
    assert cut[0] == cut[1] and rows(whole)[0]["val_loss"] == ""
    assert not broken.work.exists()


def test_work_of_other_settings_is_not_resumed(tmp_path, caplog):
    broken = run_in(tmp_path, checkpoint_every="0.000001 s")
    with pytest.raises(Killed):
        training.train(fresh(), dying(loss(), 5), Chains(), None, broken)
    other, clean = run_in(tmp_path, learning_rate=1e-3), run_in(tmp_path, "clean", learning_rate=1e-3)
    training.train(fresh(), loss(), Chains(), None, other)
    training.train(fresh(), loss(), Chains(), None, clean)
    assert "training starts anew" in caplog.text
    assert same(weights(other.output, "ema"), weights(clean.output, "ema"))


def test_sigterm_leaves_a_checkpoint_to_resume_from(tmp_path):
    run = run_in(tmp_path, steps=10**6)

    def slow(model, batch, generator):
        time.sleep(0.01)
        return loss()(model, batch, generator)

    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(SystemExit, match="143"):
        training.train(fresh(), slow, Chains(), None, run)
    assert torch.load(run.last, weights_only=True)["step"] > 0


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    def broken(model, batch, generator):
        return loss()(model, batch, generator) * float("nan")

    with pytest.raises(training.TrainingError, match="not finite in the 10 steps before step 10"):
        training.train(fresh(), broken, Chains(), None, run_in(tmp_path))


def test_a_batch_that_devices_cannot_share(tmp_path):
    with pytest.raises(ValueError, match="batch_size = 4 with devices = 3; wanted a multiple"):
        training.train(fresh(), loss(), Chains(), None, run_in(tmp_path, devices=3))


RANKS = """
import json, sys
from pathlib import Path
import numpy as np
import torch
sys.path.insert(0, sys.argv[2])
from test_training import Chains, fresh, loss, run_in
from egi import training

folder, shown = Path(sys.argv[1]), []
class Watched(Chains):
    def __getitem__(self, pair):
        shown.append(pair)
        return super().__getitem__(pair)
    def costs(self):
        return np.tile([3 * self.frames, 6 * self.frames], (self.items, 1))
inner, model, losses = loss("egi", "forward"), fresh("egi"), []
def watched(model, batch, generator):
    losses.append(inner(model, batch, generator))
    return losses[-1]
run = run_in(folder, steps=3, validate_every=3, devices=2, max_edge_frames=48)
training.train(model, watched, Watched(frames=4), None, run)
rank = torch.distributed.get_rank()
state = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
content = {"shown": shown, "state": state, "losses": [float(value) for value in losses]}
(folder / f"rank_{rank}.json").write_text(json.dumps(content))
"""


@pytest.mark.slow
def test_two_devices_share_the_batches_and_keep_equal_weights(tmp_path):
    """As scripts train on several GPUs, here two processes on the CPU: other items and noise, one model, one writer."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, str(script), str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(2))
    assert len(first["shown"]) == len(second["shown"]) == 6  # three steps of two items
    assert sorted(map(tuple, first["shown"] + second["shown"])) == [(epoch, k) for epoch in range(2) for k in range(6)]
    assert first["losses"] != second["losses"] and np.isfinite(first["losses"] + second["losses"]).all()
    assert first["state"] == second["state"]
    start, saved = fresh("egi").state_dict(), weights(tmp_path / "model.ckpt", "raw")
    for name, tensor in saved.items():
        assert tensor.tolist() == first["state"][name]
        assert name.startswith("structure.") <= torch.equal(tensor, start[name])  # frozen ones stay
    assert any(not torch.equal(tensor, start[name]) for name, tensor in saved.items())
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".ckpt", ".csv", ".json", ".json", ".py"]
