"""The two graphs of a model: the encoder, run once for a batch of sources, and one step of the decoder.

Both are what `peephole.nn` defines; equation numbers are those of docs/equations.md. Which value goes where follows
from the names: an input of the decoder step is the encoder's input or output of that name, and from the second step on
`h_l` and `c_l` are the `next_h_l` and `next_c_l` of the step before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from peephole.config import ModelConfig
from peephole.export.graph import FLOAT, INT64, Graph
from peephole.export.recurrent import run_layer, step_layer
from peephole.export.weights import Weights

ENCODER, DECODER_STEP = "encoder", "decoder_step"


def build_encoder(config: ModelConfig, num_symbols: int, weights: Weights) -> Graph:
    """Return the graph that reads the sources.

    Inputs: `source` (batch, time) int64, padded with any symbol; `source_lengths` (batch) int64, each from 1 to time.

    Outputs: the first states of each decoder layer l, (9), `h_l` and for an LSTM `c_l`, (batch, H); with attention
    `memory` (batch, time, M), 0 past each length, and `keys` (batch, time, H), which dot attention does without: its
    keys are the memory; else `context` (batch, M), (8).
    """
    graph = Graph(ENCODER)
    model = _Model(graph, config, weights)
    source = graph.input("source", INT64, ("batch", "time"))
    lengths = graph.input("source_lengths", INT64, ("batch",))
    memory, last = model.read(model.embed("encoder", num_symbols, source), lengths)
    for layer, state in enumerate(model.bridge(last)):
        for part, value in zip(model.parts, state, strict=True):
            graph.output(f"{part}_{layer}", value, ("batch", config.hidden_size))
    if config.context == "attention":
        graph.output("memory", memory, ("batch", "time", model.memory_size))
        if config.attention != "dot":
            graph.output("keys", model.keys(memory), ("batch", "time", config.hidden_size))
        return graph
    context = last[-1][0]
    if config.context == "mean":
        count = graph.add_dimension(graph.op("Cast", lengths, to=FLOAT), 1)
        context = graph.op("Div", graph.op("ReduceSum", memory, graph.ints(1), keepdims=0), count)
    graph.output("context", context, ("batch", model.memory_size))
    return graph


def build_decoder_step(config: ModelConfig, num_symbols: int, weights: Weights) -> Graph:
    """Return the graph of one step, (10), for all rows: one row a hypothesis.

    Inputs: `previous` (rows) int64, y_{t-1}, <s> in the first step; the states and the memory or context that the
    encoder returned; with attention also `source_lengths` (rows).

    Outputs: `log_probs` (rows, V), log p(y_t | y_1 … y_{t-1}, X); `next_h_l`, `next_c_l`; with attention
    `attention` (rows, time), (16).
    """
    graph = Graph(DECODER_STEP)
    model = _Model(graph, config, weights)
    size, memory_size = config.hidden_size, model.memory_size
    previous = graph.input("previous", INT64, ("rows",))
    layers = range(config.decoder_layers)
    states = [[graph.input(f"{part}_{layer}", FLOAT, ("rows", size)) for part in model.parts] for layer in layers]
    if config.context == "attention":
        context, alphas = model.attend(query=states[-1][0])
        graph.output("attention", alphas, ("rows", "time"))
    else:
        context = graph.input("context", FLOAT, ("rows", memory_size))
    embedded = model.embed("decoder", num_symbols, previous)
    x, input_size = graph.op("Concat", embedded, context, axis=1), config.embedding_size + memory_size
    for layer, state in enumerate(states):
        cell = weights.cell(f"decoder.layers.{layer}", config, input_size, size)
        following = step_layer(graph, config, x, state, cell)
        for part, value in zip(model.parts, following, strict=True):
            graph.output(f"next_{part}_{layer}", value, ("rows", size))
        x, input_size = following[0], size
    read = graph.op("Concat", x, context, embedded, axis=1)
    read = model.linear("decoder.readout", read, size + memory_size + config.embedding_size, size)
    logits = model.linear("decoder.output", graph.op("Tanh", read), size, num_symbols)
    graph.output("log_probs", graph.op("LogSoftmax", logits, axis=1), ("rows", num_symbols))
    return graph


@dataclass(frozen=True)
class _Model:
    """The parts of a model, each of which adds its operators to a graph and returns the values it computes."""

    graph: Graph
    config: ModelConfig
    weights: Weights

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the names of a layer's states."""
        return ("h", "c") if self.config.cell == "lstm" else ("h",)

    @property
    def memory_size(self) -> int:
        """Return M, the size of an encoder output."""
        return self.config.encoder_size or self.config.hidden_size

    def embed(self, side: str, num_symbols: int, ids: str) -> str:
        """Return E(y) of the symbols y in ids, (…) -> (…, E)."""
        name = f"{side}.embedding.weight"
        table = self.weights.take(name, num_symbols, self.config.embedding_size)
        return self.graph.op("Gather", self.graph.constant(name, table), ids)

    def linear(self, name: str, x: str, inputs: int, outputs: int) -> str:
        """Return W x + b."""
        weight = self.weights.take(f"{name}.weight", outputs, inputs)
        return self.graph.linear(x, name, weight, self.weights.take(f"{name}.bias", outputs))

    def read(self, x: str, lengths: str) -> tuple[str, list[list[str]]]:
        """Run the encoder's layers over x (B, T, E), (7) or (18)-(20).

        Returns:
            The memory (B, T, M), 0 past each length, and the last state of each layer, every part of it (B, M).
        """
        graph, config = self.graph, self.config
        valid = graph.valid(lengths, x)
        by_time = graph.op("Transpose", valid, perm=[1, 0])
        x, input_size = graph.op("Transpose", x, perm=[1, 0, 2]), config.embedding_size
        directions = 2 if config.bidirectional else 1
        last = []
        for layer in range(config.encoder_layers):
            names = [f"encoder.recurrent.layers.{layer}.{direction}" for direction in range(directions)]
            size = self.memory_size // directions
            cells = [self.weights.cell(name, config, input_size, size) for name in names]
            x, state = run_layer(graph, config, x, lengths, by_time, cells)
            last.append(state)
            input_size = self.memory_size
        memory = graph.op("Transpose", x, perm=[1, 0, 2])
        return graph.op("Where", graph.add_dimension(valid, 2), memory, graph.number(0)), last

    def bridge(self, last: list[list[str]]) -> list[list[str]]:
        """Return the first state of each decoder layer, (9): copied, or learned where the sizes differ."""
        config = self.config
        first = []
        for layer in range(config.decoder_layers):
            state = last[max(0, layer + config.encoder_layers - config.decoder_layers)]
            if self.memory_size != config.hidden_size:
                names = [f"bridge.{part}.{layer}" for part in ("hidden", "cell")[: len(state)]]
                state = [
                    self.linear(name, value, self.memory_size, config.hidden_size)
                    for name, value in zip(names, state, strict=True)
                ]
                state[0] = self.graph.op("Tanh", state[0])
            first.append(state)
        return first

    def keys(self, memory: str) -> str:
        """Return W_h h_j of additive attention, W h_j of general attention, (B, T, H)."""
        name = {"additive": "weight_keys", "general": "weight"}[self.config.attention]
        weight = self.weights.take(f"decoder.attention.{name}", self.config.hidden_size, self.memory_size)
        return self.graph.linear(memory, "decoder.attention.keys", weight)

    def attend(self, query: str) -> tuple[str, str]:
        """Return the context (N, M) and the attention weights (N, T), (15)-(17); the query is s_{t-1}, (N, H)."""
        graph, size = self.graph, self.config.hidden_size
        memory = graph.input("memory", FLOAT, ("rows", "time", self.memory_size))
        is_dot = self.config.attention == "dot"
        keys = memory if is_dot else graph.input("keys", FLOAT, ("rows", "time", size))
        lengths = graph.input("source_lengths", INT64, ("rows",))
        if self.config.attention == "additive":
            weight = self.weights.take("decoder.attention.weight_query", size, size)
            asked = graph.add_dimension(graph.linear(query, "decoder.attention.query", weight), 1)
            name = "decoder.attention.vector"
            # As a matrix of one column: with a vector ONNX Runtime takes many times as long
            vector = graph.constant(name, self.weights.take(name, size)[:, None])
            energy = graph.op("MatMul", graph.op("Tanh", graph.op("Add", keys, asked)), vector)  # (15)
        else:
            energy = graph.op("MatMul", keys, graph.add_dimension(query, 2))
        energy = graph.drop_dimension(energy, 2)
        energy = graph.op("Where", graph.valid(lengths, memory), energy, graph.number(-math.inf))
        alphas = graph.op("Softmax", energy, axis=1)  # (16)
        return graph.drop_dimension(graph.op("MatMul", graph.add_dimension(alphas, 1), memory), 1), alphas  # (17)
