"""SIGKILL at a chosen moment of build, minimisation, production and writing; a rerun then gives the unbroken result."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from egi.md.frames import read_frames
from egi.md.shard import Shard

pytestmark = pytest.mark.slow

#: runs a shard of one molecule; HANG replaces a function by one that does part of its work, says so and hangs
PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np, openmm
from rdkit import Chem
from egi.config import SimulationSettings
from egi.md.molecule import Job
from egi.md.shard import Shard

folder, moment = Path(sys.argv[1]), sys.argv[2]

def hang(*arguments, **named):
    (folder / "hanging").touch()
    time.sleep(600)

{hang}

with np.load(folder / "starts.npz") as stored:
    starts = {{int(k): stored[k] for k in stored}}
mol = Chem.JSONToMols((folder / "mol.json").read_text())[0]
settings = SimulationSettings.model_validate({settings})
Shard([Job("m", "train", mol, starts)], settings, 1, folder / "md").run()
"""
HANG = {
    "build": """
        from egi.md import system
        real = system.write_pdb
        def half(topology, positions, path):  # in the middle of a file
            real(topology, positions, path)
            path.write_text(path.read_text()[:100])
            hang()
        system.write_pdb = half
    """,
    "minimisation": """
        real = openmm.LocalEnergyMinimizer.minimize
        class Reporter(openmm.MinimizationReporter):
            def report(self, iteration, *arguments):
                return hang() if iteration == 3 else False
        def minimize(context, tolerance, iterations):
            real(context, tolerance, iterations, Reporter())
        openmm.LocalEnergyMinimizer.minimize = minimize
    """,
    "production": """
        real, calls = openmm.LangevinMiddleIntegrator.step, []
        def step(self, steps):
            calls.append(steps)
            if len(calls) == 18:  # warm-up, NVT, then frame 16, in the second of segments of 10
                real(self, steps // 2)
                hang()
            real(self, steps)
        openmm.LangevinMiddleIntegrator.step = step
    """,
    "writing a trajectory": """
        from egi.md import protocol
        from mdtraj.formats import xtc
        class Half(xtc.XTCTrajectoryFile):
            def write(self, positions, **named):
                half = {name: values[:5] for name, values in named.items()}
                super().write(positions[:5], **half)
                self.flush()
                hang() if (folder / "md/m/work_0/state_0002.xml").exists() else super().write(positions[5:], **{
                    name: values[5:] for name, values in named.items()})
        import mdtraj.formats
        mdtraj.formats.XTCTrajectoryFile = Half
    """,
    "writing a state": """
        real = openmm.XmlSerializer.serialize
        def serialize(thing):
            text = real(thing)
            if isinstance(thing, openmm.State) and (folder / "md/m/work_0/segment_0003.csv").exists():
                written = Path.write_text
                def write_text(path, text, *rest):
                    written(path, text[: len(text) // 2], *rest)
                    hang()
                Path.write_text = write_text
            return text
        openmm.XmlSerializer.serialize = serialize
    """,
    "the last moment": """
        import shutil
        shutil.rmtree = hang
    """,
}


@pytest.fixture(scope="module")
def setting(md, tmp_path_factory):
    """Job and settings, and the frames of a run that nothing interrupts."""
    job, settings = md.job("CO", 1, "m"), md.settings()
    folder = tmp_path_factory.mktemp("whole")
    assert Shard([job], settings, 1, folder).run()[0]["status"] == "ok"
    return job, settings, read_frames(folder / "m" / "replica_0.xtc")


@pytest.mark.parametrize("moment", HANG)
def test_sigkill_then_a_rerun_gives_the_unbroken_trajectory(setting, tmp_path, moment):
    job, settings, whole = setting
    (tmp_path / "mol.json").write_text(Chem.MolToJSON(job.mol))
    np.savez(tmp_path / "starts.npz", **{str(k): x for k, x in job.starts.items()})
    program = PROGRAM.format(hang=textwrap.dedent(HANG[moment]), settings=settings.plain())
    _kill_when_hanging(program, tmp_path, moment)
    assert (tmp_path / "md" / "m" / "replica_0.json").exists() == (moment == "the last moment")
    rows = Shard([job], settings, 1, tmp_path / "md").run()
    assert [row["status"] for row in rows] == ["ok"] and rows[0]["frames"] == 50
    for got, wanted in zip(read_frames(tmp_path / "md" / "m" / "replica_0.xtc"), whole, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert not [*(tmp_path / "md" / "m").glob("work_*"), *(tmp_path / "md" / "m").glob(".*")]


def _kill_when_hanging(program: str, folder: Path, moment: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen([sys.executable, "-c", program, folder, moment], env=environment, stderr=errors)
    deadline = time.monotonic() + 120
    while not (folder / "hanging").exists():
        assert process.poll() is None and time.monotonic() < deadline, (folder / "stderr").read_text()
        time.sleep(0.05)
    process.kill()
    process.wait()
