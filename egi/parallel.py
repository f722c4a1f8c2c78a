"""An ordered parallel map that holds only a few results at a time."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

_WAITING_BATCHES_PER_WORKER = 3


def ordered_map(function: Callable[[Any], Any], items: Iterable, workers: int, batch: int = 8) -> Iterator:
    """Results of `function` in the order of `items`, which are read as they are needed.

    Parameters
    ----------
    function : callable
        Picklable where there is more than one worker.
    items : iterable
    workers : int
        Processes; with 1, everything happens in this one.
    batch : int
        Items sent to a worker at once.
    """
    if workers == 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: deque = deque()
        try:
            items = iter(items)
            while part := tuple(islice(items, batch)):
                waiting.append(pool.submit(partial(_each, function), part))
                if len(waiting) >= _WAITING_BATCHES_PER_WORKER * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _each(function: Callable[[Any], Any], part: tuple) -> list:
    return [function(item) for item in part]
