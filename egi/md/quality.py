"""What a finished replica's files say about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Columns of a replica's log, (rows,) each; empty fields are NaN."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names}


def log_summary(path: Path) -> dict[str, float | str]:
    """Mean temperature and density of a replica for the manifest; density is empty in vacuum."""
    columns = read_log(path)
    density = columns["density_g_ml"]
    return {
        "temperature_kelvin": round(float(columns["temperature_kelvin"].mean()), 2),
        "density_g_ml": "" if np.isnan(density).all() else round(float(density.mean()), 4),
    }
