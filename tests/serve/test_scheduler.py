"""Tests the scheduler of a server, with sessions whose steps the test controls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from peephole.serve.batched import BatchedSession
from peephole.serve.limits import Limits
from peephole.serve.query import Query
from peephole.serve.refusal import RefusalError, without_folders
from peephole.serve.request import ClientGoneError, run_all, run_streamed
from peephole.serve.scheduler import Scheduler

from .conftest import finish


class HeldSession:
    """A session that finishes one source at a step, when the test lets it: its result is its text in capitals."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.added: list[str] = []
        self.cancelled: list[str] = []
        self.queries: dict[int, Query] = {}
        self.closed = False

    def add(self, query: Query) -> int:
        if query.source == "bad":
            raise ValueError("bad")
        ticket = len(self.added)
        self.added.append(query.source)
        self.queries[ticket] = query
        return ticket

    def step(self) -> list[tuple[int, Any]]:
        if not self.allowed.acquire(timeout=0.01):
            return []
        ticket = min(self.queries)
        return [(ticket, self.queries.pop(ticket).source.upper())]

    def cancel(self, ticket: int) -> None:
        self.cancelled.append(self.queries.pop(ticket).source)

    def close(self) -> None:
        self.closed = True


async def never() -> None:
    await asyncio.Event().wait()


def run_with(
    test: Callable[[HeldSession, Scheduler], Awaitable[None]], places: int = 2, reserve: int = 0, **limits: Any
) -> HeldSession:
    """Run a test with a scheduler over a HeldSession; let all its work end afterwards."""

    async def main() -> HeldSession:
        session = HeldSession()
        scheduler = Scheduler(
            session, Limits(**{"max_batch": 4, "max_queue": 10} | limits), places=places, reserve=reserve
        )
        await test(session, scheduler)
        session.allowed.release(1000)
        await scheduler.close()
        return session

    return finish(main())


def work(*texts: str) -> list[tuple[Query, float]]:
    return [(Query(text), 1.0) for text in texts]


async def settle(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition did not come true")


def test_results_come_in_the_order_of_the_request() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        session.allowed.release(3)
        assert await run_all(scheduler, work("a", "b", "c"), "one", never, 5) == ["A", "B", "C"]

    assert run_with(test).closed


def test_an_error_names_its_source_and_the_scheduler_goes_on() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        session.allowed.release(5)
        with pytest.raises(ValueError, match="bad"):
            await run_all(scheduler, work("a", "bad"), "one", never, 5)
        assert await run_all(scheduler, work("c"), "one", never, 5) == ["C"]

    run_with(test)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        running = [asyncio.ensure_future(run_all(scheduler, work(name), name, never, 30)) for name in "ab"]
        await settle(lambda: scheduler.active == 2)
        running += [asyncio.ensure_future(run_all(scheduler, work(name), name, never, 30)) for name in "cdef"]
        await settle(lambda: scheduler.waiting == 4)
        with pytest.raises(RefusalError) as refused:
            await run_all(scheduler, work("g1", "g2"), "g", never, 5)
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
        session.allowed.release(6)
        assert await asyncio.gather(*running) == [["A"], ["B"], ["C"], ["D"], ["E"], ["F"]]

    run_with(test, max_queue=5)


def test_more_than_an_empty_queue_holds_is_refused_for_good() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        with pytest.raises(RefusalError, match=r"^too many sources: wanted at most 5 \(max_queue\), got 6$") as refused:
            await run_all(scheduler, work(*"abcdef"), "one", never, 5)
        assert (refused.value.status, refused.value.headers) == (413, {})
        session.allowed.release(8)
        assert await run_all(scheduler, work(*"abcde"), "one", never, 5) == list("ABCDE")

    run_with(test, max_queue=5)


def test_a_stream_is_answered_by_a_server_with_a_small_queue() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        session.allowed.release(300)
        lines = run_streamed(scheduler, iter(work(*map(str, range(300)))), "one", 5)
        assert [line async for line in lines] == list(map(str, range(300)))

    run_with(test, max_queue=5)


def test_one_client_leaves_places_to_others() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        def send(text: str, client: str) -> asyncio.Future[list[Any]]:
            return asyncio.ensure_future(run_all(scheduler, work(text), client, never, 30))

        running = [send(str(number), "greedy") for number in range(2)]
        await settle(lambda: scheduler.active == 2)
        running += [send(str(number), "greedy") for number in range(2, 7)]
        await settle(lambda: scheduler.waiting == 5)  # half of the 10 places
        with pytest.raises(RefusalError, match="at most as many may as places are free: 5"):
            await send("more", "greedy")
        running += [send("other", "other")]
        await settle(lambda: scheduler.waiting == 6)
        session.allowed.release(100)
        await asyncio.gather(*running)
        assert session.added.index("other") <= 3  # of the five that were sent before it, at most one goes first

    run_with(test)


def test_a_request_that_takes_too_long_gets_504_and_its_places_are_free() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        with pytest.raises(RefusalError, match=r"not finished within 0\.2 seconds") as refused:
            await run_all(scheduler, work("a", "b", "c"), "one", never, 0.2)
        assert refused.value.status == 504
        await settle(lambda: scheduler.active == scheduler.waiting == 0)
        assert session.cancelled == ["a", "b"]

    assert run_with(test).added == ["a", "b"]


def test_a_client_that_leaves_frees_its_places() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        gone = asyncio.Event()
        waiting = asyncio.ensure_future(run_all(scheduler, work("a", "b", "c"), "one", lambda: wait(gone), 30))
        await settle(lambda: scheduler.active == 2)
        gone.set()
        with pytest.raises(ClientGoneError):
            await waiting
        await settle(lambda: scheduler.active == scheduler.waiting == 0)

    async def wait(event: asyncio.Event) -> None:
        await event.wait()

    assert sorted(run_with(test).cancelled) == ["a", "b"]


def test_a_stream_has_few_sources_in_the_queue_and_ends_when_it_is_closed() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        lines = run_streamed(scheduler, work(*map(str, range(1000))), "one", 5)
        session.allowed.release(1)
        assert await anext(lines) == "0"
        assert scheduler.waiting + scheduler.active <= 128
        await lines.aclose()
        await settle(lambda: scheduler.active == scheduler.waiting == 0)

    run_with(test, max_queue=200)


def test_too_long_a_wait_is_refused_at_once() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        slow = asyncio.ensure_future(run_all(scheduler, work("slow"), "one", never, 30))
        await asyncio.sleep(0.3)
        session.allowed.release(1)
        await slow
        running = []
        for count, text in enumerate("bc", 1):
            running += [asyncio.ensure_future(run_all(scheduler, work(text), "one", never, 30))]
            await settle(lambda count=count: scheduler.active == count)
        running += [asyncio.ensure_future(run_all(scheduler, work("d"), "one", never, 30))]
        await settle(lambda: scheduler.waiting == 1)
        with pytest.raises(RefusalError, match="would wait about"):
            await run_all(scheduler, work("a"), "one", never, 5)
        session.allowed.release(3)
        await asyncio.gather(*running)

    run_with(test, max_seconds=0.5, places=2)


def test_a_session_whose_step_fails_tells_all_and_goes_on() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        step, session.step = session.step, fail  # type: ignore[method-assign]
        with pytest.raises(MemoryError):
            await run_all(scheduler, work("a", "b"), "one", never, 5)
        session.step = step  # type: ignore[method-assign]
        session.allowed.release(1)
        assert await run_all(scheduler, work("c"), "one", never, 5) == ["C"]

    def fail() -> list[tuple[int, Any]]:
        raise MemoryError

    run_with(test)


def test_long_work_of_one_client_leaves_places_to_others() -> None:
    """It fills all usual places, and its other sources do not get the reserved ones."""

    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        running = [asyncio.ensure_future(run_all(scheduler, work(*"abcd"), "long", never, 30))]
        await settle(lambda: scheduler.active == 2)
        running += [asyncio.ensure_future(run_all(scheduler, work("x", "y", "z"), "short", never, 30))]
        await settle(lambda: scheduler.active == 3)
        assert session.added == ["a", "b", "x"]  # of the two reserved places a client gets one
        running += [asyncio.ensure_future(run_all(scheduler, work("q"), "third", never, 30))]
        await settle(lambda: scheduler.active == 4)
        assert session.added == ["a", "b", "x", "q"]
        session.allowed.release(100)
        await asyncio.gather(*running)

    run_with(test, reserve=2)


def test_the_estimate_of_a_wait_counts_work_that_is_cancelled() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        session.allowed.release(1)
        await run_all(scheduler, work("a"), "one", never, 5)
        for _ in range(4):  # in work for a while, and then cancelled
            with pytest.raises(RefusalError, match="not finished"):
                await run_all(scheduler, work("b", "c"), "one", never, 0.3)
            with pytest.raises(ValueError, match="bad"):  # takes no time, and tells nothing about the speed
                await run_all(scheduler, [(Query("bad"), 1e9)], "one", never, 5)
        assert 0.001 < scheduler._speed.seconds(1.0) < 0.1  # a step takes 0.01 seconds, and "a" took one

    run_with(test)


def test_the_estimate_of_a_wait_learns_how_long_targets_are() -> None:
    async def test(session: HeldSession, scheduler: Scheduler) -> None:
        for _ in range(2):
            waiting = asyncio.ensure_future(run_all(scheduler, work("a"), "one", never, 5))
            await asyncio.sleep(0.3)
            session.allowed.release(1)
            await waiting
        assert 0.1 < scheduler._speed.seconds(1.0) < 1

    run_with(test)


def test_batched_session_tells_each_source_its_own_error(toy) -> None:
    session = BatchedSession(toy)
    queries = [Query("dan", prefix="D"), Query("dan", prefix="D " * 900), Query("nad", prefix="")]
    tickets = [session.add(query) for query in queries]
    dropped = session.add(Query("e"))
    session.cancel(dropped)
    found = dict(session.step())
    assert found.keys() == set(tickets)
    assert "fewer than" in str(found[tickets[1]])
    assert found[tickets[0]][0].text.startswith("D")
    assert session.step() == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/a/m.st: no such file", "m.st: no such file"),
        ("got '/home/x/m.st'", "got 'm.st'"),
        ("and/or", "and/or"),
    ],
)
def test_folders_are_left_out_of_messages(text: str, shown: str) -> None:
    assert without_folders(text) == shown
