"""Small functions behind the Snakefile, kept here so that they can be tested."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml

from egi.config import Settings
from egi.data.storage import atomic, package_versions


def archive_name(source: str) -> str:
    """File name of a download: the last part of its URL or DOI path."""
    return source.rstrip("/").rsplit("/", 1)[-1].split("?", 1)[0]


def stale_manifests(results: str | Path, datasets: list[str]) -> list[Path]:
    """Manifests of simulation shards that list a trajectory which is no longer there."""
    stale = []
    for dataset in datasets:
        for manifest in sorted(Path(results, dataset, "md").glob("shard_*.csv")):
            with manifest.open(newline="", encoding="utf-8") as file:
                listed = [row["trajectory"] for row in csv.DictReader(file) if row.get("status") == "ok"]
            if not all((manifest.parent / name).is_file() for name in listed):
                stale.append(manifest)
    return stale


def write_config(path: str | Path, settings: Settings) -> None:
    """Write the resolved configuration and the package versions, for the scripts and the record."""
    header = "".join(f"# {name} {number}\n" for name, number in package_versions().items())
    with atomic(path) as partial:
        partial.write_text(header + yaml.safe_dump(settings.plain(), sort_keys=False), encoding="utf-8")
