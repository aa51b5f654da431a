"""What a page shows of one prediction, as JSON values: its trace, a rival, saliency, the source's frames."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from peephole.errors import shorten
from peephole.model import Model, Notices
from peephole.model.frame_sources import read_frame_source
from peephole.model.saliency import saliency
from peephole.model.trace import Trace, encode_array
from peephole.search.recorded import Fate
from peephole.symbols import EOS, FrameSymbols


class Limits(NamedTuple):
    """What a view holds at most.

    Attributes:
        numbers: of gates and states, 2.7 bytes each; if there are more, their means over the units are stored.
        saliency: target symbols × source symbols of which gradient × input is computed: each target symbol is a
            backward pass.
    """

    numbers: int
    saliency: int


PAGE_LIMITS = Limits(1_500_000, 40_000)
WIDEST, HIGHEST = 1500, 128
"""Most points of the picture of a source of frames."""
SHOWN_PARTS = {*"chifogrzn", *(f"{kind}_{gate}" for kind in ("pre", "peephole") for gate in "ifo")}


def make_view(
    model: Model,
    source: Any,
    *,
    reference: str | None,
    why_not: str | None,
    top: int,
    notices: Notices,
    search: Mapping[str, Any],
    limits: Limits = PAGE_LIMITS,
) -> dict[str, Any]:
    """Return an entry of `views` in a page's data, not larger than `limits`; arguments as in `make_page`."""
    trace = model.trace(source, top=top, notices=notices, **search)
    view: dict[str, Any] = {
        "source": _shown_source(source),
        "reference": reference,
        "beam_size": model.config.with_values(
            {f"search.{name}": value for name, value in search.items()}
        ).search.beam_size,
        "trace": trace_for_page(trace, limits.numbers),
        "rival": None,
        "frames": _frames(model, source),
    }
    rival = _find_rival(trace, reference, why_not)
    given = {name: value for name, value in search.items() if name in ("engine", "threads")}
    other = None
    if rival is not None:
        label, target = rival
        other = model.trace(source, target, top=top, notices=notices, **given)
        view["rival"] = {"label": label, "trace": trace_for_page(other, limits.numbers), "saliency": None}
    view["diagnosis"] = None
    if reference is not None:
        found = model.diagnose(source, reference, top=top, notices=Notices(), **search)
        view["diagnosis"] = found.to_dict()
    view |= _saliency(model, source, trace, other, view["rival"], limits.saliency)
    return view


def trace_for_page(trace: Trace, most_numbers: int) -> dict[str, Any]:
    """Return a trace as `Trace.to_dict` has it, with the arrays that a page draws.

    Args:
        trace: the trace.
        most_numbers: if gates and states are more, they are means over the units, and `means` has the number of units.
    """
    raw = trace.to_dict()
    kept = {
        name: array
        for name, array in trace.arrays.items()
        if name.rpartition(".")[2] in SHOWN_PARTS and array.ndim == 2
    }
    means: dict[str, int] = {}
    if sum(array.size for array in kept.values()) > most_numbers:
        means = {name: array.shape[1] for name, array in kept.items()}
        kept = {name: _mean_over_units(name, kept) for name in kept}
    kept |= {
        name: array for name, array in trace.arrays.items() if name in ("attention", "attention.heads", "copy.gate")
    }
    return raw | {"arrays": {name: encode_array(array) for name, array in kept.items()}, "means": means}


def _mean_over_units(name: str, arrays: Mapping[str, NDArray[np.floating]]) -> NDArray[np.floating]:
    """Return an array's means over the units, (T, 1); of the sums in gates, of which peepholes have a part, |sizes|."""
    prefix, _, part = name.rpartition(".")
    kind, _, gate = part.partition("_")
    own = arrays.get(f"{prefix}.peephole_{gate}")
    array = np.asarray(arrays[name], np.float64)
    if kind == "peephole":
        array = np.abs(array)
    elif kind == "pre":
        array = np.abs(array) if own is None else np.abs(own) + np.abs(array - own)
    means: NDArray[np.floating] = array.mean(1, keepdims=True)
    return means


def _find_rival(trace: Trace, reference: str | None, why_not: str | None) -> tuple[str, str | Sequence[str]] | None:
    """Return with what the prediction is contrasted, and how it is called: a text, or the tokens of the runner-up."""
    if why_not is not None:
        return ("In question", why_not) if why_not != trace.text else None
    if reference is not None and reference != trace.text:
        return "Expected", reference
    beam = trace.beam
    if beam is None:
        return None
    ended = [n for n in range(len(beam)) if beam.symbol[n] == EOS and beam.fate[n] in (Fate.RETURNED, Fate.BEATEN)]
    for node in sorted(ended, key=lambda n: -beam.score[n]):
        path = beam.path(node)
        if tuple(path) != trace.symbols:
            return "Runner-up of the search", [trace.token_names[symbol] for symbol in path[:-1]]
    return None


def _saliency(
    model: Model, source: Any, trace: Trace, other: Trace | None, rival: dict[str, Any] | None, most: int
) -> dict[str, Any]:
    """Return gradient × input, or why there is none; that of the difference is stored in the rival."""
    length = max(len(trace.source_tokens), len(trace.arrays.get("encoder.outputs", ())))
    longest = max(len(trace.tokens), 0 if other is None else len(other.tokens))
    if not longest or longest * length > most:
        note = f"Gradient × input is not computed for {len(trace.tokens)} × {length} symbols: it would take too long."
        return {"saliency": None, "saliency_note": note}
    quiet = Notices()
    try:
        found = saliency(
            model, source, trace.tokens[: -1 if trace.finished else None], finished=trace.finished, notices=quiet
        )
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        note = "Gradient × input is computed by PyTorch, which is not installed: pip install 'peephole[torch]'"
        return {"saliency": None, "saliency_note": note}
    if other is not None and rival is not None:
        step = next((t for t, (a, b) in enumerate(zip(trace.tokens, other.tokens, strict=False)) if a != b), None)
        if step is not None:
            against = saliency(model, source, other.tokens[:-1], notices=quiet)
            rival["saliency"] = encode_array(found[step : step + 1] - against[step : step + 1])
    return {"saliency": encode_array(found)}


def _shown_source(source: Any) -> str:
    if isinstance(source, str):
        return source
    if isinstance(source, os.PathLike):
        return str(source)
    return f"array of {' × '.join(map(str, np.shape(source)))} numbers"


def _frames(model: Model, source: Any) -> dict[str, Any] | None:
    """Return a source of frames as a picture with a column of points for each frame.

    An image has its own points and colours, red, green and blue below each other. Of sound the highest feature is at
    the top, and of sound and numbers the smallest and largest hundredth are black and white.
    """
    how = model.source_symbols
    if not isinstance(how, FrameSymbols):
        return None
    frames, _, _ = read_frame_source(how, source, model.config.frames.max_frames)
    planes = np.split(np.asarray(frames, np.float32), 3 if how.colours else 1, axis=1)
    levels = np.concatenate([_shrink(_shrink(plane, 0, WIDEST), 1, HIGHEST) for plane in planes], axis=1)
    if how.kind == "image":
        shown = 1 - levels  # 0 is white in frames
    else:
        low, high = np.percentile(levels, [1, 99])
        shown = (levels - low) / max(float(high - low), 1e-9)
    image = (255 * np.clip(shown.T[::-1] if how.kind == "sound" else shown.T, 0, 1)).round().astype(np.uint8)
    encoded = {"shape": list(image.shape), "uint8": base64.b64encode(image.tobytes()).decode()}
    found = {"image": encoded, "planes": len(planes), "kind": how.kind, "count": len(frames)}
    return found | ({"aspect": len(frames) / how.height} if how.kind == "image" else {})


def _shrink(array: NDArray[np.float32], axis: int, most: int) -> NDArray[np.float32]:
    """Return means of neighbours along an axis, so that at most `most` are left."""
    joined = -(-array.shape[axis] // most)
    if joined <= 1:
        return array
    starts = np.arange(0, array.shape[axis], joined)
    counts = np.diff(np.append(starts, array.shape[axis]))
    shape = [1, 1]
    shape[axis] = len(starts)
    means: NDArray[np.float32] = (np.add.reduceat(array, starts, axis) / counts.reshape(shape)).astype(np.float32)
    return means


def describe_views(views: Sequence[Mapping[str, Any]]) -> str:
    """Return a title for a page."""
    return " · ".join(shorten(view["source"], 40) for view in views)
