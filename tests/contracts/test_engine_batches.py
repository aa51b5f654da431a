"""Tests that the engine's predictions for a source have the same bits in ten thousand random batches."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.search.hypothesis import Hypothesis
from peephole.storage.model_file import load_model

NUM_BATCHES, NUM_SOURCES, LARGEST_BATCH = 10_000, 400, 24


@pytest.mark.slow
@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
def test_predictions_have_the_same_bits_in_ten_thousand_batches(toy_file: Path) -> None:
    searching, rng = PackedSearch([PackedModel(toy_file)]), random.Random(1)
    num_symbols = len(load_model(toy_file).source_symbols)
    sources = [[rng.randrange(4, num_symbols) for _ in range(rng.randint(1, 20))] for _ in range(NUM_SOURCES)]
    longest = [rng.randint(1, 30) for _ in sources]
    search = SearchConfig(beam_size=3, nbest=2, threads=1)
    alone = [searching.find([source], [most], search)[0] for source, most in zip(sources, longest, strict=True)]
    for _ in range(NUM_BATCHES):
        size = min(rng.randint(1, LARGEST_BATCH) for _ in range(3))  # large batches take long, and few are enough
        chosen = rng.choices(range(NUM_SOURCES), k=size)
        changed = replace(search, threads=rng.randint(1, 2), batch_size=rng.choice([1, 2, 5, 64]))
        found = searching.find([sources[i] for i in chosen], [longest[i] for i in chosen], changed)
        for index, hypotheses in zip(chosen, found, strict=True):
            assert_same_bits(hypotheses, alone[index])


def assert_same_bits(got: list[Hypothesis], wanted: list[Hypothesis]) -> None:
    assert got == wanted  # symbols and scores, exactly
    for one, other in zip(got, wanted, strict=True):
        assert one.attention is not None
        assert other.attention is not None
        assert one.attention.shape == other.attention.shape
        assert one.attention.tobytes() == other.attention.tobytes()
