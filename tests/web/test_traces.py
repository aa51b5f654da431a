"""Tests that the module's traces have the numbers of the native engine's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.make import STORED, toy_words
from peephole import Model, engine, load
from peephole.search.recorded import Fate

from .conftest import Ask
from .test_engine import SAME_BITS, TOLERANCE, with_instruction_set

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

PATHS = [path for paths in STORED.values() for path in paths]


def close(got: Any, wanted: Any, what: str) -> None:
    """Compare numbers: bit for bit where the native engine computes with the same vectors."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, wanted {wanted.shape}"
    equal = (got == wanted) | (np.abs(got - wanted) <= (0 if SAME_BITS else TOLERANCE))
    assert equal.all(), f"{what}: got {got[~equal][:3]}, wanted {wanted[~equal][:3]}"


def check_trace(ask: Ask, model: Model, source: str, options: dict[str, Any], **native: Any) -> None:
    """Compare one trace: symbols, probabilities, every array, and every hypothesis of the search."""
    [file] = model.files
    got = ask("trace", files=[file], sources=[source], options=options)
    wanted = with_instruction_set(model, "generic").trace(source, **native)
    assert (got["text"], got["tokens"], got["ids"]) == (wanted.text, wanted.tokens, list(wanted.symbols))
    assert got["finished"] == wanted.finished
    assert got["ranks"] == wanted.ranks.tolist()
    assert got["topSymbols"] == wanted.top_symbols.tolist()
    assert {int(symbol): text for symbol, text in got["names"].items()} == wanted.token_names
    close(got["logProbs"], wanted.log_probs, "log p")
    close(got["topLogProbs"], wanted.top_log_probs, "log p of alternatives")
    assert sorted(got["arrays"]) == sorted(wanted.arrays)
    for name, array in wanted.arrays.items():
        close(np.reshape(got["arrays"][name]["numbers"], got["arrays"][name]["shape"]), array, name)
    assert wanted.beam is not None
    for name, column in (("parent", "parent"), ("step", "step"), ("symbol", "symbol")):
        assert got["beam"][name] == getattr(wanted.beam, column).tolist(), name
    assert got["beam"]["fate"] == [Fate(fate).name.lower() for fate in wanted.beam.fate]
    for name, column in (("logProb", "log_prob"), ("score", "score")):
        given = [-np.inf if number is None else number for number in got["beam"][name]]  # JSON has no infinity
        close(given, getattr(wanted.beam, column), name)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_traces_equal_the_native_ones(ask: Ask, path: Any) -> None:
    for word in toy_words(3, seed=8):
        check_trace(ask, load(path), word, {})


def test_options_of_a_trace(ask: Ask, toy_file: Any) -> None:
    model = load(toy_file)
    check_trace(ask, model, "cab", {"top": 3, "beamSize": 2, "prefix": ["B"]}, top=3, beam_size=2, prefix="B")
    check_trace(ask, model, "cab", {"bend": {"step": 1, "weights": [0, 1, 1]}}, bend=(1, [0, 1, 1]))
