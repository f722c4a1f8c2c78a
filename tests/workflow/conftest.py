"""A real Slurm of one node, for the tests of the profile."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

CONFIGURATION = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")


def _configuration(folder: Path) -> str:
    host = socket.gethostname()
    return f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=600
SwitchType=switch/none
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE OverSubscribe=YES State=UP
"""


def _idle() -> bool:
    seen = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
    return "idle" in seen.stdout


@pytest.fixture(scope="session")
def slurm(tmp_path_factory, request):
    """A running single-node Slurm whose node has one (placeholder) GPU."""
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")  # Debian has the daemons there
    request.addfinalizer(monkeypatch.undo)
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} not installed (Debian: slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("starting a Slurm needs root")
    if CONFIGURATION.exists():
        pytest.skip(f"{CONFIGURATION} exists: this machine has a Slurm of its own, which the test leaves alone")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "gpu0").touch()
    gres = CONFIGURATION.with_name("gres.conf")
    processes = []
    try:
        CONFIGURATION.write_text(_configuration(folder))
        gres.write_text(f"Name=gpu File={folder}/gpu0\n")
        Path("/run/munge").mkdir(exist_ok=True)
        subprocess.run(["chown", "munge:munge", "/run/munge"], check=True)
        for command in (
            ["runuser", "-u", "munge", "--", "munged", "--foreground"],
            ["slurmctld", "-D"],
            ["slurmd", "-D"],
        ):
            log = (folder / f"{Path(command[-2]).name}.out").open("w")
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True))
            time.sleep(1)
        deadline = time.monotonic() + 60
        while not _idle():
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
                pytest.fail(f"the test's Slurm did not come up:\n{logs}")
            time.sleep(1)
        yield folder
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=30)
        CONFIGURATION.unlink(missing_ok=True)
        gres.unlink(missing_ok=True)
