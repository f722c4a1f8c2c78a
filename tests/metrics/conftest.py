"""Small files of the workflow's formats: three molecules whose torsions hop between wells, in solvent-like noise."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolTransforms

from egi.chem.geometry import internal_coordinates
from egi.chem.molecules import record_of
from egi.data.storage import create

MOLECULES = {"mol-a": "CCCCO", "mol-b": "C[C@H](O)CC#N", "mol-rigid": "CC#N"}
INTERVAL_PS = 5.2


def embedded(smiles: str, name: str):
    """A record and an RDKit molecule with one conformer."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(mol)
    return record_of(mol, name), mol


def hopping(record, mol, frames: int, rng, *, hop: float = 0.2, noise: float = 0.03) -> np.ndarray:
    """Frames [n, frames, 3] whose torsions hop between three wells."""
    mol, torsions = Chem.Mol(mol), internal_coordinates(record).torsions
    conformer, made = mol.GetConformer(), []
    wells = rng.integers(3, size=len(torsions))
    for _ in range(frames):
        moved = rng.random(len(torsions)) < hop
        wells = np.where(moved, rng.integers(3, size=len(torsions)), wells)
        for torsion, well in zip(record.modelled[torsions].tolist(), wells.tolist(), strict=True):
            rdMolTransforms.SetDihedralDeg(conformer, *torsion, 60 + 120 * well + rng.normal(0, 8))
        made.append(conformer.GetPositions()[record.modelled])
    frames_ = np.stack(made) + rng.normal(0, noise, (frames, len(record.modelled), 3))
    return frames_.transpose(1, 0, 2).astype(np.float32)


def write_md(path, molecules=MOLECULES, *, frames: int = 50, replicas: int = 3, seed: int = 0):
    """Test trajectories: the last replica is the oracle."""
    rng = np.random.default_rng(seed)
    with create(path, "egi-trajectories", {}, interval_ps=INTERVAL_PS) as writer:
        for name, smiles in molecules.items():
            record, mol = embedded(smiles, name)
            arrays = {f"replica_{k}": np.stack([hopping(record, mol, frames, rng) for _ in range(2)])
                      for k in range(replicas)}  # fmt: skip
            writer.add(record, arrays)
            for k in range(replicas):
                role = "oracle" if k == replicas - 1 else "reference"
                writer.label(name, f"replica_{k}", role=role)
    return path


def write_samples(path, molecules=MOLECULES, *, samples: int = 3, frames: int = 40, seed: int = 5, noise: float = 0.1):
    """Generated trajectories, noisier than MD."""
    rng = np.random.default_rng(seed)
    with create(path, "egi-samples", {}, interval_ps=INTERVAL_PS, refined=False) as writer:
        for name, smiles in molecules.items():
            record, mol = embedded(smiles, name)
            drawn = np.stack([hopping(record, mol, frames, rng, noise=noise) for _ in range(samples)])
            writer.add(record, {"samples": drawn, "given": np.zeros(frames, bool)}, redrawn=0)
    return path


@pytest.fixture(scope="session")
def synthetic():
    """The functions above, for tests."""
    return SimpleNamespace(
        molecules=MOLECULES, embedded=embedded, hopping=hopping, write_md=write_md, write_samples=write_samples
    )


@pytest.fixture(scope="session")
def md_file(tmp_path_factory):
    return write_md(tmp_path_factory.mktemp("md") / "test.h5")


@pytest.fixture(scope="session")
def samples_file(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples") / "egi.h5")


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    """A config whose dataset is called tiny."""
    evaluation = {"coverage_threshold": "0.5 angstrom", "tica_lag": "10.4 ps", "msm_lag": "10.4 ps", "microstates": 8,
                  "metastates": 4, "oracle_lengths": 3, "bootstrap": 50, "workers": 1}  # fmt: skip
    training = {"steps": 1}
    tasks = {name: {"methods": ["egi"], "frames": 20, "training": training, "sampling": {"samples": 6}}
             for name in ("unconditional", "forward", "interpolation")}  # fmt: skip
    values = {"seed": 1, "datasets": {"tiny": {
        "geom": {"source": "smiles", "files": {"all": "molecules.csv"}, "elements": ["C", "N", "O"]},
        "selection": {"molecules": {"train": 1, "val": 1, "test": 1}}, "pretraining": training, "tasks": tasks,
        "evaluation": evaluation}}}  # fmt: skip
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
