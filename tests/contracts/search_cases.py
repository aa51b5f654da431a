"""Networks of every kind, searches, and the comparison of their results, for tests of searches on the engine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from peephole.config import Config, SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.nn import Seq2Seq, build_seq2seq
from peephole.search.torch import DefinitionSearch
from peephole.storage.model_file import ModelFile, encode_model
from peephole.storage.quantization import Stored
from peephole.symbols import EOS, CharacterSymbols

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


def check_alternatives(
    got: PackedSearch,
    wanted: DefinitionSearch,
    sources: Sequence[Any],
    targets: Sequence[Sequence[int]],
    config: SearchConfig,
) -> None:
    """Raise AssertionError unless the most probable symbols at each place, and their log p, are the definition's."""
    for count in (1, 4):
        pairs = zip(*(search.alternatives(sources, targets, config, count) for search in (got, wanted)), strict=True)
        for target, ((symbols, log_probs), (best, scores)) in zip(targets, pairs, strict=True):
            assert symbols.shape == log_probs.shape == (len(target) + 1, count)
            assert symbols.tolist() == best.tolist()
            np.testing.assert_allclose(log_probs, scores, rtol=0, atol=TOLERANCE)
