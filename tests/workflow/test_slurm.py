"""The Slurm profile, run for real on a Slurm of one node."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_profile_runs_jobs_through_slurm(slurm, tmp_path):
    shutil.copy(Path(__file__).with_name("tiny.yaml"), tmp_path / "tiny.yaml")
    (tmp_path / "molecules.csv").write_text("name,smiles\nbutanol,CCCCO\nether,CCOCC\nnitrile,C[C@@H](O)CC#N\n")
    command = [
        sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(tmp_path),
        "--profile", str(ROOT / "slurm"), "--configfile", "tiny.yaml", "--config", "device=auto",
        "--default-resources", "mem_mb=500", "runtime=10", "slurm_partition=main", "slurm_account=none",
        "--slurm-init-seconds-before-status-checks", "2", "--slurm-status-command", "squeue", "--latency-wait", "10",
        "results/tiny/models/structure.ckpt",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-5000:]
    assert output.count("SLURM jobid") >= 2, output[-5000:]  # filter_geom and pretrain, the latter with a GPU
    assert (tmp_path / "results/tiny/models/structure.ckpt").is_file()
