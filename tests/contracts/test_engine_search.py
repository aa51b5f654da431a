"""Tests that the engine's search returns the targets, scores and attention of Python's for every kind of model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.errors import PeepholeError
from peephole.nn import build_seq2seq
from peephole.search.torch import DefinitionSearch
from peephole.storage.model_file import ModelFile, encode_model
from peephole.storage.quantization import Stored
from peephole.symbols import CharacterSymbols

from .search_cases import (
    ATTENTIONS,
    FEEDING,
    ROUNDING,
    SEARCHES,
    SHAPES,
    STACKS,
    TARGET,
    assert_same,
    check_alternatives,
    compared_sources,
    encoded,
    make_config,
    make_network,
    make_sources,
    pack,
)

PCG64 = np.random.PCG64
pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")


@lru_cache(maxsize=1)  # the instruction set changes first
def results_of_the_definition(shape: str) -> tuple[bytes, dict[str, Sequence[Sequence]]]:
    """Return a model's file, and what each search of the definition finds."""
    config = make_config(**SHAPES[shape])
    network = make_network(config, seed=len(shape))
    definition = DefinitionSearch([network])
    found = {name: definition.find(*compared_sources(), search, examples=range(9)) for name, search in SEARCHES.items()}
    return encoded(config, network), found


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@pytest.mark.parametrize("shape", SHAPES)
def test_the_engine_returns_the_results_of_the_definition(shape: str, instruction_set: str) -> None:
    file, results = results_of_the_definition(shape)
    packed = PackedSearch([PackedModel(file, instruction_set)])
    for name, wanted in results.items():
        assert_same(packed.find(*compared_sources(), SEARCHES[name], examples=range(9)), wanted)


def test_compared_results_have_both_endings_and_many_lengths() -> None:
    """Check that the results compared above are diverse."""
    endings, lengths = set(), set()
    for shape in SHAPES:
        config = make_config(**SHAPES[shape])
        searching = PackedSearch([pack(config, make_network(config, seed=len(shape)))])
        sources = make_sources(9, seed=1)
        for found in searching.find(sources, [len(source) + 3 for source in sources], SEARCHES["beam"]):
            endings |= {hypothesis.finished for hypothesis in found}
            lengths |= {len(hypothesis.ids) for hypothesis in found}
    assert endings == {False, True}
    assert lengths >= {0, 1, 2, 3, 4, 5, 17}


@pytest.mark.parametrize(
    ("search", "shape"),
    [(search, {}) for search in ("greedy", "beam", "samples")]
    + [("beam", shape) for shape in (*ATTENTIONS.values(), FEEDING["feeding"])],
)
def test_searches_with_prefixes_equal_the_definition(search: str, shape: dict[str, object]) -> None:
    config = make_config(**shape)
    network = make_network(config, seed=4)
    sources, rng = make_sources(12, seed=2), random.Random(3)
    longest = [len(source) + 6 for source in sources]
    prefixes = [[rng.randrange(3, len(TARGET)) for _ in range(rng.choice([0, 0, 1, 4]))] for _ in sources]
    arguments = (sources, longest, SEARCHES[search])
    wanted = DefinitionSearch([network]).find(*arguments, prefixes=prefixes, examples=range(12))
    got = PackedSearch([pack(config, network)]).find(*arguments, prefixes=prefixes, examples=range(12))
    assert_same(got, wanted)
    assert all(list(h.ids[: len(p)]) == p for found, p in zip(got, prefixes, strict=True) for h in found)


@pytest.mark.parametrize("shape", ["lstm full attention additive", "gru none mean dot", "deep, bridge", *ATTENTIONS])
def test_scores_of_given_targets_equal_the_definition(shape: str) -> None:
    config = make_config(**SHAPES[shape])
    network = make_network(config, seed=5)
    packed, definition = PackedSearch([pack(config, network)]), DefinitionSearch([network])
    sources, rng = make_sources(30, seed=4), random.Random(5)
    targets = [[rng.randrange(3, len(TARGET)) for _ in range(rng.choice([0, 1, 4, 11]))] for _ in sources]
    search = SearchConfig(batch_size=7)
    wanted = [[hypothesis] for hypothesis in definition.force(sources, targets, search)]
    assert_same([[hypothesis] for hypothesis in packed.force(sources, targets, search)], wanted)
    check_alternatives(packed, definition, sources, targets, search)


@pytest.mark.parametrize("count", [-1, len(TARGET) + 1])
def test_alternatives_are_symbols_of_the_target(count: int) -> None:
    config = make_config()
    packed = PackedSearch([pack(config, make_network(config, seed=5))])
    with pytest.raises(PeepholeError, match=f"num_alternatives: wanted at .*, got {count}"):
        packed.alternatives([[4, 5]], [[6]], SearchConfig(), count)


def test_an_ensemble_of_different_architectures_equals_the_definition() -> None:
    shapes = ("lstm full attention additive", "gru none mean dot", "deep, bridge", "location, wide")
    configs = [make_config(**SHAPES[shape]) for shape in (*shapes, "feeding, coverage")]
    networks = [make_network(config, seed) for seed, config in enumerate(configs)]
    packed = PackedSearch([pack(config, network) for config, network in zip(configs, networks, strict=True)])
    sources = make_sources(9, seed=6)
    for search in SEARCHES.values():
        arguments = (sources, [9] * len(sources), search)
        wanted = DefinitionSearch(networks).find(*arguments, examples=range(9))
        assert_same(packed.find(*arguments, examples=range(9)), wanted)


def test_ties_are_resolved_by_the_lower_symbol() -> None:
    """Make pairs of symbols equally probable, so that beams are full of ties."""
    config = make_config()
    network = make_network(config, seed=7)
    with torch.no_grad():
        network.decoder.output.weight[5::2] = network.decoder.output.weight[4:-1:2]
        network.decoder.output.bias[5::2] = network.decoder.output.bias[4:-1:2]
        network.decoder.embedding.weight[5::2] = network.decoder.embedding.weight[4:-1:2]
    sources = make_sources(20, seed=8)
    packed, definition = PackedSearch([pack(config, network)]), DefinitionSearch([network])
    for name in ("greedy", "beam", "length penalty"):
        wanted = definition.find(sources, [8] * 20, SEARCHES[name])
        assert_same(packed.find(sources, [8] * 20, SEARCHES[name]), wanted)
    scores = [h.log_prob for found in wanted for h in found]
    assert len(set(scores)) < len(scores), "no ties, so the comparison is void"


TWO_LAYERS = {"encoder_layers": 2, "decoder_layers": 2, "hidden_size": 50}


@pytest.mark.parametrize(
    ("instruction_set", "shape", "stored", "rounds"),
    [(name, TWO_LAYERS, "float32", 20) for name in engine.instruction_sets()]
    + [(name, TWO_LAYERS, stored, 5) for name in engine.instruction_sets() for stored in ROUNDING]
    + [
        (name, shape, "float32", 5)
        for name in engine.instruction_sets()[:1]
        for shape in (*ATTENTIONS.values(), *STACKS.values(), *FEEDING.values())
    ],
)
def test_results_have_the_same_bits_in_any_batch_on_any_number_of_threads(
    instruction_set: str, shape: dict[str, object], stored: Stored, rounds: int
) -> None:
    config = make_config(**shape)
    searching = PackedSearch([pack(config, make_network(config, seed=9), instruction_set, stored)])
    sources, rng = make_sources(60, seed=10), random.Random(11)
    for name in ("greedy", "beam", "samples"):
        search = replace(SEARCHES[name], threads=1)
        alone = [
            searching.find([source], [len(source) + 4], search, examples=[example])[0]
            for example, source in enumerate(sources)
        ]
        for _ in range(rounds):
            chosen = rng.sample(range(60), rng.randint(1, 40))
            batch = [sources[index] for index in chosen]
            search = replace(search, threads=rng.choice([1, 2, 5]), batch_size=rng.choice([1, 3, 8, 64]))
            found = searching.find(batch, [len(source) + 4 for source in batch], search, examples=chosen)
            for index, hypotheses in zip(chosen, found, strict=True):
                assert hypotheses == alone[index]
                for one, other in zip(hypotheses, alone[index], strict=True):
                    np.testing.assert_array_equal(one.attention, other.attention)


def test_a_large_vocabulary_without_precomputed_products_gives_the_same_results() -> None:
    """For more symbols than the table of W E(y) may hold, the engine computes the product at each step."""
    many = CharacterSymbols([chr(0x4E00 + i) for i in range(12_000)], "NFC")
    config = make_config()
    torch.manual_seed(1)
    network = build_seq2seq(config.model, len(many), len(many)).eval()
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    packed = PackedSearch([PackedModel(encode_model(ModelFile(tensors, config, many, many)))])
    sources = [[4, 11_000, 7], [12_003], [500] * 6]
    for name in ("greedy", "beam"):
        wanted = DefinitionSearch([network]).find(sources, [6] * 3, SEARCHES[name])
        assert_same(packed.find(sources, [6] * 3, SEARCHES[name]), wanted)


def test_nan_weights_are_an_error() -> None:
    config = make_config()
    network = make_network(config, seed=12)
    with torch.no_grad():
        network.decoder.readout.bias[0] = torch.nan
    searching = PackedSearch([pack(config, network)])
    with pytest.raises(PeepholeError, match="source 0: the model gives no symbol a probability"):
        searching.find([[4, 5]], [5], SEARCHES["beam"])
    with pytest.raises(PeepholeError, match="gives no symbol a probability"):
        searching.force([[4, 5]], [[6]], SearchConfig())


def generator_of_first(bits: int) -> np.random.PCG64:
    """Return a generator whose first 64 bits are these, all 0 or all 1."""
    multiplier, increment, high = 0x2360ED051FC65DA44385DF649FCCF645, 2 * 987654321 + 1, 0x123456789ABCDEF
    state = high << 64 | high ^ bits  # the output is its two halves' difference, rotated
    generator = PCG64(1)
    before = (state - increment) * pow(multiplier, -1, 2**128) % 2**128
    generator.state = generator.state | {"state": {"state": before, "inc": increment}}
    return generator


@pytest.mark.parametrize(("bits", "drawn"), [(0, 0.0), (2**64 - 1, 1 - 2.0**-53)])
def test_samples_from_extreme_random_numbers_equal_the_definition(bits: int, drawn: float, monkeypatch) -> None:
    """The smallest and the largest uniform number (probability 2^-53 each) must not select a forbidden symbol."""
    assert np.random.Generator(generator_of_first(bits)).random() == drawn
    monkeypatch.setattr(np.random, "PCG64", lambda key: generator_of_first(bits))
    config = make_config()
    network = make_network(config, seed=13)
    sources = make_sources(9, seed=1)
    for name in ("samples", "truncated samples"):
        arguments = (sources, [1] * 9, replace(SEARCHES[name], nbest=1))
        wanted = DefinitionSearch([network]).find(*arguments, examples=range(9))
        assert_same(PackedSearch([pack(config, network)]).find(*arguments, examples=range(9)), wanted)


def test_long_samples_draw_the_numbers_of_numpy() -> None:
    """Sample s of a source with maximal length U draws its symbol t with number s U + t of `default_rng`'s PCG64."""
    length, count = 150, 3
    config = make_config()
    network = make_network(config, seed=13)
    with torch.no_grad():
        network.decoder.output.weight.zero_()
        network.decoder.output.bias.copy_(torch.tensor([-50.0] * 4 + [0.0] * (len(TARGET) - 4)))  # all but </s>, alike
    drawn = np.random.default_rng((3, 7)).random((count, length))
    wanted = [tuple(4 + int(u * (len(TARGET) - 4)) for u in row) for row in drawn]
    search = SearchConfig(nbest=count, temperature=1.0, seed=3)
    for searching in (PackedSearch([pack(config, network)]), DefinitionSearch([network])):
        [found] = searching.find([[4, 5]], [length], search, examples=[7])
        assert [hypothesis.ids for hypothesis in found] == wanted


def test_a_prefix_of_probability_0_is_an_error() -> None:
    config = make_config()
    network = make_network(config, seed=12)
    with torch.no_grad():
        network.decoder.output.bias[5] = -torch.inf
    for searching in (PackedSearch([pack(config, network)]), DefinitionSearch([network])):
        with pytest.raises((PeepholeError, ValueError), match="source 0"):
            searching.find([[4, 5]], [5], SEARCHES["beam"], prefixes=[[5]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": [[4], []]}, "source 1: wanted at least 1 symbols, got 0"),
        ({"sources": [[4], [11]]}, "source 1: wanted symbols from 0 and below 11, got 11"),
        ({"sources": [[-1], [5]]}, "source 0: wanted symbols from 0 and below 11, got -1"),
        ({"max_lengths": [3, 0]}, "max_lengths: wanted at least 1, got 0"),
        ({"prefixes": [[], [4, 4, 4]]}, "target 1: wanted a beginning of fewer than 3 symbols, got 3"),
        ({"prefixes": [[2], []]}, "target 0: wanted no special symbols, got 2"),
        ({"prefixes": [[0], []]}, "target 0: wanted no special symbols, got 0"),
        ({"prefixes": [[13], []]}, "target 0: wanted symbols from 0 and below 13, got 13"),
        ({"config": SearchConfig(beam_size=2, nbest=3)}, "nbest: wanted at most beam_size = 2, got 3"),
        ({"config": SearchConfig(threads=0)}, None),
    ],
)
def test_invalid_requests_are_refused(change: dict, message: str | None) -> None:
    config = make_config()
    searching = PackedSearch([pack(config, make_network(config, seed=13))])
    request = {"sources": [[4], [5, 6]], "max_lengths": [3, 3], "config": SearchConfig()} | change
    if message is None:  # 0 threads select the default
        assert len(searching.find(**request)) == 2
        return
    with pytest.raises(PeepholeError, match=f"^search: {message}$"):
        searching.find(**request)
