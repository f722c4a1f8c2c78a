"""Which items make up each training step: a stream that follows from the seed, cut into batches that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, count, islice, takewhile

import numpy as np
from torch.utils.data import Dataset

from egi.config import TrainingSettings
from egi.seeds import stream


@dataclass(frozen=True)
class Budget:
    """Bounds on the sum of items' costs in a device's part of a batch.

    Attributes
    ----------
    costs : (items, kinds) int ndarray
    limits : (kinds,) int ndarray

    Raises
    ------
    ValueError
        If an item is larger than a limit by itself.
    """

    costs: np.ndarray
    limits: np.ndarray

    def __post_init__(self):
        if (self.costs > self.limits).any():
            item = int((self.costs - self.limits).max(1).argmax())
            raise ValueError(
                f"item {item} has {self.costs[item].tolist()} node-frames and edge-frames, the bounds are "
                f"{self.limits.tolist()}; wanted max_node_frames and max_edge_frames no smaller than the largest item"
            )

    @classmethod
    def of(cls, dataset: Dataset, settings: TrainingSettings) -> Budget | None:
        """The settings' bounds for a data set that knows its `costs`; None where the settings have none."""
        bounds = (settings.max_node_frames, settings.max_edge_frames)
        if bounds == (None, None):
            return None
        return cls(dataset.costs(), np.array([np.iinfo(np.int64).max if bound is None else bound for bound in bounds]))

    def fitting(self, items: list[int]) -> int:
        """How many of the first items stay within the limits together."""
        return int((np.cumsum(self.costs[items], axis=0) <= self.limits).all(1).sum())


class StepBatches:
    """Batches of (epoch, index) from a first step to the last, each following from (seed, step) alone.

    Items come as one stream of permutations, an epoch each, cut into parts: a part has `part_size` items, fewer where
    the next one would exceed the budget. Step k takes as many parts as there are ranks, one for each; so all ranks
    have the same number of batches, and the data set may be smaller than a batch.

    Parameters
    ----------
    items : int
    part_size : int
        Most items of a rank in a step.
    steps : range
    seed : int
    share : (int, int)
        Rank and number of ranks.
    budget : Budget, optional
    """

    def __init__(
        self, items: int, part_size: int, steps: range, seed: int, share: tuple[int, int] = (0, 1),
        budget: Budget | None = None,
    ):  # fmt: skip
        self.items, self.part_size, self.steps, self.budget = items, part_size, steps, budget
        self.rank, self.ranks = share
        self._order = lru_cache(maxsize=4)(lambda epoch: stream(seed, "order", epoch).permutation(items))

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        if self.budget is None:
            parts = (self._items(number * self.part_size) for number in count(self.steps.start * self.ranks))
        else:
            parts = islice(self._parts(), self.steps.start * self.ranks, None)
        return islice(parts, self.rank, len(self.steps) * self.ranks, self.ranks)

    def steps_of(self, epochs: int) -> int:
        """Steps that show each item so many times."""
        wanted = epochs * self.items
        if self.budget is None:
            return math.ceil(wanted / (self.part_size * self.ranks))
        shown = accumulate(len(part) for part in self._parts())
        return math.ceil((1 + sum(1 for _ in takewhile(lambda total: total < wanted, shown))) / self.ranks)

    def _parts(self) -> Iterator[list[tuple[int, int]]]:
        """Parts of the whole stream within the budget."""
        position = 0
        while True:
            pairs = self._items(position)
            pairs = pairs[: self.budget.fitting([index for _, index in pairs])]
            position += len(pairs)
            yield pairs

    def _items(self, position: int) -> list[tuple[int, int]]:
        """The next items of the stream, as many as a part may have."""
        places = (divmod(place, self.items) for place in range(position, position + self.part_size))
        return [(epoch, int(self._order(epoch)[place])) for epoch, place in places]
