"""Recurrent cells written as ONNX operators of their equations, in a `Scan` over the steps of a sequence.

They are used where ONNX's LSTM and GRU operators compute something else: full peepholes, zoneout, layer normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from peephole.export.graph import BOOL, FLOAT, Graph
from peephole.export.weights import Array, CellWeights
from peephole.nn.schema import EPSILON, Architecture


class WrittenCell(NamedTuple):
    """What decides the operators of a cell, besides its weights."""

    states: tuple[str, ...]  # names of the parts of its state
    zoneout: tuple[float, float]  # shares of h and c before a step that it keeps, (43)

    @classmethod
    def of(cls, architecture: Architecture) -> WrittenCell:
        """Return the cell of an architecture."""
        states = ("h", "c") if architecture.cell == "lstm" else ("h",)
        return cls(states, (architecture.zoneout_hidden, architecture.zoneout_cell))

    def run(
        self, graph: Graph, x: str, lengths: str, valid: str, directions: Sequence[CellWeights]
    ) -> tuple[str, list[str]]:
        """Read the sequences with one layer; see `recurrent.Run`."""
        runs = [scan(self, graph, x, valid, weights, reverse=d == 1) for d, weights in enumerate(directions)]
        outputs, *states = (graph.op("Concat", *parts, axis=-1) for parts in zip(*runs, strict=True))
        return outputs, states

    def step(self, graph: Graph, x: str, state: Sequence[str], weights: CellWeights) -> list[str]:
        """Do one step; see `recurrent.Step`."""
        return self.advance(graph, self.project(graph, x, weights), state, weights)

    def project(self, graph: Graph, x: str, weights: CellWeights) -> str:
        """Return W_x x + b, or W_x x if the bias comes after layer normalisation."""
        bias = weights.bias_input if weights.gain is None else None
        return graph.linear(x, f"{weights.name}.input", weights.weight_input, bias)

    def advance(self, graph: Graph, projected: str, state: Sequence[str], weights: CellWeights) -> list[str]:
        """Return the state after a step, given W_x x_t + b and the state before."""
        step = _lstm_step if len(self.states) == 2 else _gru_step
        new = step(graph, projected, state, weights)
        return [_keep_share(graph, *parts) for parts in zip(new, state, self.zoneout, strict=False)]


def scan(
    cell: WrittenCell, graph: Graph, x: str, valid: str, weights: CellWeights, *, reverse: bool
) -> tuple[str, ...]:
    """Read the sequences in one direction; return the outputs (T, B, H), and the last h and c, each (B, H).

    In the backward direction the padding comes first, and the states stay zero over it.
    """
    size = weights.hidden_size
    projected = cell.project(graph, x, weights)  # of all steps
    body = Graph(f"{weights.name}.step", graph)
    state = [body.input(f"{body.name}.{part}", FLOAT, ("batch", size)) for part in cell.states]
    z = body.input(f"{body.name}.projected", FLOAT, ("batch", len(weights.bias_input)))
    real = body.input(f"{body.name}.real", BOOL, ("batch", 1))
    new = cell.advance(body, z, state, weights)
    new = [body.op("Where", real, one, before) for one, before in zip(new, state, strict=True)]
    for part, value in zip((*(f"next_{part}" for part in cell.states), "output"), (*new, new[0]), strict=True):
        body.output(f"{body.name}.{part}", value, ("batch", size))
    batch = graph.op("Slice", graph.op("Shape", x), graph.ints(1), graph.ints(2))
    shape = graph.op("Concat", batch, graph.ints(size), axis=0)
    zeros = graph.op("Expand", graph.number(0), shape)
    *states, outputs = graph.ops(
        "Scan",
        len(state) + 1,
        *([zeros] * len(state)),
        *(projected, graph.add_dimension(valid, 2)),
        body=body.proto(),
        num_scan_inputs=2,
        scan_input_directions=[int(reverse)] * 2,
        scan_output_directions=[int(reverse)],
    )
    return outputs, *states


def _lstm_step(graph: Graph, projected: str, state: Sequence[str], weights: CellWeights) -> list[str]:
    """Return h_t and c_t, (1)-(6), from W_x x_t + b (N, 4H), h_{t-1} and c_{t-1}, each (N, H)."""
    h, c = state
    size = weights.hidden_size
    z = graph.op("Add", projected, graph.linear(h, f"{weights.name}.hidden", weights.weight_hidden))
    z_if, z_g, z_o = graph.split(z, (2 * size, size, size))
    z_if = _add_peephole(graph, z_if, c, weights, "if")  # these two gates read c_{t-1}
    if weights.gain is not None:
        z_if = _normalize_gates(graph, z_if, weights, (0, 1))
        z_g = _normalize_gates(graph, z_g, weights, (2,))
    i, f = graph.split(graph.op("Sigmoid", z_if), (size, size))  # (2), (1)
    kept, added = graph.op("Mul", f, c), graph.op("Mul", i, graph.op("Tanh", z_g))  # (3)
    c = graph.op("Add", kept, added)  # (4)
    z_o = _add_peephole(graph, z_o, c, weights, "o")  # this gate reads c_t
    read = c
    if weights.cell_gain is not None and weights.cell_bias is not None:
        z_o = _normalize_gates(graph, z_o, weights, (3,))
        read = _normalize(graph, c, f"{weights.name}.cell", weights.cell_gain, weights.cell_bias)  # (45)
    return [graph.op("Mul", graph.op("Sigmoid", z_o), graph.op("Tanh", read)), c]  # (5), (6)


def _normalize_gates(graph: Graph, z: str, weights: CellWeights, gates: Sequence[int]) -> str:
    """Normalise the pre-activations of some gates side by side, each over its own units, (44)."""
    assert weights.gain is not None
    size, bias = weights.hidden_size, weights.bias_input + weights.bias_hidden
    parts = graph.split(z, [size] * len(gates))
    found = []
    for part, gate in zip(parts, gates, strict=True):
        own = slice(gate * size, (gate + 1) * size)
        found.append(_normalize(graph, part, f"{weights.name}.gate_{gate}", weights.gain[own], bias[own]))
    return graph.op("Concat", *found, axis=-1)


def _normalize(graph: Graph, z: str, name: str, gain: Array, bias: Array) -> str:
    """Return (z - μ) / √(σ² + ε) ⊙ gain + bias."""
    centred = graph.op("Sub", z, graph.op("ReduceMean", z, axes=[-1], keepdims=1))
    variance = graph.op("ReduceMean", graph.op("Mul", centred, centred), axes=[-1], keepdims=1)
    deviation = graph.op("Sqrt", graph.op("Add", variance, graph.number(EPSILON)))
    scaled = graph.op("Mul", graph.op("Div", centred, deviation), graph.constant(f"{name}.gain", gain))
    return graph.op("Add", scaled, graph.constant(f"{name}.bias", bias))


def _add_peephole(graph: Graph, z: str, c: str, weights: CellWeights, gates: str) -> str:
    """Add W_c c to the pre-activations z of some gates, "if" or "o"."""
    if weights.weight_peephole is None:
        return z
    block = len(weights.weight_peephole) // 3
    to_if, to_o = np.split(weights.weight_peephole, [2 * block])
    name, weight = f"{weights.name}.peephole_{gates}", to_if if gates == "if" else to_o
    if block == weights.hidden_size:  # full; with one unit a diagonal is the same
        return graph.op("Add", z, graph.linear(c, name, weight))
    repeated = graph.op("Concat", *[c] * len(gates), axis=-1)
    return graph.op("Add", z, graph.op("Mul", repeated, graph.constant(name, weight.ravel())))


def _gru_step(graph: Graph, projected: str, state: Sequence[str], weights: CellWeights) -> list[str]:
    """Return h_t of a GRU from W_x x_t + b_x (N, 3H) and h_{t-1} (N, H)."""
    [h] = state
    size = weights.hidden_size
    if weights.gain is not None:
        return _normalized_gru_step(graph, projected, h, weights)
    product = graph.linear(h, f"{weights.name}.hidden", weights.weight_hidden, weights.bias_hidden)
    (x_rz, x_n), (h_rz, h_n) = (graph.split(part, (2 * size, size)) for part in (projected, product))
    r, z = graph.split(graph.op("Sigmoid", graph.op("Add", x_rz, h_rz)), (size, size))
    n = graph.op("Tanh", graph.op("Add", x_n, graph.op("Mul", r, h_n)))
    return [graph.op("Add", n, graph.op("Mul", z, graph.op("Sub", h, n)))]


def _normalized_gru_step(graph: Graph, projected: str, h: str, weights: CellWeights) -> list[str]:
    """Return h_t of a GRU with layer normalisation, (44), (46), from W_x x_t (N, 3H) and h_{t-1} (N, H)."""
    size, name = weights.hidden_size, weights.name
    assert weights.gain is not None
    product = graph.linear(h, f"{name}.hidden", weights.weight_hidden)
    (x_rz, x_n), (h_rz, h_n) = (graph.split(part, (2 * size, size)) for part in (projected, product))
    r, z = graph.split(
        graph.op("Sigmoid", _normalize_gates(graph, graph.op("Add", x_rz, h_rz), weights, (0, 1))), (size, size)
    )
    h_n = graph.op("Add", h_n, graph.constant(f"{name}.bias_hn", weights.bias_hidden[2 * size :]))
    sums = graph.op("Add", x_n, graph.op("Mul", r, h_n))
    gain, bias = weights.gain[2 * size :], weights.bias_input[2 * size :]
    n = graph.op("Tanh", _normalize(graph, sums, f"{name}.gate_2", gain, bias))
    return [graph.op("Add", n, graph.op("Mul", z, graph.op("Sub", h, n)))]


def _keep_share(graph: Graph, new: str, before: str, share: float) -> str:
    """Return z before + (1 - z) new, (43)."""
    if not share:
        return new
    kept, moved = graph.op("Mul", graph.number(share), before), graph.op("Mul", graph.number(1 - share), new)
    return graph.op("Add", kept, moved)
