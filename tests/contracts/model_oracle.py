"""Computes log p(Y | X) of the whole model, (11), in NumPy: one pair and one symbol at a time.

For g of (10), which docs/equations.md leaves open, it uses the network stated in the decoder's docstring. Like
`oracle`, it accepts complex weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import oracle
from .oracle import Array
from .trigram_oracle import with_trigrams

BOS, UNK = 1, 3  # BOS is y_0


@dataclass(frozen=True)
class ModelOracle:
    """Holds the weights, named as in the module's state_dict, and the architecture of a model.

    A source of a model with output "copy" is two sequences: the symbols read, and the id that a copy of each has.
    `masks` maps each dropout site to the factors (steps, size) by which its vectors are multiplied, for one pair, and
    each site of zoneout to the units of h or c that keep their values, (steps, size).
    """

    weights: Mapping[str, Array]
    cell: str  # lstm, gru
    context: str  # attention, last, mean
    attention: str  # additive, dot, general, location, coverage, multihead
    encoder_layers: int
    decoder_layers: int
    bidirectional: bool
    attention_heads: int
    input: str = "symbols"  # symbols, frames, convolution
    output: str = "symbols"  # symbols, copy, gaussian, quantile
    frame_stack: int = 1
    input_planes: int = 1
    encoder_pyramid: int = 0
    residual: bool = False
    input_feeding: bool = False
    zoneout: tuple[float, float] = (0.0, 0.0)
    masks: Mapping[str, Array] = field(default_factory=dict)

    def log_prob(self, source: Sequence[int], target: Sequence[int]) -> Array:
        """Return log p(Y | X), (11), of one pair; the target ends with </s>."""
        rows, _ = self.decode(source, [BOS, *target[:-1]])
        return sum(row[symbol] for row, symbol in zip(rows, target, strict=True))

    def decode(self, source: Sequence[int], fed: Sequence[int]) -> tuple[Array, list[Array]]:
        """Feed y_0 … y_{U-1}: return log p(y_t | y_1 … y_{t-1}, c), (U, V), and the weights α_t (T,).

        With copying, log p of a step is a dictionary with the symbols of the vocabulary and of the source.
        """
        copied: Sequence[int] = ()
        if self.output == "copy":
            source, copied = source
        embeddings = self.weights["decoder.embedding.weight"]
        embedded = embeddings[[y if y < len(embeddings) else UNK for y in fed]]
        logits, gates, alphas = self.unroll(source, embedded)
        if self.output == "copy":
            steps = zip(logits, gates, alphas, strict=True)
            return np.array(
                [oracle.copying(row, gate, alpha, copied) for row, gate, alpha in steps]
            ), alphas  # (26), (27)
        return np.array([oracle.log_softmax(row) for row in logits]), alphas  # (10)

    def unroll(self, source: Sequence[int] | Array, embedded: Array) -> tuple[list[Array], list[Array], list[Array]]:
        """Feed embeddings (U, E): return W_p r_t + b_p, the gate's logit and the weights α_t (T,) of each step."""
        embedded = self.drop("target embedding", embedded)
        outputs, last = self.encode(source)
        states = self.bridge(last)
        rows, gates, alphas = [], [], []
        fed = np.zeros(len(self.weights["decoder.readout.bias"]))  # r_0
        carried = oracle.first_attention_state(self.attention, len(outputs))
        for t, y in enumerate(embedded):
            if self.context == "attention":
                s = states[-1][0]  # of the top layer, s_{i-1}
                context, alpha, carried = self.attend(s, y, outputs, carried)
                alphas.append(alpha)
            else:
                context = oracle.fixed_context(self.context, outputs, last[-1][0])  # (8)
            x = np.concatenate([y, context, fed] if self.input_feeding else [y, context])  # (62)
            for layer, state in enumerate(states):
                below = x
                if layer:
                    x = self.drop(f"between decoder layers {layer}", x, t)
                weights = self.cell_weights(f"decoder.layers.{layer}")
                states[layer] = oracle.recurrent_step(x, state, weights, self.shares(f"decoder {layer}", t))
                x = states[layer][0] + below if self.residual and layer > 0 else states[layer][0]  # (41)
            inputs = np.concatenate([x, context, y])
            fed = self.drop("readout", np.tanh(self.linear("decoder.readout", inputs)), t)
            rows.append(self.linear("decoder.output", fed))
            if self.output == "copy":
                gates.append(
                    self.weights["decoder.output.gate_weight"] @ inputs + self.weights["decoder.output.gate_bias"][0]
                )
        return rows, gates, alphas

    def encode(self, source: Sequence[int]) -> tuple[Array, list[tuple[Array, ...]]]:
        """Return h_1 … h_T (T, M), and the final (h, c) or (h,) of each layer, both directions concatenated."""
        out = self.drop("source embedding", self.read(source))
        last = []
        for layer in range(self.encoder_layers):
            below = out
            if layer:
                out = self.drop(f"between layers {layer}", out)
            if 0 < layer <= self.encoder_pyramid:
                out = oracle.joined(out, 2)
            name = f"encoder.recurrent.layers.{layer}"
            weights = [self.cell_weights(f"{name}.{d}") for d in range(2 if self.bidirectional else 1)]
            H = weights[0].weight_hidden.shape[1]
            zeros = (np.zeros((1, len(weights), H)),) * (2 if self.cell == "lstm" else 1)
            shares = [self.shares(f"{layer} {d}") for d in range(len(weights))]
            outs, final = oracle.stack(out[None], [len(out)], zeros, [weights], shares=shares)
            out = outs[0] + below if self.residual and layer > self.encoder_pyramid else outs[0]  # (41)
            last.append(tuple(part[0].reshape(-1) for part in final))
        return out, last

    def read(self, source: Sequence[int] | Array) -> Array:
        """Return the vectors x_1 … x_T of a source: symbols, or frames (steps, F)."""
        if self.input == "symbols":
            embeddings = self.weights["frontend.embedding.weight"]
            if "frontend.ngrams.weight" in self.weights:
                return with_trigrams(embeddings, self.weights["frontend.ngrams.weight"], source)
            return embeddings[list(source)]
        frames = oracle.normalized(source, self.weights["frontend.mean"], self.weights["frontend.scale"])
        if self.input == "frames":
            columns = oracle.joined(frames, self.frame_stack)
        else:
            z, layer = frames.reshape(len(frames), self.input_planes, -1).transpose(1, 0, 2), 0
            while f"frontend.layers.{layer}.weight" in self.weights:
                name = f"frontend.layers.{layer}"
                z = oracle.convolution(z, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
                layer += 1
            columns = [z[:, t].reshape(-1) for t in range(z.shape[1])]
        return np.array([self.linear("frontend.projection", column) for column in columns])

    def bridge(self, last: list[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Return the decoder's initial states, (9): its layers are paired with those of the encoder from the top."""
        first = []
        for layer in range(self.decoder_layers):
            from_top = self.decoder_layers - layer
            state = last[-from_top] if from_top <= len(last) else last[0]
            if "bridge.hidden.0.weight" in self.weights:
                h = np.tanh(self.linear(f"bridge.hidden.{layer}", state[0]))
                state = (h, *(self.linear(f"bridge.cell.{layer}", c) for c in state[1:]))
            first.append(state)
        return first

    def shares(self, site: str, t: int | None = None) -> list[Any]:
        """Return the shares of h and c that zoneout keeps: rates, or masks of all steps, or of step t."""
        masks = [self.masks.get(f"zoneout {site} {part}") for part in ("h", "c")]
        rows = [None if mask is None else mask[None] if t is None else mask[t] for mask in masks]
        return [rate if row is None else row for row, rate in zip(rows, self.zoneout, strict=True)]

    def drop(self, site: str, x: Array, t: int | None = None) -> Array:
        """Apply the dropout of a site to vectors (steps, size), or to the vector of step t."""
        if site not in self.masks:
            return x
        mask = self.masks[site]
        return x * (mask[: len(x)] if t is None else mask[t])

    def linear(self, name: str, x: Array) -> Array:
        """Return W x + b."""
        return self.weights[f"{name}.weight"] @ x + self.weights[f"{name}.bias"]

    def cell_weights(self, name: str) -> Any:
        """Return the weights of one layer and direction."""
        kind = oracle.LSTMWeights if self.cell == "lstm" else oracle.GRUWeights
        return kind(*(self.weights.get(f"{name}.{field}") for field in kind._fields))

    def ask(self, state: Array, y: Array) -> tuple[Array, Array]:
        """Return the query and the matrix that multiplies it: s and W_s, or [s ; E(y)] and [W_s  W_y] of (67)."""
        W_s, W_y = (self.weights.get(f"decoder.attention.{name}") for name in ("weight_query", "weight_symbol"))
        return (state, W_s) if W_y is None else (np.concatenate([state, y]), np.concatenate([W_s, W_y], 1))

    def attend(
        self, state: Array, y: Array, outputs: Array, carried: Array | None
    ) -> tuple[Array, Array, Array | None]:
        """Return context, weights and the next state of attention, for s_{t-1} and E(y_{t-1})."""
        names = ("weight_query", "weight_keys", "vector")
        names = {
            "additive": names,
            "general": ("weight",),
            "dot": (),
            "location": (*names, "bias", "filters", "weight_location"),
            "coverage": (*names, "bias", "weight_coverage"),
            "multihead": (*names, "weight_values", "weight_output"),
        }[self.attention]
        query, W_s = self.ask(state, y)
        parameters = [W_s if name == "weight_query" else self.weights[f"decoder.attention.{name}"] for name in names]
        return oracle.attend(self.attention, query, outputs, carried, *parameters, num_heads=self.attention_heads)

    def coverage_loss(self, source: Sequence[int], target: Sequence[int]) -> Array:
        """Return (23) of one pair; the target ends with </s>."""
        return oracle.coverage_loss(self.decode(source, [BOS, *target[:-1]])[1])
