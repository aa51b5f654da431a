"""The kinds of each part of a network that the engine has, for prediction and for training."""

from __future__ import annotations

from collections.abc import Collection, Mapping

PREDICTION_KINDS: Mapping[str, Collection[str]] = {
    "cell": ("lstm", "gru"),
    "peephole": ("full", "diagonal", "none"),
    "attention": ("fixed", "additive", "dot", "general", "location", "coverage", "multihead", "none"),
    "context": ("attention", "last", "mean", "none"),
    "input": ("symbols", "frames", "convolution", "none"),
    "output": ("symbols", "copy", "gaussian", "quantile"),
    "stack": ("plain", "residual"),
    "zoneout": ("none", "states"),
    "normalization": ("none", "layer"),
    "input_feeding": ("none", "readout"),
    "query": ("state", "symbol"),
    "ctc": ("linear",),
}
"""As in engine/src/file/architecture.cpp, which refuses files of any other kind."""

TRAINING_KINDS: Mapping[str, Collection[str]] = {
    "cell": ("lstm", "gru"),
    "peephole": ("full", "diagonal", "none"),
    "attention": ("fixed", "additive", "dot", "general", "location", "coverage", "multihead"),
    "output": ("symbols", "copy"),
    "stack": ("plain", "residual"),
    "zoneout": ("none",),
    "normalization": ("none",),
    "input_feeding": ("none",),
    "query": ("state", "symbol"),
}
"""The engine's operators decline requests for all other kinds, and for parts that are not listed."""


TRAINER_KINDS: Mapping[str, Collection[str]] = {
    **TRAINING_KINDS,
    "attention": (*TRAINING_KINDS["attention"], "none"),
    "context": ("attention", "last", "mean", "none"),
    "input": ("symbols", "frames", "convolution", "none"),
    "output": ("symbols", "copy", "gaussian", "quantile"),
    "zoneout": ("none", "states"),
    "normalization": ("none", "layer"),
    "input_feeding": ("none", "readout"),
    "ctc": ("linear",),
}
"""The networks that `peephole.engine.trainer` trains: now all with which the engine predicts."""


def missing_kind(kinds: Mapping[str, str], known: Mapping[str, Collection[str]]) -> str | None:
    """Return which part has a kind that is not known, or is itself not known; None if all are.

    >>> missing_kind({"cell": "lstm", "attention": "scaled_dot"}, PREDICTION_KINDS)
    "has no attention of kind 'scaled_dot'"
    """
    for part, kind in kinds.items():
        if kind not in known.get(part, ()):
            return f"has no {part} of kind {kind!r}"
    return None
