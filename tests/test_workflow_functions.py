"""The functions behind the Snakefile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from egi.config import ConfigError, load_settings, parse_settings
from egi.data.fetch import is_remote
from egi.workflow import archive_name, archives, lost_trajectories, write_config

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("source", "remote", "name"),
    [
        ("doi:10.5281/zenodo.19711753/GEOM-QM9_Train.pkl", True, "GEOM-QM9_Train.pkl"),
        ("https://example.org/a/geom.tar.gz?download=1", True, "geom.tar.gz"),
        ("data/geom.tar.gz", False, "geom.tar.gz"),
        ("geom/", False, "geom"),
    ],
)
def test_sources(source, remote, name):
    assert is_remote(source) is remote
    assert archive_name(source) == name


def _with_files(**files):
    """The demo's settings with downloads as the only files of each data set."""
    settings = load_settings(ROOT / "config/config.yaml")
    sections = {}
    for name, source in files.items():
        geom = settings.datasets[name].geom
        checksums = {archive_name(source): "md5:1"} if name == "drugs" else {}
        sections[name] = settings.datasets[name].model_copy(
            update={"geom": geom.model_copy(update={"files": {"all": source}, "checksums": checksums})}
        )
    return settings.model_copy(update={"datasets": sections})


def test_data_sets_share_a_download():
    source = "doi:10.7910/DVN/JNGTDF/rdkit_folder.tar.gz"
    shared = {"rdkit_folder.tar.gz": (source, "md5:1")}
    assert archives(_with_files(qm9=source, drugs=source)) == archives(_with_files(drugs=source, qm9=source)) == shared
    assert archives(load_settings(ROOT / "config/config.yaml")) == {}


def test_two_downloads_of_one_name_are_an_error():
    settings = _with_files(qm9="https://one.org/all.pkl", drugs="https://two.org/all.pkl?download=1")
    with pytest.raises(ConfigError, match=r"drugs\.geom\.files has https://two.*kept as data/all\.pkl, and so is h"):
        archives(settings)


@pytest.mark.parametrize("checksums", [{"all.pkl": "12ab"}, {"other.pkl": "md5:12ab"}])
def test_a_checksum_of_nothing_is_an_error(checksums):
    settings = _with_files(qm9="https://one.org/all.pkl")
    qm9 = settings.datasets["qm9"]
    geom = qm9.geom.model_copy(update={"checksums": checksums})
    settings = settings.model_copy(update={"datasets": {"qm9": qm9.model_copy(update={"geom": geom})}})
    message = r"qm9\.geom\.checksums has \w+\.pkl: .*allowed: md5:\.\.\. or .* for all\.pkl"
    with pytest.raises(ConfigError, match=message):
        archives(settings)


def test_a_lost_trajectory_is_recorded_once_and_stays_recorded(tmp_path):
    (tmp_path / "m0").mkdir()
    trajectory = tmp_path / "m0" / "replica_0.xtc"
    manifest = tmp_path / "shard_0.csv"
    assert lost_trajectories(manifest) == ""
    trajectory.touch()
    manifest.write_text("molecule,status,trajectory\nm0,ok,m0/replica_0.xtc\nm1,rejected,\n")
    assert lost_trajectories(manifest) == ""
    trajectory.unlink()
    record = lost_trajectories(manifest)
    assert record.endswith(" m0/replica_0.xtc\n") and record.count("\n") == 1
    assert lost_trajectories(manifest) == record
    trajectory.touch()
    os.utime(manifest, ns=(1, 1))  # the shard was completed: a new manifest
    assert lost_trajectories(manifest) == record
    trajectory.unlink()
    assert lost_trajectories(manifest).startswith(record) and lost_trajectories(manifest) != record


def test_resolved_config_reads_back_as_the_same_settings(tmp_path):
    settings = load_settings(ROOT / "config" / "config.yaml")
    write_config(tmp_path / "config.yaml", settings)
    assert load_settings(tmp_path / "config.yaml") == settings
    assert "# rdkit " in (tmp_path / "config.yaml").read_text()
    assert parse_settings(yaml.safe_load((tmp_path / "config.yaml").read_text())) == settings
