"""Refinement in the workflow: off unless asked for; then samples are refined and scored beside the raw ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("enabled", [False, True])
def test_refinement_runs_only_where_it_is_enabled(tmp_path, enabled):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "mine.yaml").write_text(f"defaults: {{refinement: {{enabled: {str(enabled).lower()}}}}}\n")
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(tmp_path), "-np"]
    flags = ["--cores", "1", "--configfile", "config/config.yaml", "mine.yaml", "--", "results/drugs/forward_jsd.csv"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, cwd=tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    assert len(re.findall(r"^rule refine:", output, re.MULTILINE)) == (6 if enabled else 0)
    scored = re.search(r"evaluate_jsd\.py .* --samples (.*) --table", output).group(1).split()
    assert len(scored) == (13 if enabled else 6)
    assert ("etkdg=results/drugs/samples/forward/etkdg_refined.h5" in scored) == enabled
    assert ("egi=results/drugs/samples/forward/egi_refined.h5" in scored) == enabled
