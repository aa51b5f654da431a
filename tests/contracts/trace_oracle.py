"""Computes a trace in NumPy float64, from the equations: every array of one target, and the tree of a beam search.

One source, one hypothesis and one step at a time: each hypothesis of the beam is decoded again from its beginning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from . import ctc_oracle, oracle
from .model_oracle import BOS, UNK, ModelOracle
from .oracle import Array

PAD, EOS = 0, 2
Bend = tuple[int, Sequence[float]] | None


def lstm_parts(x: Array, h: Array, c: Array, weights: oracle.LSTMWeights) -> dict[str, Array]:
    """Return gates, pre-activations and the peepholes' shares of one step, (1)-(5), and c_t before zoneout."""
    H = len(h)
    W_xi, W_xf, W_xc, W_xo = weights.weight_input.reshape(4, H, -1)
    W_hi, W_hf, W_hc, W_ho = weights.weight_hidden.reshape(4, H, H)
    b_i, b_f, b_c, b_o = weights.bias.reshape(4, H)
    W_ci, W_cf, W_co = oracle.peephole_matrices(weights.weight_peephole, H)

    def pre(gate: int, total: Array, bias: Array) -> Array:
        if weights.gain is None:
            return total + bias
        return oracle.normalized_units(total, weights.gain.reshape(4, H)[gate], bias)  # (44)

    parts = {"peephole_i": W_ci @ c, "peephole_f": W_cf @ c}
    parts["pre_i"] = pre(0, W_xi @ x + W_hi @ h + parts["peephole_i"], b_i)
    parts["pre_f"] = pre(1, W_xf @ x + W_hf @ h + parts["peephole_f"], b_f)
    parts["pre_g"] = pre(2, W_xc @ x + W_hc @ h, b_c)
    parts["f"], parts["i"] = oracle.sigmoid(parts["pre_f"]), oracle.sigmoid(parts["pre_i"])  # (1), (2)
    parts["g"] = np.tanh(parts["pre_g"])  # (3)
    c_t = parts["f"] * c + parts["i"] * parts["g"]  # (4)
    parts["peephole_o"] = W_co @ c_t
    parts["pre_o"] = pre(3, W_xo @ x + W_ho @ h + parts["peephole_o"], b_o)
    parts["o"] = oracle.sigmoid(parts["pre_o"])  # (5)
    if weights.weight_peephole is None:
        parts = {name: part for name, part in parts.items() if not name.startswith("peephole")}
    return parts


def gru_parts(x: Array, h: Array, weights: oracle.GRUWeights) -> dict[str, Array]:
    """Return gates and pre-activations of one step of a GRU."""
    H = len(h)
    W_xr, W_xz, W_xn = weights.weight_input.reshape(3, H, -1)
    W_hr, W_hz, W_hn = weights.weight_hidden.reshape(3, H, H)
    b_xr, b_xz, b_xn = weights.bias_input.reshape(3, H)
    b_hr, b_hz, b_hn = weights.bias_hidden.reshape(3, H)

    def pre(gate: int, total: Array, bias: Array) -> Array:
        if weights.gain is None:
            return total + bias
        return oracle.normalized_units(total, weights.gain.reshape(3, H)[gate], bias)  # (44)

    pre_r, pre_z = pre(0, W_xr @ x + W_hr @ h, b_xr + b_hr), pre(1, W_xz @ x + W_hz @ h, b_xz + b_hz)
    r = oracle.sigmoid(pre_r)
    pre_n = pre(2, W_xn @ x + r * (W_hn @ h + b_hn), b_xn)  # (46)
    return {"pre_r": pre_r, "pre_z": pre_z, "pre_n": pre_n, "r": r, "z": oracle.sigmoid(pre_z), "n": np.tanh(pre_n)}


class Encoded(NamedTuple):
    """A source that was read: the arrays recorded, h_j, the last states, and what can be copied."""

    arrays: dict[str, Array]
    outputs: Array
    last: list[tuple[Array, ...]]
    copied: Sequence[int]


@dataclass(frozen=True)
class TraceOracle:
    """Traces of a model."""

    model: ModelOracle

    def run(
        self, source: Any, fed: Sequence[int], bend: Bend = None
    ) -> tuple[dict[str, Array], list[dict[int, Array]]]:
        """Feed y_0 … y_{U-1}; return every array by its name, and log p of each symbol at each step."""
        return self.decode(self.encode(source), fed, bend)

    def encode(self, source: Any) -> Encoded:
        """Read a source."""
        kept: dict[str, list[Array]] = defaultdict(list)
        copied: Sequence[int] = ()
        if self.model.output == "copy":
            source, copied = source
        outputs, last = self._encode(source, kept)
        kept["encoder.outputs"] = list(outputs)
        if "ctc.weight" in self.model.weights:
            kept["ctc"] = [oracle.softmax(self.model.linear("ctc", h_j)) for h_j in outputs]  # (31)
        return Encoded({name: np.array(rows) for name, rows in kept.items()}, outputs, last, copied)

    def decode(
        self, encoded: Encoded, fed: Sequence[int], bend: Bend = None
    ) -> tuple[dict[str, Array], list[dict[int, Array]]]:
        """Feed y_0 … y_{U-1} after the source was read; see `run`."""
        kept: dict[str, list[Array]] = defaultdict(list)
        states = self.model.bridge(encoded.last)
        arrays = dict(encoded.arrays)
        for layer, state in enumerate(states):
            arrays |= {f"bridge.{layer}.{part}": numbers for part, numbers in zip("hc", state, strict=False)}
        log_probs = self._decode(fed, encoded.outputs, encoded.last, states, encoded.copied, bend, kept)
        return arrays | {name: np.array(rows) for name, rows in kept.items()}, log_probs

    def _cell(self, name: str, where: str, x: Array, state: tuple[Array, ...], kept: Any) -> tuple[Array, ...]:
        """Do one step of a cell, record it, and return the state after it."""
        weights = self.model.cell_weights(name)
        after = oracle.recurrent_step(x, state, weights, self.model.zoneout)
        parts = lstm_parts(x, *state, weights) if self.model.cell == "lstm" else gru_parts(x, *state, weights)
        for part, numbers in (parts | dict(zip("hc", after, strict=False))).items():
            kept[f"{where}.{part}"].append(numbers)
        return after

    def _encode(self, source: Any, kept: Any) -> tuple[Array, list[tuple[Array, ...]]]:
        x, last = np.array(self.model.read(source)), []
        for layer in range(self.model.encoder_layers):
            below = x
            if 0 < layer <= self.model.encoder_pyramid:
                x = oracle.joined(x, 2)
            ends, sides = [], []
            for d in range(2 if self.model.bidirectional else 1):
                name = f"encoder.recurrent.layers.{layer}.{d}"
                H = self.model.weights[f"{name}.weight_hidden"].shape[1]
                state = (np.zeros(H),) * (2 if self.model.cell == "lstm" else 1)
                own: dict[str, list[Array]] = defaultdict(list)
                for t in range(len(x)) if d == 0 else reversed(range(len(x))):  # (18), (19)
                    state = self._cell(name, f"encoder.{layer}.{d}", x[t], state, own)
                for part, rows in own.items():
                    kept[part] = rows if d == 0 else rows[::-1]  # by position
                ends.append(state)
                sides.append(np.array(kept[f"encoder.{layer}.{d}.h"]))
            x = np.concatenate(sides, 1)  # (20)
            if self.model.residual and layer > self.model.encoder_pyramid:
                x = x + below  # (41)
            last.append(tuple(np.concatenate(parts) for parts in zip(*ends, strict=True)))
        return x, last

    def _decode(
        self, fed: Any, outputs: Array, last: Any, states: list[Any], copied: Sequence[int], bend: Bend, kept: Any
    ) -> list[dict[int, Array]]:
        model, weights = self.model, self.model.weights
        embeddings = weights["decoder.embedding.weight"]
        carried = oracle.first_attention_state(model.attention, len(outputs)) if model.context == "attention" else None
        found = []
        read = np.zeros(len(states[-1][0]))  # r_0
        for t, symbol in enumerate(fed):
            y = embeddings[symbol if symbol < len(embeddings) else UNK]
            alpha = None
            if model.context == "attention":
                heads = self._heads(states[-1][0], y, outputs)
                context, alpha, next_carried = model.attend(states[-1][0], y, outputs, carried)
                if bend is not None and bend[0] == t:
                    alpha = np.array(bend[1]) / sum(bend[1])
                    context, heads = self._bent_context(alpha, outputs), [alpha] * len(heads)
                    next_carried = {"location": alpha, "coverage": None if carried is None else carried + alpha}.get(
                        model.attention
                    )
                carried = next_carried
                kept["attention"].append(alpha)
                if model.attention == "multihead":
                    kept["attention.heads"].append(np.array(heads))
            else:
                context = oracle.fixed_context(model.context, outputs, last[-1][0])  # (8)
            x = np.concatenate([y, context, read] if model.input_feeding else [y, context])  # (62)
            for layer, state in enumerate(states):
                below = x
                states[layer] = self._cell(f"decoder.layers.{layer}", f"decoder.{layer}", x, state, kept)
                x = states[layer][0] + below if model.residual and layer > 0 else states[layer][0]  # (41)
            inputs = np.concatenate([x, context, y])
            read = np.tanh(model.linear("decoder.readout", inputs))
            kept["context"].append(context)
            kept["readout"].append(read)
            logits = model.linear("decoder.output", read)
            if model.output == "copy":
                gate = weights["decoder.output.gate_weight"] @ inputs + weights["decoder.output.gate_bias"][0]
                kept["copy.gate"].append(oracle.sigmoid(gate))  # (26)
                kept["copy.weights"].append((1 - oracle.sigmoid(gate)) * alpha)  # (27)
                found.append(oracle.copying(logits, gate, alpha, copied))
            else:
                found.append(dict(enumerate(oracle.log_softmax(logits))))  # (10)
        return found

    def _heads(self, state: Array, y: Array, outputs: Array) -> list[Array]:
        """Return α^k of each head, (24)."""
        if self.model.attention != "multihead":
            return []
        query, W_s = self.model.ask(state, y)
        W_h, v = (self.model.weights[f"decoder.attention.{name}"] for name in ("weight_keys", "vector"))
        K = self.model.attention_heads
        blocks = [slice(k * len(v) // K, (k + 1) * len(v) // K) for k in range(K)]
        return [oracle.softmax(oracle.additive_scores(query, outputs, W_s[b], W_h[b], v[b])) for b in blocks]

    def _bent_context(self, alpha: Array, outputs: Array) -> Array:
        """Return the context of given weights, which every head has, (17), (25)."""
        if self.model.attention == "multihead":
            names = ("weight_output", "weight_values")
            W_o, W_v = (self.model.weights[f"decoder.attention.{name}"] for name in names)
            return W_o @ oracle.weighted_sum(alpha, [W_v @ h_j for h_j in outputs])
        return oracle.weighted_sum(alpha, outputs)


@dataclass(frozen=True)
class SearchOracle:
    """A beam search of one source, written from its description: all extensions are listed, sorted and judged."""

    next_log_probs: Callable[[tuple[int, ...]], dict[int, float]]  # log p of each symbol after a prefix
    next_scores: Callable[[tuple[int, ...]], dict[int, float]]  # s of each symbol, by which the search chooses
    max_length: int
    beam_size: int
    nbest: int = 1
    length_penalty: float = 0.0
    length_reward: float = 0.0
    min_length: int = 0
    no_repeat_ngram: int = 0
    prefix: Sequence[int] = ()
    groups: int = 1
    diversity: float = 0.0
    top: int = 5

    def tree(self) -> dict[tuple[int, tuple[int, ...]], tuple[float, float, str]]:
        """Return log p of the last symbol, score and fate of each hypothesis considered, by group and symbols."""
        width, each = self.beam_size // self.groups, -(-self.nbest // self.groups)
        nodes: dict[tuple[int, tuple[int, ...]], tuple[float, float, str]] = {}
        live = [[((), 0.0)] for _ in range(self.groups)]
        finished: list[list[tuple[float, tuple[int, ...]]]] = [[] for _ in range(self.groups)]
        for length in range(1, self.max_length + 1):
            chosen: list[int] = []
            for g in range(self.groups):
                kept = self._choose(live[g], width, chosen)
                self._note(nodes, g, live[g], kept)
                for path, score in kept:
                    if path[-1] == EOS:
                        final = score / length**self.length_penalty + self.length_reward * length
                        finished[g] = sorted([*finished[g], (final, path)], key=lambda f: -f[0])[:each]
                live[g] = [(path, score) for path, score in kept if path[-1] != EOS]
                chosen += [path[-1] for path, _ in kept]
            if all(self._is_done(live[g], finished[g], each) for g in range(self.groups)):
                break
        return self._judge(nodes, live, finished, length)

    def _is_done(self, live: Any, finished: Any, each: int) -> bool:
        bounds = [s / self.max_length**self.length_penalty + self.length_reward * self.max_length for _, s in live]
        return not live or (len(finished) == each and max(bounds) <= finished[-1][0])

    def _fate(self, path: tuple[int, ...], symbol: int) -> str | None:
        """Return why a symbol must not follow; None if it may."""
        if len(path) < len(self.prefix):
            return None if symbol == self.prefix[len(path)] else "OTHER_PREFIX"
        if symbol in (PAD, BOS, UNK):
            return "UNPREDICTABLE"
        n, whole = self.no_repeat_ngram, (*path, symbol)
        if n and whole[-n:] in [path[i : i + n] for i in range(len(path) - n + 1)]:
            return "REPEATED_NGRAM"
        return "TOO_SHORT" if symbol == EOS and len(path) < self.min_length else None

    def _choose(self, live: Any, width: int, chosen: list[int]) -> list[tuple[tuple[int, ...], float]]:
        width = 1 if live and len(live[0][0]) < len(self.prefix) else width
        found = []
        for path, score in live:
            for symbol, added in self.next_scores(path).items():
                if self._fate(path, symbol) is None:
                    found.append(
                        (-(score + added - self.diversity * chosen.count(symbol)), (*path, symbol), score + added)
                    )
        return [(path, score) for _, path, score in sorted(found, key=lambda one: one[0])[:width]]

    def _note(self, nodes: Any, group: int, live: Any, kept: Any) -> None:
        """Store the extensions of a step: those kept, and of each hypothesis those with the highest scores."""
        for path, score in kept:
            log_prob = self.next_log_probs(path[:-1])[path[-1]]
            nodes[group, path] = (log_prob, score, "kept")
        for path, score in live:
            if (group, path) in nodes:
                nodes[group, path] = (*nodes[group, path][:2], "EXPANDED")
            scores = self.next_scores(path)
            for symbol in sorted(scores, key=lambda y: -scores[y])[: self.top]:
                if (group, (*path, symbol)) not in nodes:
                    log_prob = self.next_log_probs(path)[symbol]
                    fate = self._fate(path, symbol) or "OUTSIDE_BEAM"
                    nodes[group, (*path, symbol)] = (log_prob, score + scores[symbol], fate)

    def _judge(self, nodes: Any, live: Any, finished: Any, length: int) -> Any:
        """Replace the fates of what was in the beam at the end."""
        is_cut = length == self.max_length
        if is_cut:
            for g, some in enumerate(live):
                if not finished[g]:
                    cut = [(s / length**self.length_penalty + self.length_reward * length, path) for path, s in some]
                    finished[g] = sorted(cut, key=lambda f: -f[0])[: -(-self.nbest // self.groups)]
        ranked = sorted(((f, g, path) for g, some in enumerate(finished) for f, path in some), key=lambda r: -r[0])
        ends = any(path[-1] == EOS for _, _, path in ranked)
        returned: dict[tuple[int, ...], int] = {}
        for _, g, path in ranked:
            if (path[-1] == EOS) == ends:
                returned.setdefault(path, g)
        returned = dict(list(returned.items())[: self.nbest])
        for (g, path), (log_prob, score, fate) in nodes.items():
            if fate != "kept":
                continue
            if path[-1] == EOS:
                fate = "BEATEN" if path not in returned else "RETURNED" if returned[path] == g else "DUPLICATE"
            elif is_cut:
                fate = "UNFINISHED" if path in returned else "LENGTH_LIMIT"
            else:
                fate = "HOPELESS"
            nodes[g, path] = (log_prob, score, fate)
        return nodes


def searched_by(
    model: TraceOracle, source: Any, bend: Bend = None, ctc_weight: float = 0.0, **settings: Any
) -> SearchOracle:
    """Return the search of a source by a model, with a share of CTC in the scores, (36)."""

    encoded = model.encode(source)

    @cache
    def log_probs(path: tuple[int, ...]) -> dict[int, float]:
        return {y: float(p) for y, p in model.decode(encoded, [BOS, *path], bend)[1][-1].items()}

    if not ctc_weight:
        return SearchOracle(log_probs, log_probs, **settings)
    listed = ctc_oracle.paths(encoded.arrays["ctc"])

    @cache
    def scores(path: tuple[int, ...]) -> dict[int, float]:
        before = ctc_oracle.prefix_prob(listed, path)
        found = {}
        for y, log_p in log_probs(path).items():
            whole = listed.get(path, 0) if y == EOS else ctc_oracle.prefix_prob(listed, (*path, y))
            ratio = whole / before if y != PAD and before else 0
            ctc = max(np.log(ratio), -1e6) if ratio else -1e6  # (35)
            found[y] = (1 - ctc_weight) * log_p + ctc_weight * (min(ctc, 0) if before else 0)
        return found

    return SearchOracle(log_probs, scores, **settings)
