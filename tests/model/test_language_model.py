"""Tests of language models through the handle: training, continuing, scoring, evaluating, guiding another model."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

import peephole
from models.make import MODEL
from peephole.errors import ArgumentError, ConfigError, DataError, ModelFileError, PeepholeError, PrefixError
from peephole.export import export_onnx
from peephole.model import Model

TOKENS = ["EH", "K", "D", "B"]


def texts(count: int, seed: int) -> list[str]:
    """Return different targets of the toy model's symbols, in which D follows each K."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        words = " ".join(rng.choice(["EH", "K D", "B"]) for _ in range(rng.randint(2, 6)))
        found[words] = None
    return list(found)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the file of a language model with the toy model's symbols, and the file of texts it was trained on."""
    folder = tmp_path_factory.mktemp("language")
    data, out = folder / "targets.txt", folder / "lm.safetensors"
    data.write_text("".join(f"{text}\n" for text in texts(300, seed=1)) + "\nEH K D\n")
    settings: dict[str, Any] = {"model.input": "none", "symbols.of": str(MODEL), "hidden_size": 32}
    settings |= {"embedding_size": 16, "steps": 60, "evaluations": 2, "learning_rate": 0.01}
    peephole.train(data, out=out, quiet=True, **settings)
    return out, data


def test_training_takes_the_symbols_over(files: tuple[Path, Path]) -> None:
    model, toy = peephole.load(files[0]), peephole.load(MODEL)
    assert model.is_language_model
    assert not toy.is_language_model
    assert model.target_symbols.to_json() == toy.target_symbols.to_json()
    assert (model.config.data.targets_only, model.config.train.dev_metric) == (True, "loss")
    assert "language model, LSTM with full peepholes, 1 x 32" in repr(model)


@pytest.mark.parametrize("engine", ["auto", "off"])
def test_a_language_model_continues_texts(files: tuple[Path, Path], engine: str) -> None:
    model = peephole.load(files[0])
    found = model.predict(["EH K", "", "B B"], engine=engine)
    assert [best.tokens[: len(begin.split())] for [best], begin in zip(found, ["EH K", "", "B B"], strict=True)] == [
        ["EH", "K"],
        [],
        ["B", "B"],
    ]
    assert found[0][0].tokens[2] == "D"
    assert [best.attention for [best] in found] == [None] * 3
    [[best]] = model.predict(["EH K"], must_contain=[["B B B"]], engine=engine)
    assert "B B B" in best.text
    assert best.text.startswith("EH K")
    drawn = model.predict(["K"] * 4, temperature=1.0, nbest=3, engine=engine)
    assert len({prediction.text for predictions in drawn for prediction in predictions}) > 3
    score = model.score(["anything", ""], [best.text, best.tokens], engine=engine)
    assert score == pytest.approx([best.log_prob] * 2, abs=1e-5)


def test_perplexity_is_that_of_the_scores(files: tuple[Path, Path], tmp_path: Path) -> None:
    model = peephole.load(files[0])
    test = [*texts(40, seed=2), "EH EH", "EH EH"]
    path = tmp_path / "test.txt"
    path.write_text("".join(f"{text}\n" for text in test))
    result = peephole.evaluate(model, path)
    scores = model.score(test, test)
    symbols = sum(len(text.split()) + 1 for text in test)
    score = result.scores["perplexity"]
    assert score.value == pytest.approx(math.exp(-sum(scores) / symbols))
    assert score.low < score.value < score.high
    assert (result.sources, result.evaluation.num_sources) == (test, 42)
    assert peephole.evaluate(model, [("x", text) for text in test]).scores["perplexity"] == score
    untrained = math.log(len(model.target_symbols))
    assert score.value < math.exp(untrained) / 2
    with pytest.raises(ConfigError, match="wanted perplexity, the metric of a language model, got 'bleu'"):
        peephole.evaluate(model, path, metrics=["bleu"])
    with pytest.raises(PeepholeError, match="against: wanted none, since a language model makes no predictions"):
        peephole.evaluate(model, path, against=model)


def combined(model: Model, guide: Model, source: str, text: list[str], weight: float) -> float:
    [own], [other] = model.score([source], [text]), guide.score([""], [text])
    return own + weight * other


@pytest.mark.parametrize("engine", ["auto", "off"])
def test_a_language_model_guides_a_search(files: tuple[Path, Path], engine: str) -> None:
    model, guide = peephole.load(MODEL), peephole.load(files[0])
    sources = ["cab", "bad", "abba", "dab"]
    plain = model.predict(sources, nbest=4, engine=engine)
    settings: dict[str, Any] = {"nbest": 4, "engine": engine, "language_model_weight": 1.5}
    found = model.predict(sources, language_model=guide, **settings)
    assert [[p.text for p in own] for own in found] != [[p.text for p in own] for own in plain]
    for source, predictions in zip(sources, found, strict=True):
        scores = [combined(model, guide, source, p.tokens, 1.5) for p in predictions if p.finished]
        assert scores == sorted(scores, reverse=True)
        for prediction in predictions:
            if prediction.finished:  # the log p reported is the model's own
                assert prediction.log_prob == pytest.approx(model.score([source], [prediction.tokens])[0], abs=1e-5)
    by_name = model.predict(sources, language_model=str(files[0]), **settings)
    assert by_name == found
    assert model.predict(sources, language_model=guide, **settings | {"language_model_weight": 0}) == plain
    configured = Model(
        model.config.with_values({"search.language_model": str(files[0])}),
        model.source_symbols,
        model.target_symbols,
        files=[MODEL],
    )
    assert configured.predict(sources, **settings) == found
    assert configured.predict(sources, language_model="none", **settings) == plain


@pytest.mark.usefixtures("annotations_unchecked")
def test_what_cannot_be_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, guide = peephole.load(MODEL), peephole.load(files[0])
    data = tmp_path / "abc.txt"
    data.write_text("a b\nb a\nc c\nb\n")
    other = peephole.train(
        data, out=tmp_path / "other.safetensors", quiet=True, steps=1, **{"model.input": "none", "hidden_size": 4}
    )
    long = "K " * 30
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: model.predict(["a"], language_model=5), ArgumentError, "language_model: wanted a Model or the name"),
        (lambda: model.predict(["a"], language_model="no.st"), ModelFileError, "no.st: "),
        (
            lambda: model.predict(["a"], language_model=model),
            PeepholeError,
            r"language_model: wanted one language model \(model.input=none\), got <Model ",
        ),
        (
            lambda: model.predict(["a"], language_model=other),
            PeepholeError,
            "language_model: wanted the target symbols of the model that it guides, got others; train it with "
            "symbols.of=MODEL",
        ),
        (
            lambda: peephole.load(MODEL, files[0]),
            ModelFileError,
            "lm.safetensors: is a language model, .* does not copy; an ensemble needs models of one kind",
        ),
        (
            lambda: peephole.evaluate(model, [("a", "K")], against=files[0]),
            ConfigError,
            "against: wanted another model of texts with a source, got a language model",
        ),
        (
            lambda: guide.predict(["K"], prefixes=["B"]),
            PeepholeError,
            "prefixes: a language model continues its sources; wanted none, got some",
        ),
        (lambda: guide.predict([long], max_length_factor=0), PrefixError, "prefix 0: wanted a prefix of fewer than 20"),
        (lambda: export_onnx(files[0], tmp_path / "onnx"), ModelFileError, "input.*'none'"),
        (
            lambda: peephole.train(MODEL, out=tmp_path / "x.safetensors", **{"symbols.of": "m"}),
            ConfigError,
            "symbols.of: wanted model.input='none' with it, got 'symbols'",
        ),
        (
            lambda: guide.config.with_values({"search.coverage_penalty": 1}),
            ConfigError,
            "search.coverage_penalty: wanted a model with sources, got model.input='none'",
        ),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=message):
            call()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a b\nc\td\n", r"a.txt, line 2: expected 1 column, found 2: 'c\td'"),
        ("a.csv", "a,b\n", "a.csv: wanted a file of targets alone, one a line, got .csv"),
        ("a.txt", "\n\n", "a.txt: no pairs in it; 2 pairs skipped: blank line (first: {path}, line 1)"),
    ],
)
def test_files_of_targets_hold_one_column(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        peephole.train(path, out=tmp_path / "x.safetensors", quiet=True, **{"model.input": "none"})
    assert message.format(path=path) in str(caught.value).replace("\\\\", "\\")
