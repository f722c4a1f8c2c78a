"""Training data read piece by piece from HDF5: conformers, and random segments of trajectories."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from torch_geometric.data import Data

from egi.data.batches import graph_of
from egi.data.storage import Reader
from egi.seeds import stream


class _H5Dataset(Dataset):
    """Items of one file, opened once a process; graphs are built once a molecule."""

    kind: str

    def __init__(self, path: str | Path, seed: int = 0):
        self.path, self.seed, self.epoch = Path(path), seed, 0
        self._graphs: dict[str, Data] = {}
        self._costs: np.ndarray | None = None
        self._opened: tuple[int, Reader] | None = None
        with Reader(self.path, self.kind) as reader:
            self.items = list(self._list_items(reader))
        if not self.items:
            raise ValueError(f"{self.path} holds nothing to train on; wanted at least one {self.item_name}")

    def __len__(self) -> int:
        return len(self.items)

    def costs(self) -> np.ndarray:
        """Nodes times frames and edges times frames of each item, [items, 2]; read from the file's shapes alone."""
        if self._costs is None:
            groups = {molecule: self._reader().group(molecule) for molecule, _ in self.items}
            sizes = {m: (group["modelled"].shape[0], group["edge_index"].shape[1]) for m, group in groups.items()}
            self._costs = self.frames * np.array([sizes[molecule] for molecule, _ in self.items], dtype=np.int64)
        return self._costs

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random draws the items show."""
        self.epoch = epoch

    def __getitem__(self, index: int | tuple[int, int]) -> Data:
        """The item as a graph with ``positions`` [n, frames, 3]; a pair is (epoch, index)."""
        epoch, index = index if isinstance(index, tuple) else (self.epoch, index)
        molecule, part = self.items[index]
        data = self._graph(molecule).clone()
        data.positions = torch.from_numpy(self._positions(molecule, part, epoch))
        return data

    def _reader(self) -> Reader:
        """The open file of this process; HDF5 handles do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), Reader(self.path, self.kind))
        return self._opened[1]

    def _graph(self, molecule: str) -> Data:
        if molecule not in self._graphs:
            self._graphs[molecule] = graph_of(self._reader().record(molecule))
        return self._graphs[molecule]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_opened": None}


class ConformerDataset(_H5Dataset):
    """Conformers of the modelled atoms, centred, one an item: ``positions`` [n, 1, 3].

    Parameters
    ----------
    path : path
        Conformers of a split.
    seed : int
    cache_bytes : int
        Each process keeps molecules' modelled coordinates in memory once they were read, until they fill so much;
        GEOM-Drugs' training conformers take 60 MB.
    """

    kind, item_name, frames = "egi-conformers", "conformer", 1

    def __init__(self, path: str | Path, seed: int = 0, cache_bytes: int = 2**29):
        self._cache: dict[str, np.ndarray] = {}
        self._cache_left = cache_bytes
        super().__init__(path, seed)

    def _list_items(self, reader: Reader) -> Iterator[tuple[str, int]]:
        for molecule in reader.ids:
            for conformer in range(len(reader.group(molecule)["positions"])):
                yield molecule, conformer

    def _positions(self, molecule: str, conformer: int, epoch: int) -> np.ndarray:
        if (cached := self._cache.get(molecule)) is not None:
            return cached[conformer].copy()
        group = self._reader().group(molecule)
        modelled = group["modelled"][...]
        shape = (group["positions"].shape[0], len(modelled), 1, 3)
        if (size := 4 * math.prod(shape)) > self._cache_left:
            return _centred(group["positions"][conformer][modelled])
        self._cache_left -= size
        self._cache[molecule] = _centred(group["positions"][...][:, modelled])  # [C, n, 1, 3]
        return self._cache[molecule][conformer].copy()

    def __getstate__(self) -> dict:
        """Worker processes start with an empty cache."""
        size = sum(positions.nbytes for positions in self._cache.values())
        return {**super().__getstate__(), "_cache": {}, "_cache_left": self._cache_left + size}


def _centred(positions: np.ndarray) -> np.ndarray:
    """Coordinates [..., n, 3] about their mean, as one frame [..., n, 1, 3]."""
    positions = positions.astype(np.float32)
    return (positions - positions.mean(-2, keepdims=True))[..., None, :]


class SegmentDataset(_H5Dataset):
    """Random segments, one a replica and epoch: ``positions`` [n, frames, 3].

    Phase and start frame follow from (seed, epoch, molecule, replica); only the segment is read. Oracle replicas
    are left out.

    Parameters
    ----------
    path : path
        Trajectories of a split.
    frames : int
        Frames of a segment.
    seed : int

    Raises
    ------
    ValueError
        If a replica has fewer frames than a segment.
    """

    kind, item_name = "egi-trajectories", "replica"

    def __init__(self, path: str | Path, frames: int, seed: int = 0):
        self.frames = frames
        super().__init__(path, seed)

    def _list_items(self, reader: Reader) -> Iterator[tuple[str, str]]:
        for molecule in reader.ids:
            group = reader.group(molecule)
            for name in sorted(n for n in group if n.startswith("replica_")):
                available = group[name].shape[2]
                if available < self.frames:
                    raise ValueError(
                        f"{reader.path}: {molecule}/{name} has {available} frames; wanted at least {self.frames}"
                    )
                if group[name].attrs.get("role", "reference") == "reference":
                    yield molecule, name

    def _positions(self, molecule: str, name: str, epoch: int) -> np.ndarray:
        group = self._reader().group(molecule)
        replica = group[name]
        random = stream(self.seed, "segment", epoch, group.name, name)
        phase = random.integers(replica.shape[0])
        start = random.integers(replica.shape[2] - self.frames + 1)
        return replica[phase, :, start : start + self.frames].astype(np.float32)  # [n, frames, 3]
