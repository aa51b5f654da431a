"""Record all that a network computes for one source and one target: gates, states, peepholes, attention, readouts.

Prediction does not come here. The recorded steps are those of `peephole.nn.cells` and `peephole.nn.decoder`; the gates
inside them are computed a second time, from the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from peephole.nn.attention import Attended, Attention, AttentionState, MultiheadAttention
from peephole.nn.bending import Bend, bend_attention
from peephole.nn.cells import GRUStep, LSTMState, LSTMStep, valid_steps
from peephole.nn.decoder_recurrence import zone
from peephole.nn.decoder_state import DecoderState, hidden
from peephole.nn.directions import GRUDirection, LSTMDirection
from peephole.nn.encoder import LayerState, fixed_context
from peephole.nn.layers import GRU, LSTM, join_pairs
from peephole.nn.normalization import normalize
from peephole.nn.seq2seq import Encoded, Seq2Seq

Parts = dict[str, Tensor]
"""The numbers of one step of one cell, by the names of docs/traces.md, each (1, H)."""


class Recording(NamedTuple):
    """What a network computes for one source and one target of U steps."""

    arrays: dict[str, Tensor]  # by the names of docs/traces.md
    log_probs: Tensor  # (U, V) log p of every symbol, with copying of the source's texts too


def lstm_parts(step: LSTMStep, projected: Float[Tensor, "1 G"], state: LSTMState) -> Parts:
    """Return the gates of one step of an LSTM, (1)-(5), what σ and tanh are applied to, and the peepholes' shares.

    Args:
        step: the weights of the layer.
        projected: W_x x_t + b; with layer normalisation W_x x_t.
        state: h_{t-1} and c_{t-1}.
    """
    H = state.h.shape[1]
    z_i, z_f, z_g, z_o = (projected + F.linear(state.h, step.hidden)).chunk(4, 1)
    parts: Parts = {}
    if step.cell_to_if is not None:
        shares = _peephole(step.cell_to_if, state.c, 2)
        parts |= {"peephole_i": shares[:, :H], "peephole_f": shares[:, H:]}  # W_ci c_{t-1}, W_cf c_{t-1}
        z_i, z_f = z_i + parts["peephole_i"], z_f + parts["peephole_f"]
    z_i, z_f, z_g = (_normalized(step, z, gate) for gate, z in enumerate((z_i, z_f, z_g)))
    i, f, g = torch.sigmoid(z_i), torch.sigmoid(z_f), torch.tanh(z_g)  # (2), (1), (3)
    if step.cell_to_o is not None:
        parts["peephole_o"] = _peephole(step.cell_to_o, f * state.c + i * g, 1)  # W_co c_t, (4)
        z_o = z_o + parts["peephole_o"]
    z_o = _normalized(step, z_o, 3)
    o = torch.sigmoid(z_o)  # (5)
    return parts | {"i": i, "f": f, "g": g, "o": o, "pre_i": z_i, "pre_f": z_f, "pre_g": z_g, "pre_o": z_o}


def gru_parts(step: GRUStep, projected: Float[Tensor, "1 G"], h: Float[Tensor, "1 H"]) -> Parts:
    """Return the gates of one step of a GRU and what σ and tanh are applied to; arguments as in `lstm_parts`."""
    norm = step.norm
    (x_r, x_z, x_n), (h_r, h_z, h_n) = projected.chunk(3, 1), F.linear(h, step.hidden).chunk(3, 1)
    b_hr, b_hz, b_hn = step.bias.chunk(3)
    if norm is None:
        z_r, z_z = x_r + h_r + b_hr, x_z + h_z + b_hz
    else:
        (gain_r, gain_z, gain_n), (b_xr, b_xz, b_xn) = norm.gain.chunk(3), step.bias_input.chunk(3)
        z_r, z_z = normalize(x_r + h_r, gain_r, b_xr + b_hr), normalize(x_z + h_z, gain_z, b_xz + b_hz)  # (44)
    r, z = torch.sigmoid(z_r), torch.sigmoid(z_z)
    z_n = x_n + r * (h_n + b_hn)
    if norm is not None:
        z_n = normalize(z_n, gain_n, b_xn)  # (46)
    return {"r": r, "z": z, "n": torch.tanh(z_n), "pre_r": z_r, "pre_z": z_z, "pre_n": z_n}


def _peephole(weight: Tensor, c: Tensor, num_gates: int) -> Tensor:
    """Return W_c c of some gates; the weight is full or diagonal, which are alike where H = 1."""
    return F.linear(c, weight) if len(weight) == num_gates * c.shape[1] else (c[:, None] * weight).flatten(1)


def _normalized(step: LSTMStep, z: Tensor, gate: int) -> Tensor:
    """Return the pre-activations of a gate after layer normalisation, (44), if the cell has it."""
    if step.norm is None:
        return z
    own = slice(gate * z.shape[1], (gate + 1) * z.shape[1])
    return normalize(z, step.norm.gain[own], step.bias[own])


class _RecordedStep:
    """A cell's step that also keeps the parts of each step; a `DecoderRecurrence` calls it in the place of the step."""

    def __init__(self, step: LSTMStep | GRUStep) -> None:
        self.step = step
        self.kept: list[Parts] = []

    def __call__(self, projected: Tensor, state: LayerState) -> LayerState:
        if isinstance(self.step, LSTMStep):
            assert isinstance(state, LSTMState)
            self.kept.append(lstm_parts(self.step, projected, state))
            return self.step(projected, state)
        assert isinstance(state, Tensor)
        self.kept.append(gru_parts(self.step, projected, state))
        return self.step(projected, state)

    @property
    def bias_before(self) -> Tensor | None:
        """Return the bias that is added to W_x x_t."""
        return self.step.bias_before


class _RecordedAttention:
    """An attention that also keeps the weights of each of its heads, and has given weights in one step."""

    def __init__(self, attention: Attention, bend: Bend | None) -> None:
        self.attention, self.bend = attention, bend
        self.heads: list[Tensor] = []

    def __call__(
        self, query: Tensor, keys: Tensor, memory: Tensor, valid: Bool[Tensor, "B T"], state: AttentionState
    ) -> Attended:
        is_bent = self.bend is not None and self.bend.step == len(self.heads)
        if is_bent:
            assert self.bend is not None
            found = bend_attention(self.attention, self.bend.weights, keys, memory, state)
        else:
            found = self.attention(query, keys, memory, valid, state)
        heads = found.weights[:, :, None]
        if isinstance(self.attention, MultiheadAttention):
            heads = heads.expand(-1, -1, self.attention.num_heads)
            heads = heads if is_bent else self.attention.heads(query, keys, valid)
        self.heads.append(heads[0].T)  # (K, T)
        return found


@torch.no_grad()
def record(
    network: Seq2Seq,
    source: Tensor,
    source_lengths: Int[Tensor, "1"],
    previous: Int[Tensor, "U"],
    bend: Bend | None = None,
) -> Recording:
    """Return all that a network computes for one source and the symbols that are fed to its decoder, (13).

    Args:
        network: a model of symbols with an encoder.
        source: what the network reads, with a first dimension of 1.
        source_lengths: its symbols or frames.
        previous: y_0 … y_{U-1}.
        bend: a step with given attention weights.
    """
    arrays: dict[str, list[Tensor]] = defaultdict(list)
    encoded = _record_encoder(network, source, source_lengths, arrays)
    outputs, last, lengths, copied = encoded
    assert network.bridge is not None
    first = network.bridge(last)
    for layer, state in enumerate(first):
        arrays[f"bridge.{layer}.h"] = [hidden(state)[0]]
        if isinstance(state, LSTMState):
            arrays[f"bridge.{layer}.c"] = [state.c[0]]
    if network.ctc is not None:
        arrays["ctc"] = list(network.ctc.log_probs(outputs)[0].exp())
    valid = valid_steps(lengths, outputs.shape[1])
    context = None if network.context == "attention" else fixed_context(network.context, outputs, last[-1], valid)
    log_probs = _record_decoder(
        network, network.decoder.start(first, outputs, valid, context, copied), previous, bend, arrays
    )
    found = {name: rows[0] if name.startswith("bridge.") else torch.stack(rows) for name, rows in arrays.items()}
    return Recording(found, log_probs)


def _record_encoder(
    network: Seq2Seq, source: Tensor, source_lengths: Tensor, arrays: dict[str, list[Tensor]]
) -> Encoded:
    """Return what `Seq2Seq.encode` returns, and record each layer and direction."""
    assert network.encoder is not None
    copied = None
    if network.decoder.output.copies:
        source, copied = source.unbind(2)
    x, lengths = network.frontend(source, source_lengths)
    recurrent = network.encoder.recurrent
    last: list[LayerState] = []
    for index, directions in enumerate(recurrent.layers):
        below = x
        if 0 < index <= recurrent.pyramid:
            x = join_pairs(x)
        ends = [
            _record_direction(recurrent, module, x, d == 1, f"encoder.{index}.{d}", arrays)
            for d, module in enumerate(cast("torch.nn.ModuleList", directions))
        ]
        names = [f"encoder.{index}.{d}.h" for d in range(len(ends))]
        x = torch.cat([torch.stack(arrays[name])[None] for name in names], 2)  # (20)
        if recurrent.residual and index > recurrent.pyramid:
            x = x + below  # (41)
        last.append(_side_by_side(ends))
    arrays["encoder.outputs"] = list(x[0])
    return Encoded(x, last, network.encoder.steps(lengths), copied)


def _side_by_side(states: list[LayerState]) -> LayerState:
    """Return the states of both directions as one."""
    if isinstance(states[0], LSTMState):
        return LSTMState(*(torch.cat(parts, 1) for parts in zip(*states, strict=True)))
    return torch.cat(cast("list[Tensor]", states), 1)


def _record_direction(
    recurrent: LSTM | GRU,
    module: torch.nn.Module,
    x: Float[Tensor, "1 T I"],
    reverse: bool,
    name: str,
    arrays: dict[str, list[Tensor]],
) -> LayerState:
    """Run one layer in one direction over a source, (18) or (19), record it, and return its last state."""
    own = cast("LSTMDirection | GRUDirection", module)
    step = _RecordedStep(_step_of(own))
    zeros = x.new_zeros(1, recurrent.hidden_size)
    state: LayerState = LSTMState(zeros, zeros) if isinstance(own, LSTMDirection) else zeros
    projected = F.linear(x, own.weight_input, step.bias_before).unbind(1)
    steps = range(len(projected) - 1, -1, -1) if reverse else range(len(projected))
    states: list[LayerState] = []
    for t in steps:
        new = step(projected[t], state)
        state = new if recurrent.zoneout is None else zone(recurrent.zoneout, new, state)  # (43)
        states.append(state)
    kept = list(zip(step.kept, states, strict=True))
    for parts, after in kept[::-1] if reverse else kept:  # in the order of positions
        _keep(arrays, name, parts, after)
    return state


def _step_of(own: LSTMDirection | GRUDirection) -> LSTMStep | GRUStep:
    return (
        LSTMStep.of(own.weights(), own.norm())
        if isinstance(own, LSTMDirection)
        else GRUStep.of(own.weights(), own.norm())
    )


def _keep(arrays: dict[str, list[Tensor]], name: str, parts: Parts, state: LayerState) -> None:
    """Store one step of a cell and the state after it."""
    parts |= {"h": state.h, "c": state.c} if isinstance(state, LSTMState) else {"h": state}
    for part, numbers in parts.items():
        arrays[f"{name}.{part}"].append(numbers[0])


def _record_decoder(
    network: Seq2Seq, state: DecoderState, previous: Tensor, bend: Bend | None, arrays: dict[str, list[Tensor]]
) -> Tensor:
    """Feed symbols to the decoder, record each step, and return log p of every symbol, (U, V)."""
    decoder = network.decoder
    recurrence = decoder.recurrence()
    steps = [_RecordedStep(step) for step in recurrence.steps]
    recurrence.steps = steps  # type: ignore[assignment]  # called like steps
    attention = None if decoder.attention is None else _RecordedAttention(decoder.attention, bend)
    recurrence.attention = attention  # type: ignore[assignment]  # called like an attention
    log_probs = []
    for y in previous:
        embedded = decoder.embedding(decoder.known(y[None]))
        projected, zoneouts = recurrence.project(embedded), [decoder.zoneout] * len(steps)
        state, context, weights = recurrence(embedded, projected, state, [], zoneouts)
        for index, layer in enumerate(state.layers):
            _keep(arrays, f"decoder.{index}", steps[index].kept[-1], layer)
        state, read = decoder.read(state, context, embedded, weights)
        arrays["context"].append(context[0])
        arrays["readout"].append(read.readout[0])
        if weights is not None:
            arrays["attention"].append(weights[0])
        if decoder.output.copies:
            assert weights is not None
            gate = torch.sigmoid(decoder.output.gate(read.inputs))  # (26)
            arrays["copy.gate"].append(gate[0])
            arrays["copy.weights"].append((1 - gate[0]) * weights[0])  # of (27)
        log_probs.append(torch.log_softmax(decoder.output.scores(read), 1)[0])
    if attention is not None and attention.attention.kind == "multihead":
        arrays["attention.heads"] = attention.heads
    return torch.stack(log_probs)
