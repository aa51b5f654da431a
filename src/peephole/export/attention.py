"""Write attention as ONNX operators: what each kind computes from source, query and state, (15)-(17) and (21)-(25)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from peephole.export.graph import FLOAT, Graph
from peephole.export.weights import Weights
from peephole.nn.schema import Architecture

MODULE = "decoder.attention"


class Given(NamedTuple):
    """What a step of attention reads, for N rows of T positions."""

    query: str  # s_{t-1}, (N, H), or [s_{t-1} ; E(y_{t-1})], (N, H + E)
    keys: str  # (N, T, A), or the memory
    memory: str  # (N, T, M)
    valid: str  # (N, T), True at real positions
    state: str  # (N, T); "" for a kind that carries nothing


class Step(NamedTuple):
    """What a step of attention returns."""

    context: str  # (N, M)
    weights: str  # (N, T)
    state: str = ""  # (N, T), after the step


class Attention(NamedTuple):
    """The operators of one kind of attention."""

    keys: Callable[[Graph, Weights, str], str] | None
    """Adds the keys (B, T, A) of the memory (B, T, M) to the encoder's graph; None: the keys are the memory."""
    step: Callable[[Graph, Weights, Architecture, Given], Step]
    """Adds the weights and the context of a step to the decoder step's graph."""
    key_size: Callable[[Architecture], int] = lambda a: a.hidden_size
    """Returns the size A of a key."""
    first_state: Callable[[Graph, str, str], str] | None = None
    """Adds the state (B, T) before the first step to the encoder's graph, given mask (B, T) and lengths (B,)."""


def _keys(*names: str) -> Callable[[Graph, Weights, str], str]:
    """Return the function that multiplies the memory with the weights of these names."""

    def add(graph: Graph, weights: Weights, memory: str) -> str:
        return graph.linear(memory, f"{MODULE}.keys", np.concatenate([weights.take(f"{MODULE}.{n}") for n in names]))

    return add


def _attend(graph: Graph, energy: str, given: Given) -> Step:
    """Add α of the energies (N, T, 1), (16), and the context, (17)."""
    energy = graph.op("Where", given.valid, graph.drop_dimension(energy, 2), graph.number(-math.inf))
    alphas = graph.op("Softmax", energy, axis=1)  # (16)
    context = graph.op("MatMul", graph.add_dimension(alphas, 1), given.memory)
    return Step(graph.drop_dimension(context, 1), alphas)  # (17)


def _ask(graph: Graph, weights: Weights, architecture: Architecture, given: Given) -> str:
    """Add W_s s_{t-1}, with W_y E(y_{t-1}) of (67) where it is read, (N, 1, A)."""
    names = ["weight_query", *["weight_symbol"] * architecture.attention_symbol]
    weight = np.concatenate([weights.take(f"{MODULE}.{name}") for name in names], 1)
    query = graph.linear(given.query, f"{MODULE}.query", weight)
    return graph.add_dimension(query, 1)


def _weigh(graph: Graph, weights: Weights, *terms: str) -> str:
    """Add vᵀ tanh of the sum of some terms (N, T, A), (N, T, 1)."""
    total = terms[0]
    for term in terms[1:]:
        total = graph.op("Add", total, term)
    # As a matrix of one column: with a vector ONNX Runtime takes many times as long
    vector = graph.constant(f"{MODULE}.vector", weights.take(f"{MODULE}.vector")[:, None])
    return graph.op("MatMul", graph.op("Tanh", total), vector)


def _additive(graph: Graph, weights: Weights, architecture: Architecture, given: Given) -> Step:
    """Add the step with e_j = vᵀ tanh(W_s s_{t-1} + W_h h_j)."""
    return _attend(graph, _weigh(graph, weights, given.keys, _ask(graph, weights, architecture, given)), given)


def _product(graph: Graph, weights: Weights, architecture: Architecture, given: Given) -> Step:
    """Add the step whose energies are the products of keys and queries."""
    return _attend(graph, graph.op("MatMul", given.keys, graph.add_dimension(given.query, 2)), given)


def _location(graph: Graph, weights: Weights, architecture: Architecture, given: Given) -> Step:
    """Add the step of (21); the state is α of the step before."""
    filters = graph.constant(f"{MODULE}.filters", weights.take(f"{MODULE}.filters")[:, None])
    reach = architecture.location_width // 2
    features = graph.op("Conv", graph.add_dimension(given.state, 1), filters, pads=[reach, reach])  # (N, C, T)
    features = graph.op("Transpose", features, perm=[0, 2, 1])
    located = graph.linear(
        features, f"{MODULE}.location", weights.take(f"{MODULE}.weight_location"), weights.take(f"{MODULE}.bias")
    )
    step = _attend(graph, _weigh(graph, weights, given.keys, located, _ask(graph, weights, architecture, given)), given)
    return step._replace(state=step.weights)


def _coverage(graph: Graph, weights: Weights, architecture: Architecture, given: Given) -> Step:
    """Add the step of (22); the state is the sum of all α before."""
    weight = weights.take(f"{MODULE}.weight_coverage")[:, None]
    covered = graph.linear(
        graph.add_dimension(given.state, 2), f"{MODULE}.coverage", weight, weights.take(f"{MODULE}.bias")
    )
    step = _attend(graph, _weigh(graph, weights, given.keys, covered, _ask(graph, weights, architecture, given)), given)
    return step._replace(state=graph.op("Add", given.state, step.weights))


def _multihead(graph: Graph, weights: Weights, architecture: Architecture, given: Given) -> Step:
    """Add the step of (24), (25): the keys are those of all heads, then their values."""
    heads = architecture.attention_heads
    all_keys, all_values = graph.split(given.keys, [architecture.hidden_size, architecture.encoder_size])
    all_queries = _ask(graph, weights, architecture, given)
    vectors = np.split(weights.take(f"{MODULE}.vector"), heads)
    contexts, mean = [], ""
    parts = [graph.split_evenly(part, heads) for part in (all_keys, all_queries, all_values)]
    for k, (keys, queries, values) in enumerate(zip(*parts, strict=True)):
        vector = graph.constant(f"{MODULE}.vector.{k}", vectors[k][:, None])
        energy = graph.op("MatMul", graph.op("Tanh", graph.op("Add", keys, queries)), vector)
        step = _attend(graph, energy, given._replace(memory=values))
        contexts.append(step.context)
        mean = graph.op("Add", mean, step.weights) if mean else step.weights
    output = weights.take(f"{MODULE}.weight_output")
    context = graph.linear(graph.op("Concat", *contexts, axis=1), f"{MODULE}.output", output)
    return Step(context, graph.op("Div", mean, graph.number(heads)))


def _first_uniform(graph: Graph, valid: str, lengths: str) -> str:
    """Add 1 / T at the T real positions."""
    count = graph.add_dimension(graph.op("Cast", lengths, to=FLOAT), 1)
    return graph.op("Div", graph.op("Cast", valid, to=FLOAT), count)


def _first_zeros(graph: Graph, valid: str, lengths: str) -> str:
    """Add zeros."""
    return graph.op("Mul", graph.op("Cast", valid, to=FLOAT), graph.number(0))


ATTENTIONS: Mapping[str, Attention] = {
    "additive": Attention(_keys("weight_keys"), _additive),
    "dot": Attention(None, _product),
    "general": Attention(_keys("weight"), _product),
    "location": Attention(_keys("weight_keys"), _location, first_state=_first_uniform),
    "coverage": Attention(_keys("weight_keys"), _coverage, first_state=_first_zeros),
    "multihead": Attention(
        _keys("weight_keys", "weight_values"), _multihead, key_size=lambda a: a.hidden_size + a.encoder_size
    ),
}
"""Attention kind → its operators."""
