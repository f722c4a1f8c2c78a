import itertools

import pytest

from egi.parallel import ordered_map


def square(x):
    if x < 0:
        raise ValueError(f"negative {x}")
    return x * x


@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_laziness(workers):
    read = []

    def items():
        for k in itertools.count():
            read.append(k)
            yield k

    found = list(itertools.islice(ordered_map(square, items(), workers, batch=4), 30))
    assert found == [k * k for k in range(30)]
    assert len(read) < 30 + 4 * 2 * 4


def test_errors_arrive():
    results = ordered_map(square, [1, 2, -3, 4], 2, batch=1)
    with pytest.raises(ValueError, match="negative -3"):
        list(results)
