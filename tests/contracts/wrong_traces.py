"""List wrong traces: functions of the recording with one piece of text replaced, and the check that must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from peephole.nn import bending, recording
from peephole.search import torch_trace
from peephole.search.recorded import Recorded
from peephole.search.tree import TreeRecorder


class Wrong(NamedTuple):
    """A wrong trace."""

    name: str
    where: Any  # module or class
    function: Callable[..., Any]
    right: str
    wrong: str
    seen_in: str  # a regular expression that the failed comparison's message matches
    network: str = "lstm full"
    search: str | None = None  # the search that shows it; None: a given target


GATES = [
    Wrong(
        "the forget gate's share is that of c_t",
        recording,
        recording.lstm_parts,
        "    if step.cell_to_o is not None:",
        "    if step.cell_to_if is not None:\n"
        '        parts["peephole_f"] = _peephole(step.cell_to_if, f * state.c + i * g, 2)[:, H:]\n'
        "    if step.cell_to_o is not None:",
        "peephole_f",
    ),
    Wrong(
        "the output gate's share is that of c_{t-1}",
        recording,
        recording.lstm_parts,
        "_peephole(step.cell_to_o, f * state.c + i * g, 1)",
        "_peephole(step.cell_to_o, state.c, 1)",
        "peephole_o|pre_o|o:",
    ),
    Wrong(
        "the shares of i and f are swapped",
        recording,
        recording.lstm_parts,
        '{"peephole_i": shares[:, :H], "peephole_f": shares[:, H:]}',
        '{"peephole_f": shares[:, :H], "peephole_i": shares[:, H:]}',
        "peephole_i|i:|f:",
    ),
    Wrong(
        "the gates are in the order of ONNX",
        recording,
        recording.lstm_parts,
        "z_i, z_f, z_g, z_o = (projected",
        "z_i, z_o, z_f, z_g = (projected",
        "encoder.0.0",
    ),
    Wrong(
        "pre-activations lack the peephole",
        recording,
        recording.lstm_parts,
        '"pre_i": z_i',
        '"pre_i": z_i - parts.get("peephole_i", 0)',
        "pre_i",
    ),
    Wrong(
        "pre-activations are those before layer normalisation",
        recording,
        recording.lstm_parts,
        "z_i, z_f, z_g = (_normalized(step, z, gate) for gate, z in enumerate((z_i, z_f, z_g)))",
        "z_f, z_g = (_normalized(step, z, gate + 1) for gate, z in enumerate((z_f, z_g)))",
        "pre_i|i:",
        "norm full",
    ),
    Wrong(
        "the reset gate acts before the bias",
        recording,
        recording.gru_parts,
        "z_n = x_n + r * (h_n + b_hn)",
        "z_n = x_n + r * h_n + b_hn",
        "pre_n|n:",
        "gru none",
    ),
    Wrong(
        "update and reset gate are swapped",
        recording,
        recording.gru_parts,
        '{"r": r, "z": z,',
        '{"r": z, "z": r,',
        "r:|z:",
        "gru none",
    ),
    Wrong(
        "the backward direction is in the order in which it reads",
        recording,
        recording._record_direction,
        "kept[::-1] if reverse else kept",
        "kept",
        "encoder|bridge",
    ),
    Wrong(
        "states are those before zoneout",
        recording,
        recording._record_direction,
        "states.append(state)",
        "states.append(new)",
        "encoder",
        "zoneout",
    ),
]
DECODERS = [
    Wrong(
        "the layer above reads no sum",
        recording,
        recording._record_encoder,
        "x = x + below",
        "pass",
        "encoder|bridge",
        "residual",
    ),
    Wrong(
        "the bridge's state is that after the first step",
        torch_trace,
        recording.record,
        'arrays[f"bridge.{layer}.h"] = [hidden(state)[0]]',
        'arrays[f"bridge.{layer}.h"] = [torch.tanh(hidden(state)[0])]',
        "bridge.0.h",
    ),
    Wrong(
        "posteriors are logarithms",
        torch_trace,
        recording.record,
        "network.ctc.log_probs(outputs)[0].exp()",
        "network.ctc.log_probs(outputs)[0]",
        "ctc",
        "ctc",
    ),
    Wrong(
        "the copy gate is its logit",
        recording,
        recording._record_decoder,
        "torch.sigmoid(decoder.output.gate(read.inputs))",
        "decoder.output.gate(read.inputs)",
        "copy.gate",
        "copy",
    ),
    Wrong(
        "copied symbols have the gate's own share",
        recording,
        recording._record_decoder,
        "(1 - gate[0]) * weights[0]",
        "gate[0] * weights[0]",
        "copy.weights",
        "copy",
    ),
    Wrong(
        "alternatives come from the least probable",
        torch_trace,
        torch_trace._recorded,
        "np.argsort(-log_probs",
        "np.argsort(log_probs",
        "alternatives",
    ),
    Wrong(
        "the readout is not fed",
        recording,
        recording._record_decoder,
        "state, read = decoder.read(state, context, embedded, weights)",
        "_, read = decoder.read(state, context, embedded, weights)",
        "attention|decoder.0",
        "feeding",
    ),
    Wrong("ranks begin at 0", torch_trace, torch_trace._recorded, "ranks=1 + (", "ranks=(", "rank of step"),
    Wrong(
        "log p is that of the symbol fed",
        torch_trace,
        torch_trace._recorded,
        "log_probs[np.arange(len(symbols)), symbols]",
        "log_probs[np.arange(len(symbols)), previous.tolist()]",
        "log p of step",
    ),
]
TREES = [
    Wrong(
        "the parent is off by one",
        TreeRecorder,
        TreeRecorder.add,
        "self._append(parents[row], symbol, float(",
        "self._append(max(-1, parents[row] - 1), symbol, float(",
        "step of|there twice|hypotheses considered",
        search="wide",
    ),
    Wrong(
        "the parent of dropped extensions is the best hypothesis",
        TreeRecorder,
        TreeRecorder.add,
        "self._append(parents[row], symbol, log_prob, score + added",
        "self._append(parents[0], symbol, log_prob, score + added",
        "there twice|hypotheses considered",
        search="wide",
    ),
    Wrong(
        "scores of dropped extensions lack those of the hypothesis",
        TreeRecorder,
        TreeRecorder.add,
        "log_prob, score + added, row",
        "log_prob, added, row",
        "score of",
        search="length penalty",
    ),
    Wrong(
        "the log p is the score",
        TreeRecorder,
        TreeRecorder.add,
        "symbol, float(step.log_probs[row, symbol]), score",
        "symbol, score, score",
        "log p of",
        search="length penalty",
    ),
    Wrong(
        "dropped extensions are those by the least probable symbols",
        TreeRecorder,
        TreeRecorder.add,
        "sort(descending=True, stable=True)",
        "sort(descending=False, stable=True)",
        "hypotheses considered",
        search="length penalty",
    ),
    Wrong(
        "what is kept is there a second time",
        TreeRecorder,
        TreeRecorder.add,
        "and (row, symbol) not in kept",
        "",
        "there twice",
        search="length penalty",
    ),
    Wrong(
        "a forced symbol is no reason",
        TreeRecorder,
        TreeRecorder._why_dropped,
        "!= FREE",
        "== -2",
        "fate of",
        search="prefix",
    ),
    Wrong(
        "an n-gram is no reason",
        TreeRecorder,
        TreeRecorder._why_dropped,
        "Fate.REPEATED_NGRAM",
        "Fate.TOO_SHORT",
        "fate of",
        search="no bigram twice",
    ),
    Wrong(
        "the finished ones are all returned",
        TreeRecorder,
        TreeRecorder.finish,
        "if target in targets:",
        "if True:",
        "fate of",
        search="wide",
    ),
    Wrong(
        "equal targets of several groups are all returned",
        TreeRecorder,
        TreeRecorder.finish,
        "seen.add(target)",
        "pass",
        "fate of",
        search="alike groups",
    ),
    Wrong(
        "the length limit is no reason",
        TreeRecorder,
        TreeRecorder.finish,
        "self._num_steps == self.max_length",
        "False",
        "fate of",
        search="cut",
    ),
    Wrong(
        "what was extended is not marked",
        TreeRecorder,
        TreeRecorder.add,
        "self._fate[parents[row]] = Fate.EXPANDED",
        "pass",
        "fate of",
        search="length penalty",
    ),
]
WRONG = [*GATES, *DECODERS, *TREES]
WRONG_BENDS = [
    Wrong(
        "the step after reads the computed weights",
        (bending, recording),
        bending.bend_attention,
        "state = (alpha,)",
        "pass",
        "",
        "location",
    ),
    Wrong(
        "the coverage lacks the given weights",
        (bending, recording),
        bending.bend_attention,
        "(state[0] + alpha,)",
        "(state[0],)",
        "",
        "coverage",
    ),
    Wrong(
        "the heads' values are not multiplied",
        (bending, recording),
        bending.bend_attention,
        "F.linear(torch.bmm(alpha[:, None], values)[:, 0], attention.weight_output)",
        "torch.bmm(alpha[:, None], values)[:, 0]",
        "",
        "multihead",
    ),
    Wrong(
        "the context is the computed one",
        (recording._RecordedAttention,),
        recording._RecordedAttention.__call__,
        "self.bend.step == len(self.heads)",
        "self.bend.step == -1",
        "",
        "additive",
    ),
    Wrong(
        "the step after is bent",
        (bending._BentAttention,),
        bending._BentAttention.__call__,
        "self.step - 1 == self.bend.step",
        "self.step - 2 == self.bend.step",
        "",
        "additive",
    ),
]


def with_array(name: str, change: Callable[[Any], Any]) -> Callable[[Recorded], Recorded]:
    """Return what changes one array of a trace."""
    return lambda traced: replace(traced, arrays={**traced.arrays, name: change(traced.arrays[name])})


def with_beam(name: str, change: Callable[[Any], Any]) -> Callable[[Recorded], Recorded]:
    """Return what changes one array of a trace's beam."""

    def changed(traced: Recorded) -> Recorded:
        assert traced.beam is not None
        return replace(traced, beam=replace(traced.beam, **{name: change(getattr(traced.beam, name))}))

    return changed


CORRUPTIONS: dict[str, tuple[Callable[[Recorded], Recorded], str]] = {
    "the share of f is that of c_t": (with_array("decoder.0.peephole_f", lambda a: np.roll(a, -1, 0)), "peephole_f"),
    "the share of o is that of c_{t-1}": (
        with_array("encoder.0.0.peephole_o", lambda a: np.roll(a, 1, 0)),
        "peephole_o",
    ),
    "the backward direction is as read": (with_array("encoder.1.1.h", lambda a: a[::-1]), "encoder.1.1.h"),
    "units are in the order of vectors": (with_array("decoder.1.c", lambda a: a[:, ::-1]), "decoder.1.c"),
    "the bridge's state is missing": (with_array("bridge.0.c", lambda a: 0 * a), "bridge.0.c"),
    "the context is that of the step before": (with_array("context", lambda a: np.roll(a, 1, 0)), "context"),
    "the parent is off by one": (with_beam("parent", lambda a: np.maximum(a - 1, -1)), "step of|twice|hypotheses"),
    "steps are numbered from 0": (with_beam("step", lambda a: a - 1), "step of"),
    "scores are log p": (lambda traced: with_beam("score", lambda a: traced.beam.log_prob)(traced), "score of"),
    "all were expanded": (with_beam("fate", lambda a: 0 * a), "fate of"),
}
"""Changes of a right trace that the comparison must reject, with what its message matches."""
