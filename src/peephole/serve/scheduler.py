"""One thread for each model: it takes sources from a fair queue into a session and gives results back to requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from peephole.serve.fair_queue import FairQueue
from peephole.serve.limits import Limits
from peephole.serve.query import PredictionSession, Query
from peephole.serve.refusal import RefusalError

PLACES = 320  # hypotheses in work at a time: those of 64 sources with a beam of 5, as `peephole predict` has them
RESERVE = 80  # further ones, of clients that have few in work
MEMORY = 0.9  # of the measured speed, for each second of work


class Job:
    """A source of a request, or a call, on its way through a scheduler.

    Args:
        work: a query of the session, or a function without arguments that the scheduler's thread calls.
        client: who sent it.
        cost: its estimated work in any unit, the same for all jobs of a scheduler.
        done: called in the event loop with what became of it, unless it was cancelled.
    """

    __slots__ = ("cancelled", "client", "cost", "done", "first_step", "rows", "work")

    def __init__(self, work: Query | Callable[[], Any], client: str, cost: float, done: Callable[[Any], None]) -> None:
        self.work, self.client, self.cost, self.done = work, client, cost, done
        self.rows = work.rows if isinstance(work, Query) else 1
        self.cancelled = False
        self.first_step = 0  # of the session, with this job in work


class Scheduler:
    """Runs the jobs of a model.

    Args:
        session: predicts; used by the scheduler's thread only.
        limits: of the server.
        name: of the thread.
        places: most hypotheses in work at a time.
        reserve: further ones. They are for clients that have nothing in work, or no more than half of them: a source
            in work cannot be interrupted, so that otherwise a client that fills all places with long work would shut
            out all others until it is done.
    """

    def __init__(
        self,
        session: PredictionSession,
        limits: Limits,
        name: str = "model",
        places: int = PLACES,
        reserve: int = RESERVE,
    ) -> None:
        self._session, self._limits, self._places, self._reserve = session, limits, places, reserve
        self._loop = asyncio.get_running_loop()
        self._queue: FairQueue[Job] = FairQueue()
        self._changed = threading.Condition()
        self._cancelled: list[Job] = []
        self._closing = False
        self._speed = _Speed()
        self._tickets: dict[int, Job] = {}
        self._rows = 0  # that these take
        self._client_rows: Counter[str] = Counter()  # that these take of each client
        self._steps = 0  # of the session
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
            called = sum(job.cost for job, _ in finished if not isinstance(job.work, Query))
            units = called + self._rows
            if self._tickets:
                finished += self._step()
            self._speed.add(units, time.monotonic() - started)
            for job, outcome in finished:
                if not isinstance(outcome, Exception):
                    self._speed.compare(job.cost, self._units(job))
            if finished:
                self._loop.call_soon_threadsafe(_deliver, finished)
        self._session.close()

    def _take(self) -> list[Job]:
        """Return the next jobs of the queue for which there are places."""
        taken: list[Job] = []
        rows, of_client = self._rows, self._client_rows.copy()

        def has_place(job: Job) -> bool:
            return rows + job.rows <= self._places or not rows

        def has_reserved_place(job: Job) -> bool:
            own = of_client[job.client]
            return rows + job.rows <= self._places + self._reserve and (not own or own + job.rows <= self._reserve // 2)

        while (job := self._queue.first()) is not None:
            if not has_place(job) and (job := self._queue.first(has_reserved_place)) is None:
                break
            self._queue.pop(job)
            taken.append(job)
            rows += job.rows
            of_client[job.client] += job.rows
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
        self._client_rows[job.client] -= job.rows
        if not self._client_rows[job.client]:
            del self._client_rows[job.client]
        return job

    def _units(self, job: Job) -> float:
        """Return the work of a finished job: hypotheses × steps, or the cost of a call."""
        return float(job.rows * (self._steps - job.first_step)) if isinstance(job.work, Query) else job.cost

    def _admit(self, jobs: Sequence[Job]) -> list[tuple[Job, Any]]:
        """Add queries to the session, and call functions; return what is finished."""
        finished: list[tuple[Job, Any]] = []
        for job in jobs:
            try:
                if isinstance(job.work, Query):
                    job.first_step = self._steps
                    self._tickets[self._session.add(job.work)] = job
                    self._rows += job.rows
                    self._client_rows[job.client] += job.rows
                else:
                    finished.append((job, job.work()))
            except Exception as error:
                finished.append((job, error))
        return finished

    def _step(self) -> list[tuple[Job, Any]]:
        self._steps += 1
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
    """How long work takes, measured while it is done; old seconds count less.

    The unit of work is a hypothesis that is extended by one symbol. Every step counts, also that of work which is still
    going on or is cancelled later; jobs that are finished tell how many units a cost stands for.
    """

    def __init__(self) -> None:
        self._units = self._seconds = 0.0
        self._finished_cost = self._finished_units = 0.0

    def add(self, units: float, seconds: float) -> None:
        """Take the work of some seconds."""
        kept = MEMORY**seconds
        self._units, self._seconds = self._units * kept + units, self._seconds * kept + seconds
        self._finished_cost *= kept
        self._finished_units *= kept

    def compare(self, cost: float, units: float) -> None:
        """Take the estimated cost and the work of a finished job."""
        self._finished_cost += cost
        self._finished_units += units

    def seconds(self, cost: float) -> float:
        """Return how long some work takes; 0 if nothing was measured."""
        if not self._units:
            return 0.0
        units = cost * self._finished_units / self._finished_cost if self._finished_units else cost
        return units * self._seconds / self._units
