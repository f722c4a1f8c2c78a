"""Refinement of samples files: arrays, statistics, null model, workers and the script."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from rdkit import Chem

from egi.chem.molecules import record_of
from egi.config import SimulationSettings
from egi.data.storage import Reader, create
from egi.md.frames import write_frames
from egi.md.refine import STATUSES, Refiner
from egi.md.refine_samples import Source, refine_molecule
from egi.md.refinement_settings import RefinementSettings


@pytest.fixture
def source(tmp_path, molecule, refined) -> Source:
    """A samples file of two samples of three frames, one of them mirrored, one not finite."""
    record, _, charges = molecule
    samples = refined[0][:6].reshape(2, 3, -1, 3).transpose(0, 2, 1, 3).astype(np.float32)
    samples[0, :, 1, 0] *= -1
    samples[1, :, 2] = np.nan
    header = {"task": "forward", "method": "egi", "interval_ps": 0.4, "refined": False}
    with create(tmp_path / "egi.h5", "egi-samples", {}, **header) as writer:
        given = np.array([True, False, False])
        writer.add(record, {"samples": samples, "given": given}, redrawn=1)
        other = record_of(Chem.AddHs(Chem.MolFromSmiles("CCO")), "other")
        writer.add(other, {"samples": np.zeros((1, 3, 2, 3), np.float32), "given": given[:2]}, redrawn=0)
    (tmp_path / "md" / "m").mkdir(parents=True)
    (tmp_path / "md" / "m" / "charges.json").write_text(json.dumps({"charges": charges.tolist()}))
    return Source(tmp_path / "egi.h5", tmp_path / "md", SimulationSettings(), RefinementSettings(), 4)


def test_a_molecules_samples(source, molecule):
    made = refine_molecule(source, "m")
    atoms = molecule[0].mol.GetNumAtoms()
    assert made.arrays["samples"].shape == (2, 7, 3, 3) and made.arrays["all_atoms"].shape == (2, atoms, 3, 3)
    np.testing.assert_array_equal(made.arrays["samples"], made.arrays["all_atoms"][:, molecule[0].modelled])
    assert made.arrays["status"].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert made.arrays["reflected"].tolist() == [[False, True, False], [False, False, False]]
    assert made.attributes == {"redrawn": 1}
    assert (made.row["frames"], made.row["ok"], made.row["reflected"], made.row["not_finite"]) == (6, 5, 1, 1)
    assert made.arrays["energy_md"].shape == (0,) and made.row["all_atom_overlap"] == ""  # no MD here
    missing = refine_molecule(source, "other")
    assert (missing.arrays["status"] == STATUSES.index("no_parameters")).all()
    assert "charges.json does not exist" in missing.row["reason"]


def test_energies_are_compared_with_those_of_the_mds_frames(source, md):
    positions, energies = md
    for replica, part in enumerate((positions[:300], positions[300:])):
        times = np.arange(len(part)) * 0.4
        write_frames(source.md / "m" / f"replica_{replica}.xtc", part * 0.1, times, np.zeros((len(part), 3, 3)))
    made = refine_molecule(source, "m")
    np.testing.assert_allclose(made.arrays["energy_md"], energies, atol=8.0)  # XTC keeps 0.01 angstrom
    assert made.row["energy_md_median"] == pytest.approx(np.median(energies), abs=1)
    assert 0.1 < made.row["all_atom_overlap"] <= 1


def test_conformers_take_the_samples_place_as_a_null_model(source, molecule, smiles_of):
    made = refine_molecule(replace(source, etkdg=True), "m")
    assert made.row["method"] == "etkdg" and made.row["ok"] == 6 and not made.arrays["given"].any()
    assert made.arrays["samples"].shape == (2, 7, 3, 3)
    for positions in made.arrays["all_atoms"].transpose(0, 2, 1, 3).reshape(6, -1, 3):
        assert smiles_of(molecule[0], positions) == molecule[0].smiles


@pytest.mark.slow
def test_workers_give_what_one_gives(source, tmp_path, refine_script):
    made = []
    for threads in ("1", "2"):
        outputs = tmp_path / f"{threads}.h5", tmp_path / f"{threads}.csv"
        flags = ["--samples", source.samples, "--md", source.md, "--output", outputs[0], "--table", outputs[1]]
        refine_script(["--threads", threads, *map(str, flags)])
        with Reader(outputs[0], "egi-samples") as reader:
            arrays = {
                (m, name): reader.array(m, name) for m in reader.ids for name in ("all_atoms", "energy_after", "status")
            }
        made.append((arrays, outputs[1].read_text()))
    assert made[0][1] == made[1][1] and list(made[0][0]) == list(made[1][0])
    for key, values in made[0][0].items():
        np.testing.assert_array_equal(values, made[1][0][key])


def test_a_molecule_that_stops_the_script_leaves_no_output(source, tmp_path, refine_script, monkeypatch):
    flags = [
        "--samples",
        source.samples,
        "--md",
        source.md,
        "--output",
        tmp_path / "o.h5",
        "--table",
        tmp_path / "o.csv",
    ]
    monkeypatch.setattr(Refiner, "refine", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        refine_script(["--threads", "1", *map(str, flags)])
    assert not list(tmp_path.glob("o*"))


def test_script(source, tmp_path, refine_script, molecule):
    outputs = tmp_path / "egi_refined.h5", tmp_path / "egi_refined.csv"
    flags = ["--samples", source.samples, "--md", source.md, "--output", outputs[0], "--table", outputs[1]]
    refine_script(["--threads", "1", *map(str, flags)])
    with Reader(outputs[0], "egi-samples") as reader:
        assert reader.attributes["refined"] and reader.attributes["method"] == "egi"
        assert reader.attributes["statuses"].split(",")[0] == "ok"
        assert np.isfinite(reader.array("m", "samples")[:, :, :2]).all()
        assert reader.record("m").smiles == molecule[0].smiles
    with outputs[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["molecule"] for row in rows] == ["m", "other"] and rows[0]["mirror_images"] == "1"


@pytest.fixture
def refine_script():
    """The script's main function."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[3] / "workflow" / "scripts" / "refine.py"
    spec = importlib.util.spec_from_file_location("refine_script", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found.main
