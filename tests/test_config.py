"""The configuration: units, exact times, and one clear line for every fault."""

from __future__ import annotations

import copy
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egi.config import (
    ConfigError,
    frames_per_replica,
    load_settings,
    merge,
    methods_for,
    parse_settings,
)
from egi.units import whole_multiple

ROOT = Path(__file__).parents[1]
BASE = {
    "datasets": {
        "mine": {
            "geom": {"source": "smiles", "files": {"all": "x.csv"}, "elements": ["C"]},
            "selection": {"molecules": {"train": 1, "val": 1, "test": 1}},
            "pretraining": {"steps": 5},
            "tasks": {
                "forward": {"methods": ["egi"], "frames": 20, "training": {"steps": 3}, "sampling": {"samples": 2}}
            },
            "evaluation": {"coverage_threshold": "0.5 angstrom", "tica_lag": "10.4 ps", "msm_lag": "52 ps"},
        }
    }
}


def changed(path: str, value) -> dict:
    """BASE with one value of its dataset set."""
    values = copy.deepcopy(BASE)
    section = values["datasets"]["mine"]
    *parents, key = path.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    section[key] = value
    return values


@pytest.mark.parametrize(
    "files",
    [
        ("config/config.yaml",),
        ("config/benchmark.yaml",),
        ("config/benchmark.yaml", "benchmarks/refinement.yaml"),
        ("config/paper.yaml",),
    ],
)
def test_shipped_configs_are_valid_and_survive_a_round_trip(files):
    settings = load_settings(*(ROOT / file for file in files))
    assert set(settings.datasets) == {"qm9", "drugs"}
    assert parse_settings(settings.plain()) == settings


def test_paper_config_has_the_papers_numbers():
    settings = load_settings(ROOT / "config" / "paper.yaml")
    qm9, drugs = settings.datasets["qm9"], settings.datasets["drugs"]
    simulation = drugs.simulation
    assert simulation.production_ps / simulation.timestep_ps == 1_250_000  # FACTS 5
    assert simulation.nvt_ps / simulation.timestep_ps == 5000
    assert simulation.frame_interval_ps / simulation.timestep_ps == 100
    assert frames_per_replica(qm9) == 961  # FACTS 6
    assert qm9.evaluation.tica_lag_ps / qm9.subsample.interval_ps == 2  # FACTS 15
    assert drugs.evaluation.tica_lag_ps / drugs.subsample.interval_ps == 4
    assert qm9.evaluation.msm_lag_ps / qm9.subsample.interval_ps == 10  # FACTS 16
    assert drugs.evaluation.msm_lag_ps / drugs.subsample.interval_ps == 20
    assert qm9.tasks["unconditional"].frames == 500 and drugs.tasks["forward"].frames == 251
    assert drugs.tasks["forward"].sampling.blocks * 250 == 1000  # FACTS 14
    assert {t.frames for d in (qm9, drugs) for n, t in d.tasks.items() if n == "interpolation"} == {101}
    assert not qm9.model.chirality_aware
    assert not qm9.geom.stereo_filter and parse_settings(BASE).dataset("mine").geom.stereo_filter


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("simulation.timestep", "4 angstrom", r"mine\.simulation\.timestep = '4 angstrom'.*converts to ps"),
        ("simulation.timestep", 4, r"simulation\.timestep = 4: needs a value with a unit"),
        ("simulation.timestep", "-4 fs", r"positive"),
        ("simulation.source", "released", r"source = released with released_path = None; allowed: a folder if"),
        ("simulation.timestep", "7 fs", r"nvt = 20 ps is no whole number of timestep = 0.007 ps"),
        ("simulation.timesteps", "4 fs", r"unknown key; allowed: .*timestep,"),
        ("simulation.cutoff", "0.7 nm", r"switch_distance = 8.0 angstrom must be below cutoff = 7.0"),
        ("subsample.interval", "5 ps", r"subsample\.interval = 5 ps.*simulation\.frame_interval = 0\.4 ps"),
        ("subsample.phases", 14, r"phases = 14; allowed: at most the stride, 13"),
        ("evaluation.decorrelation_bin", "7 ps", r"evaluation: decorrelation_maximum = 1380 ps is no whole number"),
        ("evaluation.decorrelation_maximum", "5 ps", r"decorrelation_maximum = 5 ps; allowed: at least twice"),
        ("evaluation.tica_lag", "10 ps", r"evaluation\.tica_lag = 10 ps is no whole number"),
        ("pretraining.steps", "many", r"pretraining\.steps = 'many'.*integer"),
        ("pretraining", {"steps": 1, "epochs": 1}, r"steps = 1 and epochs = 1; allowed: exactly one"),
        ("geom.source", "zip", r"geom\.source = 'zip'.*'smiles', 'sdf', 'rdkit_folder' or 'geodiff'"),
        ("geom.files", {"train": "x"}, r"allowed: 'all' alone, or train, val and test"),
        ("tasks.forward.frames", 962, r"tasks\.forward\.frames = 962.*allowed: at most 961"),
        ("tasks.forward.sampling.steps", 1001, r"sampling\.steps = 1001; allowed: at most diffusion\.steps = 1000"),
        ("tasks.forward.sampling.sampels", 3, r"sampels = 3: unknown key; allowed: samples"),
        ("tasks.backward", {}, r"tasks"),
    ],
)  # fmt: skip
def test_faults_name_key_value_and_what_is_allowed(path, value, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(changed(path, value))


def test_a_next_frame_model_cannot_interpolate():
    task = {"methods": ["ar_et"], "frames": 20, "training": {"steps": 3}, "sampling": {"samples": 2}}
    with pytest.raises(ConfigError, match=r"'ar_et', which cannot do interpolation; allowed: egi, egi_naive"):
        parse_settings(changed("tasks.interpolation", task))
    assert "ar_et" in methods_for("forward")


def test_defaults_lie_under_every_dataset():
    values = copy.deepcopy(BASE)
    values["defaults"] = {"model": {"hidden": 16, "layers": 2}}
    values["datasets"]["mine"]["model"] = {"layers": 3}
    model = parse_settings(values).datasets["mine"].model
    assert (model.hidden, model.layers) == (16, 3)


def test_unknown_dataset_and_missing_file():
    with pytest.raises(ConfigError, match="dataset 'other' is not in the config; allowed: mine"):
        parse_settings(BASE).dataset("other")
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings("no-such-file.yaml")


@given(count=st.integers(1, 10**7), step=st.integers(1, 10**6))
def test_whole_multiple_is_exact(count, step):
    step_ps = Decimal(step) / 1000
    assert whole_multiple(step_ps * count, step_ps, "a", "b") == count
    if step > 1:
        with pytest.raises(ConfigError, match=r"a = .* is no whole number of b"):
            whole_multiple(step_ps * count + Decimal("0.001"), step_ps, "a", "b")


def test_merge_replaces_lists_and_keeps_its_inputs():
    base = {"a": {"b": [1, 2], "c": 1}}
    assert merge(base, {"a": {"b": [3]}}) == {"a": {"b": [3], "c": 1}}
    assert base == {"a": {"b": [1, 2], "c": 1}}
