"""Tests of arguments of wrong types, which raise one line that names the argument, and of `repr`."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import peephole
from models.make import MODEL
from peephole.config import Config
from peephole.errors import ArgumentError
from peephole.inspect import draw_attention
from peephole.model import Model, Prediction

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
    "train": (lambda m: peephole.train(5), "train: wanted the name of a file, got 5"),
    "dev": (lambda m: peephole.train("a.tsv", dev=5), "dev: wanted the name of a file, got 5"),
    "out": (lambda m: peephole.train("a.tsv", out=None), "out: wanted the name of a file, got None"),
    "config": (lambda m: peephole.train("a.tsv", config={}), "config: wanted a Config, got {}"),
    "overwrite": (lambda m: peephole.train("a.tsv", overwrite="no"), "overwrite: wanted True or False, got 'no'"),
    "quiet": (lambda m: peephole.train("a.tsv", quiet=1), "quiet: wanted True or False, got 1"),
    "resume": (lambda m: peephole.resume(5), "folder: wanted the name of a file, got 5"),
    "from_dict": (lambda m: Config.from_dict([]), "tree: wanted a table of sections, got []"),
    "with_values": (lambda m: Config().with_values("minutes=5"), "values: wanted a table of settings, got 'minutes=5'"),
    "with_values key": (lambda m: Config().with_values({5: 1}), "values: wanted names of settings, got 5"),
    "from_toml": (lambda m: Config.from_toml(5), "path: wanted the name of a file, got 5"),
    "draw": (lambda m: draw_attention(5, "a.png"), "predictions: wanted a list of predictions, got 5"),
    "draw path": (lambda m: draw_attention([], 5), "path: wanted the name of a file, got 5"),
    "draw columns": (lambda m: draw_attention([], "a.png", columns="3"), "columns: wanted a whole number, got '3'"),
}


@pytest.fixture(scope="module")
def toy() -> Model:
    return peephole.load(MODEL)


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
