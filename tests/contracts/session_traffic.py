"""Random traffic for a session of the engine: sources that arrive, are searched and are cancelled in any order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from peephole.config import SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.engine.session import PackedSession
from peephole.errors import PeepholeError
from peephole.search.hypothesis import Hypothesis

Guides = Sequence[tuple[PackedModel, float]]


@dataclass(frozen=True)
class Job:
    """A source, or a pair, and how it is searched; the fields are arguments of `PackedSession.add`."""

    source: Any
    max_length: int
    config: SearchConfig
    prefix: tuple[int, ...] = ()
    phrases: tuple[tuple[int, ...], ...] = ()
    example: int = 0
    attention: bool = True
    guides: tuple[tuple[PackedModel, float], ...] = ()
    target: tuple[int, ...] | None = None

    @property
    def rows(self) -> int:
        """The places that it takes."""
        if self.target is not None:
            return 1
        return self.config.beam_size if self.config.temperature is None else self.config.nbest

    def add_to(self, session: PackedSession, ticket: int) -> None:
        if self.target is not None:
            return session.add_target(ticket, self.source, self.target, self.config)
        more = ("prefix", "phrases", "example", "attention", "guides")
        given = {name: getattr(self, name) for name in more}
        return session.add(ticket, self.source, self.max_length, self.config, **given)

    def search_alone(self, models: Sequence[PackedModel]) -> list[Hypothesis]:
        """Return what `PackedSearch` finds for this source alone, on one thread."""
        searching, config = PackedSearch(models, self.guides), replace(self.config, threads=1)
        if self.target is not None:
            return [replace(searching.force([self.source], [self.target], config)[0], attention=None)]
        [found] = searching.find(
            [self.source],
            [self.max_length],
            config,
            prefixes=[self.prefix] if self.prefix else None,
            phrases=[self.phrases] if self.phrases else None,
            examples=[self.example],
            attention=self.attention,
        )
        return found


def make_jobs(
    sources: Sequence[Any],
    configs: Sequence[SearchConfig],
    rng: random.Random,
    *,
    num_symbols: int,
    guides: Guides = (),
) -> list[Job]:
    """Return a job for each source with settings, a prefix or phrases, drawn at random; some are pairs."""
    jobs = []
    for example, source in enumerate(sources):
        config, more = rng.choice(configs), {}
        symbols = [tuple(rng.randrange(4, num_symbols) for _ in range(rng.choice([0, 1, 3]))) for _ in range(3)]
        if rng.random() < 0.15:
            more["target"] = symbols[0]
        elif rng.random() < 0.3:
            more["prefix"] = symbols[0]
        elif config.temperature is None and config.diverse_groups == 1 and not config.no_repeat_ngram:
            more["phrases"] = tuple(phrase for phrase in symbols[: rng.choice([0, 0, 1, 2])] if phrase)
        if guides and "target" not in more and rng.random() < 0.6:
            more["guides"] = (rng.choice(guides),)
        longest, attention = min(len(source), 14) + rng.choice([8, 12]), rng.random() < 0.7
        jobs.append(Job(source, longest, config, example=example, attention=attention, **more))
    return jobs


def run(
    session: PackedSession, jobs: Sequence[Job], rng: random.Random, *, places: int, cancels: float = 0.0
) -> dict[int, list[Hypothesis] | PeepholeError]:
    """Add jobs at random times until all are answered or cancelled; return the answers by the index of the job.

    Checks after each step that no more places are taken than there are, and that no cancelled job is answered.
    """
    found: dict[int, Any] = {}
    left, inside, cancelled = list(range(len(jobs))), set(), set()
    while left or inside:
        for _ in range(rng.choice([0, 0, 1, 2, 5])):
            if left:
                ticket = left.pop(rng.randrange(len(left)))
                jobs[ticket].add_to(session, ticket)
                inside.add(ticket)
        for ticket, answer in session.step():
            assert ticket in inside
            found[ticket] = answer
            inside.remove(ticket)
        counts = session.counts()
        assert counts.active + counts.waiting == len(inside)
        assert 0 <= counts.free <= places
        if rng.random() < cancels and inside:
            ticket = rng.choice(sorted(inside))
            session.cancel(ticket)
            inside.remove(ticket)
            cancelled.add(ticket)
            after = session.counts()
            assert after.free in (counts.free, counts.free + jobs[ticket].rows)  # it was waiting, or active
            assert after.active + after.waiting == len(inside)
    assert session.step() == []
    assert session.counts() == (0, 0, places)
    assert found.keys() | cancelled == set(range(len(jobs)))
    assert not found.keys() & cancelled
    return found


def assert_same_bits(got: list[Hypothesis] | PeepholeError, wanted: list[Hypothesis]) -> None:
    """Compare hypotheses with their attention, exactly."""
    assert got == wanted
    assert not isinstance(got, PeepholeError)
    for one, other in zip(got, wanted, strict=True):
        assert (one.attention is None) == (other.attention is None)
        if one.attention is not None:
            np.testing.assert_array_equal(one.attention, other.attention, strict=True)


def check(
    models: Sequence[PackedModel], jobs: Sequence[Job], seed: int, *, places: int = 40, threads: int = 1, **how: Any
) -> None:
    """Run jobs in a session, and compare each answer with the search for its source alone."""
    session = PackedSession(models, places=places, threads=threads)
    found = run(session, jobs, random.Random(seed), places=places, **how)
    session.close()
    assert found
    for index, answer in found.items():
        assert_same_bits(answer, jobs[index].search_alone(models))
