"""Tests that the module refuses wrong arguments with a PeepholeError of one line; numbers have the ranges of Python."""

from __future__ import annotations

import json
import re
import subprocess
import types
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from peephole import engine, load
from peephole.config import SearchConfig
from peephole.errors import ConfigError, PeepholeError
from peephole.storage.model_file import load_model, save_model

from .conftest import NODE, WEB, Ask, Refused
from .test_engine import write

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

CALLS = {
    "load([])": "load: wanted a model file, or several in a list, got an empty list",
    "load(3)": "load: wanted the URL or the bytes of a model file, got 3",
    "load()": "load: wanted the URL or the bytes of a model file, got undefined",
    "load([bytes, null])": "load: wanted the URL or the bytes of a model file, got null",
    "load('http://[')": "http://[: cannot be read: Invalid URL",
    "load('no.safetensors')": "no.safetensors: cannot be read: ENOENT",
    "load(bytes, null)": "load: options: wanted an object, got null",
    "load(bytes, { build: 'fast' })": 'build: wanted simd or plain, got "fast"',
    "load(bytes, { worker: 1 })": "worker: wanted true or false, got 1",
    "load(bytes, { workers: true })": 'load: unknown option "workers"; wanted worker, build',
    "model.predict()": "sources: wanted a list, got undefined",
    "model.predict('abc')": 'sources: wanted a list, got "abc"',
    "model.predict([null])": "sources: wanted texts or lists of symbols, got null at index 0",
    "model.predict(['a', , 'b'])": "sources: wanted texts or lists of symbols, got undefined at index 1",
    "model.predict(['a', ['b', 3]])": "sources: wanted texts or lists of symbols, got object at index 1",
    "model.predict([() => 'a'])": "sources: wanted texts or lists of symbols, got function at index 0",
    "model.predict([new Float32Array(6)])": "source 0: this model reads text; wanted a text or a list of symbols",
    "model.predict(s, null)": "predict: options: wanted an object, got null",
    "model.predict(s, 'fast')": 'predict: options: wanted an object, got "fast"',
    "model.predict(s, [])": "predict: options: wanted an object, got a list",
    "model.predict(s, { signal: 3 })": "signal: wanted an AbortSignal, got 3",
    "model.predict(s, { signal: new AbortController() })": "signal: wanted an AbortSignal, got a value of type object",
    "model.predict(s, { onProgress: 3 })": "onProgress: wanted a function, got 3",
    "model.predict(s, { attention: 'yes' })": 'attention: wanted true or false, got "yes"',
    "model.predict(s, { prefix: 3 })": "prefix: wanted a list, got 3",
    "model.predict(s, { prefix: [null] })": "prefix: wanted texts or lists of symbols, got null at index 0",
    "model.predict(s, { maxLength: 2.5 })": "maxLength: wanted a whole number from 1 to 1000000, got 2.5",
    "model.predict(s, { maxLength: 0 })": "maxLength: wanted a whole number from 1 to 1000000, got 0",
    "model.predict(s, { maxLength: 1e12 })": "maxLength: wanted a whole number from 1 to 1000000, got 1000000000000",
    "model.predict(s, { maxLength: '9' })": 'maxLength: wanted a whole number from 1 to 1000000, got "9"',
    "model.predict(s, { maxLength: 9n })": "maxLength: wanted a whole number from 1 to 1000000, got a value",
    "model.predict(s, { ctcWeight: 0.5 })": "ctcWeight: wanted a model with a CTC output, or 0; got 0.5 without one",
    "model.predict(s, { 'a\\nb': 1 })": 'predict: unknown option "a\\nb"; wanted beamSize, ',
    "model.score(['x'], [null])": "targets: wanted texts or lists of symbols, got null at index 0",
    "model.score(['x'])": "targets: wanted a list, got undefined",
    "model.score(null, ['x'])": "sources: wanted a list, got null",
    "model.score(['x'], ['y'], null)": "score: options: wanted an object, got null",
    "model.score(['x'], ['y'], { beamSize: 3 })": 'score: unknown option "beamSize"; wanted signal, onProgress',
    "model.trace(null)": "sources: wanted texts or lists of symbols, got null at index 0",
    "model.trace('a', { top: 0 })": "top: wanted a whole number from 1 to 1000, got 0",
    "model.trace('a', { bend: 3 })": "bend: wanted a step from 0 and a list of attention weights, got 3",
    "model.trace('a', { bend: { step: 0.5, weights: [1] } })": "bend: wanted a step from 0 and a list",
    "model.trace('abc', { bend: { step: 0, weights: [1] } })": "bend: wanted 3 weights, one for each place, got 1",
    "model.trace('ab', { attention: false, bend: { step: 0, weights: [1] } })": "bend: wanted 2 weights, one for each",
    "model.trace('a', { bend: { step: 0, weights: [-1] } })": "bend: wanted weights from 0, not all 0",
    "model.trace('a', { bend: { step: 0, weights: [null] } })": "bend: wanted weights from 0, not all 0",
    "model.trace('a', { onProgress() {} })": 'trace: unknown option "onProgress"; wanted beamSize, ',
}
"""A call, and how its message begins; `s` is a list of sources, `bytes` a model file, and `model` that model."""

SCRIPT = """
const { load } = await import(process.argv[1]);
const { readFileSync } = await import("node:fs");
const bytes = readFileSync(process.argv[2]), s = ["abc"], model = await load(bytes);
const tell = (promise) => promise.then(() => "no error", ({ name, message }) => `${name}: ${message}`);
const found = [CALLS];
console.log(JSON.stringify([await Promise.all(found), (await model.predict(["a"]))[0][0].text]));
"""


def test_wrong_arguments_are_refused(toy_file: Path) -> None:
    script = SCRIPT.replace("CALLS", ", ".join(f"tell({call})" for call in CALLS))
    command = [str(NODE), "--input-type=module", "-e", script, f"{WEB}/peephole.js", str(toy_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, text = json.loads(done.stdout)
    for message, (call, wanted) in zip(found, CALLS.items(), strict=True):
        assert message.startswith(f"PeepholeError: {wanted}"), call
        assert "\n" not in message, call
    assert text == "AH"


NOT_IN_BROWSERS = {
    *("language_model", "language_model_weight", "steps_ahead", "samples", "temperature", "top_k", "top_p"),
    *("calibration", "seed", "batch_size", "threads", "engine"),
}
NUMBERS = [field for field in fields(SearchConfig) if field.name not in NOT_IN_BROWSERS]


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_every_number_has_the_range_of_python(ask: Ask, toy_file: Path, field: Any) -> None:
    name = re.sub("_(.)", lambda found: found[1].upper(), field.name)
    hint = typing.get_type_hints(SearchConfig)[field.name]
    kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
    low, high = field.metadata["low"], field.metadata["high"]
    for value in (low - 1, high + 1, *((low + 0.5,) if kind is int else ()), True, [1]):
        with pytest.raises(Refused) as refused:
            ask("predict", files=[toy_file], sources=["a"], options={name: value})
        wanted = "a whole number" if kind is int else "a number"
        assert str(refused.value).startswith(f"PeepholeError: {name}: wanted {wanted} from {low} to {high}, got ")
        with pytest.raises((ConfigError, PeepholeError)):
            load(toy_file).predict(["a"], **{field.name: value})


def test_a_setting_of_a_file_is_checked_like_an_option(ask: Ask, toy_file: Path, tmp_path: Path) -> None:
    file = load_model(toy_file)
    object.__setattr__(file.config.search, "beam_size", 0)  # which no command writes
    save_model(tmp_path / "m.safetensors", file)
    with pytest.raises(Refused, match=r"^PeepholeError: beamSize: wanted a whole number from 1 to 1000000, got 0$"):
        ask("predict", files=[tmp_path / "m.safetensors"], sources=["a"])


def test_a_language_model_refuses_frames(ask: Ask, tmp_path: Path) -> None:
    model = write(tmp_path / "m.safetensors", {"input": "none"}, "float32", 1)
    with pytest.raises(Refused, match=r"^PeepholeError: source 0: this model reads text; "):
        ask("predict", files=model.files, sources=[{"frames": [1, 2]}])
