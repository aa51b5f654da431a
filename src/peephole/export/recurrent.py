"""Recurrent layers as ONNX operators.

ONNX's LSTM operator has diagonal peepholes (its input `P`) or none, and its GRU operator computes the same as ours.
LSTMs with full peepholes are written as operators of equations (1)-(6), in a `Scan` over the steps of a sequence.

Past a sequence's length the states stay the same; the outputs there are undefined, as in ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from peephole.export.graph import BOOL, FLOAT, INT32, Graph
from peephole.export.weights import Array, CellWeights, Weights
from peephole.nn.schema import Architecture, find_kind

# Positions of ONNX's blocks among ours
LSTM_GATES = (0, 3, 1, 2)  # i, o, f, c of our i, f, g, o
PEEPHOLES = (0, 2, 1)  # i, o, f of our i, f, o
GRU_GATES = (1, 0, 2)  # z, r, h of our r, z, n


Run = Callable[[Graph, str, str, str, Sequence[CellWeights]], tuple[str, list[str]]]
"""Reads the sequences with one layer, (18)-(20), starting from zeros.

Arguments: graph, x (T, B, I), lengths (B,) int64, valid (T, B) bools, True at real steps, and the weights of the
forward direction and, if there is one, of the backward direction. Returns the outputs (T, B, D·H), and the last h and,
for an LSTM, c, each (B, D·H), directions side by side.
"""

Step = Callable[[Graph, str, Sequence[str], CellWeights], list[str]]
"""Does one step of a layer that reads forward.

Arguments: graph, x (N, I), the state, which is h and, for an LSTM, c, each (N, H), and the weights. Returns the next
state.
"""


class Recurrence(NamedTuple):
    """The functions that write one kind of cell, with one form of peepholes, as ONNX operators."""

    states: tuple[str, ...]  # names of a layer's states
    weights: Callable[[Weights, str], CellWeights]  # takes those of one layer and direction by the module's name
    run: Run
    step: Step


def recurrence(architecture: Architecture) -> Recurrence:
    """Return the functions that export the cells of an architecture.

    Raises:
        ConfigError: ONNX export has no such cell or form of peepholes.
    """
    forms = find_kind(RECURRENCES, architecture.cell, "ONNX export, cell")
    return find_kind(forms, architecture.peephole, "ONNX export, peephole")


def _run_full(
    graph: Graph, x: str, lengths: str, valid: str, directions: Sequence[CellWeights]
) -> tuple[str, list[str]]:
    runs = [_scan(graph, x, valid, weights, reverse=d == 1) for d, weights in enumerate(directions)]
    outputs, *states = (graph.op("Concat", *parts, axis=-1) for parts in zip(*runs, strict=True))
    return outputs, states


def _step_full(graph: Graph, x: str, state: Sequence[str], weights: CellWeights) -> list[str]:
    projected = graph.linear(x, f"{weights.name}.input", weights.weight_input, weights.bias_input)
    return list(_full_lstm_step(graph, projected, state[0], state[1], weights))


Operator = Callable[[Graph, str, str, Sequence[str], Sequence[CellWeights]], list[str]]
"""Adds ONNX's LSTM or GRU; returns Y (T, D, B, H), Y_h and, for the LSTM, Y_c (D, B, H).

Arguments: graph, x, lengths ("" means that all steps are real), first states (D, B, H) ([] means zeros), weights of
each direction.
"""


def _run_operator(
    operator: Operator, graph: Graph, x: str, lengths: str, valid: str, directions: Sequence[CellWeights]
) -> tuple[str, list[str]]:
    outputs, *states = operator(graph, x, graph.op("Cast", lengths, to=INT32), [], directions)
    return _merge_directions(graph, outputs, 1, directions), [
        _merge_directions(graph, s, 0, directions) for s in states
    ]


def _step_operator(operator: Operator, graph: Graph, x: str, state: Sequence[str], weights: CellWeights) -> list[str]:
    first = [graph.add_dimension(part, 0) for part in state]
    _, *last = operator(graph, graph.add_dimension(x, 0), "", first, [weights])
    return [graph.drop_dimension(part, 0) for part in last]


def _lstm(graph: Graph, x: str, lengths: str, first: Sequence[str], directions: Sequence[CellWeights]) -> list[str]:
    inputs = _operator_inputs(graph, x, lengths, directions, LSTM_GATES)
    peepholes = [_reorder(w.weight_peephole, PEEPHOLES).ravel() for w in directions if w.weight_peephole is not None]
    last = [_stack_directions(graph, "weight_peephole", peepholes, directions)] if peepholes else [""]
    return graph.ops("LSTM", 3, *inputs, *(first or ["", ""]), *last, **_attributes(directions))


def _gru(graph: Graph, x: str, lengths: str, first: Sequence[str], directions: Sequence[CellWeights]) -> list[str]:
    inputs = _operator_inputs(graph, x, lengths, directions, GRU_GATES)
    # r acts after the product with W_hn
    return graph.ops("GRU", 2, *inputs, *(first or [""]), linear_before_reset=1, **_attributes(directions))


def _operator_inputs(
    graph: Graph, x: str, lengths: str, directions: Sequence[CellWeights], gates: Sequence[int]
) -> list[str]:
    """Return the inputs X, W, R, B and sequence_lens that ONNX's LSTM and GRU share."""
    biases = [np.concatenate([_reorder(b, gates) for b in (w.bias_input, w.bias_hidden)]) for w in directions]
    return [
        x,
        _stack_directions(graph, "weight_input", [_reorder(w.weight_input, gates) for w in directions], directions),
        _stack_directions(graph, "weight_hidden", [_reorder(w.weight_hidden, gates) for w in directions], directions),
        _stack_directions(graph, "bias", biases, directions),
        lengths,
    ]


def _stack_directions(graph: Graph, name: str, arrays: Sequence[Array], directions: Sequence[CellWeights]) -> str:
    return graph.constant(f"{directions[0].name}.{name}.onnx", np.stack(arrays))


def _attributes(directions: Sequence[CellWeights]) -> dict[str, Any]:
    """Return the attributes that ONNX's LSTM and GRU share."""
    direction = "bidirectional" if len(directions) == 2 else "forward"
    return {"hidden_size": directions[0].hidden_size, "direction": direction}


def _reorder(array: Array, order: Sequence[int]) -> Array:
    """Return the blocks of an array's first dimension in another order."""
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[index] for index in order])


def _merge_directions(graph: Graph, value: str, axis: int, directions: Sequence[CellWeights]) -> str:
    """Turn (…, D, B, H), with D at `axis`, into (…, B, D·H)."""
    axes = [*range(axis), axis + 1, axis, axis + 2]
    size = len(directions) * directions[0].hidden_size
    return graph.op("Reshape", graph.op("Transpose", value, perm=axes), graph.ints(*[0] * (axis + 1), size))


def _scan(graph: Graph, x: str, valid: str, weights: CellWeights, *, reverse: bool) -> tuple[str, str, str]:
    """Read the sequences in one direction; return the outputs (T, B, H), and the last h and c, each (B, H).

    In the backward direction the padding comes first, and the states stay zero over it.
    """
    size = weights.hidden_size
    projected = graph.linear(x, f"{weights.name}.input", weights.weight_input, weights.bias_input)  # of all steps
    body = Graph(f"{weights.name}.step", graph)
    h, c = (body.input(f"{body.name}.{part}", FLOAT, ("batch", size)) for part in ("h", "c"))
    z = body.input(f"{body.name}.projected", FLOAT, ("batch", 4 * size))
    real = body.input(f"{body.name}.real", BOOL, ("batch", 1))
    new_h, new_c = _full_lstm_step(body, z, h, c, weights)
    new_h, new_c = body.op("Where", real, new_h, h), body.op("Where", real, new_c, c)
    for part, value in (("next_h", new_h), ("next_c", new_c), ("output", new_h)):
        body.output(f"{body.name}.{part}", value, ("batch", size))
    batch = graph.op("Slice", graph.op("Shape", x), graph.ints(1), graph.ints(2))
    shape = graph.op("Concat", batch, graph.ints(size), axis=0)
    zeros = graph.op("Expand", graph.number(0), shape)
    h, c, outputs = graph.ops(
        "Scan",
        3,
        *(zeros, zeros, projected, graph.add_dimension(valid, 2)),
        body=body.proto(),
        num_scan_inputs=2,
        scan_input_directions=[int(reverse)] * 2,
        scan_output_directions=[int(reverse)],
    )
    return outputs, h, c


def _full_lstm_step(graph: Graph, projected: str, h: str, c: str, weights: CellWeights) -> tuple[str, str]:
    """Return h_t and c_t, (1)-(6), of an LSTM with full peepholes.

    Args:
        graph: the graph to which the operators are added.
        projected: W_x x_t + b, (N, 4H).
        h: h_{t-1}, (N, H).
        c: c_{t-1}, (N, H).
        weights: the layer's weights.
    """
    size, name = weights.hidden_size, weights.name
    assert weights.weight_peephole is not None
    cell_to_if, cell_to_o = np.split(weights.weight_peephole, [2 * size])
    z = graph.op("Add", projected, graph.linear(h, f"{name}.hidden", weights.weight_hidden))
    z_if, z_g, z_o = graph.split(z, (2 * size, size, size))
    z_if = graph.op("Add", z_if, graph.linear(c, f"{name}.peephole_if", cell_to_if))  # these two gates read c_{t-1}
    i, f = graph.split(graph.op("Sigmoid", z_if), (size, size))  # (2), (1)
    kept, added = graph.op("Mul", f, c), graph.op("Mul", i, graph.op("Tanh", z_g))  # (3)
    c = graph.op("Add", kept, added)  # (4)
    z_o = graph.op("Add", z_o, graph.linear(c, f"{name}.peephole_o", cell_to_o))  # this gate reads c_t
    return graph.op("Mul", graph.op("Sigmoid", z_o), graph.op("Tanh", c)), c  # (5), (6)


_ONNX_LSTM = Recurrence(("h", "c"), Weights.lstm, partial(_run_operator, _lstm), partial(_step_operator, _lstm))
_ONNX_GRU = Recurrence(("h",), Weights.gru, partial(_run_operator, _gru), partial(_step_operator, _gru))

RECURRENCES: Mapping[str, Mapping[str, Recurrence]] = {
    "lstm": {
        "full": Recurrence(("h", "c"), Weights.lstm, _run_full, _step_full),
        "diagonal": _ONNX_LSTM,
        "none": _ONNX_LSTM,
    },
    "gru": {"none": _ONNX_GRU},
}
"""Cell kind → form of the peepholes → how it is exported."""
