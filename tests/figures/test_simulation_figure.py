from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from egi.config import SimulationSettings
from egi.figures.simulation import VERDICTS, replica_quality
from egi.figures.style import look

MEASURED = ("temperature_kelvin", "temperature_expected_error_kelvin", "density_g_ml",
            "potential_energy_drift_spreads", "bond_deviation_angstrom", "frames")  # fmt: skip


@pytest.fixture
def table() -> pd.DataFrame:
    """Three replicas that pass, one that fails and one that simulation rejected."""
    rows = [(300.0 + k, 3.0, 0.97, 0.1 * k, 0.15, 80) for k in range(3)]
    rows += [(360.0, 3.0, 0.97, 0.0, 1.2, 55), (np.nan,) * 6]
    verdicts = [*["pass"] * 3, "fail", "rejected"]
    return pd.DataFrame(rows, columns=MEASURED).assign(molecule="m", replica=range(5), verdict=verdicts)


@pytest.fixture
def settings() -> SimulationSettings:
    return SimulationSettings.model_validate({"production": "16 ps", "frame_interval": "0.2 ps", "segment": "8 ps"})


def _points(ax, verdict: str) -> list[tuple[float, float]]:
    lines = [line for line in ax.get_lines() if line.get_label() == verdict]
    return [point for line in lines for point in zip(*line.get_data(), strict=True)]


def test_each_replica_is_a_point_with_its_verdict_and_units(table, settings):
    with look():
        axes = replica_quality(table, settings).axes
    titles = ["Mean temperature", "Density", "Potential energy drift", "Largest bond deviation", "Frames", "Verdicts"]
    assert [ax.get_title() for ax in axes] == titles
    assert [ax.get_ylabel() for ax in axes[:5]] == ["K", "g/mL", "spreads of a half", "Å", "frames of 80"]
    assert _points(axes[0], "pass") == [(1, 300), (2, 301), (3, 302)]
    assert _points(axes[0], "fail") == [(4, 360)]
    assert _points(axes[3], "fail") == [(4, 1.2)] and _points(axes[4], "fail") == [(4, 55)]
    assert not _points(axes[0], "rejected")
    assert [bar.get_width() for bar in axes[5].patches] == [3, 1, 1]
    limits = [line.get_ydata()[0] for line in axes[0].get_lines() if line.get_label() == "limit of the verdict"]
    assert limits == [300 - 18, 300 + 18]  # five errors and one percent
    assert len({marker for _, marker in VERDICTS.values()}) == 3


def test_released_trajectories_have_no_temperature_and_nothing_is_said(table, settings):
    table[["temperature_kelvin", "temperature_expected_error_kelvin", "density_g_ml"]] = np.nan
    with look():
        axes = replica_quality(table, settings).axes
        empty = replica_quality(table.iloc[:0], settings)
    assert [ax.texts[0].get_text() for ax in axes[:2]] == ["Mean temperature: not recorded", "Density: not recorded"]
    assert _points(axes[4], "pass") == [(1, 80), (2, 80), (3, 80)]
    assert empty.axes[0].texts[0].get_text() == "No replica was simulated."
