"""The plotting scripts by hand: every figure they promise, as SVG and PNG, from the files of a run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest

from egi.md.quality import write_quality

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"


def run(name: str, *arguments: object) -> None:
    """Call a script's `main`."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in arguments])


@pytest.fixture
def qm9(example_results) -> Path:
    return example_results / "qm9"


def flags(folder: Path, *names: str) -> list[object]:
    """An output flag a figure."""
    return [part for name in names for part in (f"--{name}", folder / f"{name}.svg")]


def made(folder: Path) -> dict[str, set[str]]:
    """Endings of the files by stem; no file is empty."""
    found: dict[str, set[str]] = {}
    for path in folder.iterdir():
        assert path.stat().st_size > 500
        found.setdefault(path.stem, set()).add(path.suffix)
    return found


def both(*names: str) -> dict[str, set[str]]:
    return {name: {".svg", ".png"} for name in names}


def test_conformers(qm9, tmp_path):
    names = ("covmat", "distributions", "examples")
    run("plot_conformers", "--table", qm9 / "conformer_covmat_per_molecule.csv", "--reference",
        qm9 / "conformers" / "test.h5", "--samples", qm9 / "samples" / "conformers" / "basices.h5",
        *flags(tmp_path, *names))  # fmt: skip
    assert made(tmp_path) == both(*names)


def test_distributions(qm9, tmp_path):
    run("plot_distributions", "--evaluation", qm9 / "evaluation" / "unconditional.h5", "--table",
        qm9 / "unconditional_jsd_per_molecule.csv", "--decorrelation",
        qm9 / "unconditional_decorrelation_per_molecule.csv", *flags(tmp_path, "distributions", "jsd"))  # fmt: skip
    assert made(tmp_path) == both("distributions", "jsd")


def test_dynamics(qm9, tmp_path):
    names = ("occupancy", "autocorrelation", "kinetics", "surface")
    run("plot_dynamics", "--evaluation", qm9 / "evaluation" / "unconditional.h5", *flags(tmp_path, *names))
    assert made(tmp_path) == both(*names)


def test_energies(qm9, tmp_path):
    run("plot_energies", "--evaluation", qm9 / "evaluation" / "unconditional_energies.h5", "--output",
        tmp_path / "energies.svg")  # fmt: skip
    assert made(tmp_path) == both("energies")


def test_paths(qm9, tmp_path):
    names = ("surface", "keyframes", "statistics")
    samples = qm9 / "samples" / "interpolation" / "egi.h5"
    run("plot_paths", "--evaluation", qm9 / "evaluation" / "interpolation.h5", "--table",
        qm9 / "interpolation_paths.csv", "--samples", samples, *flags(tmp_path, *names))  # fmt: skip
    assert made(tmp_path) == both(*names)


def test_refinement(qm9, tmp_path):
    rng = np.random.default_rng(0)
    for name, molecule in (("egi", "mol_1"), ("etkdg", "mol_0")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for energies, level in (("energy_before", 900), ("energy_after", 60), ("energy_md", 50)):
                file[f"{molecule}/{energies}"] = level + 9 * rng.normal(size=(2, 30))
            file[f"{molecule}/energy_before"][0, :4] = np.nan, 1e300, -1e5, np.nan
    given = [f"{name}={tmp_path / f'{name}.h5'}" for name in ("egi", "etkdg")]
    for figure, molecule in (("both", "mol_1"), ("null_only", "mol_0"), ("nothing", "mol_9")):
        folder = tmp_path / figure
        folder.mkdir()
        run("plot_refinement", "--evaluation", qm9 / "evaluation" / "unconditional.h5", "--refined", *given,
            "--molecule", molecule, *flags(folder, "figure"))  # fmt: skip
        assert made(folder) == both("figure")


def test_training(qm9, tmp_path):
    models = qm9 / "models"
    run("plot_training", "--curves", models / "structure.csv", models / "unconditional" / "egi.csv", "--checkpoints",
        models / "unconditional" / "egi.ckpt", *flags(tmp_path, "training", "alphas"))  # fmt: skip
    assert made(tmp_path) == both("training", "alphas")


def test_report(example_results, tmp_path):
    page = tmp_path / "report.html"
    table = example_results / "qm9" / "unconditional_jsd.csv"
    run("report", "--results", example_results, "--datasets", "qm9", "--inputs", table, "--output", page)
    assert "simulation.production" in page.read_text(encoding="utf-8")  # how the settings differ from the paper's
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        run("report", "--results", example_results, "--datasets", "qm9", "--inputs", "none.csv", "--output", page)


def test_quality_of_the_simulations(tmp_path):
    table = tmp_path / "md_quality.csv"
    write_quality([{"molecule": "a", "replica": 0, "verdict": "pass", "frames": 80, "temperature_kelvin": 301.0,
                    "temperature_expected_error_kelvin": 3.0, "bond_deviation_angstrom": 0.1},
                   {"molecule": "a", "replica": 1, "verdict": "rejected", "reasons": "slow"}], table)  # fmt: skip
    folder = tmp_path / "figures"
    run("plot_quality", "--config", SCRIPTS.parents[1] / "config" / "config.yaml", "--table", table,
        *flags(folder, "quality"))  # fmt: skip
    assert made(folder) == both("quality")
