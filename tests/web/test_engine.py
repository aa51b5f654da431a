"""Tests that the engine in WebAssembly predicts what the native engine does, for every kind of model."""

from __future__ import annotations

import platform
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from export.random_models import ATTENTIONS, CELLS, CONTEXTS, SHAPES, STACKS
from models.make import STORED, toy_words
from peephole import Model, engine, load
from peephole.config import Config
from peephole.engine.packed import PackedModel
from peephole.errors import ModelFileError
from peephole.nn import build_seq2seq
from peephole.storage.model_file import ModelFile, save_model
from peephole.storage.quantization import Stored
from peephole.symbols import CharacterSymbols, FrameSymbols, Symbols, WhitespaceSymbols

from .conftest import Ask, Refused

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

BUILDS = ("simd", "plain")
FORMATS: tuple[Stored, ...] = ("float32", "bfloat16", "int8")
TOLERANCE = 1e-4  # for log p of a target, as in tests/contracts/search_cases.py
SAME_BITS = platform.machine() == "x86_64"  # its instruction set "generic" has the same vectors and operations

SOURCE: Symbols = CharacterSymbols(list("abcdefg"), "NFC")
TARGET = WhitespaceSymbols([f"한{i}" for i in range(9)], "NFC")
TEXTS = ["a", "gabba", "fedcbag", "xbax", "", "abcdefgabcdefg"]

KINDS: list[dict[str, Any]] = [
    *({"cell": cell, "peephole": peephole, **context} for cell, peephole in CELLS for context in CONTEXTS),
    *(SHAPES + STACKS + ATTENTIONS),
    {"output": "copy"},
    {"input_feeding": True, "decoder_layers": 2},
    {"attention_symbol": True, "attention": "coverage"},
    {"input": "frames", "ctc": True, "frame_stack": 2},
    {"input": "convolution", "encoder_layers": 2},
    {"input": "none"},
]


def write(path: Path, settings: dict[str, Any], stored: Stored, seed: int) -> Model:
    """Write and load a model with large random weights."""
    config = Config().with_values({"hidden_size": 12, "embedding_size": 5} | settings, "test")
    frames = settings.get("input") in ("frames", "convolution")
    of_frames = FrameSymbols("numbers", size=6), FrameSymbols("image", height=6)  # in float32, and in float16
    source: Symbols = (
        of_frames[settings["input"] == "convolution"]
        if frames
        else TARGET
        if settings.get("input") == "none"
        else SOURCE
    )
    config = config.with_values({"input_size": 6} if frames else {}, "test")
    torch.manual_seed(seed)
    network = build_seq2seq(config.model, len(source), len(TARGET)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            _ = weight.mul_(2) if weight.dim() == 2 and weight.any() else weight.normal_()
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    save_model(path, ModelFile(tensors, config, source, TARGET, stored))
    return load(path)


def with_instruction_set(model: Model, name: str) -> Model:
    """Return the model, packed for another instruction set."""
    for file in model._weights.files:
        file._packed = PackedModel(file.content, name)
    return model


def compare(ask: Ask, model: Model, sources: list[Any], options: dict[str, Any], build: str = "simd") -> None:
    """Compare the predictions of the module with those of the native engine."""
    given = [source if isinstance(source, str) else {"frames": source.ravel().tolist()} for source in sources]
    how = {
        "beamSize": "beam_size",
        "nbest": "nbest",
        "lengthPenalty": "length_penalty",
        "minLength": "min_length",
        "noRepeatNgram": "no_repeat_ngram",
    }
    native = {how[name]: value for name, value in options.items() if name in how}
    prefixes = options.get("prefix")
    found = ask("predict", files=model.files, build=build, sources=given, options=options)
    wanted = with_instruction_set(model, "generic").predict(sources, prefixes=prefixes, **native)
    assert [len(ones) for ones in found] == [len(ones) for ones in wanted]
    for one, other in ((a, b) for got, want in zip(found, wanted, strict=True) for a, b in zip(got, want, strict=True)):
        assert (one["text"], one["tokens"], one["finished"]) == (other.text, other.tokens, other.finished)
        assert (one["sourceTokens"], one["truncated"]) == (other.source_tokens, other.truncated)
        assert one["unknown"] == list(other.unknown)
        assert (one["attention"] is None) == (other.attention is None)
        if SAME_BITS:
            assert one["logProb"] == other.log_prob
            assert one["symbolLogProbs"] == other.symbol_log_probs
            if other.attention is not None:
                assert np.array_equal(np.float32(one["attention"]).reshape(other.attention.shape), other.attention)
        else:
            assert one["logProb"] == pytest.approx(other.log_prob, abs=TOLERANCE)


def sources_of(model: Model) -> list[Any]:
    """Return sources that the model reads: texts or frames."""
    if isinstance(model.source_symbols, FrameSymbols):
        rng = np.random.default_rng(1)
        return [
            rng.normal(size=(length, 6)).astype(np.float32) * 10.0**power for length, power in ((3, 0), (8, 4), (1, -6))
        ]
    return ["", "한1 한0", "한3 한2 한8"] if model.is_language_model else TEXTS


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("index", range(len(KINDS)), ids=lambda i: ",".join(f"{k}={v}" for k, v in KINDS[i].items()))
def test_every_kind_of_model(ask: Ask, tmp_path: Path, index: int) -> None:
    model = write(tmp_path / "m.safetensors", KINDS[index], FORMATS[index % 3], index)
    compare(ask, model, sources_of(model), {"beamSize": 4, "nbest": 3}, BUILDS[index % 4 == 3])


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("path", [path for paths in STORED.values() for path in paths], ids=lambda path: path.stem)
def test_every_stored_model(ask: Ask, path: Path, build: str) -> None:
    compare(ask, load(path), toy_words(20, seed=5), {}, build)


OPTIONS: list[dict[str, Any]] = [
    {"beamSize": 1},
    {"beamSize": 6, "nbest": 6, "lengthPenalty": 1.0},
    {"beamSize": 3, "noRepeatNgram": 2},
    {"minLength": 40},  # more than the usual most of these sources
    {"prefix": ["SMILE", "", "AH B"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_of_the_search(ask: Ask, toy_file: Path, options: dict[str, Any]) -> None:
    compare(ask, load(toy_file), ["abc", "한", "😀ab"], options)


def test_an_ensemble(ask: Ask) -> None:
    names = [STORED["1"][0], *STORED["3"]]
    compare(ask, load(*names), ["abc", "deadbead"], {"nbest": 2})


def test_scores_of_given_targets(ask: Ask, toy_file: Path) -> None:
    sources, targets = ["abc", "한", "b"], ["AH B K", "", ["B", "never seen"]]
    native = with_instruction_set(load(toy_file), "generic")
    with pytest.warns(UserWarning, match="read as <unk>"):
        wanted = native.score(sources, targets)
    assert ask("score", files=[toy_file], sources=sources, targets=targets) == pytest.approx(wanted, abs=TOLERANCE)


def test_a_list_of_symbols_is_a_source(ask: Ask, toy_file: Path) -> None:
    [[one], [other]] = ask("predict", files=[toy_file], sources=["ab한", ["a", "b", "한"]])
    assert one == other


def test_options_that_a_call_does_not_give_are_those_of_the_model(ask: Ask, toy_file: Path, tmp_path: Path) -> None:
    model = load(toy_file)
    model.config = model.config.with_values(
        {"search.nbest": 2, "search.beam_size": 3, "data.max_length": 4, "search.max_length_extra": 1}, "test"
    )
    model.save(tmp_path / "m.safetensors")
    [found] = ask("predict", files=[tmp_path / "m.safetensors"], sources=["abcdeabcde"])
    with pytest.warns(UserWarning, match="longer than 4 symbols"):
        [wanted] = load(tmp_path / "m.safetensors").predict(["abcdeabcde"])
    assert [(one["text"], one["truncated"]) for one in found] == [(one.text, True) for one in wanted]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"options": {"beam": 3}}, 'predict: unknown option "beam"; wanted beamSize, '),
    ({"options": {"beamSize": 0, "nbest": 1}}, "beamSize: wanted a whole number from 1 to 1000000, got 0"),
    ({"options": {"nbest": 7}}, "search: nbest: wanted at most beam_size = 5, got 7"),
    ({"options": {"beamSize": "many"}}, 'beamSize: wanted a whole number from 1 to 1000000, got "many"'),
    ({"options": {"minLength": 3, "maxLength": 3}}, "minLength: wanted fewer than maxLength = 3, got 3"),
    ({"options": {"maxLength": 1, "prefix": "B"}}, "prefix of source 0: wanted fewer than 1 symbols, got 1"),
    ({"options": {"prefix": ["B", "B"]}}, "prefix: wanted a text or a list of 1, one a source, got 2"),
    ({"sources": [3]}, "sources: wanted texts or lists of symbols, got number at index 0"),
]


@pytest.mark.parametrize(("request_", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_request_is_refused(ask: Ask, toy_file: Path, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=f"^PeepholeError: {re.escape(message)}[^\n]*$"):
        ask("predict", files=[toy_file], **{"sources": ["a"], **request_})
    assert ask("predict", files=[toy_file], sources=["a"])[0][0]["text"] == "AH"


def test_damaged_model_files_are_refused_with_the_message_of_the_native_engine(
    ask: Ask, toy_file: Path, tmp_path: Path
) -> None:
    """Each is opened, or refused as by the native engine, or has a table that only Python and JavaScript read."""
    content, rng = STORED["3"][1].read_bytes(), random.Random(7)
    refused = 0
    for index in range(150):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 3])):
            damaged[rng.randrange(len(damaged) if index % 2 else 3000)] = rng.randrange(256)
        if index % 10 == 9:
            del damaged[rng.randrange(len(damaged)) :]
        path = tmp_path / "m.safetensors"
        path.write_bytes(damaged)
        try:
            PackedModel(bytes(damaged), name="m")
        except ModelFileError as error:
            refused += 1
            with pytest.raises(Refused, match=re.escape(f"PeepholeError: {str(error).removeprefix('m: ')}")):
                ask("info", files=[path])
        else:
            ask("info", files=[path])
    assert refused > 100
    assert ask("info", files=[toy_file])["members"] == 1
