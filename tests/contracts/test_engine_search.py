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
from peephole.config import Config, SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.errors import PeepholeError
from peephole.nn import Seq2Seq, build_seq2seq
from peephole.search.torch import DefinitionSearch
from peephole.storage.model_file import ModelFile, encode_model
from peephole.storage.quantization import Stored
from peephole.symbols import EOS, CharacterSymbols

PCG64 = np.random.PCG64
pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

SOURCE = CharacterSymbols(list("abcdefg"), "NFC")
TARGET = CharacterSymbols(list("ABCDEFGHI"), "NFC")
TOLERANCE = 1e-4  # for log p of a target: a sum of tens of float32 numbers of size 10, added in another order

CELLS = [("lstm", "full"), ("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")]
CONTEXTS = [("attention", "additive"), ("attention", "dot"), ("attention", "general"), ("last", "dot"), ("mean", "dot")]
SHAPES: dict[str, dict[str, object]] = {
    f"{cell} {peephole} {context} {attention}": {
        "cell": cell,
        "peephole": peephole,
        "context": context,
        "attention": attention,
    }
    for cell, peephole in CELLS
    for context, attention in CONTEXTS
}
SHAPES["deep, bridge"] = {"hidden_size": 40, "encoder_size": 26, "encoder_layers": 2, "decoder_layers": 3}
SHAPES["one direction"] = {"encoder_size": 7, "bidirectional": False, "encoder_layers": 3, "attention": "general"}
SHAPES["gru, bridge"] = {"cell": "gru", "peephole": "none", "encoder_size": 6, "encoder_layers": 2, "decoder_layers": 2}
SHAPES["deep, last"] = {"encoder_layers": 2, "decoder_layers": 2, "context": "last", "bidirectional": False}
SHAPES["smallest"] = {"hidden_size": 1, "encoder_size": 2, "embedding_size": 1}
ATTENTIONS: dict[str, dict[str, object]] = {  # of the kinds that the engine does not train
    "location": {"attention": "location", "location_channels": 3, "location_width": 5},
    "location, wide": {
        "attention": "location",
        "location_channels": 17,
        "cell": "gru",
        "peephole": "none",
        "encoder_size": 26,
        "decoder_layers": 2,
    },
    "coverage": {"attention": "coverage"},
    "coverage, deep": {"attention": "coverage", "encoder_size": 26, "encoder_layers": 2, "decoder_layers": 3},
    "multihead": {"attention": "multihead", "attention_heads": 2},
    "many heads": {"attention": "multihead", "attention_heads": 11, "encoder_size": 66, "hidden_size": 33},
}
SHAPES |= ATTENTIONS
DEEP = {"encoder_layers": 3, "decoder_layers": 3, "encoder_size": 26}
STACKS: dict[str, dict[str, object]] = {
    "residual": {"residual": True, **DEEP},
    "residual, gru": {"residual": True, "cell": "gru", "peephole": "none", "hidden_size": 33, **DEEP},
    "residual, pyramid": {"residual": True, "encoder_pyramid": 1, "bidirectional": False, **DEEP, "context": "mean"},
    "residual, one layer": {"residual": True, "attention": "dot", "peephole": "diagonal"},
}
ZONEOUT = {"zoneout_hidden": 0.3, "zoneout_cell": 0.2, "encoder_layers": 2, "decoder_layers": 2}
STACKS |= {
    f"zoneout, {form}": {**ZONEOUT, "peephole": form, "encoder_size": 26} for form in ("full", "diagonal", "none")
}
STACKS["zoneout, gru"] = {**ZONEOUT, "cell": "gru", "peephole": "none", "zoneout_cell": 0.0, "residual": True}
STACKS["zoneout of c"] = {"zoneout_cell": 0.5, "context": "last"}
NORM = {"layer_norm": True, "encoder_layers": 2, "decoder_layers": 2}
STACKS |= {f"norm, {form}": {**NORM, "peephole": form, "encoder_size": 26} for form in ("full", "diagonal", "none")}
STACKS["norm, gru"] = {
    **NORM,
    "cell": "gru",
    "peephole": "none",
    "hidden_size": 33,
    "encoder_size": 26,
    "residual": True,
}
STACKS["norm, zoneout"] = {**ZONEOUT, **NORM, "context": "mean", "hidden_size": 48}
FEED = {"input_feeding": True}
FEEDING: dict[str, dict[str, object]] = {  # with contexts and states that do not fill whole vectors
    "feeding": {**FEED, "encoder_size": 26, "decoder_layers": 2},
    "feeding, gru": {**FEED, "cell": "gru", "peephole": "none", "context": "mean"},
    "feeding, last": {**FEED, "context": "last", "hidden_size": 33, "encoder_size": 6},
    "feeding, coverage": {**FEED, "attention": "coverage", **ZONEOUT, "layer_norm": True, "peephole": "diagonal"},
    "feeding, residual": {**FEED, "attention": "general", "residual": True, "peephole": "none", **DEEP},
}
TRIGRAMS: dict[str, dict[str, object]] = {
    "trigrams": {"ngram_rows": 20, "encoder_layers": 2, "encoder_size": 26},
    "trigrams, gru": {"ngram_rows": 1, "cell": "gru", "peephole": "none"},
    "trigrams, mean": {"ngram_rows": 5000, "context": "mean", "embedding_size": 1, "bidirectional": False},
}
ASK = {"attention_symbol": True}
ASKING: dict[str, dict[str, object]] = {
    "symbol read": {**ASK, "decoder_layers": 2, "encoder_size": 26},
    "symbol read, gru": {**ASK, "cell": "gru", "peephole": "none", "hidden_size": 33, "encoder_size": 6},
    "symbol read, location": {**ASK, "attention": "location", "location_width": 5, "residual": True, **DEEP},
    "symbol read, coverage": {**ASK, **FEED, "attention": "coverage", "peephole": "diagonal"},
    "symbol read, multihead": {**ASK, "attention": "multihead", "attention_heads": 2, **ZONEOUT, "layer_norm": True},
}
SHAPES |= STACKS | FEEDING | TRIGRAMS | ASKING
SEARCHES = {
    "greedy": SearchConfig(beam_size=1),
    "beam": SearchConfig(beam_size=4, nbest=3),
    "length penalty": SearchConfig(beam_size=5, nbest=2, length_penalty=1.0),
    "wider than the vocabulary": SearchConfig(beam_size=30, nbest=30),
    "samples": SearchConfig(nbest=3, temperature=0.8),
    "truncated samples": SearchConfig(nbest=2, temperature=1.3, top_k=5, top_p=0.9, seed=7),
}

# The engine also rounds activations, to 8 significant bits or to 127 levels per row: errors of up to 1/512 or 1/126 of
# the largest. The largest measured error of log p of a symbol in these models: 0.0052 (bfloat16) and 0.0304 (int8).
# Layer normalisation scales the gates of these small initial weights, errors included, up to a variance of 1: 0.0071
# and 0.0983. Products of bytes themselves are compared exactly, in test_engine_bytes.py.
ROUNDING = {"bfloat16": 0.006, "int8": 0.035}
ROUNDING_OF_NORMS = {"bfloat16": 0.009, "int8": 0.11}


def make_config(**settings: object) -> Config:
    return Config().with_values({"hidden_size": 22, "embedding_size": 9} | settings, "test")


def make_network(config: Config, seed: int) -> Seq2Seq:
    """Return a network with large weights: states saturate and attention is sharp, so any error changes the results."""
    torch.manual_seed(seed)
    network = build_seq2seq(config.model, len(SOURCE), len(TARGET)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            _ = weight.mul_(2) if weight.dim() == 2 and weight.any() else weight.normal_()
        network.decoder.output.bias[EOS] -= 2  # for targets of many lengths
    return network


def encoded(config: Config, network: Seq2Seq, stored: Stored = "float32") -> bytes:
    """Return a model's file."""
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return encode_model(ModelFile(tensors, config, SOURCE, TARGET, stored))


def pack(
    config: Config, network: Seq2Seq, instruction_set: str | None = None, stored: Stored = "float32"
) -> PackedModel:
    return PackedModel(encoded(config, network, stored), instruction_set)


def make_sources(count: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(4, len(SOURCE)) for _ in range(rng.choice([1, 2, 3, 5, 9, 14]))] for _ in range(count)]


def assert_same(got: Sequence[Sequence], wanted: Sequence[Sequence]) -> None:
    assert [[(h.ids, h.finished) for h in found] for found in got] == [
        [(h.ids, h.finished) for h in found] for found in wanted
    ]
    for one, other in ((a, b) for g, w in zip(got, wanted, strict=True) for a, b in zip(g, w, strict=True)):
        assert one.log_prob == pytest.approx(other.log_prob, abs=TOLERANCE)
        assert one.symbol_log_probs == pytest.approx(other.symbol_log_probs, abs=TOLERANCE)
        assert (one.attention is None) == (other.attention is None)
        if other.attention is not None:
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-5)


def compared_sources() -> tuple[list[list[int]], list[int]]:
    """Return sources and the longest targets to search for."""
    sources = make_sources(9, seed=1)
    return sources, [len(source) + 3 for source in sources]


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
    assert packed.likeliest(sources, targets, search) == definition.likeliest(sources, targets, search)


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
    ("instruction_set", "shape", "rounds"),
    [(name, TWO_LAYERS, 20) for name in engine.instruction_sets()]
    + [
        (name, shape, 5)
        for name in engine.instruction_sets()[:1]
        for shape in (*ATTENTIONS.values(), *STACKS.values(), *FEEDING.values())
    ],
)
def test_results_have_the_same_bits_in_any_batch_on_any_number_of_threads(
    instruction_set: str, shape: dict[str, object], rounds: int
) -> None:
    config = make_config(**shape)
    searching = PackedSearch([pack(config, make_network(config, seed=9), instruction_set)])
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
