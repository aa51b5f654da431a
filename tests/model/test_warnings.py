"""Tests the warnings of a call: unknown symbols, truncated sources, no engine, and the line that they name."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import peephole
from model.stepwise import TOLERANCE, assert_same, by_hand
from peephole.model import Model, Notices, SlowSearchWarning, TruncatedSourceWarning, UnknownSymbolWarning
from peephole.symbols import EOS, UNK


def test_unknown_symbols_are_counted_and_read_as_unk(toy: Model) -> None:
    text = "source symbols not seen in training, read as <unk>: 3, the first of them 'x'"
    with pytest.warns(UnknownSymbolWarning, match=text):
        found = toy.predict(["ab", "axbx", "", "qa"])
    with pytest.warns(UnknownSymbolWarning):
        assert_same(found[1], [replace(toy.predict(["aßbß"])[0][0], source_tokens=["a", "x", "b", "x"])])
    assert toy.unknown_symbols(["ab", "axbx", "qa"], ["AH", "AH Q Q"]) == Counter({"x": 2, "Q": 2, "q": 1})
    with pytest.warns(UnknownSymbolWarning, match="^source symbols not seen in training, read as <unk>: 1,"):
        toy.score(["x"], ["AH"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        toy.predict(["abcde한😀"])


def test_an_unknown_target_symbol_is_scored_as_unk(toy: Model) -> None:
    rows, _ = by_hand(toy, "ab", [UNK])
    wanted = float(rows[0][UNK] + rows[1][EOS])
    text = "^target symbols not seen in training, read as <unk>: 1, the first of them 'never_seen'"
    with pytest.warns(UnknownSymbolWarning, match=text):
        assert toy.score(["ab"], ["never_seen"]) == pytest.approx([wanted], abs=TOLERANCE)


def test_a_long_source_is_truncated_with_a_warning(toy: Model) -> None:
    config = toy.config.with_values({"max_length": 4})
    model = Model(config, toy.source_symbols, toy.target_symbols, toy.networks)
    with pytest.warns(TruncatedSourceWarning, match="sources longer than 4 symbols: 2 of 3; only their beginning"):
        found = model.predict(["abcdecab", "abcd", "eeeee"])
    assert_same(found[0], toy.predict(["abcd"])[0])
    assert_same(found[1], toy.predict(["abcd"])[0])
    assert_same(found[2], toy.predict(["eeee"])[0])
    with pytest.warns(TruncatedSourceWarning):
        assert model.score(["abcdecab"], ["AH B"]) == pytest.approx(toy.score(["abcd"], ["AH B"]), abs=TOLERANCE)


def test_without_the_engine_the_definition_predicts_with_a_warning(toy_file: Path, monkeypatch) -> None:
    wanted = peephole.load(toy_file).predict(["abc"])[0][0]
    monkeypatch.setattr("peephole.engine.abi.library_path", lambda: None)
    model = peephole.load(toy_file)
    text = "without its engine: prediction runs in PyTorch"
    with pytest.warns(SlowSearchWarning, match=text):
        first = model.predict(["abc"])[0][0]
    notices = Notices()
    second = model.predict(["abc"], notices=notices)[0][0]
    assert notices == Notices(slow_search="peephole was installed without its engine")
    for found in (first, second):
        assert (found.text, found.log_prob) == (wanted.text, pytest.approx(wanted.log_prob, abs=1e-5))
    with pytest.warns(SlowSearchWarning, match=text):
        assert model.score(["abc"], [wanted.text]) == pytest.approx([wanted.log_prob], abs=1e-5)
    model.predict(["abc"], engine="off")  # requested by the caller: no warning


CALLS = """
import sys
import warnings

import peephole
from peephole.engine import abi

model = peephole.load(sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.predict(["axbx"])
    model.score(["ab"], ["never_seen"])
    abi.library_path = lambda: None
    peephole.load(sys.argv[1]).predict(["abc"])
for warning in caught:
    print(warning.category.__name__, warning.filename, warning.lineno)
"""


def test_warnings_name_the_line_of_the_caller(toy_file: Path, tmp_path: Path) -> None:
    """Run in a new process, without the type checker, whose wrappers would add frames to the call stack."""
    script = tmp_path / "calls.py"
    script.write_text(CALLS)
    done = subprocess.run([sys.executable, script, toy_file], capture_output=True, text=True, check=True)
    wanted = [("UnknownSymbolWarning", 11), ("UnknownSymbolWarning", 12), ("SlowSearchWarning", 14)]
    assert done.stdout.splitlines() == [f"{name} {script} {line}" for name, line in wanted]
