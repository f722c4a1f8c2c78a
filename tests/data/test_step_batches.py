"""Batches of each step: a seeded stream of permutations, cut by number and by budget."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest

from egi.config import TrainingSettings
from egi.data.step_batches import Budget, StepBatches

COSTS = np.random.default_rng(0).integers(1, 60, size=(23, 2))
LIMITS = np.array([100, 90])


def bounded(steps, seed=1, share=(0, 1), size=6):
    return StepBatches(len(COSTS), size, steps, seed, share, Budget(COSTS, LIMITS))


def test_batches_follow_from_the_step_alone():
    whole = list(StepBatches(5, 3, range(10), seed=1))
    assert whole[4:] == list(StepBatches(5, 3, range(4, 10), seed=1))
    assert whole != list(StepBatches(5, 3, range(10), seed=2))
    for epoch in range(6):  # each epoch shows each item once
        assert sorted(i for batch in whole for e, i in batch if e == epoch) == [0, 1, 2, 3, 4]
    ranks = [list(StepBatches(5, 2, range(3), 1, (rank, 2))) for rank in (0, 1)]
    for batch, *shares in zip(StepBatches(5, 4, range(3), 1), *ranks, strict=True):
        assert batch == shares[0] + shares[1] and len(shares[0]) == len(shares[1])


def test_bounded_batches_are_as_large_as_the_budget_lets_them_and_lose_nothing():
    batches = list(bounded(range(60)))
    indices = [[index for _, index in batch] for batch in batches]
    for here, after in pairwise(indices):
        assert len(here) <= 6 and (COSTS[here].sum(0) <= LIMITS).all()
        assert len(here) == 6 or (COSTS[[*here, after[0]]].sum(0) > LIMITS).any()
    assert len({len(batch) for batch in batches}) > 3
    shown = list(chain(*batches))
    free = list(chain(*StepBatches(len(COSTS), 1, range(len(shown)), 1)))
    assert shown == free  # the same stream, cut elsewhere
    assert batches == list(bounded(range(60))) != list(bounded(range(60), seed=2))


def test_bounded_batches_resume_and_are_shared_equally():
    whole = list(bounded(range(40)))
    assert whole[17:] == list(bounded(range(17, 40)))
    ranks = [list(bounded(range(5, 12), share=(rank, 3))) for rank in range(3)]
    assert [len(batches) for batches in ranks] == [7, 7, 7]
    assert list(chain(*zip(*ranks, strict=True))) == list(bounded(range(15, 36)))


@pytest.mark.parametrize(("ranks", "bounds"), [(2, Budget(COSTS, LIMITS)), (3, Budget(COSTS, LIMITS)), (4, None)])
def test_ranks_have_equally_many_batches_and_no_item_twice_an_epoch(ranks, bounds):
    steps = range(3, 40)
    shares = [list(StepBatches(len(COSTS), 4, steps, 2, (rank, ranks), bounds)) for rank in range(ranks)]
    assert {len(share) for share in shares} == {len(steps)} == {len(StepBatches(23, 4, steps, 2, (0, ranks), bounds))}
    assert all(part for share in shares for part in share)
    shown = Counter(pair for share in shares for part in share for pair in part)
    assert set(shown.values()) == {1}  # no pair of epoch and item goes to two ranks or comes again
    first, last = min(shown)[0], max(shown)[0]
    for epoch in range(first + 1, last):
        assert sorted(item for e, item in shown if e == epoch) == list(range(len(COSTS)))


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_epoch_shows_every_item(ranks):
    assert StepBatches(6, 4 // ranks, range(0), 1, (0, ranks)).steps_of(epochs=3) == 5
    steps = bounded(range(0), share=(0, ranks)).steps_of(epochs=2)
    shown = [list(chain(*bounded(range(k * ranks)))) for k in (steps - 1, steps)]
    assert len(shown[0]) < 2 * len(COSTS) <= len(shown[1])


def test_one_bound_leaves_the_other_open_and_none_leaves_all():
    class Sized:
        def costs(self):
            return COSTS

    settings = TrainingSettings(steps=1, max_edge_frames=90)
    assert Budget.of(Sized(), settings).fitting([0] * 50) == 90 // COSTS[0, 1]
    assert Budget.of(object(), TrainingSettings(steps=1)) is None
    with pytest.raises(ValueError, match=r"item \d+ has \[\d+, \d+\] node-frames and edge-frames, the bounds are"):
        Budget(COSTS, LIMITS // 3)
