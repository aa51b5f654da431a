"""Tests that a search that no machine can hold is refused, and that settings without an effect are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

import peephole
from peephole import engine, memory
from peephole.config import ModelConfig, SearchConfig
from peephole.errors import MemoryLimitError
from peephole.memory import MachineMemory
from peephole.model.search_memory import check_search_memory, search_memory


def test_the_setting_that_decides_the_size_is_named(monkeypatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: MachineMemory(24 * 10**9, 24 * 10**9))
    for search, on_engine, named in (
        (SearchConfig(beam_size=10**7), True, "beam_size=10000000"),
        (SearchConfig(temperature=1.0, nbest=10**8), True, "nbest=100000000"),
        (SearchConfig(batch_size=10**6), False, "batch_size=1000000"),
    ):
        with pytest.raises(MemoryLimitError, match=rf"^search\.{named}: this search needs about .* has 24 GB$"):
            check_search_memory(ModelConfig(), 1000, search, 10**7, engine=on_engine)


def test_a_large_batch_needs_little_on_the_engine_and_no_more_than_its_sources(monkeypatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: MachineMemory(24 * 10**9, 24 * 10**9))
    large = SearchConfig(batch_size=10**9, threads=2)
    check_search_memory(ModelConfig(), 1000, large, 10**6, engine=True)
    check_search_memory(ModelConfig(), 1000, large, 500, engine=False)
    assert search_memory(ModelConfig(), 1000, SearchConfig(), 1, engine=True) < 10**6


@pytest.mark.skipif(not engine.available(), reason="the engine was not built")
def test_predictions_are_refused_before_the_search(toy_file, monkeypatch) -> None:
    model = peephole.load(toy_file)
    monkeypatch.setattr(memory, "machine_memory", lambda: MachineMemory(10**8, 10**8))
    for settings in ({"beam_size": 10**6}, {"nbest": 10**6, "temperature": 1.0}, {"beam_size": 10**6, "engine": "off"}):
        with pytest.raises(MemoryLimitError, match=r"^search\.(beam_size|nbest)=1000000: this search needs"):
            model.predict(["abc"], **settings)
    assert len(model.predict(["abc"], batch_size=10**6)) == 1
    assert len(model.score(["abc"], [""], batch_size=10**6)) == 1


def test_language_models_and_groups_need_more() -> None:
    search, rows = SearchConfig(beam_size=10, batch_size=10, threads=1), 100
    for on_engine in (True, False):
        alone = search_memory(ModelConfig(), 1000, search, 10, engine=on_engine)
        guided = search_memory(ModelConfig(), 1000, search, 10, engine=on_engine, guides=[ModelConfig(hidden_size=100)])
        assert guided - alone == 4 * rows * (2 * 1000 + 10 * 100)  # its scores and the sum, its states and gates
        grouped = search_memory(ModelConfig(), 1000, replace(search, diverse_groups=2), 10, engine=on_engine)
        assert grouped - alone == (0 if on_engine else 4 * rows * 6 * 1000)
