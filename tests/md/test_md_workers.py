from __future__ import annotations

import os

import pytest

from egi.md.common import Rejected
from egi.md.workers import Lanes, finished


def _die(value: int) -> int:
    if value == 1:
        os._exit(9)
    return value


@pytest.mark.slow
def test_a_process_that_dies_takes_only_its_own_task_along():
    results = {}
    with Lanes(2) as lanes:
        tasks, values = {}, [0, 1, 2, 3]
        while values or lanes.running:
            while lanes.free and values:
                value = values.pop(0)
                tasks[lanes.submit(_die, value)] = value
            for owner, future in finished(lanes):
                results[tasks[future]] = owner.collect(future)
    assert [results[k] for k in (0, 2, 3)] == [0, 2, 3]
    assert isinstance(results[1], Rejected) and "worker process died" in results[1].reason


def test_a_single_lane_works_in_this_process():
    with Lanes(1) as lanes:
        future = lanes.submit(os.getpid)
        assert lanes.free == 0 and finished(lanes) == [(lanes, future)]
        assert lanes.collect(future) == os.getpid() and lanes.free == 1
