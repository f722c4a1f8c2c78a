from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egi.config import SPLITS
from egi.data.splits import split_molecules

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def molecules(count):
    return {f"m{i}": f"C{i}" for i in range(count)}


@pytest.mark.parametrize(("count", "sizes"), [(100, (80, 10, 10)), (20, (16, 2, 2)), (5, (3, 1, 1)), (3, (1, 1, 1))])
def test_sizes(count, sizes):
    found = Counter(split_molecules(molecules(count), FRACTIONS, 0).values())
    assert tuple(found[s] for s in SPLITS) == sizes


def test_too_few_molecules_go_to_training():
    assert split_molecules({"a": "C"}, FRACTIONS, 0) == {"a": "train"}
    assert split_molecules({}, FRACTIONS, 0) == {}


def test_stereoisomers_stay_together():
    given_ids = {f"m{i}": f"C{i // 3}" for i in range(60)}
    found = split_molecules(given_ids, {"train": 0.4, "val": 0.3, "test": 0.3}, 1)
    for i in range(0, 60, 3):
        assert len({found[f"m{k}"] for k in (i, i + 1, i + 2)}) == 1


def test_seed_decides_and_order_does_not():
    one = split_molecules(molecules(50), FRACTIONS, 0)
    assert one == split_molecules(dict(reversed(molecules(50).items())), FRACTIONS, 0)
    assert one != split_molecules(molecules(50), FRACTIONS, 1)


@given(st.integers(0, 60), st.tuples(*[st.floats(0, 1)] * 3).filter(lambda f: sum(f) > 0.01), st.integers(0, 5))
def test_every_molecule_has_a_split_and_positive_shares_get_one(count, shares, seed):
    fractions = {s: f / sum(shares) for s, f in zip(SPLITS, shares, strict=True)}
    found = split_molecules(molecules(count), fractions, seed)
    assert set(found) == set(molecules(count))
    used = Counter(found.values())
    if count >= 3:
        assert all(used[s] >= 1 for s in SPLITS if fractions[s] > 0)
    assert all(used[s] == 0 for s in ("val", "test") if fractions[s] == 0)
