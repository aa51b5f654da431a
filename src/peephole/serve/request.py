"""A request in work: its jobs, their results, and how long its client waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from peephole.serve.refusal import RefusalError, refusal_of
from peephole.serve.scheduler import Job, Scheduler

WINDOW = 128  # sources of a streamed request in the queue or in work

Work = Any
"""A query, or a function that the scheduler's thread calls."""


class ClientGoneError(Exception):
    """The client closed its connection before it had its answer."""


async def run_all(
    scheduler: Scheduler,
    work: Sequence[tuple[Work, float]],
    client: str,
    gone: Callable[[], Awaitable[None]],
    seconds: float,
    check: Callable[[Any], None] | None = None,
) -> list[Any]:
    """Run the work of a request and return the results in its order.

    Args:
        scheduler: of the model.
        work: each with its cost; at least one.
        client: who sent it.
        gone: returns when the client closes its connection.
        seconds: the longest time.
        check: called with each outcome as it comes; a RefusalError ends the request.

    Raises:
        RefusalError: 413 for more work than the queue holds, 429 without room, 504 if it takes longer, 422 for what the
            model refuses; those of `check`.
        ClientGoneError: the client does not wait any more; its work was dropped.
    """
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[None] = loop.create_future()
    results: list[Any] = [None] * len(work)
    left = len(work)

    def done_at(index: int) -> Callable[[Any], None]:
        def done(outcome: Any) -> None:
            nonlocal left
            results[index] = outcome
            left -= 1
            try:
                if check is not None:
                    check(outcome)
            except RefusalError as refusal:
                give_up(refusal)
            if not left and not finished.done():
                finished.set_result(None)

        return done

    def give_up(error: Exception) -> None:
        if not finished.done():
            finished.set_exception(error)

    jobs = [Job(query, client, cost, done_at(index)) for index, (query, cost) in enumerate(work)]
    scheduler.submit(jobs)
    late = RefusalError(504, f"not finished within {seconds:g} seconds (max_seconds)")
    timer = loop.call_later(seconds, give_up, late)
    watch = asyncio.ensure_future(gone())
    watch.add_done_callback(lambda _: give_up(ClientGoneError()))
    try:
        await finished
    finally:
        timer.cancel()
        watch.cancel()
        if left:
            scheduler.cancel(jobs)
    return [raise_error(outcome, index if len(results) > 1 else None) for index, outcome in enumerate(results)]


async def run_streamed(
    scheduler: Scheduler, work: Iterable[tuple[Work, float]], client: str, seconds: float
) -> AsyncGenerator[Any, None]:
    """Yield the outcomes of long work in its order, errors among them, with a few jobs in the queue at a time.

    Arguments as in `run_all`; `work` is read as it is needed, and `seconds` is the longest time for one outcome. The
    iterator ends with a RefusalError as its last outcome if that time is exceeded. Closing it drops the rest of the
    work.

    Raises:
        RefusalError: 429 without room, before the first outcome.
    """
    loop = asyncio.get_running_loop()
    waiting = iter(work)
    running: deque[tuple[Job, asyncio.Future[Any]]] = deque()

    def add(count: int, *, reserved: bool) -> None:
        added = []
        for query, cost in islice(waiting, count):
            future: asyncio.Future[Any] = loop.create_future()
            added.append((Job(query, client, cost, future.set_result), future))
        if added:
            scheduler.submit([job for job, _ in added], reserved=reserved)
            running.extend(added)

    add(max(1, min(WINDOW, scheduler.max_queue // 2)), reserved=False)
    try:
        while running:
            _, future = running[0]
            done, _ = await asyncio.wait({future}, timeout=seconds)
            if not done:
                yield RefusalError(504, f"not finished within {seconds:g} seconds (max_seconds)")
                return
            yield future.result()
            running.popleft()
            add(1, reserved=True)
    finally:
        scheduler.cancel([job for job, _ in running])


def raise_error(outcome: Any, index: int | None = None) -> Any:
    """Return a result; raise an error, as a refusal if the client can be told.

    Args:
        outcome: a result or an exception.
        index: that of its source, for the message.
    """
    if not isinstance(outcome, Exception):
        return outcome
    subject = "" if index is None else f"source {index}: "
    raise refusal_of(outcome, subject) or outcome
