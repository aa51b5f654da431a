"""Tests of `peephole.info` and `peephole info`: what a model file says about its model."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import peephole
from models.make import MODEL, STORED
from peephole.errors import ArgumentError, ModelFileError, PeepholeError, printable
from peephole.model import Model
from peephole.storage.model_file import load_model, read_tensors, save_model
from peephole.symbols import CharacterSymbols

FLOAT32, INT8, BFLOAT16 = STORED["3"]
MADE: dict[str, Any] = {
    "peephole": "0.0.9",
    "torch": "2.13",
    "training": {"steps": 1234, "dev_scores": {"exact_match": 61.25}, "train": {"files": [{"name": "a\x1b[2J.tsv"}]}},
}


def with_made(path: Path, made: Any) -> Path:
    """Write the stored model with another entry `made`: JSON values, or a text."""
    tensors, old = read_tensors(FLOAT32)
    del old["checksum"]
    path.write_bytes(save(tensors, old | {"made": made if isinstance(made, str) else json.dumps(made)}))
    return path


@pytest.mark.parametrize("path", [*STORED["1"], *STORED["2"], *STORED["3"]], ids=lambda path: path.stem)
def test_sizes_kinds_and_symbols(path: Path) -> None:
    file, model = load_model(path), peephole.load(path)
    found = peephole.info(path)
    version, number_format = re.fullmatch(r"lstm_v(\d)_?(.*)", path.stem).groups()  # type: ignore[union-attr]
    assert (found.model, found.num_bytes) == (str(path), path.stat().st_size)
    assert (found.format_version, found.number_format) == (int(version), number_format or "float32")
    assert found.num_weights == sum(found.weights.values()) == sum(tensor.size for tensor in file.tensors.values())
    assert found.weights["decoder"] == sum(t.size for name, t in file.tensors.items() if name.startswith("decoder."))
    assert found.architecture == file.architecture.to_dict()
    for symbols, table in ((found.source_symbols, model.source_symbols), (found.target_symbols, model.target_symbols)):
        assert (symbols.kind, symbols.normalize, symbols.size) == (table.kind, table.normalize, len(table))
        assert list(symbols.examples) == table.tokens(range(4, 11))
    assert found.settings == {
        "data.batch_symbols": 200,
        "model.dropout": 0.0,
        "train.steps": 500,
        "train.learning_rate": 0.02,
        "train.ema_decay": 0.9,
        "train.precision": "32-true",
    }
    assert (found.made, found.notes) == ({}, ())
    assert peephole.info(model).to_dict() == found.to_dict()


def test_only_the_first_symbols_of_a_large_table_are_shown() -> None:
    toy = peephole.load(MODEL)
    toy.source_symbols = CharacterSymbols([chr(0xAC00 + i) for i in range(7)], "NFC")
    assert str(peephole.info(toy)).count("…") == 0
    letters = CharacterSymbols([chr(0xAC00 + i) for i in range(2000)], "NFC")
    network = peephole.nn.build_seq2seq(toy.config.model, len(letters), len(toy.target_symbols))
    found = peephole.info(Model(toy.config, letters, toy.target_symbols, [network]))
    assert (found.source_symbols.size, len(found.source_symbols.examples)) == (2004, 12)
    assert "2,004 characters (NFC): '가' '각' " in repr(found)
    assert (found.model, found.num_bytes, found.format_version) == (None, None, None)
    assert repr(found).startswith("model in memory: float32\n")


def test_how_a_model_was_made_is_kept_in_copies_saved_and_quantized_files(tmp_path: Path) -> None:
    path = with_made(tmp_path / "m.safetensors", MADE)
    assert peephole.info(path).made == MADE
    model = peephole.load(path)
    assert model.made == MADE
    model.save(tmp_path / "again.safetensors")
    peephole.load(tmp_path / "again.safetensors").save(path)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    peephole.quantize(model, "int8", tmp_path / "int8.safetensors")
    for other in (tmp_path / "int8.safetensors", copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert peephole.info(other).made == MADE
    changed = Model(model.config, model.source_symbols, model.target_symbols, model.networks, made=model.made)
    changed.save(tmp_path / "changed.safetensors")
    assert peephole.info(tmp_path / "changed.safetensors").made == MADE


def test_the_text_is_printable_and_has_one_line_for_each_part(tmp_path: Path) -> None:
    lines = list(peephole.info(with_made(tmp_path / "m.safetensors", MADE)).lines())
    assert [printable(line) for line in lines] == lines
    assert lines[0] == f"{tmp_path / 'm.safetensors'}: {os.stat(tmp_path / 'm.safetensors').st_size:,} bytes, " + (
        "format version 3, float32"
    )
    assert "  weights         3,707 (frontend 66, encoder 840, decoder 2,801)" in lines
    assert "  made with       peephole 0.0.9, torch 2.13" in lines
    assert "  dev scores      exact match 61.25" in lines
    assert "  training        steps 1,234" in lines
    assert r"  train           files name a\x1b[2J.tsv" in lines
    assert repr(peephole.info(tmp_path / "m.safetensors")).splitlines() == lines


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["train", "dev", "dev_scores", "steps", "files", "name", "sha256"])


@settings(deadline=None, max_examples=40)
@given(made=st.dictionaries(KEYS | st.just("training"), ANYTHING | st.dictionaries(KEYS, ANYTHING), max_size=4))
def test_whatever_a_file_says_about_its_making_is_shown(made: dict[str, Any], tmp_path_factory: Any) -> None:
    path = with_made(tmp_path_factory.getbasetemp() / "any.safetensors", made)
    found = peephole.info(path)
    kept = {name: value for name, value in made.items() if isinstance(value, dict if name == "training" else str)}
    assert found.made == kept
    assert len(found.notes) == len(made) - len(kept)
    assert [printable(line) for line in found.lines()] == list(found.lines())
    assert not any("\n" in line for line in found.lines())
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


@pytest.mark.parametrize("nested", ['{"a": ', "["])
@pytest.mark.parametrize("depth", [8, 9, 400, 900, 5000])
def test_deeply_nested_information_is_ignored(depth: int, nested: str, tmp_path: Path) -> None:
    text = '{"training": {"a": ' + nested * depth + "1" + {"{": "}", "[": "]"}[nested[0]] * depth + "}}"
    model = peephole.load(with_made(tmp_path / "m.safetensors", text))
    found = peephole.info(pickle.loads(pickle.dumps(model)))
    assert "\n" not in "".join(found.lines())
    assert ("training" in found.made) is (depth == 8)
    if depth > 8:
        [note] = found.notes
        assert re.fullmatch(r".*: made: (wanted at most 10 levels, got more|.*recursion.*); it is ignored", note)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    whole, path = bytearray(FLOAT32.read_bytes()), tmp_path / "m.safetensors"
    whole[-5] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ModelFileError, match=r"^.*m\.safetensors: damaged: wanted checksum \w+, got \w+$"):
        peephole.info(path)
    path.write_bytes(whole[:3000])
    with pytest.raises(ModelFileError, match=r"^.*m\.safetensors: not a whole safetensors file: .*$"):
        peephole.info(path)


@pytest.mark.usefixtures("annotations_unchecked")
def test_other_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^model: wanted a Model or the name of its file, got 5$"):
        peephole.info(5)  # type: ignore[arg-type]  # a user's mistake


def test_members_of_an_ensemble_are_models_of_their_own(tmp_path: Path) -> None:
    one = with_made(tmp_path / "one.safetensors", MADE)
    model = peephole.load(one, INT8)
    with pytest.raises(PeepholeError, match=r"^info: wanted one model, got an ensemble of 2; describe its `members`$"):
        peephole.info(model)
    one.unlink()
    first, second = model.members
    assert [peephole.info(member).number_format for member in (first, second)] == ["float32", "int8"]
    assert (first.made, second.made) == (MADE, {})
    assert second.predict(["cab"]) == peephole.load(INT8).predict(["cab"])
    first.save(tmp_path / "first.safetensors")
    np.testing.assert_equal(load_model(tmp_path / "first.safetensors").tensors, load_model(FLOAT32).tensors)
    networks = Model(model.config, model.source_symbols, model.target_symbols, model.networks)
    assert [member.networks for member in networks.members] == [(network,) for network in model.networks]
    assert first.members == (first,)


def test_what_is_no_text_or_number_is_shown_as_text(tmp_path: Path) -> None:
    made = '{"peephole": "\\ud800", "training": {"loss": NaN, "\\udc80": -Infinity}}'
    path = with_made(tmp_path / "m.safetensors", made)
    assert peephole.info(path).made == {"peephole": "\ud800", "training": {"loss": "NaN", "\udc80": "-Infinity"}}
    assert r"  training        loss NaN, \x80 -Infinity" in list(peephole.info(path).lines())
    done = run("info", path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == peephole.info(path).to_dict()


HIDE = """
import os, sys
os.environ["PEEPHOLE_LIBRARY"] = "/nowhere"
sys.modules["torch"] = None
from peephole.cli import main
main(sys.argv[1:])
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")


def test_the_command_needs_neither_pytorch_nor_the_engine(tmp_path: Path) -> None:
    done = run("info", f"{FLOAT32},{INT8}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{peephole.info(FLOAT32)!r}\n\n{peephole.info(INT8)!r}\n"
    done = run("info", f"{FLOAT32},{INT8}", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    wanted = [peephole.info(path).to_dict() for path in (FLOAT32, INT8)]
    assert [json.loads(line) for line in done.stdout.splitlines()] == wanted
    other = load_model(FLOAT32)
    save_model(tmp_path / "m.safetensors", other)
    (tmp_path / "m.safetensors").write_bytes((tmp_path / "m.safetensors").read_bytes()[:-1])
    done = run("info", tmp_path / "m.safetensors")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"peephole: .*m\.safetensors: not a whole safetensors file: .*\n", done.stderr)
