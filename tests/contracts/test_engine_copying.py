"""Tests that the engine's search over models that copy returns the results of the definition, and refuses bad input."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine.packed import PackedSearch
from peephole.errors import PeepholeError
from peephole.nn import build_seq2seq
from peephole.nn.schema import Architecture, tensors
from peephole.search.torch import DefinitionSearch
from peephole.storage.quantization import Stored, dequantize, quantize

from .search_cases import (
    ROUNDING,
    SEARCHES,
    SOURCE,
    TARGET,
    assert_same,
    check_alternatives,
    make_config,
    make_network,
    pack,
)

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

SHAPES: dict[str, dict[str, object]] = {
    "additive": {},
    "dot, gru": {"attention": "dot", "cell": "gru", "peephole": "none"},
    "general, bridge": {"attention": "general", "encoder_size": 26, "encoder_layers": 2, "decoder_layers": 3},
    "location": {"attention": "location", "location_channels": 3, "location_width": 5, "peephole": "diagonal"},
    "coverage": {"attention": "coverage", "decoder_layers": 2},
    "feeding": {"attention": "coverage", "input_feeding": True},
    "symbol read": {"attention": "coverage", "attention_symbol": True, "cell": "gru", "peephole": "none"},
    "multihead": {"attention": "multihead", "attention_heads": 2, "peephole": "none", "bidirectional": False},
}
COMPARED = {name: SEARCHES[name] for name in ("beam", "wider than the vocabulary", "truncated samples")}
COMPARED["constraints"] = SearchConfig(beam_size=3, nbest=2, min_length=3, no_repeat_ngram=2, coverage_penalty=0.3)
V = len(TARGET)


def make(shape: str):
    """Return the config and a network of a shape, whose gate is far from 0 and 1 in most steps."""
    config = make_config(output="copy", **SHAPES[shape])
    network = make_network(config, seed=len(shape))
    with torch.no_grad():
        network.decoder.output.gate_weight.normal_(generator=torch.Generator().manual_seed(3)).mul_(0.7)
    return config, network


def make_sources(count: int, seed: int) -> list[list[tuple[int, int]]]:
    """Return sources whose symbols copy symbols of the target or texts of their own, some several times."""
    rng, sources = random.Random(seed), []
    for _ in range(count):
        known = {s: rng.choice([0, rng.randrange(4, V)]) for s in range(3, len(SOURCE))}
        numbers: dict[int, int] = {}
        source = []
        for _ in range(rng.choice([1, 2, 3, 5, 9, 14])):
            s = rng.randrange(3, len(SOURCE))
            source.append((s, known[s] or numbers.setdefault(s, V + len(numbers))))
        sources.append(source)
    return sources


def longest(sources: Sequence[Sequence[object]]) -> list[int]:
    return [len(source) + 3 for source in sources]


SOURCES = make_sources(6, seed=1)


@cache
def results_of_the_definition(shape: str) -> dict[str, Sequence[Sequence]]:
    definition = DefinitionSearch([make(shape)[1]])
    return {
        name: definition.find(SOURCES, longest(SOURCES), search, examples=range(6)) for name, search in COMPARED.items()
    }


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@pytest.mark.parametrize("shape", SHAPES)
def test_the_engine_returns_the_results_of_the_definition(shape: str, instruction_set: str) -> None:
    packed = PackedSearch([pack(*make(shape), instruction_set)])
    for name, wanted in results_of_the_definition(shape).items():
        assert_same(packed.find(SOURCES, longest(SOURCES), COMPARED[name], examples=range(6)), wanted)


def test_compared_results_generate_and_copy() -> None:
    found = [h for shape in SHAPES for hs in results_of_the_definition(shape)["beam"] for h in hs]
    symbols = {symbol for hypothesis in found for symbol in hypothesis.ids}
    assert {V, V + 1, V + 2} < symbols  # texts, also fed back as <unk>
    assert len([symbol for symbol in symbols if symbol < V]) > 5
    assert any(symbol >= V for hypothesis in found for symbol in hypothesis.ids[:-1])


@pytest.mark.parametrize("shape", ["additive", "coverage", "multihead"])
def test_given_targets_and_prefixes_equal_the_definition(shape: str) -> None:
    config, network = make(shape)
    packed, definition, rng = PackedSearch([pack(config, network)]), DefinitionSearch([network]), random.Random(5)
    given = []
    for source in SOURCES:
        most = max([V - 1, *(copied for _, copied in source)])
        given.append([rng.randint(3, most) for _ in range(rng.choice([0, 1, 2, 3]))])
    search = SearchConfig(batch_size=5)
    wanted = [[hypothesis] for hypothesis in definition.force(SOURCES, given, search)]
    assert_same([[hypothesis] for hypothesis in packed.force(SOURCES, given, search)], wanted)
    check_alternatives(packed, definition, SOURCES, given, search)
    arguments = (SOURCES, [8] * 6, SEARCHES["beam"])
    assert_same(packed.find(*arguments, prefixes=given), definition.find(*arguments, prefixes=given))


def test_an_ensemble_equals_the_definition() -> None:
    made = [make(shape) for shape in ("additive", "general, bridge", "coverage")]
    packed, definition = PackedSearch([pack(*one) for one in made]), DefinitionSearch([network for _, network in made])
    for name in ("greedy", "beam", "samples"):
        arguments = (SOURCES, longest(SOURCES), SEARCHES[name])
        assert_same(packed.find(*arguments, examples=range(6)), definition.find(*arguments, examples=range(6)))


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
def test_results_have_the_same_bits_in_any_batch(instruction_set: str) -> None:
    searching = PackedSearch([pack(*make("coverage"), instruction_set)])
    sources, rng = make_sources(40, seed=10), random.Random(11)
    for name in ("greedy", "beam", "samples"):
        search = replace(SEARCHES[name], threads=1)
        alone = [searching.find([s], longest([s]), search, examples=[n])[0] for n, s in enumerate(sources)]
        for _ in range(5):
            chosen = rng.sample(range(40), rng.randint(1, 30))
            search = replace(search, threads=rng.choice([1, 2, 5]), batch_size=rng.choice([1, 3, 8, 64]))
            batch = [sources[n] for n in chosen]
            assert searching.find(batch, longest(batch), search, examples=chosen) == [alone[n] for n in chosen]


@pytest.mark.parametrize("stored", ROUNDING)
def test_scores_with_quantized_weights_are_close_to_the_definition(stored: Stored) -> None:
    """Compare with the definition in float32 with the same rounded weights."""
    config = make_config(output="copy")
    torch.manual_seed(1)
    network = build_seq2seq(config.model, len(SOURCE), V).eval()
    with torch.no_grad():
        network.decoder.output.gate_weight.normal_()
    packed = PackedSearch([pack(config, network, stored=stored)])
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    rounded = dequantize(quantize(weights, stored, tensors(Architecture.of(config.model), len(SOURCE), V)))
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in rounded.items()})
    given = [[source[0][1], 5, 4, source[-1][1]] for source in SOURCES]
    wanted = DefinitionSearch([network]).force(SOURCES, given, SearchConfig())
    for one, other in zip(packed.force(SOURCES, given, SearchConfig()), wanted, strict=True):
        assert one.symbol_log_probs == pytest.approx(other.symbol_log_probs, abs=ROUNDING[stored])


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        ([[(4, V + 1)]], [[]], f"copies of source 0: wanted ordinary .* from {V} .* got {V + 1} where {V} is the next"),
        ([[(4, V)], [(4, V), (5, V + 2)]], [[], []], f"copies of source 1: .* got {V + 2} where {V + 1} is the next"),
        ([[(4, 3)]], [[]], "copies of source 0: .* got 3"),
        ([[(4, -1)]], [[]], "copies of source 0: .* got -1"),
        ([[(4, V)], [(4, 4)]], [[V], [V]], f"target 1: wanted symbols from 0 and below {V}, got {V}"),
    ],
)
def test_bad_copies_are_refused(sources, targets, message: str) -> None:
    with pytest.raises(PeepholeError, match=f"^search: {message}"):
        PackedSearch([pack(*make("additive"))]).force(sources, targets, SearchConfig())


def test_models_that_copy_and_others_are_no_ensemble() -> None:
    plain = make_config()
    models = [pack(*make("additive")), pack(plain, make_network(plain, seed=1))]
    with pytest.raises(PeepholeError, match="wanted models that all copy, or none, got both"):
        PackedSearch(models).force([[(4, 4)]], [[]], SearchConfig())
