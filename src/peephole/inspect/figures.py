"""Figures of traces for papers: attention, probabilities, gates and the peepholes' part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.errors import check_type
from peephole.inspect.attention import check_picture, symbol_fonts
from peephole.model.notebook import shown_symbol
from peephole.model.trace import Trace

GATES = {"i": "input gate", "f": "forget gate", "o": "output gate", "r": "reset gate", "z": "update gate"}


def draw_trace(trace: Trace, path: str | Path) -> None:
    """Draw a trace into a picture file: attention weights and log p of each symbol, and the decoder's gates.

    Gates are those of the decoder's highest layer, means over its units. Beside them is the peepholes' part of each
    gate's input, Σ|W c| / (Σ|W c| + Σ|all else|), sums over the units; a model without peepholes or with layer
    normalisation has none.

    Args:
        trace: of a prediction or of a given target, with at least one symbol.
        path: .png, .svg or .pdf.

    Raises:
        ArgumentError: an argument has another type, or the name another suffix.
    """
    check_type("trace", trace, Trace, "a Trace")
    check_picture(path)
    import matplotlib.pyplot as plt

    gates, shares = _gates(trace), peephole_shares(trace)
    lower = [(name, lines) for name, lines in (("gates", gates), ("the peepholes' part", shares)) if lines]
    names = [shown_symbol(token) for token in trace.tokens]
    with plt.rc_context({"font.family": symbol_fonts(), "svg.fonttype": "none", "text.parse_math": False}):
        figure, axes = plt.subplots(2, 2, figsize=(8, 6), squeeze=False)
        _draw_attention(axes[0, 0], trace, names)
        axes[0, 1].barh(range(len(names)), np.exp(trace.log_probs), color="tab:orange")
        axes[0, 1].set(xlim=(0, 1), title="p(symbol)", yticks=range(len(names)), yticklabels=names)
        axes[0, 1].invert_yaxis()
        for axis, (name, lines) in zip(axes[1], lower, strict=False):
            for label, values in lines.items():
                axis.plot(values, marker="o", markersize=3, label=label)
            axis.set(ylim=(0, 1), title=name, xticks=range(len(names)), xticklabels=names)
            axis.legend(fontsize="small")
        for axis in axes[1, len(lower) :]:
            axis.set_axis_off()
        figure.tight_layout()
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _draw_attention(axis: Any, trace: Trace, names: list[str]) -> None:
    weights = trace.arrays.get("attention")
    if weights is None:
        axis.set_axis_off()
        return
    axis.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    source = [shown_symbol(token) for token in trace.source_tokens]
    if len(source) == weights.shape[1]:
        axis.set_xticks(range(len(source)), source)
    axis.set(title="attention", yticks=range(len(names)), yticklabels=names)


def _gates(trace: Trace) -> dict[str, NDArray[np.floating]]:
    layer = _highest_layer(trace)
    return {name: trace[f"{layer}.{gate}"].mean(1) for gate, name in GATES.items() if f"{layer}.{gate}" in trace.arrays}


def peephole_shares(trace: Trace) -> dict[str, NDArray[np.floating]]:
    """Return the peepholes' part of each gate's input in the decoder's highest layer, (U,), by the gate's name."""
    layer = _highest_layer(trace)
    if trace.architecture.get("layer_norm"):
        return {}
    found = {}
    for gate, name in GATES.items():
        own = trace.arrays.get(f"{layer}.peephole_{gate}")
        if own is not None:
            through, rest = np.abs(own).sum(1), np.abs(trace[f"{layer}.pre_{gate}"] - own).sum(1)
            found[name] = through / (through + rest)
    return found


def _highest_layer(trace: Trace) -> str:
    count = sum(name.startswith("decoder.") and name.endswith(".h") for name in trace.arrays)
    return f"decoder.{count - 1}"
