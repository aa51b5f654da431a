"""Tests of scoring tokens: with subwords, a prediction's log-probability is that of its tokens, not of its text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import peephole
from peephole.config import Config
from peephole.model import Model
from peephole.model.pairs import score_pairs
from peephole.nn import build_seq2seq
from peephole.symbols import learn_symbols

TEXTS = ["the then there other", "an either other then", "there the either an"] * 9
SOURCES = ["the then", "other there", "an either the", "then"]


@pytest.fixture(scope="module")
def subwords() -> Model:
    """Return an untrained model over subwords: it splits predicted texts differently from its symbol table."""
    symbols = learn_symbols("bpe", TEXTS, vocabulary_size=40, min_count=1, normalize="NFC")
    config = Config().with_values(
        {"hidden_size": 8, "embedding_size": 6, "max_length_factor": 0, "search.engine": "auto"}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_seq2seq(config.model, len(symbols), len(symbols)).eval()
    return Model(config, symbols, symbols, [network])


def test_score_of_the_tokens_equals_the_log_prob_of_the_prediction(subwords: Model) -> None:
    found = subwords.predict(SOURCES, temperature=1.0, nbest=40, max_length_extra=8)
    flat = [(s, p) for s, ps in zip(SOURCES, found, strict=True) for p in ps if p.finished]
    texts = [p for _, p in flat]
    assert any(subwords.target_symbols.split(p.text) != p.tokens for p in texts)  # otherwise the test could not fail
    by_tokens = subwords.score([s for s, _ in flat], [p.tokens for p in texts])
    for p, score in zip(texts, by_tokens, strict=True):
        assert score == pytest.approx(p.log_prob, abs=1e-5 * len(p.symbol_log_probs))
    by_text = subwords.score([s for s, _ in flat], [p.text for p in texts])
    assert max(abs(a - b) for a, b in zip(by_text, by_tokens, strict=True)) > 0.1


def test_tokens_on_the_command_line_are_separated_by_spaces(subwords: Model, tmp_path: Path) -> None:
    tokens = ["▁", "t", "h", "e"]
    (tmp_path / "pairs.tsv").write_text("the\t" + " ".join(tokens) + "\n", encoding="utf-8")
    [part] = score_pairs(subwords, tmp_path / "pairs.tsv", tokens=True)
    assert part.log_probs == subwords.score(["the"], [tokens])
    assert part.log_probs != subwords.score(["the"], ["the"])


def test_an_unknown_token_is_reported(toy_file: Path) -> None:
    toy = peephole.load(toy_file)
    notices = peephole.model.Notices()
    assert toy.score(["ab"], [["AH", "Q"]], notices=notices) == toy.score(["ab"], ["AH Q"], notices=notices)
    assert [notice.unknown for notice in notices.texts] == [("Q",), ("Q",)]
