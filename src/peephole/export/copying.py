"""Copying, (26), (27), as ONNX operators."""

from __future__ import annotations

import numpy as np

from peephole.export.graph import FLOAT, INT64, Graph
from peephole.export.weights import Weights
from peephole.symbols import UNK


def known_symbols(graph: Graph, previous: str, num_symbols: int) -> str:
    """Return the symbols that the decoder reads: <unk> for a copied one that the vocabulary lacks."""
    is_known = graph.op("Less", previous, graph.ints(num_symbols))
    return graph.op("Where", is_known, previous, graph.ints(UNK))


def mix_copies(graph: Graph, weights: Weights, logits: str, inputs: str, num_symbols: int) -> str:
    """Return log p of every symbol (rows, symbols): of the vocabulary, then of the other texts of the sources.

    Adds the input `copies` (rows, time) int64, the target symbol of each source symbol; uses `attention` and
    `source_lengths`.

    Args:
        graph: the decoder's step.
        weights: of the model.
        logits: W_p r_t + b_p, (rows, V).
        inputs: [s_t ; c_t ; E(y_{t-1})], (rows, H + M + E).
        num_symbols: V.
    """
    copies = graph.input("copies", INT64, ("rows", "time"))
    gate = graph.linear(
        inputs,
        "decoder.output.gate",
        weights.take("decoder.output.gate_weight")[None],
        weights.take("decoder.output.gate_bias"),
    )
    generate = graph.op("Add", graph.op("LogSoftmax", logits, axis=1), _log_sigmoid(graph, gate))
    equal = graph.op("Equal", graph.add_dimension(copies, 2), graph.add_dimension(copies, 1))
    same = graph.op("Cast", equal, to=FLOAT)  # (rows, T, T)
    sums = _sum_of_same(graph, "attention", same)
    valid = graph.op("Cast", graph.valid("source_lengths", copies), to=FLOAT)
    occurs = graph.op("Greater", _sum_of_same(graph, valid, same), graph.number(0))  # not only in the padding
    least = graph.number(float(np.finfo(np.float32).tiny))
    copy = graph.op("Add", graph.op("Log", graph.op("Max", sums, least)), _log_sigmoid(graph, graph.op("Neg", gate)))
    wide = _with_texts(graph, generate, copies, num_symbols)
    # All positions of one symbol get the same value, so it does not matter which of them is stored
    before = graph.op("GatherElements", wide, copies, axis=1)
    after = graph.op("Where", occurs, _log_sum(graph, before, copy), before)
    return graph.op("ScatterElements", wide, copies, after, axis=1)


def _sum_of_same(graph: Graph, numbers: str, same: str) -> str:
    """Return for each position the sum of the numbers (rows, T) at positions of the same symbol."""
    return graph.drop_dimension(graph.op("MatMul", graph.add_dimension(numbers, 1), same), 1)


def _with_texts(graph: Graph, generate: str, copies: str, num_symbols: int) -> str:
    """Return the scores with a column of -inf for each text that is no symbol of the vocabulary."""
    last = graph.op("Reshape", graph.op("ReduceMax", copies, keepdims=0), graph.ints(1))
    total = graph.op("Max", graph.op("Add", last, graph.ints(1)), graph.ints(num_symbols))
    more = graph.op("Sub", total, graph.ints(num_symbols))
    nothing = graph.constant("nothing", np.array(-np.inf, np.float32))
    return graph.op("Pad", generate, graph.op("Concat", graph.ints(0, 0, 0), more, axis=0), nothing)


def _log_sigmoid(graph: Graph, x: str) -> str:
    return graph.op("Neg", graph.op("Softplus", graph.op("Neg", x)))


def _log_sum(graph: Graph, a: str, b: str) -> str:
    """Return log(e^a + e^b); a may be -inf."""
    most, least = graph.op("Max", a, b), graph.op("Min", a, b)
    rest = graph.op("Exp", graph.op("Sub", least, most))
    return graph.op("Add", most, graph.op("Log", graph.op("Add", rest, graph.number(1))))
