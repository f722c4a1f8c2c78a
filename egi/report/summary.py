"""What a run did: counts, rejects and why, MD quality, run times, and where its settings differ from the paper's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from egi.config import SPLITS, DatasetSettings
from egi.report.viewer import counted

_MANIFEST = (
    "molecule", "split", "replica", "status", "stage", "reason", "frames", "interval_ps", "charges", "platform",
    "ns_per_day", "temperature_kelvin", "density_g_ml", "seed",
)  # fmt: skip
_QUALITY = (
    ("MD temperature", "temperature_kelvin", "K"),
    ("MD density", "density_g_ml", "g/mL"),
    ("MD speed", "ns_per_day", "ns/day"),
)
_PROTOCOL = ("selection", "simulation", "subsample", "model", "diffusion", "pretraining", "conformer_sampling", "tasks",
             "evaluation")  # fmt: skip
#: settings that change where or how fast a run goes, not what comes out
_OPERATIONAL = ("platform", "shards", "concurrent_replicas", "workers", "devices", "checkpoint_every",
                "charges_timeout", "segment", "validate_every", "max_failed_fraction")  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """A plain table: heading, columns, rows of text, and how many rows there were in all."""

    columns: list[str]
    rows: list[list[str]]
    total: int


def read_csv(path: Path) -> pd.DataFrame:
    """A table as text; empty where the file is missing or empty."""
    if not path.is_file() or not path.stat().st_size:
        return pd.DataFrame()
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def manifest(folder: Path) -> pd.DataFrame:
    """All shards of the simulation manifest."""
    shards = [read_csv(path) for path in sorted((folder / "md").glob("shard_*.csv"))]
    return pd.concat(shards, ignore_index=True) if shards else pd.DataFrame()


def counts(folder: Path) -> list[tuple[str, str]]:
    """Headline numbers of a dataset: name and value."""
    molecules, replicas, rejected = read_csv(folder / "molecules.csv"), manifest(folder), rejects(folder)
    found = []
    if "split" in molecules:
        chosen = molecules["split"].value_counts()
        found.append(("Molecules", " / ".join(str(chosen.get(split, 0)) for split in SPLITS) + " train / val / test"))
    if "status" in replicas:
        ok = replicas[replicas["status"] == "ok"]
        found.append(("MD replicas", f"{len(ok)} of {len(replicas)} usable"))
        if {"frames", "interval_ps"} <= set(ok):
            length = (pd.to_numeric(ok["frames"]) * pd.to_numeric(ok["interval_ps"])).sum()
            found.append(("Simulated time", f"{length / 1000:.3g} ns" if length >= 1000 else f"{length:.4g} ps"))
        found += [(name, text) for name, column, unit in _QUALITY if (text := _spread(ok, column, unit))]
    found.append(("Rejected", f"{rejected['count'].sum() if len(rejected) else 0} conformers, replicas and molecules"))
    drawn = counted(folder)
    if drawn:
        found.append(("Samples drawn again", f"{drawn['redrawn']} (not finite at first)"))
        found.append(("Samples given up", f"{drawn['lost']} (not finite in any draw)"))
    return found


def _spread(rows: pd.DataFrame, column: str, unit: str) -> str:
    """Mean and range of a column, such as `299 K (296 to 301)`; empty where there is none."""
    values = pd.to_numeric(rows.get(column, pd.Series(dtype=float)), errors="coerce").dropna()
    return f"{values.mean():.3g} {unit} ({values.min():.3g} to {values.max():.3g})" if len(values) else ""


def filters(folder: Path) -> Listing:
    """Conformers that passed and failed each filter."""
    return listing(read_csv(folder / "conformers" / "counts.csv"))


def rejects(folder: Path) -> pd.DataFrame:
    """What was left out: source, stage, cause, count, an example; most frequent first."""
    parts = []
    for source, path, cause in (
        ("conformers", folder / "conformers" / "rejects.csv", "filter"),
        ("trajectories", folder / "trajectories" / "rejects.csv", "reason"),
    ):
        parts.append(_grouped(read_csv(path), source, cause))
    replicas = manifest(folder)
    if "status" in replicas:
        parts.append(_grouped(replicas[replicas["status"] != "ok"], "simulation", "reason"))
    pairs = read_csv(folder / "interpolation_pairs.csv")
    if "status" in pairs:
        parts.append(_grouped(pairs[pairs["status"] != "ok"], "interpolation pairs", "reason"))
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=["source", "stage", "cause", "count", "example"])
    return pd.concat(parts, ignore_index=True).sort_values("count", ascending=False, kind="stable")


def _grouped(rows: pd.DataFrame, source: str, cause: str) -> pd.DataFrame:
    if cause not in rows or not len(rows):
        return pd.DataFrame()
    rows = rows.assign(stage=rows.get("stage", ""), molecule=rows.get("molecule", rows.get("id", "")))
    groups = rows.groupby(["stage", cause], sort=True)
    made = groups.agg(count=("molecule", "size"), example=("molecule", "first")).reset_index()
    return made.rename(columns={cause: "cause"}).assign(source=source)


def listing(rows: pd.DataFrame, columns: tuple[str, ...] | None = None, limit: int = 200) -> Listing:
    """The first `limit` rows of a table, the named columns first where it has them."""
    kept = [c for c in columns if c in rows] if columns else list(rows)
    shown = rows[kept].head(limit).astype(str)
    return Listing([c.replace("_", " ") for c in kept], shown.values.tolist(), len(rows))


def quality(folder: Path) -> Listing:
    """The quality table, a row a replica; the simulation manifest where there is none."""
    assessed = read_csv(folder / "md_quality.csv")
    return listing(assessed) if len(assessed) else listing(manifest(folder), _MANIFEST)


def run_times(folder: Path) -> Listing:
    """Wall clock and memory of each job, from Snakemake's benchmark files; longest first."""
    rows = []
    for path in sorted((folder / "benchmarks").rglob("*.tsv")):
        table = pd.read_csv(path, sep="\t")
        if len(table) and "s" in table:
            memory = pd.to_numeric(table.get("max_rss", pd.Series(dtype=float)), errors="coerce").max()
            rows.append((path.stem, float(table["s"].sum()), "" if memory != memory else f"{memory:.0f}"))
    rows.sort(key=lambda row: -row[1])
    return Listing(
        ["job", "seconds", "memory (MB)"], [[name, f"{s:.1f}", memory] for name, s, memory in rows], len(rows)
    )


def differences(settings: DatasetSettings, paper: DatasetSettings | None) -> list[tuple[str, str, str]]:
    """Settings that shape the results and differ from the paper's: key, this run, paper."""
    if paper is None:
        return []
    ours, theirs = _flat(settings.plain()), _flat(paper.plain())
    keys = [k for k in ours | theirs if k.split(".")[0] in _PROTOCOL and k.rsplit(".", 1)[-1] not in _OPERATIONAL]
    return [(k, _text(ours, k), _text(theirs, k)) for k in keys if ours.get(k) != theirs.get(k)]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(_flat(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat


def _text(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "not set"
    value = values[key]
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
