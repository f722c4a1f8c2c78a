"""One training loop for every model and task, on Lightning (FACTS 13; DESIGN 4).

Everything random in step k follows from (seed, k): which items, which segments, which noise. So a
run that was killed and resumed from its work directory gives what an unbroken run gives. The work
directory stands beside the output, is no declared output of the workflow, and goes at the end.
"""

from __future__ import annotations

import copy
import csv
import logging
import math
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch
from tqdm import tqdm

from egi import models
from egi.config import AUTOREGRESSIVE, DiffusionSettings, TrainingSettings
from egi.data.step_batches import Budget, StepBatches
from egi.data.storage import atomic
from egi.diffusion.frames import condition_mask
from egi.diffusion.loss import autoregressive_loss, diffusion_loss
from egi.diffusion.schedule import Schedule
from egi.seeds import torch_generator

log = logging.getLogger(__name__)

CURVE = ("step", "train_loss", "val_loss", "seconds")
#: validation takes one batch for so many training steps between validations, so that it costs a few percent
STEPS_PER_VALIDATION_BATCH = 10
#: (model, batch with positions, generator) -> scalar loss
Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]


class TrainingError(RuntimeError):
    """Training that came to nothing, such as a loss that is not finite."""


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes
    ----------
    settings : TrainingSettings
    seed : int
    output : Path
        The final checkpoint.
    curve : Path
        CSV with the columns of `CURVE`; losses are means over the steps since the row before.
    identity : dict
        Plain values that the result depends on; an interrupted run is resumed only if they agree.
    device : {"auto", "cpu", "cuda"}
    """

    settings: TrainingSettings
    seed: int
    output: Path
    curve: Path
    identity: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"

    @property
    def work(self) -> Path:
        """Folder of the resumable checkpoint."""
        return self.output.with_name(f".{self.output.name}.work")

    @property
    def last(self) -> Path:
        """The resumable checkpoint."""
        return self.work / "last.ckpt"


def loss_of(method: str, task: str, diffusion: DiffusionSettings) -> Loss:
    """The loss that trains a method for a task ("conformers" for the structure model)."""
    if method in AUTOREGRESSIVE:
        return lambda model, batch, generator: autoregressive_loss(model, batch, batch.positions)
    schedule = Schedule(diffusion)

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The denoising loss with the task's given frames."""
        condition = condition_mask(task, *batch.positions.shape[:2])
        if condition is not None:
            condition = condition.to(batch.positions.device)
        return diffusion_loss(
            model, schedule, batch, batch.positions, condition, generator, schedule.settings.align_conditional
        )

    return loss


def file_identity(*paths: Path) -> list[list[Any]]:
    """Name, size and modification time of input files, for `Run.identity`."""
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def train(model: nn.Module, loss: Loss, train_set: Dataset, val_set: Dataset | None, run: Run) -> int:
    """Train a model, or go on where an interrupted run stopped, and write its checkpoint and curve.

    Adam on the parameters that require a gradient, an exponential moving average of the weights
    beside them (stored as "ema"; its decay grows as (1 + step) / (10 + step) up to the setting).

    Parameters
    ----------
    model : nn.Module
        Built by `egi.models.build`; trained in place.
    loss : Loss
    train_set, val_set : Dataset
        Items by (epoch, index), graphs with ``positions``; no validation if `val_set` is None.
    run : Run

    Returns
    -------
    int
        Number of optimiser steps in all.

    Raises
    ------
    ValueError
        If the batch cannot be split over the devices.
    TrainingError
        If the loss is not finite.
    SystemExit
        On SIGTERM, after writing the resumable checkpoint.
    """
    settings = run.settings
    if settings.batch_size % settings.devices:
        raise ValueError(
            f"batch_size = {settings.batch_size} with devices = {settings.devices}; wanted a multiple of devices"
        )
    steps = settings.steps or _batches(train_set, run, share=(0, settings.devices)).steps_of(settings.epochs)
    module = _Module(model, loss, train_set, val_set, run, steps)
    module.resume()
    if module.step < steps:
        trainer = _trainer(run, steps - module.step)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The `srun` command|`isinstance.treespec")
                trainer.fit(module)
        except SIGTERMException as stop:  # raised between steps, so the state is whole
            module.save()
            raise SystemExit(128 + signal.SIGTERM) from stop
        if not trainer.is_global_zero:
            return steps
    module.finish()
    return steps


def _batches(dataset: Dataset, run: Run, steps: range = range(0), share: tuple[int, int] = (0, 1)) -> StepBatches:
    """A run's batches of a data set, for one rank."""
    settings = run.settings
    size, budget = settings.batch_size // settings.devices, Budget.of(dataset, settings)
    return StepBatches(len(dataset), size, steps, run.seed, share, budget)


def _trainer(run: Run, steps: int) -> pl.Trainer:
    """A Lightning trainer that keeps to training: no logger, no files, no Slurm (that is Snakemake's business)."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    return pl.Trainer(
        max_steps=steps,
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[run.device],
        devices=run.settings.devices,
        strategy="ddp" if run.settings.devices > 1 else "auto",
        precision=run.settings.precision,
        gradient_clip_val=run.settings.gradient_clip,
        plugins=[LightningEnvironment()],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class _Module(pl.LightningModule):
    """Steps, moving average, validation and checkpoints of a run."""

    def __init__(self, model: nn.Module, loss: Loss, train_set, val_set, run: Run, steps: int):
        super().__init__()
        self.model, self.ema = model, copy.deepcopy(model).requires_grad_(False)
        self._loss, self._train_set, self._val_set, self.run, self._steps = loss, train_set, val_set, run, steps
        self.step, self.rows = 0, []
        self._optimizer_state: dict | None = None
        self._running, self._seconds = [0.0, 0], 0.0
        self._identity = {**run.identity, "seed": run.seed, "settings": run.settings.plain()}

    # ---- Lightning's hooks

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, going on from the resumed state."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(parameters, lr=self.run.settings.learning_rate, foreach=True)
        if self._optimizer_state is not None:
            self._optimizer.load_state_dict(self._optimizer_state)
        return self._optimizer

    def train_dataloader(self) -> DataLoader:
        """Batches of the steps that are left."""
        steps = range(self.step, self._steps)
        share = (self.trainer.global_rank, self.trainer.world_size)
        return _loader(self._train_set, _batches(self._train_set, self.run, steps, share), self.device)

    def on_fit_start(self) -> None:
        """Clock, running loss, averaged parameters and progress bar."""
        self._started = self._saved = time.monotonic()
        self._sum, self._count = torch.tensor(self._running[0], device=self.device), self._running[1]
        trained = [p.requires_grad for p in self.model.parameters()]
        self._pairs = [
            [p for p, wanted in zip(m.parameters(), trained, strict=True) if wanted] for m in (self.ema, self.model)
        ]
        self._progress = tqdm(
            total=self._steps, initial=self.step, desc=self.run.output.stem, mininterval=5, ascii=True,
            disable=not self.trainer.is_global_zero,
        )  # fmt: skip

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss, its noise following from the step."""
        names = ("noise", self.step, self.global_rank)
        loss = self._loss(self.model, batch, torch_generator(self.run.seed, *names, device=str(self.device)))
        self._sum += loss.detach()
        return loss

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        """Count the step, average the weights, and validate and save when it is time."""
        self.step += 1
        self._count += 1
        settings, now = self.run.settings, time.monotonic()
        decay = min(settings.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(*self._pairs, 1 - decay)
        self._progress.update()
        if self.step % settings.validate_every == 0 or self.step == self._steps:
            self._validate()
        if self.step == self._steps or now - self._saved > settings.checkpoint_every_seconds:
            self.save()

    def teardown(self, stage: str) -> None:
        """Close the progress bar."""
        self._progress.close()

    # ---- validation and files

    def _validate(self) -> None:
        """A row of the curve; the validation items and noise are the same every time."""
        train_loss = (self._sum / self._count).item()
        if not math.isfinite(train_loss):
            raise TrainingError(
                f"the training loss is not finite in the {self._count} steps before step {self.step}; "
                "lower learning_rate or set gradient_clip"
            )
        self.rows.append([self.step, train_loss, self._validation_loss(), self._elapsed()])
        self._sum.zero_()
        self._count = 0
        if self.trainer.is_global_zero:
            _write_curve(self.run.curve, self.rows)
            log.info("step %d: training loss %.4f, validation loss %.4f, %.0f s", *_numbers(self.rows[-1]))

    def _validation_loss(self) -> float | None:
        """Mean loss of the averaged weights over the same items with the same noise every time."""
        if self._val_set is None:
            return None
        seed = self.run.seed
        steps = range(max(1, self.run.settings.validate_every // STEPS_PER_VALIDATION_BATCH))
        batches = _batches(self._val_set, self.run, steps)
        total = 0.0
        for number, batch in enumerate(_loader(self._val_set, batches, self.device)):
            generator = torch_generator(seed, "validation", number, device=str(self.device))
            with self.trainer.precision_plugin.forward_context():
                total += self._loss(self.ema, batch.to(self.device), generator).item()
        return total / len(steps)

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._started

    def save(self) -> None:
        """Write the resumable checkpoint."""
        self._saved = time.monotonic()
        if not self.trainer.is_global_zero:
            return
        content = {
            "identity": self._identity,
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rows": self.rows,
            "running": [self._sum.item(), self._count],
            "seconds": self._elapsed(),
        }
        with atomic(self.run.last) as partial:
            torch.save(content, partial)

    def resume(self) -> None:
        """Take up an interrupted run's state, if there is one of the same identity."""
        if not self.run.last.is_file():
            return
        content = torch.load(self.run.last, map_location="cpu", weights_only=True)
        if content["identity"] != self._identity:
            log.warning("%s is of other data or settings; training starts anew", self.run.last)
            return
        self.model.load_state_dict(content["model"])
        self.ema.load_state_dict(content["ema"])
        self._optimizer_state = content["optimizer"]
        self.step, self.rows, self._running = content["step"], content["rows"], content["running"]
        self._seconds = content["seconds"]
        log.info("resumed at step %d of %d from %s", self.step, self._steps, self.run.last)

    def finish(self) -> None:
        """Write the final checkpoint and curve, and remove the work directory."""
        self.run.output.parent.mkdir(parents=True, exist_ok=True)
        extra = {"steps": self._steps, **{key: value for key, value in self._identity.items() if key != "files"}}
        models.save(self.run.output, self.ema, raw_state=self.model.state_dict(), extra=extra)
        _write_curve(self.run.curve, self.rows)
        shutil.rmtree(self.run.work, ignore_errors=True)


def _loader(dataset: Dataset, batches, device: torch.device) -> DataLoader:
    """Batches of graphs, read by worker processes where the network runs on a GPU."""
    workers = 4 if device.type == "cuda" else 0
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=Batch.from_data_list, num_workers=workers,
        pin_memory=device.type == "cuda",
    )  # fmt: skip


def _numbers(row: list) -> list[float]:
    return [math.nan if value is None else value for value in row]


def _write_curve(path: Path, rows: list[list]) -> None:
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CURVE)
        for step, train_loss, val_loss, seconds in rows:
            writer.writerow([step, train_loss, "" if val_loss is None else val_loss, f"{seconds:.1f}"])
