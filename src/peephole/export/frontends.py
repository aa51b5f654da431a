"""Frontends as ONNX operators: from symbols or frames to the vectors that the encoder reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from peephole.export.graph import FLOAT, INT64, Graph
from peephole.export.weights import Weights
from peephole.nn.schema import HASH_PRIME, HASH_SUMMAND, Architecture
from peephole.symbols import BOS, EOS

Vectors = tuple[str, str]
"""Names of the vectors x (B, T, I) and of their lengths (B,) int64."""


def _read_symbols(graph: Graph, architecture: Architecture, weights: Weights) -> Vectors:
    source = graph.input("source", INT64, ("batch", "time"))
    lengths = graph.input("source_lengths", INT64, ("batch",))
    x = _gather(graph, weights, "frontend.embedding.weight", source)
    if architecture.ngram_rows:
        rows = _ngram_rows(graph, source, lengths, architecture.ngram_rows)
        x = graph.op("Add", x, _gather(graph, weights, "frontend.ngrams.weight", rows))  # (66)
    return x, lengths


def _gather(graph: Graph, weights: Weights, name: str, rows: str) -> str:
    """Return the rows of a table."""
    return graph.op("Gather", graph.constant(name, weights.take(name)), rows)


def _ngram_rows(graph: Graph, source: str, lengths: str, num_rows: int) -> str:
    """Return the row of each symbol and its neighbours, (66), as `peephole.nn.frontends.ngram_rows`."""
    first, last = (graph.constant(f"symbol_{symbol}", np.array(symbol, np.int64)) for symbol in (BOS, EOS))
    ids = graph.op("Where", graph.valid(lengths, source), source, last)
    before = graph.op("Pad", ids, graph.ints(0, 1, 0, -1), first)
    after = graph.op("Pad", ids, graph.ints(0, -1, 0, 1), last)
    code, prime = graph.ints(0), graph.ints(HASH_PRIME)
    for symbol in (before, ids, after):
        code = graph.op("Mod", graph.op("Add", code, symbol), prime)
        factor = graph.op("Mod", graph.op("Add", code, graph.ints(HASH_SUMMAND)), prime)
        code = graph.op("Mod", graph.op("Mul", code, factor), prime)
    return graph.op("Div", graph.op("Mul", code, graph.ints(num_rows)), prime)


def _read_frames(graph: Graph, architecture: Architecture, weights: Weights) -> Vectors:
    frames, lengths = _normalized_frames(graph, architecture, weights)
    stack = architecture.frame_stack
    if stack > 1:
        filled = graph.op("Pad", frames, _padding_to_multiple(graph, frames, stack))
        frames = graph.op("Reshape", filled, graph.ints(0, -1, stack * _size(architecture)))
        lengths = _divide_up(graph, lengths, stack)
    return _project(graph, weights, frames), lengths


def _read_convolution(graph: Graph, architecture: Architecture, weights: Weights) -> Vectors:
    frames, lengths = _normalized_frames(graph, architecture, weights)
    planes = graph.op("Reshape", frames, graph.ints(0, 0, architecture.input_planes, -1))
    z = graph.op("Transpose", planes, perm=[0, 2, 1, 3])  # (B, P, T, F)
    for layer in range(architecture.convolution_layers):
        name = f"frontend.layers.{layer}"
        kernels = weights.take(f"{name}.weight")
        kernels = kernels.reshape(len(kernels), -1, 3, 3)
        bias = graph.constant(f"{name}.bias", weights.take(f"{name}.bias"))
        shape = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        z = graph.op("Relu", graph.op("Conv", z, graph.constant(f"{name}.kernels", kernels), bias, **shape))
        lengths = _divide_up(graph, lengths, 2)
        by_time = graph.op("Transpose", z, perm=[0, 2, 1, 3])  # (B, T, C, F)
        real = graph.op("Unsqueeze", graph.valid(lengths, by_time), graph.ints(1, 3))
        z = graph.op("Where", real, z, graph.number(0))
    columns = graph.op("Transpose", z, perm=[0, 2, 1, 3])
    width = weights.take("frontend.projection.weight").shape[1]
    return _project(graph, weights, graph.op("Reshape", columns, graph.ints(0, 0, width))), lengths


def _normalized_frames(graph: Graph, architecture: Architecture, weights: Weights) -> Vectors:
    """Add the input `frames`; return (f - mean) · scale, 0 past each length, and the lengths."""
    frames = graph.input("frames", FLOAT, ("batch", "time", _size(architecture)))
    lengths = graph.input("source_lengths", INT64, ("batch",))
    mean, scale = (graph.constant(name, weights.take(name)) for name in ("frontend.mean", "frontend.scale"))
    scaled = graph.op("Mul", graph.op("Sub", frames, mean), scale)
    real = graph.add_dimension(graph.valid(lengths, frames), 2)
    return graph.op("Where", real, scaled, graph.number(0)), lengths


def _size(architecture: Architecture) -> int:
    assert architecture.input_size is not None  # else the schema has refused it
    return architecture.input_size


def _padding_to_multiple(graph: Graph, frames: str, multiple: int) -> str:
    """Return the pads that fill up the steps of frames (B, T, F) to a multiple."""
    steps = graph.op("Slice", graph.op("Shape", frames), graph.ints(1), graph.ints(2))
    missing = graph.op("Sub", graph.op("Mul", _divide_up(graph, steps, multiple), graph.ints(multiple)), steps)
    return graph.op("Concat", graph.ints(0, 0, 0, 0), missing, graph.ints(0), axis=0)


def _divide_up(graph: Graph, numbers: str, divisor: int) -> str:
    """Return whole numbers divided by another, rounded up."""
    return graph.op("Div", graph.op("Add", numbers, graph.ints(divisor - 1)), graph.ints(divisor))


def _project(graph: Graph, weights: Weights, rows: str) -> str:
    name = "frontend.projection"
    return graph.linear(rows, name, weights.take(f"{name}.weight"), weights.take(f"{name}.bias"))


def join_pairs(graph: Graph, x: str, lengths: str, size: int) -> Vectors:
    """Return pairs of steps of x (T, B, I) as one, (⌈T/2⌉, B, 2I), and the lengths; I is `size`."""
    by_row = graph.op("Transpose", x, perm=[1, 0, 2])
    real = graph.add_dimension(graph.valid(lengths, by_row), 2)
    by_row = graph.op("Where", real, by_row, graph.number(0))  # a last step without a partner is joined with zeros
    filled = graph.op("Pad", by_row, _padding_to_multiple(graph, by_row, 2))
    joined = graph.op("Reshape", filled, graph.ints(0, -1, 2 * size))
    return graph.op("Transpose", joined, perm=[1, 0, 2]), _divide_up(graph, lengths, 2)


INPUTS: Mapping[str, Callable[[Graph, Architecture, Weights], Vectors]] = {
    "symbols": _read_symbols,
    "frames": _read_frames,
    "convolution": _read_convolution,
}
"""Input kind → function that adds it to the encoder's graph and returns the vectors."""
