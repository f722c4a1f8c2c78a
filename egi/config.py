"""Settings of the whole workflow: one pydantic class a section, checked before any job starts.

YAML values carry their unit (``timestep: 4 fs``); here the unit is in the attribute's name
(``timestep_ps``), and times are exact decimals. The defaults are the paper's numbers (FACTS
sections in the comments refer to the paper); ``config/paper.yaml`` states them all.
"""

from __future__ import annotations

import copy
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from egi.config_sections import SPLITS as SPLITS
from egi.config_sections import GeomSettings, SelectionSettings
from egi.md.refinement_settings import RefinementSettings
from egi.section import Section
from egi.units import (
    Amu,
    Angstrom,
    Bar,
    ConfigError,
    Kelvin,
    PerPicosecond,
    Picoseconds,
    Seconds,
    whole_multiple,
    yaml_name,
)

TASKS = ("unconditional", "forward", "interpolation")
METHODS = ("egi", "egi_naive", "egi_unfrozen", "geotdm", "ar_egnn", "ar_et")
AUTOREGRESSIVE = ("ar_egnn", "ar_et")
PRETRAINED = ("egi", "egi_unfrozen")

Task = Literal["unconditional", "forward", "interpolation"]
Method = Literal["egi", "egi_naive", "egi_unfrozen", "geotdm", "ar_egnn", "ar_et"]


class SimulationSettings(Section):
    """Molecular dynamics protocol (FACTS 4, 5; DESIGN 4)."""

    #: simulate here, or take the trajectories in the folder `released_path` (docs/data.md)
    source: Literal["openmm", "released"] = "openmm"
    released_path: str | None = None
    force_field: str = "openff-2.2.1"
    charges: Literal["am1bcc", "nagl"] = "am1bcc"
    #: charge method to fall back on when the first fails; None = reject the molecule
    charges_fallback: Literal["nagl"] | None = None
    charges_timeout_seconds: Seconds = 3600.0
    solvent: Literal["explicit", "vacuum"] = "explicit"
    box: Literal["cube", "dodecahedron"] = "cube"
    padding_angstrom: Angstrom = 15.0
    cutoff_angstrom: Angstrom = 9.0
    switch_distance_angstrom: Angstrom = 8.0
    hydrogen_mass_amu: Amu = 1.5
    temperature_kelvin: Kelvin = 300.0
    friction_per_ps: PerPicosecond = 1.0
    pressure_bar: Bar = 1.0
    barostat_interval_steps: int = Field(25, gt=0)
    timestep_ps: Picoseconds = Decimal("0.004")
    warmup_timestep_ps: Picoseconds = Decimal("0.001")
    warmup_ps: Picoseconds = Decimal("2")
    nvt_ps: Picoseconds = Decimal("20")
    production_ps: Picoseconds = Decimal("5000")
    frame_interval_ps: Picoseconds = Decimal("0.4")
    #: a restart file is written this often
    segment_ps: Picoseconds = Decimal("100")
    platform: Literal["auto", "CUDA", "HIP", "OpenCL", "CPU", "Reference"] = "auto"
    shards: int = Field(1, gt=0)
    concurrent_replicas: int = Field(1, gt=0)
    max_failed_fraction: float = Field(0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> SimulationSettings:
        whole_multiple(self.warmup_ps, self.warmup_timestep_ps, "warmup", "warmup_timestep")
        whole_multiple(self.nvt_ps, self.timestep_ps, "nvt", "timestep")
        whole_multiple(self.frame_interval_ps, self.timestep_ps, "frame_interval", "timestep")
        whole_multiple(self.segment_ps, self.frame_interval_ps, "segment", "frame_interval")
        whole_multiple(self.production_ps, self.frame_interval_ps, "production", "frame_interval")
        if self.switch_distance_angstrom >= self.cutoff_angstrom:
            raise ValueError(
                f"switch_distance = {self.switch_distance_angstrom} angstrom must be below "
                f"cutoff = {self.cutoff_angstrom} angstrom"
            )
        if (self.source == "released") != (self.released_path is not None):
            raise ValueError(
                f"source = {self.source} with released_path = {self.released_path}; "
                "allowed: a folder if and only if source = released"
            )
        return self


class SubsampleSettings(Section):
    """From saved frames to model frames (FACTS 6)."""

    interval_ps: Picoseconds = Decimal("5.2")
    #: how many of the possible start offsets are kept, each a trajectory of its own
    phases: int = Field(1, gt=0)


class ModelSettings(Section):
    """Widths of every network (FACTS 7-10; DESIGN 4)."""

    hidden: int = Field(128, gt=0)
    layers: int = Field(6, gt=0)
    atom_width: int = Field(30, gt=0)
    edge_width: int = Field(4, gt=0)
    time_width: int = Field(32, gt=0, multiple_of=2)
    #: sinusoid frequencies of the relative frame time in temporal attention
    temporal_frequencies: int = Field(16, gt=0)
    #: spatial layers see handedness (not in the paper)
    chirality_aware: bool = False


class DiffusionSettings(Section):
    """Noise schedule (DESIGN 4; A-14)."""

    steps: int = Field(1000, gt=1)
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)
    #: turn noisy frames onto the clean ones in training also where given frames already fix the frame of reference
    #: (A-13); in a trial, turning this off halved the error in orientation against the given frame
    align_conditional: bool = True


class TrainingSettings(Section):
    """One training run (FACTS 13). Exactly one of `steps` and `epochs`."""

    steps: int | None = Field(None, gt=0)
    #: an epoch takes one random segment (or conformer) from each trajectory (molecule's conformer)
    epochs: int | None = Field(None, gt=0)
    batch_size: int = Field(32, gt=0)
    #: most atoms (edges) times frames in a device's part of a batch; larger parts get fewer items; None = no bound
    max_node_frames: int | None = Field(None, gt=0)
    max_edge_frames: int | None = Field(None, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    gradient_clip: float | None = Field(None, gt=0)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    devices: int = Field(1, gt=0)
    #: validation loss every so many steps
    validate_every: int = Field(1000, gt=0)
    #: a resumable checkpoint this often
    checkpoint_every_seconds: Seconds = 600.0

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"steps = {self.steps} and epochs = {self.epochs}; allowed: exactly one of the two")
        return self


class SamplingSettings(Section):
    """Drawing samples (FACTS 14)."""

    #: trajectories a molecule; for conformers, times the number of reference conformers
    samples: int = Field(gt=0)
    sampler: Literal["ddpm", "ddim", "dpm"] = "ddpm"
    steps: int = Field(1000, gt=0)
    #: 1 = stochastic DDIM, 0 = deterministic
    eta: float = Field(1.0, ge=0, le=1)
    #: blocks of a forward roll-out, each conditioned on the last frame of the one before
    blocks: int = Field(1, gt=0)
    batch_size: int = Field(32, gt=0)
    max_molecules: int | None = Field(None, gt=0)
    weights: Literal["ema", "raw"] = "ema"
    alpha_override: float | None = Field(None, ge=0, le=1)


class TaskSettings(Section):
    """One generation task of a dataset (FACTS 6, 13, 14)."""

    methods: list[Method] = Field(min_length=1)
    #: frames of a training segment, given frames included
    frames: int = Field(gt=2)
    training: TrainingSettings
    sampling: SamplingSettings


class EvaluationSettings(Section):
    """Metrics (FACTS 15, 16)."""

    #: COV threshold
    coverage_threshold_angstrom: Angstrom
    tica_lag_ps: Picoseconds
    msm_lag_ps: Picoseconds
    microstates: int = Field(100, gt=1)
    metastates: int = Field(10, gt=1)
    #: histogram of decorrelation times: bin width, and end of the last bin
    decorrelation_bin_ps: Picoseconds = Decimal("5")
    decorrelation_maximum_ps: Picoseconds = Decimal("1380")
    #: lengths to which the oracle is cut, equally spaced up to its full length
    oracle_lengths: int = Field(7, gt=0)
    bootstrap: int = Field(1000, gt=0)
    workers: int = Field(2, gt=0)

    @model_validator(mode="after")
    def _bins_fit(self) -> EvaluationSettings:
        bins = whole_multiple(
            self.decorrelation_maximum_ps, self.decorrelation_bin_ps, "decorrelation_maximum", "decorrelation_bin"
        )
        if bins < 2:
            raise ValueError(
                f"decorrelation_maximum = {self.decorrelation_maximum_ps} ps; "
                f"allowed: at least twice decorrelation_bin = {self.decorrelation_bin_ps} ps"
            )
        return self


class DatasetSettings(Section):
    """Everything about one dataset."""

    geom: GeomSettings
    selection: SelectionSettings
    simulation: SimulationSettings = SimulationSettings()
    subsample: SubsampleSettings = SubsampleSettings()
    model: ModelSettings = ModelSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    pretraining: TrainingSettings
    conformer_sampling: SamplingSettings = SamplingSettings(samples=2)
    tasks: dict[Task, TaskSettings]
    evaluation: EvaluationSettings
    refinement: RefinementSettings = RefinementSettings()

    @field_validator("tasks")
    @classmethod
    def _methods_can_do_their_task(cls, tasks: dict[str, TaskSettings]) -> dict[str, TaskSettings]:
        for task, settings in tasks.items():
            for method in settings.methods:
                allowed = methods_for(task)
                if method not in allowed:
                    raise ValueError(
                        f"{task}.methods has {method!r}, which cannot do {task}; allowed: {', '.join(allowed)}"
                    )
            if task != "forward" and settings.sampling.blocks != 1:
                raise ValueError(f"{task}.sampling.blocks = {settings.sampling.blocks}; only forward rolls out")
        return tasks

    @model_validator(mode="after")
    def _times_fit(self) -> DatasetSettings:
        simulation, interval = self.simulation, self.subsample.interval_ps
        stride = whole_multiple(
            interval, simulation.frame_interval_ps, "subsample.interval", "simulation.frame_interval"
        )
        if self.subsample.phases > stride:
            raise ValueError(f"subsample.phases = {self.subsample.phases}; allowed: at most the stride, {stride}")
        whole_multiple(self.evaluation.tica_lag_ps, interval, "evaluation.tica_lag", "subsample.interval")
        whole_multiple(self.evaluation.msm_lag_ps, interval, "evaluation.msm_lag", "subsample.interval")
        available = frames_per_replica(self)
        for task, settings in self.tasks.items():
            if settings.frames > available:
                raise ValueError(
                    f"tasks.{task}.frames = {settings.frames}, but production = {simulation.production_ps} ps "
                    f"every {interval} ps gives {available} frames; allowed: at most {available}"
                )
        samplings = {f"tasks.{task}.sampling": settings.sampling for task, settings in self.tasks.items()}
        for name, sampling in {"conformer_sampling": self.conformer_sampling, **samplings}.items():
            if sampling.steps > self.diffusion.steps:
                raise ValueError(
                    f"{name}.steps = {sampling.steps}; allowed: at most diffusion.steps = {self.diffusion.steps}"
                )
        return self


class Settings(Section):
    """The whole configuration file."""

    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    #: torch and OpenMM threads of one job on the CPU
    threads: int = Field(2, gt=0)
    #: merged under each dataset, so that shared values are written once
    defaults: dict[str, Any] = Field(default_factory=dict)
    datasets: dict[str, DatasetSettings] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _merge_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("datasets"), dict):
            return values
        defaults = values.get("defaults") or {}
        merged = {name: merge(defaults, own or {}) for name, own in values["datasets"].items()}
        return {**values, "defaults": {}, "datasets": merged}

    def dataset(self, name: str) -> DatasetSettings:
        """Settings of one dataset; ConfigError if there is none of that name."""
        if name not in self.datasets:
            raise ConfigError(f"dataset {name!r} is not in the config; allowed: {', '.join(self.datasets)}")
        return self.datasets[name]


def methods_for(task: str) -> tuple[str, ...]:
    """Methods that can do a task: a next-frame model cannot reach a given end frame."""
    return tuple(m for m in METHODS if task != "interpolation" or m not in AUTOREGRESSIVE)


def frames_per_replica(settings: DatasetSettings) -> int:
    """Model frames of one replica: every stride-th saved frame; saved frame 1 is one interval after time 0."""
    stride = int(settings.subsample.interval_ps / settings.simulation.frame_interval_ps)
    saved = int(settings.simulation.production_ps / settings.simulation.frame_interval_ps)
    return saved // stride


def merge(base: dict, override: dict) -> dict:
    """Nested dictionaries merged, the second winning; lists and values are replaced whole."""
    merged = copy.deepcopy(base)
    for key, value in override.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def parse_settings(values: dict[str, Any]) -> Settings:
    """Validate a configuration.

    Raises
    ------
    ConfigError
        One line a fault: key, value seen, what is allowed.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"]) or "config"
            message = fault["msg"].removeprefix("Value error, ")
            shown = (
                ""
                if fault["type"] in {"missing", "value_error"} and isinstance(fault["input"], dict)
                else (f" = {fault['input']!r}")
            )
            if fault["type"] == "extra_forbidden":
                message = "unknown key; allowed: " + ", ".join(_allowed_keys(fault["loc"][:-1]))
            lines.append(f"{key}{shown}: {message}")
        raise ConfigError("\n".join(lines)) from error


def _allowed_keys(location: tuple) -> list[str]:
    """YAML names of the section that a fault's location points to."""
    section: Any = Settings
    for part in location:
        fields = (
            {yaml_name(name): field for name, field in section.model_fields.items()} if _is_section(section) else {}
        )
        if part in fields:
            kind = fields[part].annotation
            values = getattr(kind, "__args__", ())  # of dict[name, section]
            section = kind if _is_section(kind) else next((v for v in values if _is_section(v)), None)
    return [yaml_name(name) for name in section.model_fields] if _is_section(section) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def load_settings(*paths: str | Path) -> Settings:
    """Read YAML files, later ones overriding, and validate the result.

    Raises
    ------
    ConfigError
        If a file is missing, is no mapping, or holds a fault.
    """
    values: dict[str, Any] = {}
    for path in map(Path, paths):
        if not path.is_file():
            raise ConfigError(f"config file {path} does not exist")
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(loaded, dict):
            raise ConfigError(f"config file {path} holds {type(loaded).__name__}; allowed: a mapping of sections")
        values = merge(values, loaded)
    return parse_settings(values)
