"""The functions behind the Snakefile."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from egi.config import load_settings, parse_settings
from egi.data.fetch import is_remote
from egi.workflow import archive_name, stale_manifests, write_config

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


def test_a_manifest_is_stale_when_a_listed_trajectory_is_gone(tmp_path):
    folder = tmp_path / "qm9" / "md"
    (folder / "m0").mkdir(parents=True)
    (folder / "m0" / "replica_0.xtc").touch()
    manifest = folder / "shard_0.csv"
    manifest.write_text("molecule,status,trajectory\nm0,ok,m0/replica_0.xtc\nm1,rejected,\n")
    assert stale_manifests(tmp_path, ["qm9", "drugs"]) == []
    (folder / "m0" / "replica_0.xtc").unlink()
    assert stale_manifests(tmp_path, ["qm9", "drugs"]) == [manifest]


def test_resolved_config_reads_back_as_the_same_settings(tmp_path):
    settings = load_settings(ROOT / "config" / "config.yaml")
    write_config(tmp_path / "config.yaml", settings)
    assert load_settings(tmp_path / "config.yaml") == settings
    assert "# rdkit " in (tmp_path / "config.yaml").read_text()
    assert parse_settings(yaml.safe_load((tmp_path / "config.yaml").read_text())) == settings
