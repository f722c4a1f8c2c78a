import json

import h5py
import numpy as np
import pytest
from rdkit import Chem

from egi.chem.molecules import record_of
from egi.data.storage import FORMATS, Reader, StorageError, atomic, create


def record(smiles="CC[C@H](C)/C=C/[13CH2][O-]", molecule="m"):
    return record_of(Chem.AddHs(Chem.MolFromSmiles(smiles)), molecule)


@pytest.mark.parametrize("kind", FORMATS)
def test_round_trip(tmp_path, kind):
    path, made = tmp_path / "a.h5", record()
    positions = np.random.default_rng(0).normal(size=(3, made.mol.GetNumAtoms(), 3)).astype(np.float32)
    with create(path, kind, {"seed": 4}, interval_ps="5.2") as writer:
        writer.add(made, {"positions": positions}, redrawn=2)
        writer.label("m", "positions", role="oracle")
        writer.add(record("CCO", "aa"), {})
    with Reader(path, kind) as reader:
        assert reader.ids == ["m", "aa"]
        found = reader.record("m")
        np.testing.assert_array_equal(reader.array("m", "positions"), positions)
        assert reader.group("m").attrs["redrawn"] == 2
        assert reader.group("m")["positions"].attrs["role"] == "oracle"
        assert reader.attributes["interval_ps"] == "5.2" and reader.attributes["units"] == "angstrom, ps"
        provenance = json.loads(reader.attributes["provenance"])
    assert provenance["seed"] == 4 and {"rdkit", "numpy"} <= set(provenance["versions"])
    assert found.smiles == made.smiles == Chem.CanonSmiles("CC[C@H](C)/C=C/[13CH2][O-]")
    assert Chem.MolToSmiles(found.mol) == Chem.MolToSmiles(made.mol)
    assert [a.GetAtomicNum() for a in found.mol.GetAtoms()] == [a.GetAtomicNum() for a in made.mol.GetAtoms()]
    for name in ("modelled", "atomic_numbers", "features", "edge_index", "edge_type"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))


def test_record_from_the_file_gives_the_same_record_again(tmp_path):
    with create(tmp_path / "a.h5", "egi-conformers", {}) as writer:
        writer.add(record(), {})
    with Reader(tmp_path / "a.h5", "egi-conformers") as reader:
        found = reader.record("m")
    again = record_of(found.mol, "m")
    assert again.smiles == found.smiles
    np.testing.assert_allclose(again.features, found.features, atol=1e-6)


def test_interrupted_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), create(tmp_path / "a.h5", "egi-conformers", {}) as writer:
        writer.add(record(), {})
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_interrupted_rewrite_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), atomic(path) as partial:
        partial.write_text("half")
        raise OSError("disk full")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and path.read_text() == "old"


def test_copy_keeps_everything(tmp_path):
    with create(tmp_path / "a.h5", "egi-conformers", {}) as writer:
        writer.add(record(), {"positions": np.ones((2, 3))}, note="x")
    with (
        Reader(tmp_path / "a.h5", "egi-conformers") as reader,
        create(tmp_path / "b.h5", "egi-conformers", {}) as writer,
    ):
        writer.copy(reader.group("m"))
    with Reader(tmp_path / "b.h5", "egi-conformers") as reader:
        assert reader.group("m").attrs["note"] == "x" and reader.record("m").smiles == record().smiles
        assert reader.array("m", "positions").shape == (2, 3)


def test_files_that_are_not_what_was_asked_for(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(StorageError, match="does not exist; wanted a file of format egi-samples"):
        Reader(path, "egi-samples")
    path.write_bytes(b"no HDF5")
    with pytest.raises(StorageError, match="damaged or no HDF5 file"):
        Reader(path, "egi-samples")
    with create(path, "egi-conformers", {}) as writer:
        writer.add(record(), {})
    with pytest.raises(StorageError, match="has format egi-conformers version 1; wanted egi-samples version 1"):
        Reader(path, "egi-samples")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(StorageError, match="damaged"):
        Reader(path, "egi-conformers")
    with h5py.File(path, "w") as file:
        file.attrs.update(format="egi-conformers", version=99)
    with pytest.raises(StorageError, match="version 99"):
        Reader(path, "egi-conformers")


def test_unknown_kind_molecule_and_array_are_named(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(StorageError, match="kind 'other' is no format"), create(path, "other", {}):
        pass
    with create(path, "egi-conformers", {}) as writer:
        writer.add(record(), {})
    with Reader(path, "egi-conformers") as reader:
        with pytest.raises(StorageError, match="holds no molecule 'x'"):
            reader.group("x")
        with pytest.raises(StorageError, match="has no array 'positions'"):
            reader.array("m", "positions")
