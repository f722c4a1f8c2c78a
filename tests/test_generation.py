"""The tasks on real molecules and untrained networks: shapes, given frames, seeds, files."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import h5py
import mdtraj
import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.transform import Rotation

from egi import generation, models
from egi.chem.molecules import record_of
from egi.cli import UserError
from egi.config import DiffusionSettings, ModelSettings, SamplingSettings
from egi.data.storage import Reader, StorageError, create
from egi.diffusion import samplers
from egi.export import export

SMALL = ModelSettings(hidden=8, layers=1, temporal_frequencies=2)
SMILES = ("CCO", "CC(=O)N", "C[C@H](F)CO")
FRAMES, LENGTH = 4, 9


def embedded(smiles):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, 3, randomSeed=1)
    positions = np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])
    return mol, positions


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Conformers, trajectories and pairs of three molecules."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    paths = {name: folder / f"{name}.h5" for name in ("conformers", "trajectories", "pairs")}
    kinds = {"conformers": "egi-conformers", "trajectories": "egi-trajectories", "pairs": "egi-samples"}
    for name, path in paths.items():
        with create(path, kinds[name], {}, interval_ps=0.4) as writer:
            for number, smiles in enumerate(SMILES):
                mol, positions = embedded(smiles)
                record = record_of(mol, f"m{number}")
                frames = positions[:, record.modelled]
                frames -= frames.mean(1, keepdims=True)
                if name == "conformers":
                    writer.add(record, {"positions": positions.astype(np.float32)})
                elif name == "pairs":
                    turn = Rotation.random(random_state=number).as_matrix()
                    end = frames[[1, 2, 0]] @ turn.T + 2
                    writer.add(record, {"start": frames.astype(np.float32), "end": end.astype(np.float32)})
                else:
                    noise = random.normal(size=(3, 2, len(record.modelled), LENGTH, 3)) * 0.1
                    replicas = (frames[:, None, :, None] + noise).astype(np.float32)
                    writer.add(record, {f"replica_{k}": replica for k, replica in enumerate(replicas)})
    with h5py.File(paths["trajectories"], "r+") as file:
        for group in file.values():
            for k in range(3):
                group[f"replica_{k}"].attrs["role"] = "oracle" if k == 2 else "reference"
    return paths


def network(method):
    torch.manual_seed(0)
    return models.build(method, SMALL).eval()


def task(name, seed=0, frames=FRAMES, **more):
    sampling = SamplingSettings(**{"samples": 3, "sampler": "ddim", "steps": 4, "batch_size": 4, **more})
    return generation.Task(name, 1 if name == "conformers" else frames, sampling, DiffusionSettings(), seed)


def generated(files, method, wanted):
    kinds = {"conformers": "egi-conformers", "trajectories": "egi-trajectories", "pairs": "egi-samples"}
    readers = {name: Reader(path, kinds[name]) for name, path in files.items()}
    try:
        plans = generation.plan(wanted, method, readers)
        return list(generation.generate(network(method), plans, wanted))
    finally:
        for reader in readers.values():
            reader.close()


def atoms(made):
    return len(made.record.modelled)


def test_conformers_are_a_multiple_of_the_reference(files):
    made = generated(files, "basices", task("conformers", samples=2))
    assert [m.record.id for m in made] == ["m0", "m1", "m2"]
    assert all(m.samples.shape == (6, atoms(m), 1, 3) and not m.given.any() for m in made)
    assert all(np.isfinite(m.samples).all() for m in made)


def test_unconditional(files):
    made = generated(files, "egi", task("unconditional", max_molecules=2))
    assert [m.samples.shape for m in made] == [(3, atoms(m), FRAMES, 3) for m in made]
    assert len(made) == 2 and not made[0].given.any()


def test_forward_starts_from_the_references_in_turn_and_goes_on_from_each_last_frame(files, monkeypatch):
    calls, inner = [], samplers.sample

    def spy(model, schedule, batch, given, condition, *rest):
        result = inner(model, schedule, batch, given, condition, *rest)
        calls.append((given.clone(), result.positions.clone()))
        return result

    monkeypatch.setattr(samplers, "sample", spy)
    made = generated(files, "geotdm", task("forward", blocks=3, batch_size=100))
    with Reader(files["trajectories"], "egi-trajectories") as reader:
        for m in made:
            assert m.samples.shape == (3, atoms(m), 1 + 3 * (FRAMES - 1), 3)
            assert m.given.tolist() == [True] + [False] * 9
            for number, sample in enumerate(m.samples):  # replica 2 is the oracle
                wanted = reader.array(m.record.id, f"replica_{number % 2}")[0, :, 0]
                np.testing.assert_array_equal(sample[:, 0], wanted)
    assert len(calls) == 3
    for (_, before), (given, after) in pairwise(calls):
        assert torch.equal(given[:, 0], before[:, -1]) and torch.equal(after[:, 0], before[:, -1])


def test_interpolation_keeps_both_ends_in_one_frame_of_reference(files):
    made = generated(files, "egi", task("interpolation", samples=2))
    with Reader(files["pairs"], "egi-samples") as reader:
        for m in made:
            assert m.samples.shape == (2, atoms(m), FRAMES, 3) and m.given.tolist() == [True, False, False, True]
            for number, sample in enumerate(m.samples):
                start, end = (reader.array(m.record.id, name)[number] for name in ("start", "end"))
                np.testing.assert_array_equal(sample[:, 0], start)
                best, _ = Rotation.align_vectors(start - start.mean(0), end - end.mean(0))
                wanted = best.apply(end - end.mean(0)) + start.mean(0)
                np.testing.assert_allclose(sample[:, -1], wanted, atol=1e-4)
    assert all(len(m.samples) == 3 for m in generated(files, "egi", task("interpolation", samples=50)))


@pytest.mark.parametrize(("name", "frames"), [("unconditional", FRAMES), ("forward", 1 + 2 * (FRAMES - 1))])
def test_autoregressive_models_start_from_real_frames(files, name, frames):
    made = generated(files, "ar_egnn", task(name, blocks=2 if name == "forward" else 1))
    assert all(m.samples.shape == (3, atoms(m), frames, 3) and m.given.sum() == 1 for m in made)
    with Reader(files["conformers"], "egi-conformers") as reader:
        for m in made * (name == "unconditional"):
            every = reader.array(m.record.id, "positions")[:, m.record.modelled]
            every = every - every.mean(1, keepdims=True)
            distances = np.abs(m.samples[:, None, :, 0] - every[None]).max((2, 3))
            assert sorted(distances.argmin(1)) == [0, 1, 2] and (distances.min(1) < 1e-5).all()


def test_samples_follow_from_the_seed(files):
    first, again, other = (generated(files, "egi", task("unconditional", seed)) for seed in (0, 0, 1))
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.samples, two.samples)
        assert (one.samples != three.samples).any()
    assert (first[0].samples[0] != first[0].samples[1]).any()


def test_missing_inputs_are_named(files):
    with pytest.raises(ValueError, match="pairs is missing; interpolation with egi needs it"):
        generation.plan(task("interpolation"), "egi", {})
    with pytest.raises(ValueError, match="conformers is missing; unconditional with ar_et needs it"):
        generation.plan(task("unconditional"), "ar_et", {"trajectories": None})


def test_no_reference_replica(files, tmp_path):
    path = tmp_path / "t.h5"
    with create(path, "egi-trajectories", {}) as writer:
        writer.add(record_of(embedded("CCO")[0], "m0"), {})
    with Reader(path, "egi-trajectories") as reader, pytest.raises(StorageError, match="'m0' has no reference replica"):
        next(generation.plan_forward(reader, task("forward").sampling))


def test_alphas_can_be_set_only_where_there_are_any(tmp_path):
    for method in ("egi", "geotdm"):
        models.save(tmp_path / f"{method}.ckpt", network(method))
    sampling = SamplingSettings(samples=1, alpha_override=0.5)
    assert generation.load_model(tmp_path / "egi.ckpt", "egi", sampling, "cpu").alpha_override == 0.5
    with pytest.raises(ValueError, match=r"alpha_override = 0.5, but geotdm has no alphas"):
        generation.load_model(tmp_path / "geotdm.ckpt", "geotdm", sampling, "cpu")


CONFIG = """
seed: 3
threads: 1
datasets:
  tiny:
    geom: {files: {all: x}, elements: [C]}
    selection: {molecules: {train: 1, val: 1, test: 1}}
    simulation: {production: 8 ps}
    subsample: {interval: 0.4 ps}
    model: {hidden: 8, layers: 1, temporal_frequencies: 2}
    pretraining: {steps: 1}
    conformer_sampling: {samples: 1, sampler: dpm, steps: 3}
    tasks:
      forward:
        methods: [egi]
        frames: 4
        training: {steps: 1}
        sampling: {samples: 2, sampler: dpm, steps: 3, blocks: 2}
    evaluation: {coverage_threshold: 1 angstrom, tica_lag: 0.4 ps, msm_lag: 0.4 ps}
"""


class Breaking(torch.nn.Module):
    """Predicts no noise; not-a-number for molecules of so many atoms, after the first `calls`."""

    method = "geotdm"

    def __init__(self, *atoms: int, calls: int = 0):
        super().__init__()
        self.atoms, self.calls = torch.tensor(atoms), calls

    def forward(self, batch, positions, step, condition):
        self.calls -= 1
        broken = torch.isin(torch.bincount(batch.batch)[batch.batch], self.atoms) & (self.calls < 0)
        return torch.where(broken.view(-1, 1, 1), torch.nan, positions * 0)


def test_a_molecule_whose_samples_are_never_finite_is_kept_and_the_others_go_on(files, tmp_path):
    wanted = task("forward", steps=2, blocks=3, batch_size=100, samples=2)
    with Reader(files["trajectories"], "egi-trajectories") as reader:
        plans = generation.plan(wanted, "geotdm", {"trajectories": reader})
        made = list(generation.generate(Breaking(4, calls=2), plans, wanted))  # CC(=O)N, after the first block
    assert [atoms(m) for m in made] == [3, 4, 5] and [m.lost for m in made] == [0, 2, 0]
    broken = made[1]
    assert np.isfinite(broken.samples[:, :, :FRAMES]).all() and np.isnan(broken.samples[:, :, FRAMES:]).all()
    assert broken.redrawn == 2 * samplers.MAX_REDRAWS  # in the second block; nothing is tried in the third
    export(tmp_path / "broken", broken.record, broken.samples, 0.4)
    read = mdtraj.load(tmp_path / "broken.xtc", top=tmp_path / "broken.pdb")
    assert read.n_frames == FRAMES and np.isfinite(read.xyz).all()


def test_a_model_that_gives_no_finite_sample_is_an_error_without_output(files, tmp_path, monkeypatch):
    script = sample_script()
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    flags = ["--config", str(tmp_path / "config.yaml"), "--dataset", "tiny", "--task", "forward", "--method", "egi",
             "--model", "egi.ckpt", "--trajectories", str(files["trajectories"]), "--output"]  # fmt: skip
    monkeypatch.setattr(generation, "load_model", lambda *_: Breaking(3, 4))
    script.main([*flags, str(tmp_path / "some.h5")])
    with Reader(tmp_path / "some.h5", "egi-samples") as reader:
        assert [reader.group(m).attrs["lost"] for m in reader.ids] == [2, 2, 0]
    monkeypatch.setattr(generation, "load_model", lambda *_: Breaking(3, 4, 5))
    with pytest.raises(UserError, match=r"egi\.ckpt: no sample is finite; train longer"):
        script.main([*flags, str(tmp_path / "none.h5")])
    assert not list(tmp_path.glob("*none*"))


def sample_script():
    path = Path(__file__).parents[1] / "workflow" / "scripts" / "sample.py"
    spec = importlib.util.spec_from_file_location("sample_script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_script_writes_samples_and_files_that_open_elsewhere(files, tmp_path):
    script = sample_script()
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    common = ["--config", str(tmp_path / "config.yaml"), "--dataset", "tiny"]
    for method in ("egi", "basices"):
        models.save(tmp_path / f"{method}.ckpt", network(method))
    script.main([
        *common, "--task", "forward", "--method", "egi", "--model", str(tmp_path / "egi.ckpt"), "--trajectories",
        str(files["trajectories"]), "--output", str(tmp_path / "egi.h5"), "--export-dir", str(tmp_path / "egi"),
    ])  # fmt: skip
    with Reader(tmp_path / "egi.h5", "egi-samples") as reader:
        assert reader.attributes["interval_ps"] == 0.4 and not reader.attributes["refined"]
        assert (reader.attributes["task"], reader.attributes["method"]) == ("forward", "egi")
        samples, mol = reader.array("m2", "samples"), reader.record("m2").mol
        assert samples.shape == (2, 5, 7, 3) and reader.group("m2").attrs["redrawn"] == 0
    read = mdtraj.load(tmp_path / "egi" / "m2.xtc", top=tmp_path / "egi" / "m2.pdb")
    np.testing.assert_allclose(read.xyz * 10, samples[0].transpose(1, 0, 2), atol=0.011)
    np.testing.assert_allclose(read.time, 0.4 * np.arange(7), atol=1e-5)
    assert [a.element.symbol for a in read.top.atoms] == [a.GetSymbol() for a in Chem.RemoveHs(mol).GetAtoms()]
    script.main([
        *common, "--task", "conformers", "--method", "basices", "--model", str(tmp_path / "basices.ckpt"),
        "--conformers", str(files["conformers"]), "--output", str(tmp_path / "c.h5"),
        "--export-dir", str(tmp_path / "c"),
    ])  # fmt: skip
    assert len(list(Chem.SDMolSupplier(str(tmp_path / "c" / "m0.sdf"), sanitize=False))) == 3
