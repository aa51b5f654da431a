"""Models of every kind, trained for a moment, and loops that compute their probabilities step by step."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import peephole
from models.make import MODEL, SOUNDS, pronounce, toy_words
from peephole.config import Config
from peephole.model import Model, Prediction
from peephole.nn import build_seq2seq
from peephole.search.torch import pad
from peephole.symbols import BOS, EOS, PAD, UNK

TOLERANCE = 1e-5  # for attention weights and the log-probability of one symbol; times the number of symbols for a sum
LETTERS = list(SOUNDS)

# Settings of every kind of model
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "full additive": {},
    "diagonal general, three layers": {
        "peephole": "diagonal",
        "attention": "general",
        "encoder_layers": 2,
        "decoder_layers": 3,
    },
    "dot, one direction": {"peephole": "none", "attention": "dot", "bidirectional": False},
    "gru": {"cell": "gru", "peephole": "none"},
    "gru, bridge": {"cell": "gru", "peephole": "none", "encoder_size": 6, "attention": "general"},
    "last": {"context": "last", "encoder_size": 10},
    "mean": {"context": "mean"},
    "location": {"attention": "location", "location_width": 5},
    "heads, bridge": {"attention": "multihead", "attention_heads": 2, "encoder_size": 6, "decoder_layers": 2},
    "gru last": {"cell": "gru", "peephole": "none", "context": "last", "bidirectional": False},
}


@cache
def half_trained(name: str, seed: int = 1) -> Model:
    """Return a model trained on one batch until its predictions differ between sources.

    It is float64, because after so short a training it amplifies float32 rounding errors more than a real model does.
    """
    toy = peephole.load(MODEL)
    sizes = {"hidden_size": 12, "embedding_size": 6} | ARCHITECTURES[name]
    config = Config().with_values({f"model.{key}": value for key, value in sizes.items()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_seq2seq(config.model, len(toy.source_symbols), len(toy.target_symbols)).double()
    lesson = toy_words(64, seed=5)
    batch = [
        *pad([toy.source_symbols.encode(word) for word in lesson]),
        *pad([[*toy.target_symbols.encode(pronounce(word)), EOS] for word in lesson]),
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(50):
        optimizer.zero_grad()
        (-network.log_prob(*batch).mean() / 4).backward()
        optimizer.step()
    return Model(config, toy.source_symbols, toy.target_symbols, [network.eval()])


def words(count: int, seed: int, shortest: int = 1, longest: int = 9) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(LETTERS, k=rng.randint(shortest, longest))) for _ in range(count)]


def by_hand(model: Model, source: str, fed: list[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run a model step by step; return log p of all next symbols (U + 1, V), and the attention (T,) of each step."""
    ids = torch.tensor([model.source_symbols.encode(source)])
    states = [network.start(ids, torch.tensor([ids.shape[1]])) for network in model.networks]
    rows, attention = [], []
    with torch.no_grad():
        for symbol in [BOS, *fed]:
            steps = [
                network.step(torch.tensor([symbol]), state)
                for network, state in zip(model.networks, states, strict=True)
            ]
            states = [state for _, state, _ in steps]
            rows.append(torch.stack([logits[0].double().softmax(0) for logits, *_ in steps]).mean(0).log())
            if steps[0][2] is not None:
                attention.append(torch.stack([weights[0] for *_, weights in steps if weights is not None]).mean(0))
    return torch.stack(rows), attention


def greedy_by_hand(model: Model, source: str, longest: int) -> list[int]:
    """Return the greedy target of a source, computed step by step."""
    ids: list[int] = []
    while len(ids) < longest:
        row = by_hand(model, source, ids)[0][-1]
        row[[PAD, BOS, UNK]] = -torch.inf
        if int(row.argmax()) == EOS:
            break
        ids.append(int(row.argmax()))
    return ids


def assert_same(got: list[Prediction], wanted: list[Prediction]) -> None:
    assert [p.text for p in got] == [p.text for p in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert one.tokens == other.tokens
        assert one.source_tokens == other.source_tokens
        assert one.finished == other.finished
        assert one.log_prob == pytest.approx(other.log_prob, abs=TOLERANCE * len(other.symbol_log_probs))
        assert one.symbol_log_probs == pytest.approx(other.symbol_log_probs, abs=TOLERANCE)
        if other.attention is None:
            assert one.attention is None
        else:
            np.testing.assert_allclose(one.attention, other.attention, atol=TOLERANCE)
