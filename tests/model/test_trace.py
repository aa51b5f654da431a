"""Tests of traces through a model: texts, arrays as JSON, bad input."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

import peephole
from models.make import MODEL
from peephole.errors import ArgumentError, ConfigError, PeepholeError
from peephole.inspect import Fate, decode_array

ENGINES = ["auto", "off"]
engines = pytest.mark.parametrize("engine", ENGINES)


@engines
def test_a_trace_shows_the_prediction(engine: str) -> None:
    model = peephole.load(MODEL)
    [[best]] = model.predict(["cab"])
    trace = model.trace("cab", engine=engine)
    assert (trace.text, trace.tokens[:-1], trace.finished, trace.is_given) == (best.text, best.tokens, True, False)
    assert trace.tokens[-1] == "</s>"
    assert trace.source_tokens == ["c", "a", "b"]
    assert trace.log_prob == pytest.approx(best.log_prob, abs=1e-5)
    assert trace.log_probs == pytest.approx(best.symbol_log_probs, abs=1e-5)
    np.testing.assert_allclose(trace["attention"][:-1], best.attention, atol=1e-5)
    assert trace.alternatives(0)[0][0] == best.tokens[0]
    assert trace.beam is not None
    [returned] = (trace.beam.fate == Fate.RETURNED).nonzero()[0].tolist()
    assert tuple(trace.beam.path(returned)) == trace.symbols
    assert trace.beam.score[returned] == pytest.approx(best.log_prob, abs=1e-5)
    assert repr(trace).startswith(f"<Trace of {best.text!r}: log_prob=")


@engines
def test_a_trace_of_a_given_target_has_its_score(engine: str) -> None:
    model = peephole.load(MODEL)
    wanted = model.target_symbols.join(model.target_symbols.tokens([7, 4, 7]))
    [score] = model.score(["bad"], [wanted])
    trace = model.trace("bad", wanted, top=50, engine=engine)
    assert trace.log_prob == pytest.approx(score, abs=1e-5)
    assert (trace.text, trace.is_given, trace.beam) == (wanted, True, None)
    assert trace.top_symbols.shape == (4, len(model.target_symbols))
    for step, symbol in enumerate(trace.symbols):
        assert trace.top_symbols[step, trace.ranks[step] - 1] == symbol
    assert model.trace("bad", trace.tokens[:-1], engine=engine).symbols == trace.symbols


@engines
def test_prefix_phrases_and_bent_attention_change_what_is_found(engine: str) -> None:
    model = peephole.load(MODEL)
    names = model.target_symbols.tokens(range(4, len(model.target_symbols)))
    begun = model.trace("cab", prefix=f"{names[2]} {names[3]}", engine=engine)
    assert begun.tokens[:2] == names[2:4]
    assert names[1] in model.trace("cab", must_contain=[names[1]], engine=engine).tokens
    bent = model.trace("cab", prefix=names[2], bend=(1, [0, 0, 4]), engine=engine)
    assert bent["attention"][1].tolist() == [0, 0, 1]
    assert bent.log_probs[1:].tolist() != begun.log_probs[1:].tolist()


@engines
def test_phrases_without_room_are_a_fate(engine: str) -> None:
    model = peephole.load(MODEL)
    names = model.target_symbols.tokens(range(4, len(model.target_symbols)))
    settings: dict[str, Any] = {"max_length_factor": 0, "max_length_extra": 3, "engine": engine}
    trace = model.trace("cab", must_contain=[f"{names[1]} {names[3]}"], **settings)
    assert trace.beam is not None
    assert (trace.beam.fate == Fate.PHRASES).any()


@engines
def test_the_dictionary_is_json_and_holds_the_arrays(engine: str) -> None:
    trace = peephole.load(MODEL).trace("cab", engine=engine)
    tree = json.loads(json.dumps(trace.to_dict(), allow_nan=False))
    assert (tree["format"], tree["version"]) == ("peephole-trace", 1)
    assert tree["target"]["tokens"] == trace.tokens
    assert [tree["names"][str(symbol)] for symbol in tree["target"]["symbols"]] == trace.tokens
    assert list(tree["arrays"]) == list(trace.arrays)
    for name, array in trace.arrays.items():
        encoded = tree["arrays"][name]
        np.testing.assert_allclose(decode_array(encoded), array, rtol=1e-3, atol=1e-6)
        halves = np.frombuffer(base64.b64decode(encoded["float16"]), "<f2")  # as docs/traces.md says
        assert halves.size == np.prod(encoded["shape"])
    assert tree["target"]["log_probs"] == pytest.approx(trace.log_probs.tolist(), rel=1e-4)
    assert trace.beam is not None
    assert tree["beam"]["parent"] == trace.beam.parent.tolist()
    assert set(tree["beam"]["fate"]) <= {fate.name.lower() for fate in Fate}


def test_numbers_too_large_for_float16_are_the_largest() -> None:
    trace = peephole.load(MODEL).trace("cab", engine="off")
    large = trace.arrays["readout"].copy() * 0 + 1e9
    tree = type(trace)(**{**vars(trace), "arrays": {"readout": large}}).to_dict()
    assert np.isfinite(decode_array(tree["arrays"]["readout"])).all()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"source": ""}, PeepholeError, "trace: source 0 is empty; wanted at least one symbol"),
        ({"source": "", "target": "K"}, PeepholeError, "trace: source 0 is empty; wanted at least one symbol"),
        ({"source": ["cab"]}, ArgumentError, "sources: wanted texts, got ['cab'] at index 0"),
        ({"source": "cab", "target": 3}, ArgumentError, "targets: wanted texts or lists of tokens, got 3 at index 0"),
        ({"source": "a", "top": 0}, ConfigError, "top: wanted 1 to 1000, got 0"),
        ({"source": "a", "top": 1.5}, ArgumentError, "top: wanted a whole number, got 1.5"),
        ({"source": "a", "temperature": 2}, ConfigError, "trace: wanted a beam search, got search.temperature=2"),
        ({"source": "a", "beam": 2}, ConfigError, "trace: unknown key 'search.beam'"),
        ({"source": "a", "target": "K", "prefix": "K"}, PeepholeError, "trace: wanted no prefix with a given target"),
        ({"source": "a", "target": "K", "beam_size": 2}, ConfigError, "trace: unknown setting 'beam_size'"),
        ({"source": "a", "bend": 3}, ArgumentError, "bend: wanted a step and attention weights, got 3"),
        ({"source": "a", "bend": (-1, [1])}, PeepholeError, "bend: wanted a step from 0 and attention weights"),
        ({"source": "a", "bend": (True, [1])}, PeepholeError, "bend: wanted a step from 0 and attention weights"),
        ({"source": "a", "bend": (0, None)}, PeepholeError, "bend: wanted a step from 0 and attention weights"),
        ({"source": "a", "bend": (0, "1")}, PeepholeError, "bend: wanted a step from 0 and attention weights"),
        ({"source": "a", "bend": (0, ["a"])}, PeepholeError, "bend: wanted a step from 0 and attention weights"),
        (
            {"source": "ab", "bend": (0, [1])},
            PeepholeError,
            "bend: wanted 2 weights, one for each place of the source, got 1",
        ),
        ({"source": "ab", "bend": (0, [0, 0])}, PeepholeError, "bend: wanted weights from 0, not all 0"),
        ({"source": "ab", "bend": (0, [1, -1])}, PeepholeError, "bend: wanted weights from 0, not all 0"),
        ({"source": "ab", "bend": (0, [1, float("nan")])}, PeepholeError, "bend: wanted weights from 0, not all 0"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_bad_input_is_one_line(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    model = peephole.load(MODEL)
    with pytest.raises(kind) as caught:
        model.trace(**arguments)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_ensemble_is_declined_and_its_members_are_traced() -> None:
    model = peephole.load(MODEL, MODEL)
    with pytest.raises(PeepholeError, match="wanted one model, got an ensemble of 2; its `members` are single models"):
        model.trace("cab")
    assert model.members[1].trace("cab").text


@engines
def test_unknown_symbols_and_long_sources_are_reported(engine: str) -> None:
    model = peephole.load(MODEL)
    with pytest.warns(peephole.model.UnknownSymbolWarning):
        trace = model.trace("a?b", engine=engine)
    assert (trace.unknown, trace.truncated) == (("?",), False)
    with pytest.warns(peephole.model.TruncatedSourceWarning):
        assert model.trace("ab" * 5000, engine=engine).truncated


@engines
def test_a_calibrated_model_shows_calibrated_probabilities(engine: str) -> None:
    model = peephole.load(MODEL)
    for source, settings in (("cab", {}), ("abba", {"max_length_factor": 0, "max_length_extra": 2})):
        [[best]] = model.predict([source], calibration=1.7, **settings)
        trace = model.trace(source, calibration=1.7, engine=engine, **settings)
        plain = model.trace(source, calibration=1.0, engine=engine, **settings)
        assert trace.symbols == plain.symbols
        assert trace.log_probs == pytest.approx(best.symbol_log_probs, abs=1e-5)
        assert abs(trace.log_prob - plain.log_prob) > 0.01
        assert trace.beam is not None
        assert plain.beam is not None
        assert trace.beam.score.tolist() == plain.beam.score.tolist()
        given = model.trace(source, best.tokens, calibration=1.7, engine=engine)
        assert given.log_probs[: len(trace.log_probs)] == pytest.approx(trace.log_probs, abs=1e-6)
