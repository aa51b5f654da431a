"""The two graphs of a model: the encoder, run once for a batch of sources, and one step of the decoder.

They compute what `peephole.nn` defines; equation numbers are those of docs/equations.md. Values are connected by their
names: an input of the decoder step is the encoder's input or output of that name, and from the second step on `h_l` is
the `next_h_l` of the step before, and so are `c_l`, `attention_state` and `readout`. Each kind of input, cell, context,
attention and output is looked up in a dictionary; an unknown kind is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from peephole.export.attention import ATTENTIONS, Attention, Given
from peephole.export.copying import known_symbols, mix_copies
from peephole.export.frontends import INPUTS, join_pairs
from peephole.export.graph import FLOAT, INT64, Graph
from peephole.export.recurrent import Recurrence, recurrence
from peephole.export.weights import Weights
from peephole.nn.schema import Architecture, find_kind, num_places

ENCODER, DECODER_STEP = "encoder", "decoder_step"


def build_encoder(architecture: Architecture, num_symbols: int, weights: Weights) -> Graph:
    """Return the graph that reads the sources.

    Inputs: `source` (batch, time) int64, padded with any symbol, or `frames` (batch, time, F) float32, padded with any
    numbers; `source_lengths` (batch) int64, each from 1 to time.

    Outputs: the first states of each decoder layer l, (9), `h_l` and for an LSTM `c_l`, (batch, H); with attention
    `memory` (batch, places, M), 0 past each length, and `keys` (batch, places, H; with heads H + M), except for dot
    attention, whose keys are the memory; for location-aware attention and coverage `attention_state` (batch, places);
    without attention `context` (batch, M), (8); with input feeding `readout` (batch, H), r_0 of (62); with CTC
    `ctc_log_probs` (batch, places, V), (31). There is a place for each step of the source, unless the encoder joins
    steps; it then also returns `memory_lengths` (batch) int64 if there is attention or CTC.

    Raises:
        ConfigError: the architecture has a kind that cannot be exported.
    """
    model = _Model.of(Graph(ENCODER), architecture, weights)
    read_input = find_kind(INPUTS, architecture.input, "ONNX export, input")
    context = find_kind(CONTEXTS, architecture.context, "ONNX export, context")
    x, lengths = read_input(model.graph, architecture, weights)
    memory, last, lengths = model.read(x, lengths)
    for layer, state in enumerate(model.bridge(last)):
        for part, value in zip(model.recurrence.states, state, strict=True):
            model.graph.output(f"{part}_{layer}", value, ("batch", architecture.hidden_size))
    context.write(model, memory, last, lengths)
    a = architecture
    if a.input_feeding:
        model.graph.output("readout", model.first_readout("h_0"), ("batch", a.hidden_size))
    if a.ctc:
        scores = model.graph.op("LogSoftmax", model.linear("ctc", memory), axis=2)
        model.graph.output("ctc_log_probs", scores, ("batch", _places(a), num_symbols))
    if _joins_steps(a) and (a.ctc or a.context == "attention"):
        model.graph.output("memory_lengths", lengths, ("batch",), INT64)
    return model.graph


def build_decoder_step(architecture: Architecture, num_symbols: int, weights: Weights) -> Graph:
    """Return the graph of one step, (10), for all rows: one row a hypothesis.

    Inputs: `previous` (rows) int64, y_{t-1}, <s> in the first step; the states and the memory or context that the
    encoder returned; with attention also `source_lengths` (rows), or `memory_lengths` if the encoder returned them.

    A decoder that copies has the input `copies` (rows, time) int64 in addition: the target symbol with the text of each
    source symbol; of V target symbols, the texts that are none of them are V, V + 1, … in the order in which they first
    appear in their source. Its `log_probs` have a column for each of these, too.

    Outputs: `log_probs` (rows, V), log p(y_t | y_1 … y_{t-1}, X); `next_h_l`, `next_c_l`, `next_attention_state` and
    `next_readout`, as far as there are such inputs; with attention `attention` (rows, places), (16).

    Raises:
        ConfigError: the architecture has a kind that cannot be exported.
    """
    model = _Model.of(Graph(DECODER_STEP), architecture, weights)
    find_kind(OUTPUTS, architecture.output, "ONNX export, output")(model, num_symbols)
    return model.graph


@dataclass(frozen=True)
class _Model:
    """The parts of a model; each method adds operators to the graph and returns the values that they compute."""

    graph: Graph
    architecture: Architecture
    weights: Weights
    recurrence: Recurrence

    @classmethod
    def of(cls, graph: Graph, architecture: Architecture, weights: Weights) -> _Model:
        """Return the parts of an architecture, to be added to a graph."""
        return cls(graph, architecture, weights, recurrence(architecture))

    def embed(self, module: str, ids: str) -> str:
        """Return E(y) of the symbols y in ids, (…) -> (…, E)."""
        name = f"{module}.embedding.weight"
        return self.graph.op("Gather", self.graph.constant(name, self.weights.take(name)), ids)

    def linear(self, name: str, x: str) -> str:
        """Return W x + b."""
        return self.graph.linear(x, name, self.weights.take(f"{name}.weight"), self.weights.take(f"{name}.bias"))

    def read(self, x: str, lengths: str) -> tuple[str, list[list[str]], str]:
        """Run the encoder's layers over x (B, T, E), (7) or (18)-(20).

        Returns:
            The memory (B, S, M), 0 past each length, the last state of each layer, every part of it (B, M), and the
            lengths (B,).
        """
        graph = self.graph
        valid = graph.valid(lengths, x)
        by_time = graph.op("Transpose", valid, perm=[1, 0])
        x = graph.op("Transpose", x, perm=[1, 0, 2])
        last = []
        for layer in range(self.architecture.encoder_layers):
            if 0 < layer <= self.architecture.encoder_pyramid:
                x, lengths = join_pairs(graph, x, lengths, self.architecture.encoder_size)
                valid = graph.valid(lengths, graph.op("Transpose", x, perm=[1, 0, 2]))
                by_time = graph.op("Transpose", valid, perm=[1, 0])
            names = [f"encoder.recurrent.layers.{layer}.{d}" for d in range(self.architecture.num_directions)]
            cells = [self.recurrence.weights(self.weights, name) for name in names]
            below = x
            x, state = self.recurrence.run(graph, x, lengths, by_time, cells)
            if self.architecture.residual and layer > self.architecture.encoder_pyramid:
                x = graph.op("Add", x, below)  # (41)
            last.append(state)
        memory = graph.op("Transpose", x, perm=[1, 0, 2])
        return graph.op("Where", graph.add_dimension(valid, 2), memory, graph.number(0)), last, lengths

    def bridge(self, last: list[list[str]]) -> list[list[str]]:
        """Return the first state of each decoder layer, (9): copied, or learned where the sizes differ."""
        a = self.architecture
        first = []
        for layer in range(a.decoder_layers):
            state = last[max(0, layer + a.encoder_layers - a.decoder_layers)]
            if a.encoder_size != a.hidden_size:
                names = [f"bridge.{part}.{layer}" for part in ("hidden", "cell")[: len(state)]]
                state = [self.linear(name, value) for name, value in zip(names, state, strict=True)]
                state[0] = self.graph.op("Tanh", state[0])
            first.append(state)
        return first

    def first_readout(self, state: str) -> str:
        """Return r_0 of (62), 0 of the shape of a layer's first state."""
        return self.graph.op("Expand", self.graph.number(0), self.graph.op("Shape", state))

    @property
    def attention(self) -> Attention:
        """Return the operators of the model's attention."""
        return find_kind(ATTENTIONS, self.architecture.attention, "ONNX export, attention")


class _Context(NamedTuple):
    """The operators of one kind of context."""

    write: Callable[[_Model, str, list[list[str]], str], None]
    """Adds outputs to the encoder's graph; arguments: memory, last state of each layer, lengths."""
    read: Callable[[_Model, str], str]
    """Adds inputs to the decoder step's graph and returns the context (N, M); argument: attention's query."""


def _write_memory(model: _Model, memory: str, last: list[list[str]], lengths: str) -> None:
    a = model.architecture
    model.graph.output("memory", memory, ("batch", _places(a), a.encoder_size))
    if model.attention.keys is not None:
        keys = model.attention.keys(model.graph, model.weights, memory)
        model.graph.output("keys", keys, ("batch", _places(a), model.attention.key_size(a)))
    if model.attention.first_state is not None:
        state = model.attention.first_state(model.graph, model.graph.valid(lengths, memory), lengths)
        model.graph.output("attention_state", state, ("batch", _places(a)))


def _joins_steps(architecture: Architecture) -> bool:
    """Return whether the encoder has fewer outputs than its source has steps."""
    return bool(num_places(architecture, 2) < 2)


def _places(architecture: Architecture) -> str:
    """Return the name of the dimension of the encoder's outputs."""
    return "places" if _joins_steps(architecture) else "time"


def _attend(model: _Model, query: str) -> str:
    """Return the context, (17), and add the output `attention`, (16)."""
    graph, a = model.graph, model.architecture
    memory = graph.input("memory", FLOAT, ("rows", _places(a), a.encoder_size))
    attention = model.attention
    has_keys, has_state = attention.keys is not None, attention.first_state is not None
    keys = graph.input("keys", FLOAT, ("rows", _places(a), attention.key_size(a))) if has_keys else memory
    lengths = graph.input("memory_lengths" if _joins_steps(a) else "source_lengths", INT64, ("rows",))
    state = graph.input("attention_state", FLOAT, ("rows", _places(a))) if has_state else ""
    given = Given(query, keys, memory, graph.valid(lengths, memory), state)
    found = attention.step(graph, model.weights, a, given)
    graph.output("attention", found.weights, ("rows", _places(a)))
    if has_state:
        graph.output("next_attention_state", found.state, ("rows", _places(a)))
    return found.context


def _write_context(model: _Model, context: str) -> None:
    model.graph.output("context", context, ("batch", model.architecture.encoder_size))


def _write_last(model: _Model, memory: str, last: list[list[str]], lengths: str) -> None:
    _write_context(model, last[-1][0])


def _write_mean(model: _Model, memory: str, last: list[list[str]], lengths: str) -> None:
    graph = model.graph
    count = graph.add_dimension(graph.op("Cast", lengths, to=FLOAT), 1)
    _write_context(model, graph.op("Div", graph.op("ReduceSum", memory, graph.ints(1), keepdims=0), count))


def _read_context(model: _Model, query: str) -> str:
    return model.graph.input("context", FLOAT, ("rows", model.architecture.encoder_size))


CONTEXTS: Mapping[str, _Context] = {
    "attention": _Context(_write_memory, _attend),
    "last": _Context(_write_last, _read_context),
    "mean": _Context(_write_mean, _read_context),
}
"""Context kind → its operators."""


def _step_to_symbols(model: _Model, num_symbols: int) -> None:
    """Add the decoder's step, its inputs and its outputs."""
    logits, _ = _step(model, model.graph.input("previous", INT64, ("rows",)))
    model.graph.output("log_probs", model.graph.op("LogSoftmax", logits, axis=1), ("rows", num_symbols))


def _step_to_copies(model: _Model, num_symbols: int) -> None:
    """Add the step of a decoder that copies."""
    graph = model.graph
    previous = known_symbols(graph, graph.input("previous", INT64, ("rows",)), num_symbols)
    log_probs = mix_copies(graph, model.weights, *_step(model, previous), num_symbols)
    graph.output("log_probs", log_probs, ("rows", "symbols"))


def _step(model: _Model, previous: str) -> tuple[str, str]:
    """Add the step up to the scores W_p r_t + b_p; return them and [s_t ; c_t ; E(y_{t-1})]."""
    graph, a = model.graph, model.architecture
    context_kind = find_kind(CONTEXTS, a.context, "ONNX export, context")
    states = [
        [graph.input(f"{part}_{layer}", FLOAT, ("rows", a.hidden_size)) for part in model.recurrence.states]
        for layer in range(a.decoder_layers)
    ]
    embedded, query = model.embed("decoder", previous), states[-1][0]
    query = graph.op("Concat", query, embedded, axis=1) if a.attention_symbol else query  # (67)
    context = context_kind.read(model, query)
    fed = [graph.input("readout", FLOAT, ("rows", a.hidden_size))] if a.input_feeding else []
    x = graph.op("Concat", embedded, context, *fed, axis=1)  # (62)
    for layer, state in enumerate(states):
        cell = model.recurrence.weights(model.weights, f"decoder.layers.{layer}")
        following = model.recurrence.step(graph, x, state, cell)
        for part, value in zip(model.recurrence.states, following, strict=True):
            graph.output(f"next_{part}_{layer}", value, ("rows", a.hidden_size))
        x = graph.op("Add", x, following[0]) if a.residual and layer else following[0]  # (41)
    inputs = graph.op("Concat", x, context, embedded, axis=1)
    read = graph.op("Tanh", model.linear("decoder.readout", inputs))
    if a.input_feeding:
        graph.output("next_readout", read, ("rows", a.hidden_size))
    return model.linear("decoder.output", read), inputs


OUTPUTS: Mapping[str, Callable[[_Model, int], None]] = {"symbols": _step_to_symbols, "copy": _step_to_copies}
"""Output kind → function that adds the decoder's step, given the number of target symbols."""
