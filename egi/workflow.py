"""Small functions behind the Snakefile, kept here so that they can be tested."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import yaml

from egi.config import ConfigError, Settings
from egi.data.fetch import CHECKSUM, is_remote
from egi.data.storage import atomic, package_versions


def archive_name(source: str) -> str:
    """File name of a download: the last part of its URL or DOI path."""
    return source.rstrip("/").rsplit("/", 1)[-1].split("?", 1)[0]


def archives(settings: Settings) -> dict[str, tuple[str, str | None]]:
    """Source and checksum of each file to download, by its name below ``data/``; data sets share what is the same.

    Raises
    ------
    ConfigError
        If two sources end in the same file name, or a checksum is none or of no download.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for dataset, section in settings.datasets.items():
        here = {archive_name(source): source for source in section.geom.files.values() if is_remote(source)}
        for name, checksum in section.geom.checksums.items():
            if name not in here or not re.fullmatch(CHECKSUM, checksum):
                raise ConfigError(
                    f"datasets.{dataset}.geom.checksums has {name}: {checksum!r}; allowed: md5:... or sha256:... for "
                    f"{', '.join(here) or 'downloads, of which there are none'}"
                )
        for name, source in here.items():
            known, checksum = found.get(name, (source, None))
            if known != source:
                raise ConfigError(
                    f"datasets.{dataset}.geom.files has {source}: a download is kept as data/{name}, and so is "
                    f"{known}; allowed: sources with different file names"
                )
            found[name] = source, section.geom.checksums.get(name, checksum)
    return found


def lost_trajectories(manifest: str | Path) -> str:
    """Record of trajectories that a simulation manifest lists and that are gone, a line each.

    The record is a file beside the manifest that only grows. As a parameter of the rule it changes when a
    trajectory is lost, which runs the shard again, and stays as it is once the shard is complete.
    """
    manifest = Path(manifest)
    record = manifest.with_suffix(".lost")
    known = record.read_text(encoding="utf-8") if record.is_file() else ""
    if not manifest.is_file():
        return known
    with manifest.open(newline="", encoding="utf-8") as file:
        listed = [row["trajectory"] for row in csv.DictReader(file) if row.get("status") == "ok"]
    written = manifest.stat().st_mtime_ns
    gone = [f"{written} {name}\n" for name in listed if not (manifest.parent / name).is_file()]
    new = [line for line in gone if line not in known]
    if new:
        with atomic(record) as partial:
            partial.write_text(known + "".join(new), encoding="utf-8")
    return known + "".join(new)


def write_config(path: str | Path, settings: Settings) -> None:
    """Write the resolved configuration and the package versions, for the scripts and the record."""
    header = "".join(f"# {name} {number}\n" for name, number in package_versions().items())
    with atomic(path) as partial:
        partial.write_text(header + yaml.safe_dump(settings.plain(), sort_keys=False), encoding="utf-8")
