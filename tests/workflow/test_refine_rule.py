"""Refinement in the workflow: off unless asked for; then samples are refined and scored beside the raw ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLES = {"forward_jsd": "jsd", "forward_decorrelation": "decorrelation", "forward_occupancy": "occupancy",
          "forward_energies": "energies", "interpolation_paths": "paths"}  # fmt: skip


@pytest.mark.parametrize("enabled", [False, True])
def test_refinement_runs_only_where_it_is_enabled(tmp_path, enabled):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "mine.yaml").write_text(f"defaults: {{refinement: {{enabled: {str(enabled).lower()}}}}}\n")
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(tmp_path), "-np"]
    targets = [f"results/drugs/{table}.csv" for table in TABLES]
    targets += ["results/drugs/forward_refinement.csv", "results/report.html"] if enabled else []
    flags = ["--cores", "1", "--configfile", "config/config.yaml", "mine.yaml", "--", *targets]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, cwd=tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    rules = re.findall(r"^rule (\w+):", output, re.MULTILINE)
    drawn = [rules.count(rule) for rule in ("refine", "refine_etkdg", "evaluate_refinement", "plot_refinement")]
    assert drawn == ([15, 4, 4, 4] if enabled else [0, 0, 0, 0])
    for table, rule in TABLES.items():
        task = table.split("_")[0]
        lines = re.findall(rf"evaluate_{rule}\.py (.*)", output)
        command = next(line for line in lines if f" results/drugs/{table}.csv " in line)
        found = re.search(r" --samples (.*?) --", command).group(1).split()
        raw = 6 if task == "forward" else 2
        null = rule != "paths"  # conformers join no two states
        assert len(found) == (2 * raw + null if enabled else raw), rule
        assert (f"etkdg=results/drugs/samples/{task}/etkdg_refined.h5" in found) == (enabled and null)
        assert (f"egi=results/drugs/samples/{task}/egi_refined.h5" in found) == enabled
