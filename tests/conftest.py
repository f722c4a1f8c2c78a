"""A small made-up run, `example_results`, for the tests of figures and report: real molecules, invented motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolTransforms

from egi.chem.molecules import record_of
from egi.config import ModelSettings
from egi.data.storage import MoleculeRecord, create
from egi.metrics import figure_data
from egi.metrics.distributions import LIMITS, histograms

MOLECULES = {"mol_0": "CCCCO", "mol_1": "C[C@H](N)CC#N"}
INTERVAL_PS = 5.2
METHODS = {"unconditional": ("egi", "geotdm", "ar_egnn"), "interpolation": ("egi",)}
NOISE = {"egi": 0.04, "geotdm": 0.12, "ar_egnn": 0.2}


def _molecule(name: str) -> tuple[MoleculeRecord, Chem.Mol]:
    mol = Chem.AddHs(Chem.MolFromSmiles(MOLECULES[name]))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    return record_of(mol, name), mol


def _motion(record: MoleculeRecord, mol: Chem.Mol, frames: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Positions [n, frames, 3] of the modelled atoms while one torsion hops between three values."""
    mol, positions, state = Chem.Mol(mol), [], 0
    heavy = [int(i) for i in record.modelled]
    chain = mol.GetSubstructMatch(Chem.MolFromSmarts("[!#1;!$([#6]#[#7])]~[#6;X4]~[#6;X4]~[!#1]"))
    for _ in range(frames):
        state = rng.integers(3) if rng.random() < 0.1 else state
        rdMolTransforms.SetDihedralDeg(mol.GetConformer(), *chain, (60.0, 180.0, -60.0)[state] + 9 * rng.normal())
        positions.append(mol.GetConformer().GetPositions()[heavy])
    stacked = np.stack(positions, axis=1)
    return (stacked + noise * rng.normal(size=stacked.shape)).astype(np.float32)


def _write_inputs(folder: Path, rng: np.random.Generator) -> None:
    molecules = {name: _molecule(name) for name in MOLECULES}
    with create(folder / "conformers" / "test.h5", "egi-conformers", {}) as writer:
        for record, mol in molecules.values():
            copy = Chem.Mol(mol)
            AllChem.EmbedMultipleConfs(copy, 4, randomSeed=1)
            writer.add(record, {"positions": np.stack([c.GetPositions() for c in copy.GetConformers()])})
    with create(folder / "trajectories" / "test.h5", "egi-trajectories", {}, interval_ps=INTERVAL_PS) as writer:
        for record, mol in molecules.values():
            writer.add(record, {f"replica_{k}": _motion(record, mol, 60, 0.02, rng)[None] for k in range(3)})
            for k in range(3):
                writer.label(record.id, f"replica_{k}", role="reference" if k < 2 else "oracle")
    for task, methods in METHODS.items():
        for method in methods:
            path = folder / "samples" / task / f"{method}.h5"
            header = {"task": task, "method": method, "interval_ps": INTERVAL_PS, "refined": False}
            with create(path, "egi-samples", {}, **header) as writer:
                for record, mol in molecules.values():
                    drawn = np.stack([_motion(record, mol, 60, NOISE[method], rng) for _ in range(2)])
                    writer.add(record, {"samples": drawn}, redrawn=1)
    with create(folder / "samples" / "conformers" / "basices.h5", "egi-samples", {}, method="basices") as writer:
        for record, mol in molecules.values():
            drawn = _motion(record, mol, 6, 0.08, rng)
            writer.add(record, {"samples": np.swapaxes(drawn, 0, 1)[:, :, None]})


def _wrapped(angles: np.ndarray) -> np.ndarray:
    return np.angle(np.exp(1j * angles))


def _arrays(method: str, paths: bool, rng: np.random.Generator) -> figure_data.Arrays:
    """Invented arrays of the right shapes; `ar_egnn` has none that need whole trajectories."""
    spread = NOISE.get(method, 0.02)
    values = {
        "bond_length": 1.5 + spread * rng.normal(size=(900, 4)),
        "bond_angle": 1.95 + spread * rng.normal(size=(900, 3)),
        "torsion": _wrapped(rng.choice([1.05, np.pi, -1.05], (900, 2)) + 3 * spread * rng.normal(size=(900, 2))),
    }
    made = {kind: histograms(values[kind], LIMITS[kind])[:, 1:-1].sum(0) for kind in LIMITS}
    if method == "ar_egnn":
        return figure_data.Arrays(made, {"tica": "no_finite_frames: no trajectory without NaN or infinity"})
    states = rng.integers(3, size=600)
    points = np.array([[-1.0, 0.0], [1.0, 0.8], [0.8, -0.9]])[states] + 0.25 * rng.normal(size=(600, 2))
    lags = np.exp(-np.arange(40) / np.array([[4.0], [12.0]]) * (1 + 4 * spread))
    made |= {"autocorrelation": lags, "tica": points, "metastate": states, "occupancy": np.bincount(states) / 600}
    if method == "reference":
        made |= {
            "lags_ps": np.array([10.4, 20.8, 31.2]),
            "timescales_ps": np.array([[80.0, 20], [90, 25], [95, np.nan]]),
        }
        made |= {"mfpt_error": np.full((3, 3), 0.1)}
    if method != "geotdm":
        made |= {"mfpt_ps": (1 + 3 * spread) * 50 * np.array([[0, 2, 9], [1, 0, 6], [1, 3, 0]])}
    if paths:
        way = np.linspace(points[states == 0][:3], points[states == 1][:3], 60, axis=1)
        made["paths"] = way + 0.1 * rng.normal(size=way.shape)
    return figure_data.Arrays(made)


def _write_evaluation(folder: Path, rng: np.random.Generator) -> None:
    for task, methods in METHODS.items():
        with figure_data.create(folder / "evaluation" / f"{task}.h5", INTERVAL_PS) as file:
            for name, smiles in MOLECULES.items():
                shown = ("reference", "md_oracle", *methods)
                file.add(name, smiles, {m: _arrays(m, task == "interpolation", rng) for m in shown})


def _write_energies(folder: Path, rng: np.random.Generator) -> None:
    """Energies of two molecules; the second has none for lack of charges."""
    with figure_data.create(folder / "evaluation" / "unconditional_energies.h5", INTERVAL_PS) as file:
        excess = {"reference": 0, "md_oracle": 0, "egi": 8, "geotdm": 4000, "etkdg": 2}
        energies = {m: figure_data.Arrays({"energy": rng.normal(above, 2, 100)}) for m, above in excess.items()}
        file.add("mol_0", MOLECULES["mol_0"], energies)
        file.add("mol_1", MOLECULES["mol_1"], {})


def _write_tables(folder: Path, rng: np.random.Generator) -> None:
    def table(stem: str, rows: list[str], metrics: tuple[str, ...], top: float) -> None:
        scored = {"refined": False, "values": 4, "status": "ok", "reason": ""}
        long = [
            {"method": method, "molecule": molecule, "metric": metric, "value": top * rng.random(), **scored}
            for method in rows
            for molecule in MOLECULES
            for metric in metrics
        ]
        pd.DataFrame(long).to_csv(folder / f"{stem}_per_molecule.csv", index=False)
        wide = []
        for m in rows:
            row: dict[str, object] = {"method": m, "refined": False}
            for metric in metrics:
                values = np.array([r["value"] for r in long if (r["method"], r["metric"]) == (m, metric)])
                counts = {"molecules": 2, "values": 8, "left_out": 0}
                middle = {f"{part}mean": values.mean() for part in ("", "values_")}
                middle |= {f"{part}median": np.median(values) for part in ("", "values_")}
                ends = {f"{part}_low": values.min() for part in ("mean", "median")}
                ends |= {f"{part}_high": values.max() for part in ("mean", "median")}
                row |= {f"{metric}_{part}": value for part, value in (middle | counts | ends).items()}
            wide.append(row | {"reason": ""})
        wide[-1] |= {f"{metrics[0]}_mean": None, "reason": f"{metrics[0]}: 2 of 2 molecules <b>no_finite_frames</b>"}
        pd.DataFrame(wide).to_csv(folder / f"{stem}.csv", index=False)

    rows = ["md_oracle", "md_oracle_matched", "egi", "geotdm", "ar_egnn", "etkdg", "shuffled_md"]
    jsd = ("jsd_bond_length", "jsd_bond_angle", "jsd_torsion", "jsd_tica_0", "jsd_tica_0_1")
    table("unconditional_jsd", rows, jsd, 0.8)
    table("unconditional_decorrelation", rows, ("jsd_decorrelation", "coherence"), 0.8)
    table("unconditional_energies", rows, ("energy_overlap", "energy_within", "energy_excess"), 1.0)
    table("conformer_covmat", ["basices", "etkdg"], ("cov_r", "mat_r", "cov_p", "mat_p"), 90.0)
    paths = ("jsd_path_occupancy", "path_probability", "valid_path_rate", "valid_path_probability")
    table("interpolation_paths", ["egi", "md_oracle", "md_oracle_10", "md_oracle_55"], paths, 1.0)


def _write_records(folder: Path, rng: np.random.Generator) -> None:
    for path in ("structure", "unconditional/egi", "unconditional/geotdm"):
        steps = np.arange(0, 500, 10)
        curve = pd.DataFrame({"step": steps, "train_loss": np.exp(-steps / 150) + 0.3 + 0.05 * rng.random(50)})
        curve["val_loss"] = np.where(steps % 100 == 0, curve["train_loss"] + 0.03, np.nan)
        target = folder / "models" / f"{path}.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        curve.assign(seconds=steps * 0.1).to_csv(target, index=False)
    pd.DataFrame(
        {"id": list(MOLECULES), "smiles": list(MOLECULES.values()), "split": ["test", "test"], "reason": ["", ""]}
    ).to_csv(folder / "molecules.csv", index=False)
    (folder / "md").mkdir(exist_ok=True)
    (folder / "md" / "shard_0.csv").write_text(
        "molecule,split,replica,status,stage,reason,frames,interval_ps,platform,ns_per_day,temperature_kelvin\n"
        "mol_0,test,0,ok,,,60,5.2,CPU,21.5,300.4\n"
        "mol_1,test,0,ok,,,60,5.2,CPU,22.0,299.1\n"
        "mol_2,test,0,rejected,charges,sqm stopped after 60 s,,,,,\n"
    )
    (folder / "conformers" / "rejects.csv").write_text(
        "molecule,smiles,conformer,stage,filter,detail\n"
        + "".join(f"mol_9,[O-]C,{k},read,charged,\n" for k in range(3))
    )
    (folder / "benchmarks").mkdir(exist_ok=True)
    (folder / "benchmarks" / "pretrain.tsv").write_text("s\th:m:s\tmax_rss\n12.5\t0:00:12\t350.0\n")


@pytest.fixture(scope="session")
def example_results(tmp_path_factory) -> Path:
    """Folder like `results/` with the files of one dataset, `qm9`; no figures."""
    import torch

    from egi.models import build, save

    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("run") / "results" / "qm9"
    for write in (_write_inputs, _write_evaluation, _write_energies, _write_tables, _write_records):
        write(folder, rng)
    model = build("egi", ModelSettings(hidden=8, layers=2))
    with torch.no_grad():
        for block in model.blocks:
            block.logits.normal_(generator=torch.Generator().manual_seed(1))
    save(folder / "models" / "unconditional" / "egi.ckpt", model, extra={})
    return folder.parent
