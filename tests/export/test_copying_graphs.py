"""Tests of the exported graphs of models that copy against the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from peephole.export import copying
from peephole.nn import use_engine
from peephole.search import beam_search, force
from peephole.symbols import EOS, PAD
from rejection import rejected_by_comparison

from .random_models import SOURCE_SYMBOLS, TARGET_SYMBOLS, TOLERANCE, model_config, steppers, write_model

V = TARGET_SYMBOLS
SOURCES = [[(4, 4), (6, V), (5, 7)], [(5, V)], [(6, 6), (4, V), (4, V), (3, V + 1), (8, 4), (7, 6)]]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"attention": "coverage", "decoder_layers": 2, "encoder_size": 4},
    {"attention": "multihead", "attention_heads": 2},
    {"input_feeding": True},
    {"attention_symbol": True, "attention": "coverage", "decoder_layers": 2},
    {"attention": "dot", "cell": "gru", "peephole": "none", "bidirectional": False},
]


def batch() -> tuple[Tensor, Tensor]:
    """Return the sources, padded with symbols that must be ignored, and their lengths."""
    source = torch.full((len(SOURCES), 8, 2), SOURCE_SYMBOLS - 3)
    for row, symbols in zip(source, SOURCES, strict=True):
        row[: len(symbols)] = torch.tensor(symbols)
    return source, torch.tensor([len(symbols) for symbols in SOURCES])


def compare(folder: Path, **settings: Any) -> None:
    """Compare log p of every symbol in some steps, which are fed copied symbols, too."""
    graphs, wanted = steppers(write_model(folder / "m.safetensors", model_config(output="copy", **settings)))
    with use_engine("off"):
        ours, theirs = graphs.start(*batch()), wanted.start(*batch())
        for previous in ([1, 1, 1], [V, 4, V + 1], [5, V, V]):
            found, ours, _ = graphs.step(ours, torch.tensor(previous))
            log_probs, theirs, _ = wanted.step(theirs, torch.tensor(previous))
            assert found.shape == log_probs.shape, "shape of log p"
            assert torch.equal(found.isinf(), log_probs.isinf()), "symbols that have no probability"
            largest = (found - log_probs).nan_to_num(0).abs().max()
            assert largest <= TOLERANCE, f"log p is off by {largest}"
        ours, theirs = (s.reorder(state, torch.tensor([2, 0])) for s, state in ((graphs, ours), (wanted, theirs)))
        found, log_probs = (s.step(x, torch.tensor([4, 5]))[0] for s, x in ((graphs, ours), (wanted, theirs)))
        torch.testing.assert_close(found, log_probs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()) or "additive")
def test_every_step_equals_the_definition(tmp_path: Path, settings: dict[str, Any]) -> None:
    compare(tmp_path, **settings)


def test_searches_equal_the_definition(tmp_path: Path) -> None:
    graphs, wanted = steppers(write_model(tmp_path / "m.safetensors", model_config(output="copy"), seed=2))
    how = {"beam_size": 4, "nbest": 2, "max_lengths": torch.tensor([5, 4, 7])}
    with use_engine("off"):
        found, definition = (beam_search(stepper, *batch(), **how) for stepper in (graphs, wanted))
        scores = force(graphs, *batch(), [[V, 4], [V], [V + 1, V]])
        given = force(wanted, *batch(), [[V, 4], [V], [V + 1, V]])
    assert [[one.ids for one in ones] for ones in found] == [[one.ids for one in ones] for ones in definition]
    assert any(symbol >= V for ones in found for one in ones for symbol in one.ids)
    assert [one.log_prob for one in scores] == pytest.approx([one.log_prob for one in given], abs=1e-4)


WRONG = {
    "the gate is reversed": ("_log_sigmoid", lambda graph, x: graph.op("Neg", graph.op("Softplus", x))),
    "a sum of logarithms": ("_log_sum", lambda graph, a, b: graph.op("Add", a, b)),
    "the larger of the two": ("_log_sum", lambda graph, a, b: graph.op("Max", a, b)),
    "a copied text is read as </s>": (
        "known_symbols",
        lambda graph, previous, size: graph.op(
            "Where", graph.op("Less", previous, graph.ints(size)), previous, graph.ints(EOS)
        ),
    ),
    "a copied text is read as <pad>": (
        "known_symbols",
        lambda graph, previous, size: graph.op(
            "Where", graph.op("Less", previous, graph.ints(size)), previous, graph.ints(PAD)
        ),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_graph_is_rejected(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function, wrong = WRONG[name]
    where = "peephole.export.seq2seq" if function == "known_symbols" else copying.__name__
    monkeypatch.setattr(f"{where}.{function}", wrong)
    with rejected_by_comparison():
        compare(tmp_path)
