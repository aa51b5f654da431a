"""Work of several processes that train one model: in the first one only, and values that are equal in all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from peephole.errors import PeepholeError
from peephole.training.executor import Processes
from peephole.training.stop import StopRequest

T = TypeVar("T")


def run_on_rank_zero(processes: Processes, work: Callable[[], T]) -> T:
    """Call a function in the first process only; return its result, or raise its error, in all processes.

    Raises:
        PeepholeError: raised by `work`; it is raised in every process, so that none blocks.
    """
    if processes.count == 1:
        return work()
    outcome: T | PeepholeError | None = None
    if processes.rank == 0:
        try:
            outcome = work()
        except PeepholeError as error:
            outcome = error
    outcome = processes.broadcast(outcome)
    if isinstance(outcome, PeepholeError):
        raise outcome
    return outcome  # type: ignore[return-value]  # it is None only where the work's result is


def synchronised_clock(
    processes: Processes, before: float, stop: StopRequest
) -> tuple[Callable[[], float], Callable[[], bool]]:
    """Return two functions with the same results in all processes: seconds trained, and whether a stop is requested."""
    started = time.monotonic()

    def seconds() -> float:
        return processes.broadcast(before + time.monotonic() - started)

    def stop_requested() -> bool:
        return processes.any(stop.signal_number is not None)

    return seconds, stop_requested
