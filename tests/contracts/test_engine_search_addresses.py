"""Tests that the C functions of prediction refuse NULL where they read or write, and a side that there is not."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine import structures
from peephole.engine.enums import SearchKind, Status
from peephole.engine.forecast import draw
from peephole.engine.packed import MESSAGE_BYTES, PackedModel, PackedSearch, generators, joined, search_fields
from peephole.errors import PeepholeError

from . import test_engine_copying as copying
from . import test_engine_vectors as vectors
from . import test_frontends as frontends
from .search_cases import SOURCE, TARGET, make_config, make_network, pack
from .test_language_model import make_language_model, pack_language_model
from .vector_checks import D, make, sources

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

FRAMES = np.ones((3, frontends.F), np.float32)
SAMPLES = SearchConfig(nbest=2, temperature=1.0)


@cache
def model_of(kind: str) -> PackedModel:
    """Return the model that reads the sources of a kind of request."""
    if kind == "frames":
        return frontends.packed(*frontends.make(input="frames"), None)[0].models[0]
    if kind == "copies":
        return pack(*copying.make("coverage"))
    config = make_config()
    return pack(config, make_network(config, seed=1))


@contextmanager
def request(kind: str) -> Iterator[structures.Request]:
    """Return a valid request for one source, of a kind below, inside the block."""
    fields: dict[str, Any] = search_fields(SearchConfig(), [9], [[5]], [[[4, 5], [4]]])
    guides, source = [], [4, 5, 6]
    if kind == "samples":
        fields = search_fields(SAMPLES, [9], [[5]]) | generators(1, [0])
    if kind == "targets":
        fields = {"kind": SearchKind.FORCE} | joined("target", [[4, 5]])
    if kind == "guides":
        guides = [(pack_language_model(*make_language_model(2)), 0.5)]
    given: Any = {"frames": FRAMES, "copies": [(4, 4), (5, 13)]}.get(kind, source)
    search = PackedSearch([model_of(kind)], guides)
    with search.request([given], SearchConfig(), fields, attention=True) as (made, _):
        yield made


def search(made: structures.Request, message: Any = None, size: int = 0, model: int = 0) -> Status:
    result = ctypes.POINTER(structures.Result)()
    status = Status(engine.library().peephole_search(ctypes.byref(made), ctypes.byref(result), message, size))
    assert bool(result) == (status == Status.OK)
    engine.library().peephole_result_release(result)
    return status


def add_to_session(made: structures.Request, message: Any, size: int, model: int) -> Status:
    library = engine.library()
    models = (ctypes.c_void_p * 1)(model)
    address = library.peephole_session_open(models, 1, 1, 100, message, size)
    assert address
    status = Status(library.peephole_session_add(address, 7, ctypes.byref(made), message, size))
    library.peephole_session_close(address)
    return status


def trace(made: structures.Request, message: Any, size: int, model: int) -> Status:
    found = ctypes.POINTER(structures.Trace)()
    given = structures.TraceRequest(request=ctypes.addressof(made), top=3, bent_step=-1)
    status = Status(engine.library().peephole_trace_make(ctypes.byref(given), ctypes.byref(found), message, size))
    engine.library().peephole_trace_release(found)
    return status


NEEDED = {
    "symbols": (
        *("models", "source_offsets", "sources", "max_lengths", "targets"),
        *("phrase_symbol_offsets", "phrases"),
    ),
    "copies": ("sources", "copies"),
    "frames": ("source_offsets", "frames"),
    "samples": ("source_offsets", "sources", "max_lengths", "targets", "generators"),
    "targets": ("source_offsets", "sources", "target_offsets", "targets"),
    "guides": ("guides", "guide_weights"),
}
"""Kind of request → the addresses that it needs."""
CALLS = {"search": search, "session": add_to_session, "trace": trace}


@pytest.mark.parametrize(
    ("kind", "field", "function"),
    [
        (kind, field, function)
        for kind, fields in NEEDED.items()
        for field in fields
        for function in CALLS
        if function != "trace" or kind not in ("samples", "guides")  # a trace has neither
    ],
)
def test_null_is_refused_by_the_name_of_the_field(kind: str, field: str, function: str) -> None:
    call, message, model = CALLS[function], ctypes.create_string_buffer(MESSAGE_BYTES), model_of(kind).address
    with request(kind) as made:
        assert call(made, message, MESSAGE_BYTES, model) == Status.OK
        setattr(made, field, None)
        assert call(made, message, MESSAGE_BYTES, model) == Status.REFUSED
        assert message.value.decode() == f"{field}: wanted an address, got NULL"
        assert call(made, None, MESSAGE_BYTES, model) == Status.REFUSED


@pytest.mark.parametrize("kind", ["models", "guides"])
def test_a_list_that_holds_null_is_refused(kind: str) -> None:
    message = ctypes.create_string_buffer(MESSAGE_BYTES)
    with request("guides") as made:
        addresses = (ctypes.c_void_p * 1)()
        setattr(made, kind, ctypes.addressof(addresses))
        assert search(made, message, MESSAGE_BYTES) == Status.REFUSED
    assert message.value.decode() == f"{kind}: wanted an address, got NULL"


@pytest.mark.parametrize("kind", ["symbols", "samples", "targets"])
def test_what_is_not_read_may_be_null(kind: str) -> None:
    """No source, no symbol of a target, no phrase: their arrays need not be there."""
    with request(kind) as made:
        zero, zeros, one = array("q", [0]), array("q", [0, 0]), array("q", [0, 1])
        made.targets = made.phrases = None
        made.target_offsets = made.phrase_offsets = zeros.buffer_info()[0]
        if kind != "symbols":  # phrases are for beam search
            made.phrase_offsets, made.phrase_symbol_offsets = one.buffer_info()[0], None
        assert search(made) == Status.OK
        made.num_sources, made.source_offsets = 0, zero.buffer_info()[0]
        made.sources = made.max_lengths = made.generators = None
        assert search(made) == Status.OK


def test_frames_for_a_model_of_symbols_are_refused() -> None:
    message = ctypes.create_string_buffer(MESSAGE_BYTES)
    with request("symbols") as made:
        made.frames = FRAMES.ctypes.data
        assert search(made, message, MESSAGE_BYTES) == Status.REFUSED
    assert message.value == b"frames: wanted NULL for a model that reads symbols, got an address"


def test_null_in_place_of_a_structure_or_a_result_is_refused() -> None:
    library, message, model = engine.library(), ctypes.create_string_buffer(MESSAGE_BYTES), model_of("symbols")
    end, place = (message, MESSAGE_BYTES), ctypes.byref(ctypes.c_void_p())
    one = (ctypes.c_void_p * 1)(model.address)
    session = library.peephole_session_open(one, 1, 1, 10, *end)
    with request("symbols") as made:
        given = ctypes.byref(made)
        unmade, half = structures.TraceRequest(top=1), structures.TraceRequest(top=1, request=ctypes.addressof(made))
        bent = structures.TraceRequest(top=1, request=ctypes.addressof(made), bent_step=0)
        calls = [
            ("request", lambda: library.peephole_search(None, place, *end)),
            ("result", lambda: library.peephole_search(given, None, *end)),
            ("request", lambda: library.peephole_trace_make(None, place, *end)),
            ("request of the trace", lambda: library.peephole_trace_make(ctypes.byref(unmade), place, *end)),
            ("trace", lambda: library.peephole_trace_make(ctypes.byref(half), None, *end)),
            ("bent_weights", lambda: library.peephole_trace_make(ctypes.byref(bent), place, *end)),
            ("session", lambda: library.peephole_session_add(None, 1, given, *end)),
            ("request", lambda: library.peephole_session_add(session, 1, None, *end)),
            ("session", lambda: library.peephole_session_step(None, place, *end)),
            ("answers", lambda: library.peephole_session_step(session, None, *end)),
            ("request", lambda: library.peephole_draw(model.address, None, *end)),
            ("model", lambda: library.peephole_draw(None, given, *end)),
        ]
        for name, call in calls:
            assert call() == Status.REFUSED
            assert message.value.decode() == f"{name}: wanted an address, got NULL"
    library.peephole_session_close(session)
    openers = [
        ("file", lambda: library.peephole_model_open(None, 100, None, *end)),
        ("models", lambda: library.peephole_session_open(None, 1, 1, 1, *end)),
        ("models", lambda: library.peephole_session_open((ctypes.c_void_p * 1)(), 1, 1, 1, *end)),
    ]
    for name, call in openers:
        assert call() is None
        assert message.value.decode() == f"{name}: wanted an address, got NULL"


@pytest.mark.parametrize("field", ["source_offsets", "frames", "noise", "samples"])
def test_draws_refuse_null_by_the_name_of_the_field(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, config = make()
    model, noise = PackedModel(vectors.model_file(network, config)), np.zeros((1, 2, 3, D), np.float32)
    frames = sources()[0].astype(np.float32)
    assert np.isfinite(draw(model, [frames], noise, batch_size=1)).all()
    whole = structures.Forecast
    monkeypatch.setattr(structures, "Forecast", lambda **fields: whole(**{**fields, field: None}))
    with pytest.raises(PeepholeError, match=f"^forecast: {field}: wanted an address, got NULL$"):
        draw(model, [frames], noise, batch_size=1)


def test_a_side_that_there_is_not_has_no_symbols() -> None:
    library, model = ctypes.CDLL(str(engine.library_path())), ctypes.c_void_p(model_of("symbols").address)
    library.peephole_model_num_symbols.restype = ctypes.c_int64
    library.peephole_model_symbol_text.restype = ctypes.c_char_p
    sides = (-(2**31), -1, 0, 1, 2, 10**6)
    assert [library.peephole_model_num_symbols(model, side) for side in sides] == [0, 0, len(SOURCE), len(TARGET), 0, 0]
    texts = [library.peephole_model_symbol_text(model, side, ctypes.c_int64(4)) for side in sides]
    assert texts == [None, None, b"a", b"A", None, None]
    text = [library.peephole_model_find_symbol(model, side, b"a", ctypes.c_size_t(1)) for side in sides]
    assert text == [3, 3, 4, 3, 3, 3]
