"""Tests that a session of the engine returns the bits of a search for each source alone, whoever else is in it."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine.packed import PackedModel
from peephole.engine.session import PackedSession
from peephole.errors import PeepholeError
from peephole.storage.quantization import Stored
from process_memory import reads_proc, resident_bytes

from . import test_engine_copying as copying
from . import test_frontends as frontends
from .search_cases import SEARCHES, SHAPES, TARGET, make_config, make_network, make_sources, pack
from .session_traffic import Job, assert_same_bits, check, make_jobs, run
from .test_engine_constraints import CONSTRAINED, make_short_network
from .test_language_model import make_language_model, pack_language_model

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

WIDEST = 12  # places that a source takes at most
CONFIGS = [config for config in (*SEARCHES.values(), *CONSTRAINED.values()) if config.beam_size <= WIDEST]
UNATTENDED = [config for config in CONFIGS if not config.coverage_penalty]
KINDS = (
    *(
        "lstm full attention additive",
        "lstm none attention dot",
        "gru none attention general",
        "lstm diagonal mean dot",
    ),
    *("deep, last", "gru, bridge", "location", "coverage, deep", "multihead", "residual, pyramid", "norm, zoneout"),
    *("feeding, gru", "feeding, coverage", "symbol read", "symbol read, coverage"),
)


def configs_of(shape: str) -> list[SearchConfig]:
    return CONFIGS if SHAPES[shape].get("context", "attention") == "attention" else UNATTENDED


@cache
def make_packed(shape: str, instruction_set: str | None = None, stored: Stored = "float32") -> PackedModel:
    config = make_config(**SHAPES[shape])
    return pack(config, make_network(config, seed=len(shape)), instruction_set, stored)


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@pytest.mark.parametrize("shape", KINDS)
def test_answers_have_the_bits_of_a_search_alone(shape: str, instruction_set: str) -> None:
    rng = random.Random(f"{shape} {instruction_set}")
    jobs = make_jobs(make_sources(16, seed=len(shape)), configs_of(shape), rng, num_symbols=len(TARGET))
    how = {"places": rng.choice([WIDEST, 30, 1000]), "threads": rng.choice([1, 2, 3])}
    check([make_packed(shape, instruction_set)], jobs, rng.randrange(1000), cancels=0.1, **how)


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@pytest.mark.parametrize("stored", ["bfloat16", "int8"])
def test_quantised_models_have_these_bits(stored: Stored, instruction_set: str) -> None:
    rng, shape = random.Random(stored), "lstm full attention additive"
    jobs = make_jobs(make_sources(16, seed=5), CONFIGS, rng, num_symbols=len(TARGET))
    check([make_packed(shape, instruction_set, stored)], jobs, seed=6, threads=2)


def test_models_that_copy_have_these_bits() -> None:
    rng = random.Random(7)
    sources = copying.make_sources(30, seed=8)
    sources += [source * 30 for source in sources[:8]]
    check(
        [pack(*copying.make("coverage"))],
        make_jobs(sources, CONFIGS, rng, num_symbols=len(TARGET)),
        seed=9,
        threads=2,
        cancels=0.1,
    )


def test_ensembles_have_these_bits() -> None:
    rng, config = random.Random(10), make_config()
    models = [pack(config, make_network(config, seed)) for seed in (1, 2, 3)]
    jobs = make_jobs(make_sources(20, seed=11), CONFIGS, rng, num_symbols=len(TARGET))
    check(models, jobs, seed=12, threads=2, cancels=0.1)


def test_sources_with_other_guides_or_shares_of_ctc_have_these_bits() -> None:
    """More groups are in the session at a time than it keeps without sources."""
    rng, config = random.Random(13), make_config(ctc=True, encoder_layers=2, encoder_pyramid=1)
    guides = [(pack_language_model(*make_language_model(seed)), weight) for seed, weight in ((3, 0.7), (4, 0.2))]
    configs = [replace(rng.choice(UNATTENDED), ctc_weight=weight / 20) for weight in range(12)]
    jobs = make_jobs(make_sources(50, seed=14), configs, rng, num_symbols=len(TARGET), guides=guides)
    assert len({job.config.ctc_weight for job in jobs}) > 8
    check([pack(config, make_network(config, seed=1))], jobs, seed=15, threads=2, cancels=0.1)


@pytest.mark.parametrize("settings", frontends.SEARCHED[:4], ids=lambda settings: settings["input"])
def test_models_of_frames_have_these_bits(settings: dict[str, object]) -> None:
    rng, draw = random.Random(16), np.random.default_rng(17)
    searching, _ = frontends.packed(*frontends.make(**settings), None)
    frames = [
        draw.normal(size=(rng.choice([1, 3, 9, 31, 60, 200, 400]), frontends.F)).astype(np.float32) for _ in range(30)
    ]
    jobs = make_jobs(frames, UNATTENDED, rng, num_symbols=6)
    check(searching.models, jobs, seed=18, threads=2, cancels=0.1)


def test_a_source_keeps_its_arrays() -> None:
    """What the caller does with its memory after `add` has no effect."""
    model = make_packed("lstm full attention additive")
    session = PackedSession([model], places=8)
    frames = [4, 5, 6, 7]
    job = Job(frames, 12, SEARCHES["beam"], prefix=(5, 4))
    wanted = job.search_alone([model])
    job.add_to(session, 0)
    frames[:] = [9, 9, 9, 9]
    assert_same_bits(finish(session, 0), wanted)


def finish(session: PackedSession, ticket: int):
    """Return the answer of a source after all steps that it takes."""
    for _ in range(1000):
        found = dict(session.step())
        if ticket in found:
            return found[ticket]
    raise AssertionError("not answered")


def long_and_short() -> tuple[PackedModel, Job, Job]:
    """Return a model that hardly ever ends a target, a source of many steps and one of few."""
    config = make_config()
    network = make_network(config, seed=1)
    with torch.no_grad():
        network.decoder.output.bias[2] = -60
    search = SearchConfig(beam_size=2)
    return pack(config, network), Job([4, 5, 6], 300, search), Job([5, 7], 3, search)


def test_a_finished_source_leaves_before_the_others() -> None:
    model, long, short = long_and_short()
    session = PackedSession([model], places=8)
    long.add_to(session, 1)
    assert session.step() == []
    short.add_to(session, 2)
    assert [session.step() for _ in range(2)] == [[], []]
    [(ticket, answer)] = session.step()  # the third symbol
    assert ticket == 2
    assert_same_bits(answer, short.search_alone([model]))
    assert session.counts() == (1, 0, 6)
    assert_same_bits(finish(session, 1), long.search_alone([model]))


def test_a_full_session_reads_waiting_sources_in_their_order() -> None:
    model, _, short = long_and_short()
    session = PackedSession([model], places=5)
    for ticket in range(5):
        short.add_to(session, ticket)
    assert session.counts() == (0, 5, 5)
    assert session.step() == []
    assert session.counts() == (2, 3, 1)
    order = [ticket for _ in range(9) for ticket, _ in session.step()]
    assert order == [0, 1, 2, 3, 4]
    with pytest.raises(PeepholeError, match=r"^session: beam_size: wanted at most the session's places, 5, got 6$"):
        replace(short, config=SearchConfig(beam_size=6)).add_to(session, 9)
    with pytest.raises(PeepholeError, match=r"^session: nbest: wanted at most the session's places, 5, got 7$"):
        replace(short, config=SearchConfig(temperature=1.0, nbest=7)).add_to(session, 9)
    assert session.counts() == (0, 0, 5)


def test_cancelling_frees_places_at_once() -> None:
    model, long, short = long_and_short()
    session = PackedSession([model], places=4)
    for ticket in (1, 2, 3):
        long.add_to(session, ticket)
    session.step()
    assert session.counts() == (2, 1, 0)
    session.cancel(1)
    assert session.counts() == (1, 1, 2)
    session.cancel(3)  # it waits
    session.cancel(3)
    session.cancel(77)
    assert session.counts() == (1, 0, 2)
    short.add_to(session, 1)  # the number is free again
    assert_same_bits(finish(session, 1), short.search_alone([model]))
    assert_same_bits(finish(session, 2), long.search_alone([model]))


def test_wrong_sources_are_refused_and_change_nothing() -> None:
    model, long, short = long_and_short()
    session = PackedSession([model], places=4)
    long.add_to(session, 1)
    session.step()
    wrong = [
        (replace(short, source=[]), r"source 0: wanted at least 1 symbols, got 0"),
        (replace(short, source=[4, 99]), r"source 0: wanted symbols from 0 and below 11, got 99"),
        (replace(short, source=[-1]), r"source 0: wanted symbols from 0 and below 11, got -1"),
        (replace(short, max_length=0), r"max_lengths: wanted at least 1, got 0"),
        (replace(short, prefix=(4, 5, 6)), r"target 0: wanted a beginning of fewer than 3 symbols, got 3"),
        (replace(short, phrases=((4, 5, 6, 7),)), r"phrases of source 0: wanted at most 3 symbols in all, got 4"),
        (replace(short, target=(2,)), r"target 0: wanted no special symbols, got 2"),
        (replace(short, guides=((model, 1.0),)), r"guides: wanted language models, got another model"),
    ]
    for job, message in wrong:
        with pytest.raises(PeepholeError, match=f"^session: {message}$"):
            job.add_to(session, 2)
    with pytest.raises(PeepholeError, match=r"^session: ticket: wanted one that is not in use, got 1$"):
        short.add_to(session, 1)
    assert session.counts() == (1, 0, 2)
    assert_same_bits(finish(session, 1), long.search_alone([model]))
    session.close()
    session.close()
    for call in (session.step, session.counts, lambda: short.add_to(session, 3)):
        with pytest.raises(PeepholeError, match=r"^session: it is closed$"):
            call()
    for places, threads in ((0, 1), (4, -1)):
        with pytest.raises(PeepholeError, match=r"^session: (places|threads): wanted at least 1, got"):
            PackedSession([model], places=places, threads=threads)


def test_only_the_source_without_probabilities_fails() -> None:
    """One symbol of the source has an embedding that is not a number."""
    config = make_config()
    network = make_network(config, seed=2)
    with torch.no_grad():
        network.frontend.embedding.weight[9] = float("nan")
    model, rng = pack(config, network), random.Random(3)
    session = PackedSession([model], places=30, threads=2)
    jobs = make_jobs(make_sources(60, seed=4), CONFIGS, rng, num_symbols=len(TARGET))
    found = run(session, jobs, rng, places=30)
    assert {9 in job.source for job in jobs} == {True, False}
    for index, answer in found.items():
        if 9 in jobs[index].source:
            with pytest.raises(PeepholeError, match="gives no symbol a probability") as caught:
                jobs[index].search_alone([model])
            assert isinstance(answer, PeepholeError)
            assert str(answer) == str(caught.value)
        else:
            assert_same_bits(answer, jobs[index].search_alone([model]))


def test_a_coverage_penalty_without_attention_fails_alone() -> None:
    model = make_packed("lstm diagonal mean dot")
    session = PackedSession([model], places=30)
    good = Job([4, 5, 6], 9, SEARCHES["beam"])
    good.add_to(session, 1)
    replace(good, config=CONSTRAINED["coverage penalty"]).add_to(session, 2)
    found = run_out(session, {1, 2})
    assert_same_bits(found[1], good.search_alone([model]))
    assert str(found[2]) == "search: coverage_penalty: wanted a model with attention, got one without"


def run_out(session: PackedSession, tickets: set[int]):
    """Return the answers of all of these."""
    found = {}
    while found.keys() < tickets:
        found |= dict(session.step())
    return found


def test_other_threads_add_and_cancel_during_steps() -> None:
    """Three threads add and cancel while one steps; every source that is not cancelled has its bits."""
    config = make_config()
    model = pack(config, make_short_network(config, seed=5))
    session = PackedSession([model], places=50, threads=2)
    jobs = make_jobs(make_sources(200, seed=6), SMALL, random.Random(7), num_symbols=len(TARGET))
    cancelled: set[int] = set()
    threads = [threading.Thread(target=add_some, args=(session, jobs, number, cancelled)) for number in range(3)]
    for thread in threads:
        thread.start()
    found = {}
    while any(thread.is_alive() for thread in threads) or session.counts()[:2] != (0, 0):
        for ticket, answer in session.step():
            assert ticket not in found
            found[ticket] = answer
    assert found.keys() | cancelled == set(range(200))
    assert session.counts() == (0, 0, 50)
    for ticket in sorted(found)[::4]:
        assert_same_bits(found[ticket], jobs[ticket].search_alone([model]))


SMALL = [SEARCHES["greedy"], SEARCHES["beam"], SEARCHES["samples"]]


def add_some(session: PackedSession, jobs: list[Job], number: int, cancelled: set[int]) -> None:
    """Add each third job, and cancel each fifth of these a little later."""
    for ticket in range(number, len(jobs), 3):
        jobs[ticket].add_to(session, ticket)
        if ticket % 5 == 0:
            cancelled.add(ticket)  # its answer may have come already
            session.cancel(ticket)


@pytest.mark.slow
@reads_proc
def test_ten_thousand_sources_leave_no_memory_behind() -> None:
    """A third of them is cancelled at random times, and some need groups of their own."""
    config = make_config(ctc=True, hidden_size=4, encoder_size=2, embedding_size=2)
    model, rng = pack(config, make_short_network(config, seed=8)), random.Random(9)
    guide = (pack_language_model(*make_language_model(3)), 0.5)
    configs = [replace(config, ctc_weight=weight) for config in SMALL for weight in (0.0, 0.0, 0.3, 0.5)]
    session = PackedSession([model], places=24, threads=1)
    jobs = make_jobs(make_sources(95, seed=10), configs, rng, num_symbols=len(TARGET))
    jobs += make_jobs(make_sources(5, seed=11), configs, rng, num_symbols=len(TARGET), guides=[guide])
    jobs = [replace(job, max_length=3, prefix=(), phrases=()) for job in jobs]
    ticket, used = 0, []
    for _ in range(11):
        for job in rng.choices(jobs, k=1000):
            job.add_to(session, ticket)
            if rng.random() < 0.4:
                session.cancel(rng.randint(max(0, ticket - 20), ticket))
            ticket += 1
            for _ in range(rng.choice([0, 1, 2])):
                session.step()
        while session.counts()[:2] != (0, 0):
            session.step()
        used.append(resident_bytes())
    assert used[-1] - used[1] < 2_000_000, used  # bytes; the first thousand allocate what is kept
