"""Traces of predictions by the C++ engine: what `peephole.search.torch_trace` returns, without PyTorch."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine import structures
from peephole.engine.enums import SearchKind
from peephole.engine.packed import PackedModel, PackedSearch, joined, search_fields
from peephole.search.recorded import BeamTree, Recorded, TraceOptions


def trace_search(
    model: PackedModel,
    source: Any,
    max_length: int,
    config: SearchConfig,
    options: TraceOptions,
) -> Recorded:
    """Search the target of a source, and return all of it; arguments as of `peephole.search.torch_trace.trace_search`.

    Raises:
        PeepholeError: the request does not fit the model.
    """
    phrases = None if options.phrases is None else [options.phrases]
    fields = search_fields(config, [max_length], [options.prefix], phrases)
    with _make(model, source, config, fields, options) as made:
        names = ("parent", "step", "symbol", "log_prob", "score", "group", "fate")
        kinds = (np.int64, np.int64, np.int32, np.float64, np.float64, np.int32, np.int32)
        columns = zip(names, structures.Trace._NODES, kinds, strict=True)
        tree = BeamTree(**{name: _copy(getattr(made, field), kind, made.num_nodes) for name, field, kind in columns})
        return _recorded(made, tree)


def trace_target(model: PackedModel, source: Any, target: Sequence[int], options: TraceOptions) -> Recorded:
    """Return all that a model computes when it is fed a given target, symbol ids without </s>, (13)."""
    fields = {"kind": SearchKind.FORCE} | joined("target", [target])
    with _make(model, source, SearchConfig(), fields, options) as made:
        return _recorded(made, None)


def encode(model: PackedModel, source: Any) -> NDArray[np.float32]:
    """Return the encoder's outputs h_1 … h_S of a source, (S, M)."""
    fields = {"kind": SearchKind.FORCE} | joined("target", [()])
    with _make(model, source, SearchConfig(), fields, TraceOptions(top=1)) as made:
        for one in made.arrays[: made.num_arrays]:
            if one.name == b"encoder.outputs":
                return _copy(one.numbers, np.float32, *one.shape[:2])
    raise AssertionError("a trace holds the encoder's outputs")


@contextmanager
def _make(
    model: PackedModel, source: Any, config: SearchConfig, fields: dict[str, Any], options: TraceOptions
) -> Iterator[structures.Trace]:
    library = engine.library()
    made = ctypes.POINTER(structures.Trace)()
    bend = options.bend
    weights = array("f", () if bend is None else bend[1])
    with PackedSearch([model]).request([source], config, fields, attention=True) as (request, call):
        given = structures.TraceRequest(
            request=ctypes.addressof(request),
            top=options.top,
            bent_step=-1 if bend is None else bend[0],
            bent_weights=weights.buffer_info()[0] if bend else None,
        )
        call("trace", library.peephole_trace_make, given, made)
    try:
        yield made.contents
    finally:
        library.peephole_trace_release(made)


def _recorded(made: structures.Trace, beam: BeamTree | None) -> Recorded:
    """Copy a trace out of the engine's memory."""
    steps, most = made.num_symbols, made.num_alternatives
    shown = made.arrays[: made.num_arrays]
    return Recorded(
        symbols=tuple(_copy(made.symbols, np.int32, steps).tolist()),
        log_probs=_copy(made.log_probs, np.float64, steps),
        ranks=_copy(made.ranks, np.int64, steps),
        top_symbols=_copy(made.top_symbols, np.int32, steps, most),
        top_log_probs=_copy(made.top_log_probs, np.float32, steps, most).astype(np.float64),
        arrays={one.name.decode(): _copy(one.numbers, np.float32, *one.shape[: one.num_dimensions]) for one in shown},
        beam=beam,
    )


def _copy(address: int | None, kind: Any, *shape: int) -> NDArray[Any]:
    """Return numbers of the engine as an array."""
    count = int(np.prod(shape))
    content = ctypes.string_at(address, count * np.dtype(kind).itemsize) if address and count else b""
    return np.frombuffer(content, kind).reshape(shape).copy()
