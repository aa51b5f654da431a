"""A trace: everything of one prediction, or of one given target, as arrays with names and shapes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.model.notebook import prediction_table
from peephole.search.recorded import BeamTree, Fate

FORMAT = "peephole-trace"
VERSION = 1
"""Raised when a reader of the old version could misread the new one; docs/traces.md describes the layout."""


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Everything of one prediction, or of one given target; arrays have the names and shapes of docs/traces.md.

    U is the number of target symbols, `</s>` included if the target has it, and S the number of the encoder's outputs.
    """

    architecture: Mapping[str, Any]
    """The network, as model files describe it."""
    source_tokens: list[str]
    """The source's symbols that were read, as written; none for frames."""
    tokens: list[str]
    """The target's symbols, U of them."""
    text: str
    """The target as a text."""
    symbols: tuple[int, ...]
    """The ids of `tokens`."""
    is_given: bool
    """Whether the target was given, and not found by a search."""
    finished: bool
    """Whether the target ends with `</s>`."""
    log_prob: float
    """log p(Y | X), (11), of the target."""
    log_probs: NDArray[np.float64]
    """(U,) log p(y_t | y_1 … y_{t-1}, X) of each symbol."""
    ranks: NDArray[np.int64]
    """(U,) 1 for the most probable symbol of its step, 2 for the next, …"""
    top_symbols: NDArray[np.int32]
    """(U, k) ids of the most probable symbols of each step, most probable first."""
    top_log_probs: NDArray[np.float64]
    """(U, k) their log p."""
    arrays: Mapping[str, NDArray[np.floating]]
    """Gates, states, peepholes, attention, copying and CTC, by name."""
    beam: BeamTree | None
    """Every hypothesis that the search considered; None for a given target."""
    token_names: Mapping[int, str]
    """The text of each id in `top_symbols` and in the beam."""
    unknown: tuple[str, ...] = ()
    """The source's symbols that were not seen in training."""
    truncated: bool = False
    """Whether the source was longer than `data.max_length`, and only its beginning was read."""

    def __repr__(self) -> str:
        nodes = "given target" if self.beam is None else f"{len(self.beam)} hypotheses"
        return f"<Trace of {self.text!r}: log_prob={self.log_prob:.4f}, {len(self.arrays)} arrays, {nodes}>"

    def _repr_html_(self) -> str:
        """Return probabilities and attention as a table, for Jupyter."""
        attention = self.arrays.get("attention")
        probs = self.log_probs.tolist()
        return prediction_table(self.text, self.log_prob, self.tokens, probs, self.source_tokens, attention)

    def __getitem__(self, name: str) -> NDArray[np.floating]:
        return self.arrays[name]

    def alternatives(self, step: int) -> list[tuple[str, float]]:
        """Return the most probable symbols of a step, from 0, with their log p."""
        pairs = zip(self.top_symbols[step].tolist(), self.top_log_probs[step].tolist(), strict=True)
        return [(self.token_names[symbol], log_prob) for symbol, log_prob in pairs]

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as JSON values, in the layout of docs/traces.md."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "architecture": dict(self.architecture),
            "source": {"tokens": self.source_tokens, "unknown": list(self.unknown), "truncated": self.truncated},
            "target": {
                "text": self.text,
                "tokens": self.tokens,
                "symbols": list(self.symbols),
                "is_given": self.is_given,
                "finished": self.finished,
                "log_prob": self.log_prob,
                "log_probs": rounded(self.log_probs),
                "ranks": self.ranks.tolist(),
                "top_symbols": self.top_symbols.tolist(),
                "top_log_probs": [rounded(row) for row in self.top_log_probs],
            },
            "names": {str(symbol): name for symbol, name in sorted(self.token_names.items())},
            "arrays": {name: encode_array(array) for name, array in self.arrays.items()},
            "beam": None if self.beam is None else _beam_dict(self.beam),
        }


def rounded(numbers: Sequence[float] | NDArray[np.floating]) -> list[float | None]:
    """Return numbers rounded to 5 significant digits; None for one that is not finite.

    >>> rounded([-0.000123456, -12.34567, float("-inf")])
    [-0.00012346, -12.346, None]
    """
    return [float(f"{number:.5g}") if np.isfinite(number) else None for number in map(float, numbers)]


def encode_array(array: NDArray[np.floating]) -> dict[str, Any]:
    """Return an array as its shape and the base64 text of its numbers: float16, little-endian, rows one by one.

    All arrays of a trace are gates, states, weights or what σ and tanh read. float16 holds them to 3 significant
    digits; larger numbers than it has become the largest.

    >>> encode_array(np.array([[0.5, -1.0]]))
    {'shape': [1, 2], 'float16': 'ADgAvA=='}
    """
    largest = float(np.finfo(np.float16).max)
    halves = np.clip(array, -largest, largest).astype("<f2")
    return {"shape": list(array.shape), "float16": base64.b64encode(halves.tobytes()).decode()}


def decode_array(encoded: Mapping[str, Any]) -> NDArray[np.float16]:
    """Return an array that `encode_array` encoded."""
    return np.frombuffer(base64.b64decode(encoded["float16"]), "<f2").reshape(encoded["shape"])


def _beam_dict(beam: BeamTree) -> dict[str, Any]:
    """Return the tree as one list for each attribute, fates by name."""
    return {
        "parent": beam.parent.tolist(),
        "step": beam.step.tolist(),
        "symbol": beam.symbol.tolist(),
        "log_prob": rounded(beam.log_prob),
        "score": rounded(beam.score),
        "group": beam.group.tolist(),
        "fate": [Fate(fate).name.lower() for fate in beam.fate.tolist()],
    }
