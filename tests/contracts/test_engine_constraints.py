"""Tests that the engine's search under constraints returns the targets of Python's."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import Config, SearchConfig
from peephole.engine.packed import PackedSearch
from peephole.errors import PeepholeError
from peephole.nn import Seq2Seq
from peephole.search.torch import DefinitionSearch
from peephole.symbols import EOS

from .search_cases import (
    SHAPES,
    TARGET,
    assert_same,
    compared_sources,
    make_config,
    make_network,
    make_sources,
    pack,
)

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

BEAM = SearchConfig(beam_size=4, nbest=4)
CONSTRAINED = {
    "greedy, least length": SearchConfig(beam_size=1, min_length=6),
    "greedy, no symbol twice": SearchConfig(beam_size=1, no_repeat_ngram=1, min_length=14),
    "least length": replace(BEAM, min_length=5, length_penalty=1.0),
    "no bigram twice": replace(BEAM, no_repeat_ngram=2, min_length=9),
    "no trigram twice": replace(BEAM, no_repeat_ngram=3, min_length=9),
    "length reward": replace(BEAM, length_reward=1.5, nbest=2),
    "coverage penalty": replace(BEAM, coverage_penalty=2.0, nbest=2),
    "all rankings": replace(BEAM, coverage_penalty=0.6, length_reward=0.3, length_penalty=0.7),
    "two groups": replace(BEAM, diverse_groups=2, diversity=0.7),
    "groups of one": replace(BEAM, diverse_groups=4, diversity=2.5),
    "groups, fewer wanted": replace(BEAM, beam_size=12, diverse_groups=3, diversity=0.4, nbest=2, no_repeat_ngram=2),
    "wide groups": SearchConfig(beam_size=60, nbest=60, diverse_groups=2, diversity=0.5, coverage_penalty=0.2),
    "samples": SearchConfig(nbest=3, temperature=1.5, min_length=4, no_repeat_ngram=2, top_k=8),
}
KINDS = {name: SHAPES[name] for name in ("lstm full attention additive", "gru none attention general", "coverage")}


def make_short_network(config: Config, seed: int) -> Seq2Seq:
    """Return a network that ends its targets early, so that a least length and rewards matter."""
    network = make_network(config, seed)
    with torch.no_grad():
        network.decoder.output.bias[EOS] += 6
    return network


def make_phrases(count: int, seed: int) -> list[list[list[int]]]:
    """Return up to three phrases of up to three symbols for each source, overlapping and equal ones among them."""
    rng = random.Random(seed)
    return [
        [[rng.randrange(4, 7) for _ in range(rng.choice([1, 2, 3]))] for _ in range(rng.choice([0, 1, 2, 3]))]
        for _ in range(count)
    ]


@pytest.mark.parametrize("shape", KINDS)
def test_constrained_searches_equal_the_definition(shape: str) -> None:
    config = make_config(**KINDS[shape])
    network = make_short_network(config, seed=len(shape))
    packed, definition = PackedSearch([pack(config, network)]), DefinitionSearch([network])
    rng, (sources, _) = random.Random(3), compared_sources()
    prefixes = [[rng.randrange(3, len(TARGET)) for _ in range(rng.choice([0, 0, 1, 4]))] for _ in sources]
    longest = [len(source) + 8 for source in sources]
    for search in CONSTRAINED.values():
        for begin in (None, prefixes):
            found = packed.find(sources, longest, search, prefixes=begin, examples=range(9))
            assert_same(found, definition.find(sources, longest, search, prefixes=begin, examples=range(9)))


def test_each_constraint_compared_above_changes_results() -> None:
    sources, longest = compared_sources()
    config = make_config()
    searching = PackedSearch([pack(config, make_short_network(config, seed=1))])
    for name, search in CONSTRAINED.items():
        free = replace(search, min_length=0, no_repeat_ngram=0, length_reward=0, coverage_penalty=0)
        free = replace(free, diverse_groups=1, diversity=0)
        found = [searching.find(sources, longest, choice, examples=range(9)) for choice in (search, free)]
        assert found[0] != found[1], name


@pytest.mark.parametrize("shape", ["lstm full attention additive", "coverage"])
def test_searches_for_phrases_equal_the_definition(shape: str) -> None:
    config = make_config(**SHAPES[shape])
    network = make_network(config, seed=5)
    packed, definition = PackedSearch([pack(config, network)]), DefinitionSearch([network])
    sources, rng = make_sources(12, seed=2), random.Random(3)
    longest = [len(source) + 14 for source in sources]
    prefixes = [[rng.randrange(3, len(TARGET)) for _ in range(rng.choice([0, 0, 1, 4]))] for _ in sources]
    for seed, search in enumerate((BEAM, replace(BEAM, beam_size=11, nbest=5, min_length=6, length_penalty=1.0))):
        phrases = make_phrases(12, seed)
        for begin in (None, prefixes):
            found = packed.find(sources, longest, search, prefixes=begin, phrases=phrases)
            assert_same(found, definition.find(sources, longest, search, prefixes=begin, phrases=phrases))
            for own, hypotheses in zip(phrases, found, strict=True):
                for hypothesis in hypotheses:
                    text = "".join(map(chr, hypothesis.ids))
                    assert all("".join(map(chr, phrase)) in text for phrase in own)


def test_ties_under_constraints_are_resolved_as_in_the_definition() -> None:
    """Make pairs of symbols equally probable, so that beams are full of ties."""
    config = make_config()
    network = make_network(config, seed=7)
    with torch.no_grad():
        for weight in (network.decoder.output.weight, network.decoder.output.bias, network.decoder.embedding.weight):
            weight[5::2] = weight[4:-1:2]
    packed, definition = PackedSearch([pack(config, network)]), DefinitionSearch([network])
    sources = make_sources(20, seed=8)
    for name in ("two groups", "no bigram twice"):
        wanted = definition.find(sources, [8] * 20, CONSTRAINED[name])
        assert_same(packed.find(sources, [8] * 20, CONSTRAINED[name]), wanted)
        scores = [h.log_prob for found in wanted for h in found]
        assert len(set(scores)) < len(scores), "no ties, so the comparison is void"
    phrases = make_phrases(20, seed=9)
    wanted = definition.find(sources, [10] * 20, BEAM, phrases=phrases)
    assert_same(packed.find(sources, [10] * 20, BEAM, phrases=phrases), wanted)


def test_constrained_results_have_the_same_bits_in_any_batch_on_any_number_of_threads() -> None:
    config = make_config()
    searching = PackedSearch([pack(config, make_network(config, seed=9))])
    sources, phrases, rng = make_sources(40, seed=10), make_phrases(40, seed=1), random.Random(11)
    for name in ("all rankings", "groups, fewer wanted", "no bigram twice", "samples", "phrases"):
        search = replace(CONSTRAINED.get(name, BEAM), threads=1)
        has_phrases = name == "phrases"

        def find(chosen: list[int], search: SearchConfig, has_phrases: bool = has_phrases) -> list:
            batch = [sources[index] for index in chosen]
            own = [phrases[index] for index in chosen] if has_phrases else None
            return searching.find(batch, [len(ids) + 9 for ids in batch], search, examples=chosen, phrases=own)

        alone = [find([index], search)[0] for index in range(40)]
        for _ in range(5):
            chosen = rng.sample(range(40), rng.randint(1, 30))
            search = replace(search, threads=rng.choice([1, 2, 5]), batch_size=rng.choice([1, 3, 8, 64]))
            for index, hypotheses in zip(chosen, find(chosen, search), strict=True):
                assert hypotheses == alone[index]
                for one, other in zip(hypotheses, alone[index], strict=True):
                    np.testing.assert_array_equal(one.attention, other.attention)


def test_a_coverage_penalty_needs_no_attention_in_the_result() -> None:
    config = make_config()
    searching = PackedSearch([pack(config, make_network(config, seed=3))])
    sources, lengths = compared_sources()
    with_attention = searching.find(sources, lengths, CONSTRAINED["coverage penalty"])
    without = searching.find(sources, lengths, CONSTRAINED["coverage penalty"], attention=False)
    assert with_attention == without
    assert {hypothesis.attention is None for found in without for hypothesis in found} == {True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": SearchConfig(min_length=-1)}, "min_length: wanted at least 0, got -1"),
        ({"config": SearchConfig(no_repeat_ngram=-2)}, "no_repeat_ngram: wanted at least 0, got -2"),
        ({"config": SearchConfig(length_reward=-1.0)}, "length_reward: wanted a number from 0 to 1e9"),
        ({"config": SearchConfig(coverage_penalty=np.nan)}, "coverage_penalty: wanted a number from 0 to 1e9"),
        ({"config": SearchConfig(diversity=-1.0)}, "diversity: wanted a number from 0 to 1e9"),
        ({"config": SearchConfig(diverse_groups=2)}, "diverse_groups: wanted a divisor of beam_size = 5, got 2"),
        (
            {"config": SearchConfig(beam_size=4, diverse_groups=2), "phrases": [[], [[4]]]},
            "phrases: wanted one group of hypotheses, got 2",
        ),
        ({"phrases": [[], [[]]]}, "phrase 0: wanted at least 1 symbols, got 0"),
        ({"phrases": [[[5]], [[13]]]}, "phrase 1: wanted symbols from 0 and below 13, got 13"),
        ({"phrases": [[], [[EOS]]]}, "phrases of source 1: wanted no special symbols, got 2"),
        (
            {"phrases": [[[4], [5, 6], [7]], []]},
            "phrases of source 0: wanted at most 3 symbols in all, got 4",
        ),
        (
            {"phrases": [[[4], [5, 6]], []], "prefixes": [[4], []]},
            "phrases of source 0: wanted at most 2 symbols in all, got 3",
        ),
    ],
)
def test_invalid_constraints_are_refused(change: dict, message: str) -> None:
    config = make_config()
    searching = PackedSearch([pack(config, make_network(config, seed=13))])
    request = {"sources": [[4], [5, 6]], "max_lengths": [3, 3], "config": SearchConfig()} | change
    with pytest.raises(PeepholeError, match=f"^search: {message}$"):
        searching.find(**request)


def test_a_coverage_penalty_without_attention_is_refused() -> None:
    config = make_config(context="last")
    searching = PackedSearch([pack(config, make_network(config, seed=13))])
    with pytest.raises(PeepholeError, match="coverage_penalty: wanted a model with attention, got one without"):
        searching.find([[4, 5]], [5], SearchConfig(coverage_penalty=1.0))
