"""Write attention as ONNX operators: the keys and energies of each kind, (15)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from peephole.export.graph import Graph
from peephole.export.weights import Weights

MODULE = "decoder.attention"


class Attention(NamedTuple):
    """The operators of one kind of attention."""

    keys: Callable[[Graph, Weights, str], str] | None
    """Adds the keys (B, T, A) of the memory (B, T, M) to the encoder's graph; None: the keys are the memory."""
    energy: Callable[[Graph, Weights, str, str], str]
    """Adds e_ij (N, T, 1) of the keys (N, T, A) and the queries s_{t-1} (N, H) to the decoder step's graph."""


def _keys(name: str) -> Callable[[Graph, Weights, str], str]:
    """Return the function that multiplies the memory with the weight of that name."""
    return lambda graph, weights, memory: graph.linear(memory, f"{MODULE}.keys", weights.take(f"{MODULE}.{name}"))


def _additive_energy(graph: Graph, weights: Weights, keys: str, query: str) -> str:
    """Add vᵀ tanh(W_s s_{t-1} + W_h h_j)."""
    projected = graph.linear(query, f"{MODULE}.query", weights.take(f"{MODULE}.weight_query"))
    projected = graph.add_dimension(projected, 1)
    name = f"{MODULE}.vector"
    # As a matrix of one column: with a vector ONNX Runtime takes many times as long
    vector = graph.constant(name, weights.take(name)[:, None])
    return graph.op("MatMul", graph.op("Tanh", graph.op("Add", keys, projected)), vector)


def _product_energy(graph: Graph, weights: Weights, keys: str, query: str) -> str:
    """Add the products of keys and queries."""
    return graph.op("MatMul", keys, graph.add_dimension(query, 2))


ATTENTIONS: Mapping[str, Attention] = {
    "additive": Attention(_keys("weight_keys"), _additive_energy),
    "dot": Attention(None, _product_energy),
    "general": Attention(_keys("weight"), _product_energy),
}
"""Attention kind → its operators."""
