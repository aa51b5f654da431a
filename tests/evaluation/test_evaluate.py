"""Tests of the evaluation of lists: scores, default metrics, normal forms, worst predictions and errors."""

import json
import re

import pytest

from peephole.errors import ConfigError, DataError
from peephole.evaluation import DEFAULT_METRICS, evaluate_predictions
from peephole.evaluation.metrics import METRICS, corpus_score
from peephole.symbols import KINDS, CharacterSymbols, WhitespaceSymbols, learn_symbols

CHARACTERS = CharacterSymbols(list("abc"), "NFC")
PHONES = WhitespaceSymbols(["AA", "B"], "NFC")
SOURCES = ["cat", "tomato", "가", "🐈"]
PREDICTIONS = ["K AE T", "T AH M EY T OW Z", "", "K AE"]
REFERENCES = [("K AE T",), ("T AH M AA T OW", "T AH M EY T OW"), ("K AA",), ("K AE T", "M Y UW")]


def test_scores_are_those_of_the_metrics_inside_their_intervals():
    found = evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES, tuple(METRICS))
    assert list(found.scores) == list(METRICS)
    for name, score in found.scores.items():
        assert score.value == corpus_score(name, PREDICTIONS, REFERENCES, PHONES.split)
        assert score.low <= score.value <= score.high
        assert score.low < score.high
        assert (score.unit, score.better) == (METRICS[name].unit, METRICS[name].better)
    assert found.scores["exact_match"].value == 25.0
    assert found.scores["symbol_error_rate"].value == pytest.approx(100 * (0 + 1 + 2 + 1) / (3 + 6 + 2 + 3))
    assert (found.num_sources, found.num_references) == (4, 6)


def test_interval_of_one_match_in_four_is_binomial():
    # P(no resampled source is right) = 0.75⁴ = 0.32 > 2.5 %; P(3 or 4 are) = 0.051, P(4 are) = 0.004
    score = evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES, ("exact_match",)).scores["exact_match"]
    assert (score.low, score.high) == (0.0, 75.0)


@pytest.mark.parametrize("kind", KINDS)
def test_default_metrics_follow_the_kind_of_the_symbols(kind):
    texts = ["the cat sat on the mat", "a dog ran", "the dog sat"] * 10
    symbols = learn_symbols(kind, texts, vocabulary_size=60, min_count=1, normalize="NFC")
    found = evaluate_predictions(texts[:3], texts[:3], [(text,) for text in texts[:3]], symbols)
    assert tuple(found.scores) == DEFAULT_METRICS[kind]
    for score in found.scores.values():
        assert score.value == pytest.approx(100 if score.better == "higher" else 0)
    assert found.worst == ()
    assert evaluate_predictions(texts[:3], texts[:3], [(text,) for text in texts[:3]], symbols, ()) == found


@pytest.mark.parametrize("name", METRICS)
def test_texts_are_compared_in_the_normal_form_of_the_symbols(name):
    composed, decomposed = "한 글 é 나", "한 글 e\u0301 나"
    assert composed != decomposed
    for form, equal in (("NFC", True), ("none", False)):
        symbols = CharacterSymbols(["a"], form)
        score = evaluate_predictions(["x"], [composed], [(decomposed,)], symbols, (name,)).scores[name]
        perfect = score.value == pytest.approx(100 if score.better == "higher" else 0)
        assert perfect == equal


def test_worst_predictions_come_with_their_closest_reference_most_edits_first():
    found = evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES, num_worst=2)
    empty, tomato = found.worst[0], found.worst[1]
    assert (empty.source, empty.prediction, empty.reference, empty.edits) == ("가", "", "K AA", 2)
    assert empty.columns == ((None, "K"), (None, "AA"))
    # 🐈 and tomato have one edit each: the mistake on the shorter reference is worse
    assert (tomato.source, tomato.reference, tomato.edits) == ("🐈", "K AE T", 1)
    worst = evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES).worst
    assert [mistake.source for mistake in worst] == ["가", "🐈", "tomato"]
    assert worst[2].reference == "T AH M EY T OW"


def test_evaluation_is_json_and_repeats_with_its_seed():
    found = evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES, seed=3, resamples=50)
    assert evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES, seed=3, resamples=50) == found
    assert evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES, seed=4, resamples=50) != found
    tree = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert tree["scores"]["symbol_error_rate"]["value"] == found.scores["symbol_error_rate"].value
    assert tree["worst"][0]["columns"] == [[None, "K"], [None, "AA"]]
    assert (tree["resamples"], tree["seed"], tree["confidence"], tree["num_references"]) == (50, 3, 0.95, 6)


def test_only_sacrebleu_metrics_have_a_signature():
    scores = evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES, ("bleu", "exact_match")).scores
    assert re.fullmatch(r"nrefs:var\|case:mixed\|eff:no\|tok:13a\|smooth:exp\|version:[\d.]+", scores["bleu"].signature)
    assert scores["exact_match"].signature == ""


def test_metric_listed_twice_is_computed_once():
    found = evaluate_predictions(SOURCES, PREDICTIONS, REFERENCES, PHONES, ("bleu", "exact_match", "bleu"))
    assert list(found.scores) == ["bleu", "exact_match"]


@pytest.mark.parametrize(
    ("sources", "predictions", "references", "message"),
    [
        ([], [], [], "at least one source, got none"),
        (["a", "b"], ["a"], [("a",), ("b",)], "wanted predictions for 2 sources, got 1"),
        (["a", "b"], ["a", "b"], [("a",)], "wanted references for 2 sources, got 1"),
        (["a"], ["a"], ["abc"], "source 1: wanted a list of references, got the text 'abc'"),
        (["a", "나"], ["a", "b"], [("a",), ()], "source 2: wanted at least one reference, got none: '나'"),
    ],
)
def test_mismatched_lists_are_refused(sources, predictions, references, message):
    with pytest.raises(DataError, match=re.escape(message)):
        evaluate_predictions(sources, predictions, references, CHARACTERS)


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(
        ConfigError,
        match=r"unknown metric 'symbol_eror_rate'; wanted .*, rouge_l; did you mean 'symbol_error_rate'\?$",
    ):
        evaluate_predictions(["a"], ["a"], [("a",)], CHARACTERS, ("symbol_eror_rate",))
