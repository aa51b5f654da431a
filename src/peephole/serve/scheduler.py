"""One thread for each model: it takes sources from a fair queue into a session and gives results back to requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from peephole.serve.fair_queue import FairQueue
from peephole.serve.limits import Limits
from peephole.serve.query import PredictionSession, Query
from peephole.serve.refusal import RefusalError

PLACES = 320  # hypotheses in work at a time: those of 64 sources with a beam of 5, as `peephole predict` has them
MEMORY = 0.9  # of the measured speed, for each second of work


class Job:
    """A source of a request, or a call, on its way through a scheduler.

    Args:
        work: a query of the session, or a function without arguments that the scheduler's thread calls.
        client: who sent it.
        cost: its work in any unit, the same for all jobs of a scheduler.
        done: called in the event loop with what became of it, unless it was cancelled.
    """

    __slots__ = ("cancelled", "client", "cost", "done", "rows", "work")

    def __init__(self, work: Query | Callable[[], Any], client: str, cost: float, done: Callable[[Any], None]) -> None:
        self.work, self.client, self.cost, self.done = work, client, cost, done
        self.rows = work.rows if isinstance(work, Query) else 1
        self.cancelled = False


class Scheduler:
    """Runs the jobs of a model.

    Args:
        session: predicts; used by the scheduler's thread only.
        limits: of the server.
        name: of the thread.
        places: most hypotheses in work at a time.
    """

    def __init__(self, session: PredictionSession, limits: Limits, name: str = "model", places: int = PLACES) -> None:
        self._session, self._limits, self._places = session, limits, places
        self._loop = asyncio.get_running_loop()
        self._queue: FairQueue[Job] = FairQueue()
        self._changed = threading.Condition()
        self._cancelled: list[Job] = []
        self._closing = False
        self._speed = _Speed()
        self._tickets: dict[int, Job] = {}
        self._rows = 0  # that these take
        self._thread = threading.Thread(target=self._run, name=f"peephole-{name}", daemon=True)
        self._thread.start()

    @property
    def max_queue(self) -> int:
        """Return the most jobs that may wait."""
        return self._limits.max_queue

    @property
    def waiting(self) -> int:
        """Return the number of jobs in the queue."""
        return len(self._queue)

    @property
    def active(self) -> int:
        """Return the number of sources in work."""
        return len(self._tickets)

    @property
    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, jobs: Sequence[Job], *, reserved: bool = False) -> None:
        """Put jobs of one client into the queue, all or none.

        Args:
            jobs: the jobs.
            reserved: they take the places of jobs that have left, and are not refused.

        Raises:
            RefusalError: 413, more jobs than the queue holds when it is empty; 429, the queue is full, this client has
                its share of it, or the wait would be too long.
        """
        with self._changed:
            if not reserved:
                self._check_room(jobs)
            for job in jobs:
                self._queue.push(job, job.client, job.cost)
            self._changed.notify()

    def _check_room(self, jobs: Sequence[Job]) -> None:
        queue, client, size = self._queue, jobs[0].client, self.max_queue
        if len(jobs) > size:
            raise RefusalError(413, f"too many sources: wanted at most {size} (max_queue), got {len(jobs)}")
        cost = sum(job.cost for job in jobs)
        # The queue is fair: a client's jobs wait for its own and for as many of each other client
        clients = len(queue.counts) + (client not in queue.counts)
        ahead = min(queue.total_cost + cost, (queue.costs.get(client, 0.0) + cost) * clients)
        wait = self._speed.seconds(ahead)
        if len(queue) + len(jobs) > size:
            raise RefusalError(429, f"{len(queue)} sources wait, at most {size} may (max_queue)", wait)
        if queue.counts[client] + len(jobs) > size - len(queue):
            found = f"{queue.counts[client]} sources of this client wait"
            raise RefusalError(429, f"{found}, at most as many may as places are free: {size - len(queue)}", wait)
        if queue.counts and wait > self._limits.max_seconds / 2:
            raise RefusalError(429, f"sources sent now would wait about {wait:.0f} seconds", wait)

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Drop jobs that are not finished; `done` is not called for them."""
        with self._changed:
            for job in jobs:
                if not job.cancelled:
                    job.cancelled = True
                    if not self._queue.remove(job):
                        self._cancelled.append(job)

    async def close(self) -> None:
        """End the thread after all jobs are finished."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._tickets and not self._closing:
                    self._changed.wait()
                if self._closing and not self._queue and not self._tickets:
                    break
                dropped, self._cancelled = self._cancelled, []
                self._drop(dropped)
                taken = self._take()
            started = time.monotonic()
            finished = self._admit(taken)
            if self._tickets:
                finished += self._step()
            self._speed.add(sum(job.cost for job, _ in finished), time.monotonic() - started)
            if finished:
                self._loop.call_soon_threadsafe(_deliver, finished)
        self._session.close()

    def _take(self) -> list[Job]:
        """Return the next jobs of the queue for which there are places."""
        taken: list[Job] = []
        rows = self._rows
        while self._queue:
            rows += self._queue.first().rows
            if rows > self._places and (self._tickets or taken):
                break
            taken.append(self._queue.pop())
        return taken

    def _drop(self, jobs: Sequence[Job]) -> None:
        """Cancel what the session has of these jobs; others are finished already."""
        dropped = set(jobs)
        for ticket in [ticket for ticket, job in self._tickets.items() if job in dropped]:
            self._session.cancel(ticket)
            self._end(ticket)

    def _end(self, ticket: int) -> Job:
        job = self._tickets.pop(ticket)
        self._rows -= job.rows
        return job

    def _admit(self, jobs: Sequence[Job]) -> list[tuple[Job, Any]]:
        """Add queries to the session, and call functions; return what is finished."""
        finished: list[tuple[Job, Any]] = []
        for job in jobs:
            try:
                if isinstance(job.work, Query):
                    self._tickets[self._session.add(job.work)] = job
                    self._rows += job.rows
                else:
                    finished.append((job, job.work()))
            except Exception as error:
                finished.append((job, error))
        return finished

    def _step(self) -> list[tuple[Job, Any]]:
        try:
            found = self._session.step()
        except Exception as error:  # every source in work is told; the thread goes on
            found = [(ticket, error) for ticket in self._tickets]
            for ticket in self._tickets:
                self._session.cancel(ticket)
        return [(self._end(ticket), outcome) for ticket, outcome in found]


def _deliver(finished: Sequence[tuple[Job, Any]]) -> None:
    for job, outcome in finished:
        if not job.cancelled:
            job.done(outcome)


class _Speed:
    """The work that a scheduler does in a second, measured while it works; old seconds count less."""

    def __init__(self) -> None:
        self._cost = self._seconds = 0.0

    def add(self, cost: float, seconds: float) -> None:
        kept = MEMORY**seconds
        self._cost, self._seconds = self._cost * kept + cost, self._seconds * kept + seconds

    def seconds(self, cost: float) -> float:
        """Return how long some work takes; 0 if nothing was measured."""
        return cost * self._seconds / self._cost if self._cost else 0.0
