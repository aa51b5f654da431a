"""Tests of the commands on a language model: predict, score, evaluate, and predict with its guidance."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from peephole.config import Config
from peephole.model import Model, load
from peephole.nn import build_seq2seq

from .conftest import Peephole

TEXTS = ["EH K", "B", "D D D"]


@pytest.fixture(scope="module")
def language_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of an untrained language model with the symbols of the toy model, and large weights."""
    from models.make import MODEL

    symbols = load(MODEL).target_symbols
    settings = {"model.input": "none", "data.targets_only": True, "hidden_size": 8, "embedding_size": 4}
    config = Config().with_values(settings)
    generator = torch.Generator().manual_seed(1)
    network = build_seq2seq(config.model, len(symbols), len(symbols), generator).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    path = tmp_path_factory.mktemp("language") / "lm.safetensors"
    Model(config, symbols, symbols, [network]).save(path)
    return path


def test_predict_continues_each_line(peephole: Peephole, language_file: Path) -> None:
    wanted = [best.text for [best] in load(language_file).predict([*TEXTS, ""])]
    done = peephole("predict", language_file, stdin="".join(f"{text}\n" for text in TEXTS) + "\n").succeeded()
    assert done.lines == wanted
    assert all(line.startswith(text) for line, text in zip(done.lines, TEXTS, strict=False))


def test_score_and_evaluate_read_texts(peephole: Peephole, language_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    model = load(language_file)
    scores = model.score([""] * 3, TEXTS)
    assert peephole("score", language_file, path).succeeded().lines == [f"{score:.6f}" for score in scores]
    result = json.loads(peephole("evaluate", language_file, path, "--json").succeeded().out)
    assert result["scores"]["perplexity"]["value"] == pytest.approx(math.exp(-sum(scores) / 9))
    shown = peephole("evaluate", language_file, path).succeeded().out
    assert "perplexity" in shown
    assert "3 sources" in shown


def test_evaluate_refuses_settings_of_a_search(peephole: Peephole, language_file: Path) -> None:
    peephole.write("texts.txt", "EH K\n")
    peephole("evaluate", language_file, "texts.txt", "--beam-size", "3").failed(
        "search.beam_size: wanted a model with sources to evaluate with it, got a language model, whose perplexity "
        "needs no search"
    )
    peephole("evaluate", language_file, "texts.txt", "--threads", "1", "--batch-size", "2").succeeded()


def test_predict_with_a_language_model(peephole: Peephole, language_file: Path, toy_file: Path) -> None:
    sources = ["cab", "bad", "abba"]
    guided = load(toy_file).predict(sources, language_model=language_file, language_model_weight=2)
    stdin = "".join(f"{source}\n" for source in sources)
    options = ("--language-model", language_file, "--language-model-weight", "2")
    done = peephole("predict", toy_file, *options, stdin=stdin).succeeded()
    assert done.lines == [best.text for [best] in guided]
    assert done.lines != peephole("predict", toy_file, stdin=stdin).succeeded().lines
    failed = peephole("predict", toy_file, "--language-model", toy_file, stdin=stdin)
    assert failed.code == 1
    assert failed.err.startswith("peephole: language_model: wanted one language model (model.input=none), got <Model ")


def test_the_loss_of_a_quantized_language_model_is_its_perplexity(peephole: Peephole, language_file: Path) -> None:
    path = peephole.write("targets.txt", "".join(f"{text}\n" for text in TEXTS))
    command = ("quantize", language_file, "--to", "int8", "--out", "small.safetensors", "--evaluate", path)
    done = peephole(*command, "--json").succeeded()
    found = json.loads(done.out)["evaluation"]
    values = [
        json.loads(peephole("evaluate", file, path, "--json").succeeded().out)["scores"]["perplexity"]["value"]
        for file in (language_file, "small.safetensors")
    ]
    assert [found["perplexity"]["before"], found["perplexity"]["after"]] == values
    assert found["num_different"] is None
    [line] = [line for line in peephole(*command).succeeded().lines if "before" in line]
    assert line == f"perplexity: {values[0]:.2f} before, {values[1]:.2f} after"
