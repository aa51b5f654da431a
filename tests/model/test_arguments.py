"""Tests of arguments of wrong types, which raise one line that names the argument, and of `repr`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import peephole
from models.make import MODEL
from peephole.config import Config
from peephole.errors import ArgumentError, ConfigError, ShapeError
from peephole.export.stepper import OnnxStepper
from peephole.inspect import draw_attention, draw_trace, make_page
from peephole.model import Model, Prediction
from peephole.model.forecast import Forecast
from peephole.symbols import Symbols

FORECAST = Forecast(np.zeros((3, 2, 1)))


def parts(model: Model) -> tuple[Config, Symbols, Symbols]:
    return model.config, model.source_symbols, model.target_symbols


class Name(os.PathLike[str]):
    """The name of a file, in an object that is not a `pathlib.Path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


WRONG: dict[str, tuple[Callable[[Model], Any], str]] = {
    "load": (lambda m: peephole.load(5), "path: wanted the name of a file, got 5"),
    "load more": (lambda m: peephole.load(MODEL, None), "path: wanted the name of a file, got None"),
    "load bytes": (lambda m: peephole.load(b"m"), "path: wanted the name of a file, got b'm'"),
    "sources": (lambda m: m.predict(5), "sources: wanted a list of texts, got 5"),
    "one source": (lambda m: m.predict("ab"), "sources: wanted a list of texts, got one text, 'ab'; write ['ab']"),
    "source": (lambda m: m.predict(["a", 5]), "sources: wanted texts, got 5 at index 1"),
    "prefixes": (lambda m: m.predict(["a"], prefixes=5), "prefixes: wanted a list of texts, got 5"),
    "attention": (lambda m: m.predict(["a"], attention=1), "attention: wanted True or False, got 1"),
    "progress": (lambda m: m.predict(["a"], progress=True), "progress: wanted a function, got True"),
    "first_index": (lambda m: m.predict(["a"], first_index="1"), "first_index: wanted a whole number, got '1'"),
    "notices": (lambda m: m.predict(["a"], notices=[]), "notices: wanted a Notices, got []"),
    "targets": (lambda m: m.score(["a"], 5), "targets: wanted a list of texts, got 5"),
    "target": (lambda m: m.score(["a"], [5]), "targets: wanted texts or lists of tokens, got 5 at index 0"),
    "token": (
        lambda m: m.score(["a"], [["A", 5]]),
        "targets: wanted texts or lists of tokens, got ['A', 5] at index 0",
    ),
    "score": (lambda m: m.score(["a"], ["A"], notices=1), "notices: wanted a Notices, got 1"),
    "save": (lambda m: m.save(5), "path: wanted the name of a file, got 5"),
    "model": (lambda m: Model(1, m.source_symbols, m.target_symbols), "config: wanted a Config, got 1"),
    "networks": (lambda m: Model(*parts(m), 5), "networks: wanted a list of Seq2Seq networks, got 5"),
    "network": (lambda m: Model(*parts(m), [5]), "networks: wanted a list of Seq2Seq networks, got 5"),
    "files": (lambda m: Model(*parts(m), files=5), "files: wanted a list of names of files, got 5"),
    "file": (lambda m: Model(*parts(m), files=[5]), "files: wanted the name of a file, got 5"),
    "symbols": (lambda m: Model(m.config, "ab", "c"), "source_symbols: wanted a symbol table, got 'ab'"),
    "evaluate": (lambda m: peephole.evaluate(5, []), "model: wanted a Model or the name of its file, got 5"),
    "against": (
        lambda m: peephole.evaluate(m, [], against=5),
        "against: wanted a Model or the name of its file, got 5",
    ),
    "metrics": (
        lambda m: peephole.evaluate(m, [], metrics="bleu"),
        "metrics: wanted a list of texts, got one text, 'bleu'; write ['bleu']",
    ),
    "worst": (lambda m: peephole.evaluate(m, [], worst="3"), "worst: wanted a whole number, got '3'"),
    "evaluate progress": (lambda m: peephole.evaluate(m, [], progress=1), "progress: wanted a function, got 1"),
    "on_read": (lambda m: peephole.evaluate(m, [], on_read=1), "on_read: wanted a function, got 1"),
    "quantize on_read": (lambda m: peephole.quantize(MODEL, "int8", on_read=5), "on_read: wanted a function, got 5"),
    "quantize progress": (lambda m: peephole.quantize(MODEL, "int8", progress=5), "progress: wanted a function, got 5"),
    "quantize pairs": (
        lambda m: peephole.quantize(MODEL, "int8", "out.safetensors", pairs=5),
        "pairs: wanted the name of a file or pairs of texts, got 5",
    ),
    "train": (lambda m: peephole.train(5), "train: wanted the name of a file or pairs of texts, got 5"),
    "dev": (lambda m: peephole.train("a.tsv", dev=5), "dev: wanted the name of a file or pairs of texts, got 5"),
    "out": (lambda m: peephole.train("a.tsv", out=None), "out: wanted the name of a file, got None"),
    "config": (lambda m: peephole.train("a.tsv", config={}), "config: wanted a Config, got {}"),
    "overwrite": (lambda m: peephole.train("a.tsv", overwrite="no"), "overwrite: wanted True or False, got 'no'"),
    "quiet": (lambda m: peephole.train("a.tsv", quiet=1), "quiet: wanted True or False, got 1"),
    "resume": (lambda m: peephole.resume(5), "folder: wanted the name of a file, got 5"),
    "from_dict": (lambda m: Config.from_dict([]), "tree: wanted a table of sections, got []"),
    "section": (lambda m: Config(model=5), "model: wanted a ModelConfig, got 5"),
    "LSTM": (lambda m: peephole.nn.LSTM("3", 4), "input_size: wanted a whole number, got '3'"),
    "GRU": (lambda m: peephole.nn.GRU(3, 4.0), "hidden_size: wanted a whole number, got 4.0"),
    "layers": (lambda m: peephole.nn.GRU(3, 4, num_layers=True), "num_layers: wanted a whole number, got True"),
    "with_values": (lambda m: Config().with_values("minutes=5"), "values: wanted a table of settings, got 'minutes=5'"),
    "with_values key": (lambda m: Config().with_values({5: 1}), "values: wanted names of settings, got 5"),
    "from_toml": (lambda m: Config.from_toml(5), "path: wanted the name of a file, got 5"),
    "draw": (lambda m: draw_attention(5, "a.png"), "predictions: wanted a list of predictions, got 5"),
    "draw path": (lambda m: draw_attention([], 5), "path: wanted the name of a file, got 5"),
    "draw trace": (
        lambda m: draw_trace(m.trace("cab"), "a.xyz"),
        "path: wanted a name that ends in .png, .svg, .pdf, got 'a.xyz'",
    ),
    "page": (lambda m: make_page("a.safetensors", "x"), "model: wanted a Model, got 'a.safetensors'"),
    "page other": (lambda m: make_page(m, "cab", other=5), "other: wanted a Model, got 5"),
    "check": (lambda m: peephole.check(None), "train: wanted a file of pairs, or pairs, got None"),
    "diagnose": (lambda m: m.diagnose("cab", None), "reference: wanted a text, or a list of tokens, got None"),
    "stepper": (lambda m: OnnxStepper(None), "folder: wanted the name of a file, got None"),
    "quantile": (lambda m: FORECAST.quantile(None), "level: wanted a number from 0 to 1, got None"),
    "quantile of 2": (lambda m: FORECAST.quantile(2), "level: wanted a number from 0 to 1, got 2"),
    "draw columns": (lambda m: draw_attention([], "a.png", columns="3"), "columns: wanted a whole number, got '3'"),
}


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_type_is_reported_in_one_line(
    name: str, toy: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, message = WRONG[name]
    with pytest.raises(ArgumentError) as caught:
        call(toy)
    assert str(caught.value) == message
    assert isinstance(caught.value, peephole.PeepholeError)
    assert isinstance(caught.value, TypeError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("annotations_unchecked")
def test_a_long_value_is_cut(toy: Model) -> None:
    with pytest.raises(ArgumentError, match=r"^sources: wanted a list of texts, got .{79}…$"):
        toy.predict(10**200)  # type: ignore[arg-type]  # a user's mistake


def test_a_negative_first_index_is_refused(toy: Model) -> None:
    for search in ({}, {"temperature": 1.0}):
        with pytest.raises(peephole.PeepholeError, match=r"^first_index: wanted at least 0, got -1$"):
            toy.predict(["ab"], first_index=-1, **search)


@pytest.mark.parametrize("layers", [peephole.nn.LSTM, peephole.nn.GRU])
@pytest.mark.parametrize("name", ["input_size", "hidden_size", "num_layers"])
def test_a_layer_without_a_size_is_refused(layers: Callable[..., Any], name: str) -> None:
    for size in (0, -4):
        with pytest.raises(ShapeError, match=rf"^{name}: wanted at least 1, got {size}$"):
            layers(**{"input_size": 3, "hidden_size": 4, name: size})


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({5: 6}, "config: unknown section 5; wanted one of data, frames, symbols, model, train, search"),
        ({"model": {5: 6}}, "config, model: unknown key 5"),
    ],
)
def test_a_name_that_is_no_text_is_unknown(tree: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Config.from_dict(tree)


@pytest.mark.usefixtures("annotations_unchecked")
def test_any_path_is_the_name_of_a_file(toy: Model, tmp_path: Path) -> None:
    model, pairs = Name(tmp_path / "toy.safetensors"), Name(tmp_path / "pairs.tsv")
    pairs.path.write_text("ab\tAH B\nba\tB AH\n" * 20, encoding="utf-8")
    toy.save(model)  # type: ignore[arg-type]  # as a user may
    found = peephole.quantize(model, "int8", Name(tmp_path / "small.safetensors"), pairs=pairs)  # type: ignore[arg-type]
    assert (found.model, found.out) == (str(model.path), str(tmp_path / "small.safetensors"))
    evaluation = peephole.evaluate(model, pairs)  # type: ignore[arg-type]
    assert (evaluation.model, evaluation.test) == (str(model.path), str(pairs.path))
    out = Name(tmp_path / "new.safetensors")
    peephole.train(pairs, pairs, out, steps=1, hidden_size=4, embedding_size=2, quiet=True)  # type: ignore[arg-type]
    assert peephole.load(out).name == str(out.path)  # type: ignore[arg-type]


def test_a_model_says_what_it_is(toy: Model) -> None:
    text = repr(toy)
    assert "\n" not in text
    assert text.startswith(f"<Model {MODEL}: LSTM with ")
    shape = toy.config.model
    for part in (
        f"hidden size {shape.hidden_size}",
        f"decoder {shape.decoder_layers} x {shape.hidden_size}",
        f"{len(toy.source_symbols)} source symbols (characters)",
        f"{len(toy.target_symbols)} target symbols (whitespace)",
    ):
        assert part in text
    assert "ensemble of 2" in repr(peephole.load(MODEL, MODEL))
    assert repr(Model(toy.config, toy.source_symbols, toy.target_symbols, toy.networks)).startswith("<Model in memory:")


def test_repr_of_a_prediction_is_short(toy: Model) -> None:
    [[best]] = toy.predict(["cab"])
    assert repr(best) == f"Prediction('K AH B', log_prob={best.log_prob:.4f})"
    long = Prediction("word\n" * 500, ["word"] * 500, -1.0, [], False, [], None, ("x",) * 500, True)
    assert re.fullmatch(r"Prediction\('word.*…, log_prob=-1\.0000, unfinished, unknown=.*…, truncated\)", repr(long))
    assert len(repr(long)) <= 120


def test_the_public_names_are_listed_and_typed() -> None:
    assert set(peephole.__all__) <= set(dir(peephole))
    assert {"evaluate", "quantize", "train", "load"} <= set(peephole.__all__)
    assert callable(peephole.evaluate)
    assert callable(peephole.quantize)
    assert (files("peephole") / "py.typed").is_file()
