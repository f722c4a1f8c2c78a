"""Tasks that run side by side, each in a lane of its own: a process that dies takes only its own task along."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from egi.md.common import Rejected


class Lanes:
    """A fixed number of lanes, each busy with at most one task; a context manager.

    Parameters
    ----------
    count : int
        Lanes. A single lane runs its tasks at once in this process, unless `processes`.
    processes : bool
        A process even for a single lane.
    """

    def __init__(self, count: int, processes: bool = False):
        self._make: Callable[[], Executor] = _process if processes or count > 1 else _Inline
        self._idle = [self._make() for _ in range(count)]
        self._busy: dict[Future, Executor] = {}

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, *exception) -> None:
        for lane in (*self._idle, *self._busy.values()):
            lane.shutdown(wait=exception == (None, None, None), cancel_futures=True)

    @property
    def free(self) -> int:
        """Lanes without a task."""
        return len(self._idle)

    @property
    def running(self) -> list[Future]:
        """Tasks that were submitted and not yet collected."""
        return list(self._busy)

    def submit(self, function: Callable, *args: Any) -> Future:
        """Start a task in a free lane."""
        lane = self._idle.pop()
        future = lane.submit(function, *args)
        self._busy[future] = lane
        return future

    def collect(self, future: Future) -> Any:
        """Result of a finished task; its lane is free again, with a new process if the old one died."""
        lane = self._busy.pop(future)
        try:
            result = future.result()
        except BrokenProcessPool:
            lane.shutdown()
            lane = self._make()
            result = Rejected("run", "the worker process died: killed, out of memory, or crashed")
        self._idle.append(lane)
        return result


def finished(*groups: Lanes) -> list[tuple[Lanes, Future]]:
    """Wait until a task of some group is finished; all that are, with their group."""
    owners = {future: lanes for lanes in groups for future in lanes.running}
    done, _ = wait(owners, return_when=FIRST_COMPLETED)
    return [(owners[future], future) for future in done]


class _Inline(Executor):
    """Runs a task at once in this process."""

    def submit(self, function, /, *args, **kwargs) -> Future:
        """A future that is already done."""
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))
