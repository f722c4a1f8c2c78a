import numpy as np
import pytest
import torch
from rdkit import Chem
from torch_geometric.loader import DataLoader

from egi.chem.molecules import record_of
from egi.data.batches import graph_of
from egi.data.datasets import ConformerDataset, SegmentDataset
from egi.data.storage import StorageError, create

SMILES = ["CCO", "CC[C@H](C)O", "C"]
FRAMES, PHASES = 20, 3


def record(k):
    return record_of(Chem.AddHs(Chem.MolFromSmiles(SMILES[k])), f"m{k}")


@pytest.fixture
def conformers(tmp_path):
    with create(tmp_path / "c.h5", "egi-conformers", {}) as writer:
        for k in range(3):
            atoms = record(k).mol.GetNumAtoms()
            positions = np.random.default_rng(k).normal(size=(k + 1, atoms, 3)).astype(np.float32)
            writer.add(record(k), {"positions": positions})
    return tmp_path / "c.h5"


@pytest.fixture
def trajectories(tmp_path):
    """Each coordinate tells its phase and frame: 1000 * phase + frame."""
    with create(tmp_path / "t.h5", "egi-trajectories", {}) as writer:
        for k in range(3):
            n = len(record(k).modelled)
            values = 1000 * np.arange(PHASES)[:, None] + np.arange(FRAMES)
            replica = np.broadcast_to(values[:, None, :, None], (PHASES, n, FRAMES, 3)).astype(np.float32)
            writer.add(record(k), {f"replica_{r}": replica for r in range(2)})
            writer.label(f"m{k}", "replica_1", role="oracle" if k == 2 else "reference")
    return tmp_path / "t.h5"


def test_graph_of():
    data = graph_of(record(1))
    assert data.num_nodes == 5 and data.mol_id == "m1" and data.features.shape == (5, 43)
    assert data.edge_index.dtype == data.edge_type.dtype == data.atomic_numbers.dtype == torch.long
    assert data.features.dtype == torch.float32
    data.validate()


def test_each_conformer_is_an_item_of_centred_modelled_atoms(conformers):
    dataset = ConformerDataset(conformers)
    assert len(dataset) == 6
    assert [dataset[k].mol_id for k in range(6)] == ["m0", "m1", "m1", "m2", "m2", "m2"]
    item = dataset[2]
    raw = np.random.default_rng(1).normal(size=(2, record(1).mol.GetNumAtoms(), 3)).astype(np.float32)[1]
    modelled = raw[record(1).modelled]
    assert item.positions.shape == (5, 1, 3) and item.positions.dtype == torch.float32
    np.testing.assert_allclose(item.positions[:, 0], modelled - modelled.mean(0), atol=1e-6)


@pytest.mark.parametrize("room", [0, 5 * 2 * 12, 10**6])
def test_conformers_are_the_same_from_the_cache_and_read_once(conformers, room, monkeypatch):
    expected = [item.positions for item in ConformerDataset(conformers, cache_bytes=0)]
    dataset = ConformerDataset(conformers, cache_bytes=room)
    for _ in range(2):
        for item, positions in zip(dataset, expected, strict=True):
            assert torch.equal(item.positions, positions)
            item.positions += 1  # what a user does to an item stays with the item
    assert set(dataset._cache) == ({"m0", "m1", "m2"} if room == 10**6 else {"m0", "m2"} if room else set())
    assert sum(positions.nbytes for positions in dataset._cache.values()) <= room
    assert dataset.__getstate__()["_cache"] == {}  # worker processes start empty
    if room == 10**6:
        monkeypatch.setattr(ConformerDataset, "_reader", None)
        assert torch.equal(dataset[3].positions, expected[3])


def test_costs_are_nodes_and_edges_times_frames(conformers, trajectories):
    for dataset in (ConformerDataset(conformers), SegmentDataset(trajectories, 8)):
        sizes = [[d.num_nodes * d.positions.shape[1], d.num_edges * d.positions.shape[1]] for d in dataset]
        np.testing.assert_array_equal(dataset.costs(), sizes)


def test_segments_are_slices_of_one_phase(trajectories):
    dataset = SegmentDataset(trajectories, 8, seed=1)
    assert len(dataset) == 5  # the oracle replica is not trained on
    for item in dataset:
        values = item.positions[0, :, 0]
        assert item.positions.shape[1:] == (8, 3)
        assert (torch.diff(values) == 1).all() and (item.positions == values[None, :, None]).all()


def test_segments_cover_all_starts_and_phases_and_follow_from_the_seed(trajectories):
    dataset, again, other = (SegmentDataset(trajectories, 8, seed=s) for s in (1, 1, 2))
    firsts = [[int(d[(epoch, 0)].positions[0, 0, 0]) for epoch in range(400)] for d in (dataset, again, other)]
    assert firsts[0] == firsts[1] != firsts[2]
    assert {(f // 1000, f % 1000) for f in firsts[0]} == {(p, s) for p in range(3) for s in range(13)}
    dataset.set_epoch(7)
    assert int(dataset[0].positions[0, 0, 0]) == firsts[0][7]


def test_whole_trajectory_is_a_segment(trajectories):
    assert SegmentDataset(trajectories, FRAMES)[0].positions.shape[1] == FRAMES
    with pytest.raises(ValueError, match=r"m0/replica_0 has 20 frames; wanted at least 21"):
        SegmentDataset(trajectories, FRAMES + 1)


def test_batches(conformers):
    batches = list(DataLoader(ConformerDataset(conformers), batch_size=4))
    assert [b.num_graphs for b in batches] == [4, 2]
    assert batches[0].positions.shape == (3 + 5 + 5 + 1, 1, 3)
    assert batches[0].mol_id == ["m0", "m1", "m1", "m2"]
    assert batches[0].edge_index.max() < 14


def test_worker_processes_draw_the_same_segments(trajectories):
    dataset = SegmentDataset(trajectories, 8, seed=1)
    dataset[0]  # an open file must not be handed to the workers
    pairs = [(epoch, k) for epoch in (0, 5) for k in range(len(dataset))]
    here, there = (list(DataLoader(dataset, batch_size=2, sampler=pairs, num_workers=k)) for k in (0, 1))
    for one, other in zip(here, there, strict=True):
        assert one.mol_id == other.mol_id and torch.equal(one.positions, other.positions)


def test_empty_file_and_wrong_format(tmp_path, conformers):
    with create(tmp_path / "e.h5", "egi-conformers", {}):
        pass
    with pytest.raises(ValueError, match=r"e\.h5 holds nothing to train on; wanted at least one conformer"):
        ConformerDataset(tmp_path / "e.h5")
    with pytest.raises(StorageError, match="has format egi-conformers"):
        SegmentDataset(conformers, 4)
