import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from egi.chem import collect as collecting
from egi.chem import parts
from egi.chem.collect import Outputs, collect
from egi.chem.molecules import canonical_smiles
from egi.cli import UserError
from egi.config import SPLITS, GeomSettings
from egi.data.storage import Reader

SMILES = ["CCO", "CCCO", "CC(C)O", "CCN", "CCCN", "CC=O", "CCC#N", "COC", "CC[C@H](C)O", "CC[C@@H](C)O"]


def geom(**more):
    given = {"source": "smiles", "files": {"all": "x"}, "elements": ["C", "N", "O"], "conformers": 3, "workers": 1}
    return GeomSettings(**{**given, **more})


def outputs(folder):
    return Outputs({s: folder / f"{s}.h5" for s in SPLITS}, folder / "rejects.csv", folder / "counts.csv")


def write(path, smiles):
    path.write_text("name,smiles\n" + "".join(f"m{i},{s}\n" for i, s in enumerate(smiles)))
    return path


def stored(folder):
    found = {}
    for split in SPLITS:
        with Reader(folder / f"{split}.h5", "egi-conformers") as reader:
            found[split] = {m: (reader.record(m), reader.array(m, "positions")) for m in reader.ids}
    return found


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_molecules_reach_exactly_one_split(tmp_path):
    tally = collect({"all": write(tmp_path / "m.csv", SMILES)}, geom(), 0, outputs(tmp_path / "out"))
    found = stored(tmp_path / "out")
    assert {s: len(found[s]) for s in SPLITS} == dict(tally.molecules)
    assert min(tally.molecules.values()) >= 1 and sum(tally.molecules.values()) == len(SMILES)
    identities = [{canonical_smiles(r.mol, stereo=False) for r, _ in found[s].values()} for s in SPLITS]
    assert not identities[0] & identities[1] and not identities[0] & identities[2] and not identities[1] & identities[2]
    assert {r.smiles for s in SPLITS for r, _ in found[s].values()} == {Chem.CanonSmiles(s) for s in SMILES}
    for split in SPLITS:
        for record, positions in found[split].values():
            assert positions.shape == (3, record.mol.GetNumAtoms(), 3) and positions.dtype == np.float32


def test_bad_molecules_are_listed_and_the_others_go_on(tmp_path):
    smiles = ["CCO", "C(", "CCCl", "CCN", "OCC", "CC.CC", "CCCO", "", "CCCN"]
    collect({"all": write(tmp_path / "m.csv", smiles)}, geom(), 0, outputs(tmp_path))
    rejected = {(r["molecule"], r["filter"]) for r in rows(tmp_path / "rejects.csv")}
    assert rejected == {
        ("m1", "smiles"),
        ("m2", "elements"),
        ("m4", "duplicate"),
        ("m5", "fragments"),
        ("m7", "smiles"),
    }
    assert sum(len(s) for s in stored(tmp_path).values()) == 4
    assert all(r["stage"] == "conformers" and r["detail"] for r in rows(tmp_path / "rejects.csv"))
    counts = {r["filter"]: r for r in rows(tmp_path / "counts.csv")}
    assert list(counts)[:5] == ["sanitize", "fragments", "reacted", "smiles", "hydrogens"]
    assert counts["elements"]["passed"] == "15" and counts["elements"]["rejected"] == "1"
    assert int(counts["fragments"]["rejected"]) >= 1


def test_same_result_with_one_and_two_workers(tmp_path):
    source = write(tmp_path / "m.csv", SMILES)
    for workers in (1, 2):
        collect({"all": source}, geom(workers=workers), 5, outputs(tmp_path / str(workers)))
    one, two = stored(tmp_path / "1"), stored(tmp_path / "2")
    for split in SPLITS:
        assert list(one[split]) == list(two[split])
        for molecule in one[split]:
            np.testing.assert_array_equal(one[split][molecule][1], two[split][molecule][1])


def test_given_splits_are_kept_and_max_molecules_cuts_each(tmp_path):
    files = {s: write(tmp_path / f"{s}.csv", SMILES[2 * k : 2 * k + 2]) for k, s in enumerate(SPLITS)}
    settings = geom(files={s: str(p) for s, p in files.items()}, max_molecules=1)
    collect(files, settings, 0, outputs(tmp_path / "out"))
    assert {s: [r.smiles for r, _ in v.values()] for s, v in stored(tmp_path / "out").items()} == {
        "train": ["CCO"], "val": ["CC(C)O"], "test": ["CCCN"],
    }  # fmt: skip


def test_without_a_training_molecule_only_the_rejects_are_left(tmp_path):
    source, out = write(tmp_path / "m.csv", ["C(", "CCl"]), tmp_path / "out"
    with pytest.raises(UserError, match=r"m\.csv: no molecule is left for training; .* all in .*rejects\.failed\.csv"):
        collect({"all": source}, geom(), 0, outputs(out))
    assert sorted(p.name for p in out.iterdir()) == [".parts", "rejects.failed.csv"]
    assert {r["filter"] for r in rows(out / "rejects.failed.csv")} == {"smiles", "elements"}


def test_too_many_molecules_that_cannot_be_built_stop_the_import(tmp_path, monkeypatch):
    source, out = write(tmp_path / "m.csv", ["CCO", "C1#CC1", "CCN", "CCC"]), tmp_path / "out"
    message = r"m\.csv: 1 of 4 molecules could not be read or built, more than max_failed_fraction = 0\.2; 1 for: ETKDG"
    with pytest.raises(UserError, match=message):
        collect({"all": source}, geom(), 0, outputs(out))
    assert [r["molecule"] for r in rows(out / "rejects.failed.csv")] == ["m1"]
    monkeypatch.setattr(collecting, "process", None)  # nothing is computed again
    collect({"all": source}, geom(max_failed_fraction=0.25), 0, outputs(out))
    assert sum(len(s) for s in stored(out).values()) == 3
    assert not (out / "rejects.failed.csv").exists() and not (out / ".parts").exists()


def test_no_molecule_and_no_id_stands_in_two_splits(tmp_path, caplog):
    given_smiles = {"train": ["CCO", "CCCO", "CC[C@H](C)O"], "val": ["CCN", "OCC"], "test": ["CC[C@@H](C)O", "CCN"]}
    files = {s: write(tmp_path / f"{s}.csv", given_smiles[s]) for s in SPLITS}
    tally = collect(files, geom(files={s: str(p) for s, p in files.items()}), 0, outputs(tmp_path / "out"))
    found = {
        split: {m: r.smiles for m, (r, _) in molecules.items()} for split, molecules in stored(tmp_path / "out").items()
    }
    assert found == {
        "train": {"train-m0": "CCO", "train-m1": "CCCO", "train-m2": "CC[C@H](C)O"},
        "val": {"val-m0": "CCN"},
        "test": {"test-m0": "CC[C@@H](C)O"},
    }
    again = [(r["molecule"], r["filter"], r["detail"]) for r in rows(tmp_path / "out" / "rejects.csv")]
    assert again == [
        ("val-m1", "duplicate", "val has what train has"), ("test-m1", "duplicate", "test has what val has")
    ]  # fmt: skip
    assert dict(tally.conformers) == {"train": 9, "val": 3, "test": 3} and tally.rejected["duplicate"] == 6
    assert "1 molecules of test differ only in stereo from some of an earlier split" in caplog.text


class Stopped(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("finished", [0, 2, 5])
def test_interrupted_run_goes_on_and_gives_the_same(tmp_path, monkeypatch, finished):
    source = write(tmp_path / "m.csv", [*SMILES[:3], "C(", "OCC", *SMILES[3:]])
    collect({"all": source}, geom(), 0, outputs(tmp_path / "whole"))
    monkeypatch.setattr(parts, "MOLECULES", 2)
    real, calls = collecting.process, []

    def stops(entry, **more):
        if len(calls) == 2 * finished + 1:
            raise Stopped
        calls.append(entry.id)
        return real(entry, **more)

    monkeypatch.setattr(collecting, "process", stops)
    with pytest.raises(Stopped):
        collect({"all": source}, geom(), 0, outputs(tmp_path / "two"))
    assert [p.name for p in (tmp_path / "two").iterdir()] == [".parts"]
    before, calls[:] = len(calls), []
    monkeypatch.setattr(collecting, "process", lambda entry, **more: calls.append(entry.id) or real(entry, **more))
    collect({"all": source}, geom(), 0, outputs(tmp_path / "two"))
    assert len(calls) == 12 - 2 * finished <= 12 and before == 2 * finished + 1
    for name in ("rejects.csv", "counts.csv"):
        assert (tmp_path / "two" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert not (tmp_path / "two" / ".parts").exists()
    one, two = stored(tmp_path / "whole"), stored(tmp_path / "two")
    for split in SPLITS:
        assert list(one[split]) == list(two[split])
        for molecule in one[split]:
            np.testing.assert_array_equal(one[split][molecule][1], two[split][molecule][1])


KILLED = """
import sys
from pathlib import Path
from egi.chem import parts
from egi.chem.collect import Outputs, collect
from egi.config import SPLITS, GeomSettings
if __name__ == "__main__":
    parts.MOLECULES = 4
    source, out = map(Path, sys.argv[1:])
    settings = GeomSettings(
        source="smiles", files={"all": "x"}, elements=["C", "N", "O"], conformers=3, workers=2
    )
    outputs = Outputs({s: out / f"{s}.h5" for s in SPLITS}, out / "rejects.csv", out / "counts.csv")
    collect({"all": source}, settings, 0, outputs)
"""


@pytest.mark.slow
def test_killed_run_goes_on_and_gives_the_same(tmp_path):
    smiles = [f"{'C' * a}{b}{'C' * c}O" for b in ("N", "O", "C=C", "C(=O)") for a in range(1, 5) for c in range(1, 5)]
    source, out = write(tmp_path / "m.csv", smiles), tmp_path / "out"
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(source), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.glob(".parts/*/*.json"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # workers too, as when a job is cancelled
    assert process.wait() == -signal.SIGKILL
    finished = len(list(out.glob(".parts/*/*.json")))
    assert 3 <= finished < len(smiles) // 4 and not list(out.glob("*.h5"))
    subprocess.run(command, env=environment, check=True, capture_output=True)
    collect({"all": source}, geom(workers=2), 0, outputs(tmp_path / "whole"))
    for name in ("rejects.csv", "counts.csv"):
        assert (out / name).read_text() == (tmp_path / "whole" / name).read_text()
    one, two = stored(tmp_path / "whole"), stored(out)
    for split in SPLITS:
        assert list(one[split]) == list(two[split])
        assert all(np.array_equal(one[split][m][1], two[split][m][1]) for m in one[split])


def test_pieces_of_another_seed_are_not_used(tmp_path, monkeypatch):
    source = write(tmp_path / "m.csv", SMILES)
    monkeypatch.setattr(collecting, "_store", lambda *args: (_ for _ in ()).throw(Stopped))
    with pytest.raises(Stopped):
        collect({"all": source}, geom(), 0, outputs(tmp_path / "out"))
    monkeypatch.undo()
    collect({"all": source}, geom(), 1, outputs(tmp_path / "out"))
    collect({"all": source}, geom(), 1, outputs(tmp_path / "fresh"))
    for split in SPLITS:
        one, two = stored(tmp_path / "out")[split], stored(tmp_path / "fresh")[split]
        assert list(one) == list(two) and all(np.array_equal(one[m][1], two[m][1]) for m in one)


def test_missing_source_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"source file .*gone\.csv does not exist"):
        collect({"all": tmp_path / "gone.csv"}, geom(), 0, outputs(tmp_path))
