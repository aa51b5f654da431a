"""Recurrent layers as ONNX operators.

ONNX's LSTM operator has diagonal peepholes (its input `P`) or none, and its GRU operator computes the same as ours.
LSTMs with full peepholes, and cells with zoneout or layer normalisation, are written as operators of their equations;
see `cells.py`.

Past a sequence's length the states stay the same; the outputs there are undefined, as in ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from peephole.export.cells import WrittenCell
from peephole.export.graph import INT32, Graph
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
    found = find_kind(forms, architecture.peephole, "ONNX export, peephole")
    cell = WrittenCell.of(architecture)
    is_plain = architecture.peephole != "full" and not any(cell.zoneout) and not architecture.layer_norm
    return found if is_plain else found._replace(run=cell.run, step=cell.step)


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


_ONNX_LSTM = Recurrence(("h", "c"), Weights.lstm, partial(_run_operator, _lstm), partial(_step_operator, _lstm))
_ONNX_GRU = Recurrence(("h",), Weights.gru, partial(_run_operator, _gru), partial(_step_operator, _gru))

RECURRENCES: Mapping[str, Mapping[str, Recurrence]] = {
    "lstm": dict.fromkeys(("full", "diagonal", "none"), _ONNX_LSTM),
    "gru": {"none": _ONNX_GRU},
}
"""Cell kind → form of the peepholes → how it is exported, if an operator of ONNX computes it."""
