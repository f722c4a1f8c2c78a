"""Small molecules, short settings and finished builds shared by the simulation tests."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.molecules import record_of
from egi.config import SimulationSettings
from egi.data.storage import create
from egi.md.molecule import Job
from egi.md.system import build

SHORT = {
    "solvent": "vacuum", "charges": "nagl", "nvt": "0.4 ps", "warmup": "0.1 ps", "production": "4 ps",
    "frame_interval": "0.08 ps", "segment": "0.8 ps", "platform": "Reference",
}  # fmt: skip


def short_settings(**changes) -> SimulationSettings:
    """Seconds of simulation, in vacuum unless changed; values as in YAML."""
    return SimulationSettings.model_validate({**SHORT, **changes})


def make_job(smiles: str, replicas: int = 1, name: str = "mol", split: str = "train", seed: int = 7) -> Job:
    """A job with embedded start conformers; its molecule's stereo is that of the SMILES."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    embedded = Chem.Mol(mol)
    found = AllChem.EmbedMultipleConfs(embedded, replicas, randomSeed=seed)
    starts = {k: embedded.GetConformer(c).GetPositions() for k, c in enumerate(found)}
    return Job(name, split, mol, starts)


def write_inputs(folder: Path, jobs: list[Job]) -> tuple[Path, list[Path]]:
    """molecules.csv and the three conformer files of some jobs."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{split}.h5" for split in ("train", "val", "test")]
    for path in paths:
        with create(path, "egi-conformers", {}) as writer:
            for job in jobs:
                if job.split == path.stem:
                    writer.add(record_of(job.mol, job.id), {"positions": [job.starts[k] for k in sorted(job.starts)]})
    table = folder / "molecules.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "smiles", "split", "start_conformers", "reason"])
        for job in jobs:
            writer.writerow([job.id, Chem.MolToSmiles(job.mol), job.split, " ".join(map(str, sorted(job.starts))), ""])
    return table, paths


@pytest.fixture(scope="session")
def md() -> SimpleNamespace:
    """The helpers above: `settings(**changes)`, `job(smiles, ...)`, `inputs(folder, jobs)`."""
    return SimpleNamespace(settings=short_settings, job=make_job, inputs=write_inputs, short=SHORT)


@pytest.fixture(scope="session")
def ethanol(tmp_path_factory) -> Path:
    """Folder with ethanol's finished vacuum build for three replicas, name `mol`, seed 1."""
    folder = tmp_path_factory.mktemp("ethanol") / "mol"
    build(make_job("CCO", replicas=3), short_settings(), 1, folder)
    return folder
