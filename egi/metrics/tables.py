"""The two tables of every evaluation: a row a molecule, method and metric; a row a method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egi import seeds
from egi.data.storage import atomic
from egi.metrics.bootstrap import interval
from egi.metrics.ensembles import rank
from egi.metrics.scores import Score

_LEADING = ["method", "refined", "molecule", "metric", "value", "values", "status", "reason"]
_STATISTICS = ("mean", "median")


@dataclass(frozen=True)
class Row:
    """A score with what it is of.

    Attributes
    ----------
    method : str
    refined : bool
    molecule : str
    score : Score
    """

    method: str
    refined: bool
    molecule: str
    score: Score


def per_molecule(rows: list[Row]) -> pd.DataFrame:
    """Long table: a row a method, molecule and metric."""
    records = [
        {"method": r.method, "refined": r.refined, "molecule": r.molecule, "metric": r.score.metric,
         "value": r.score.value, "values": len(r.score.each), "status": r.score.status, "reason": r.score.reason,
         **r.score.extra}
        for r in sorted(rows, key=lambda r: (rank(r.method), r.method, r.refined))
    ]  # fmt: skip
    frame = pd.DataFrame(records, columns=_LEADING if not records else None)
    return frame[_LEADING + [c for c in frame if c not in _LEADING]]


def summary(rows: list[Row], metrics: tuple[str, ...], resamples: int, seed: int) -> pd.DataFrame:
    """Wide table: a row a method, mean and median over molecules of each metric with bootstrap intervals.

    Parameters
    ----------
    rows : list of Row
    metrics : tuple of str
        Columns come in this order.
    resamples : int
        Of the bootstrap.
    seed : int

    Returns
    -------
    DataFrame
        ``{metric}_mean``, ``_median``, ``_molecules``, ``_values``, ``_left_out`` (molecules with a status other than
        ok), ``_values_mean`` and ``_values_median`` over all values rather than molecules, the ends ``_low`` and
        ``_high`` of each mean's and median's interval, and ``reason``.
    """
    groups: dict[tuple[str, bool], dict[str, list[Row]]] = {}
    for row in sorted(rows, key=lambda r: (rank(r.method), r.method, r.refined)):
        by_metric = groups.setdefault((row.method, row.refined), {metric: [] for metric in metrics})
        if row.score.metric in by_metric:
            by_metric[row.score.metric].append(row)
    records = []
    for (method, refined), by_metric in groups.items():
        record: dict[str, Any] = {"method": method, "refined": refined}
        reasons = []
        for metric, own in by_metric.items():
            columns, reason = _statistics(own, resamples, seeds.stream(seed, "bootstrap", metric))
            record.update({f"{metric}_{name}": value for name, value in columns.items()})
            reasons += [f"{metric}: {reason}"] if reason else []
        records.append({**record, "reason": "; ".join(reasons)})
    return pd.DataFrame(records)


def _statistics(rows: list[Row], resamples: int, rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    scored = [row.score for row in rows if row.score.value is not None]
    values = np.array([score.value for score in scored], dtype=float)
    behind = [np.asarray(score.each, dtype=float).ravel() for score in scored]
    finite = [known for each in behind if len(known := each[np.isfinite(each)])]
    each = np.concatenate([np.empty(0), *finite])
    columns: dict[str, Any] = {}
    for name in _STATISTICS:
        columns[name] = getattr(np, name)(values) if len(values) else None
    columns |= {"molecules": len(values), "values": len(each), "left_out": len(rows) - len(values)}
    for name in _STATISTICS:
        columns[f"values_{name}"] = getattr(np, name)(each) if len(each) else None
        for key, groups in ((name, values[:, None]), (f"values_{name}", finite)):
            low, high = interval(groups, name, resamples, rng) if len(groups) > 1 else (None, None)
            columns |= {f"{key}_low": low, f"{key}_high": high}
    return columns, _reason(rows, len(values))


def _reason(rows: list[Row], scored: int) -> str:
    left_out: dict[str, int] = {}
    for row in rows:
        if row.score.value is None:
            left_out[row.score.status] = left_out.get(row.score.status, 0) + 1
    parts = [f"{count} of {len(rows)} molecules {status}" for status, count in left_out.items()]
    if not rows:
        parts.append("not computed for this method")
    if scored == 1:
        parts.append("one molecule, no interval")
    return ", ".join(parts)


def write(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV; it appears under its name only when complete."""
    with atomic(path) as partial:
        frame.to_csv(partial, index=False, float_format="%.6g")


@dataclass(frozen=True)
class Tables:
    """Where the two tables of an evaluation go, and how they are made.

    Attributes
    ----------
    table, per_molecule : Path
    metrics : tuple of str
    resamples : int
        Of the bootstrap.
    seed : int
    """

    table: Path
    per_molecule: Path
    metrics: tuple[str, ...]
    resamples: int
    seed: int

    def write(self, rows: list[Row], shared: tuple[str, ...] = ()) -> str:
        """Write both tables; `shared` are extra columns that hold one value a method. Returns a summary line."""
        long = per_molecule(rows)
        wide = summary(rows, self.metrics, self.resamples, self.seed)
        for column in shared:
            long[column] = long.get(column, np.nan)
            means = long.groupby(["method", "refined"])[column].mean()
            wide.insert(2, column, [means[key] for key in zip(wide["method"], wide["refined"], strict=True)])
        write(self.per_molecule, long)
        write(self.table, wide)
        left_out = int((long["status"] != "ok").sum())
        counts = f"{len(wide)} methods, {long['molecule'].nunique()} molecules"
        return f"{counts}, {left_out} of {len(long)} values missing; {self.table}, {self.per_molecule}"
