"""Tests of the metrics: against numbers worked out by hand, brute force, and the libraries' corpus scores."""

import functools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from peephole.errors import DataError
from peephole.evaluation.metrics import (
    METRICS,
    closest,
    corpus_bleu,
    corpus_chrf,
    corpus_score,
    edit_statistics,
    exact_match,
    rouge,
    rouge_tokens,
    sacrebleu_signature,
    symbol_error_rate,
)

PREDICTIONS = [
    "the cat sat on the mat .",
    "a small boat sails over the sea",
    "",
    "나는 어제 밥을 먹었다",
    "it is a guide to action which ensures that the military always obeys the party",
    "👩‍👩‍👧 family",
]
REFERENCES = [
    ["the cat is on the mat .", "there is a cat on the mat ."],
    ["a small boat sails across the sea"],
    ["nothing was said"],
    ["나는 어제 밥을 먹었습니다", "어제 밥을 먹었다", "나는 어제 밥 먹었다"],
    [
        "it is a guide to action that ensures that the military will forever heed party commands",
        "it is the guiding principle which guarantees the military forces always being under the party",
    ],
    ["👩‍👩‍👧 family", "household"],
]
symbols = st.lists(st.sampled_from("abc"), max_size=6)


def brute_force_edits(left, right):
    """Return the edit distance by the recursion of its definition."""

    @functools.cache
    def edits(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(edits(i - 1, j) + 1, edits(i, j - 1) + 1, edits(i - 1, j - 1) + (left[i - 1] != right[j - 1]))

    return edits(len(left), len(right))


@settings(deadline=None)
@given(symbols, st.lists(symbols, min_size=1, max_size=4))
def test_closest_is_the_brute_force_minimum_and_ignores_the_order_of_references(prediction, references):
    edits, index = closest(prediction, references)
    assert edits == min(brute_force_edits(prediction, reference) for reference in references)
    assert brute_force_edits(prediction, references[index]) == edits
    backwards = closest(prediction, references[::-1])
    assert (backwards[0], len(references[::-1][backwards[1]])) == (edits, len(references[index]))


def test_symbol_error_rate_pools_edits_and_lengths_of_the_closest_references():
    predictions = [["HH", "AH", "L", "OW"], ["R", "IY", "D"], []]
    references = [
        [["HH", "EH", "L", "OW"], ["HH", "AH", "L", "OW", "ER"]],  # 1 edit to both: the longer is the closest, 1 / 5
        [["R", "EH", "D"], ["R", "IY", "D"]],  # 0 / 3
        [["AH"], ["AH", "N"]],  # nothing predicted: 1 / 1, not 2 / 2
    ]
    assert edit_statistics(predictions, references).tolist() == [[1, 5], [0, 3], [1, 1]]
    assert symbol_error_rate(predictions, references) == pytest.approx(100 * 2 / 9)


def test_whole_symbols_are_compared():
    assert symbol_error_rate([["AA", "B"]], [[["A", "B"]]]) == 50.0
    assert symbol_error_rate([["AAB"]], [[["AA", "B"]]]) == 100.0


def test_an_error_rate_exceeds_100_by_insertions_and_is_finite_for_an_empty_reference():
    assert symbol_error_rate([list("abab")], [[["a"]]]) == 300.0
    assert symbol_error_rate([[]], [[[]]]) == 0.0
    assert symbol_error_rate([["a", "b"]], [[[]]]) == 200.0


def test_exact_match_counts_sources_any_of_whose_references_is_matched():
    assert exact_match(["a", "b", "", "d"], [["x", "a"], ["B"], [""], ["c", "e", "f"]]) == 50.0
    assert exact_match([["A", "B"], ["AB"]], [[["A", "B"]], [["A", "B"]]]) == 50.0


def test_the_three_word_error_rates_differ_as_documented():
    predictions, references = ["K AE T", "D AO"], [["K AE T"], ["D AO G"]]
    assert corpus_score("sequence_error_rate", predictions, references) == 50.0
    assert corpus_score("word_error_rate", predictions, references) == pytest.approx(100 / 6)
    assert corpus_score("symbol_error_rate", predictions, references, list) == pytest.approx(100 * 2 / 12)


def test_characters_are_grapheme_clusters():
    # é as two code points, one family of five code points, one flag of two: one character each
    assert corpus_score("character_error_rate", ["e\u0301a"], [["xa"]]) == 50.0
    assert corpus_score("character_error_rate", ["👩‍👩‍👧b"], [["🇰🇷b"]]) == 50.0
    assert corpus_score("character_error_rate", ["밥을먹었다"], [["밥을 먹었다"]]) == pytest.approx(100 / 6)


def streams(references):
    """Return the references as sacrebleu takes them: one list for each rank, None where a source has fewer."""
    most = max(map(len, references))
    return [[*column] for column in zip(*([*r, *[None] * (most - len(r))] for r in references), strict=True)]


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU()), ("chrf", CHRF())])
def test_bleu_and_chrf_are_those_of_sacrebleu_with_unequal_numbers_of_references(name, metric):
    expected = metric.corpus_score(PREDICTIONS, streams(REFERENCES))
    assert corpus_score(name, PREDICTIONS, REFERENCES) == expected.score
    assert 10 < expected.score < 90
    assert sacrebleu_signature(name, REFERENCES) == str(metric.get_signature())
    assert "nrefs:var" in sacrebleu_signature(name, REFERENCES)
    assert "nrefs:2" in sacrebleu_signature(name, [["a", "b"], ["c", "d"]])


def test_a_missing_reference_is_not_an_empty_one():
    predictions = ["one two three four five", "one two three four"]
    # the second source has one reference: padding with an empty one must not change the closest length
    references = [
        ["one two three four five six seven", "x", "y"],
        ["one two three four five six seven eight"],
    ]
    # lengths: predicted 5 + 4; closest references 7 (2 away; x and y are 4 away) + 8
    assert corpus_bleu(predictions, references) == pytest.approx(100 * np.exp(1 - 15 / 9))


def test_named_corpus_functions_are_the_metrics_of_their_name():
    assert corpus_bleu(PREDICTIONS, REFERENCES) == corpus_score("bleu", PREDICTIONS, REFERENCES)
    assert corpus_chrf(PREDICTIONS, REFERENCES) == corpus_score("chrf", PREDICTIONS, REFERENCES)
    assert rouge(PREDICTIONS, REFERENCES)["rouge_l"] == corpus_score("rouge_l", PREDICTIONS, REFERENCES)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=40))
def test_rouge_tokens_are_those_of_rouge_score_on_ascii(text):
    from rouge_score.tokenizers import DefaultTokenizer

    assert rouge_tokens(text) == DefaultTokenizer().tokenize(text)


def test_rouge_equals_rouge_score_in_english():
    english = [0, 1, 4]
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    best = [scorer.score_multi(REFERENCES[i], PREDICTIONS[i]) for i in english]
    found = rouge([PREDICTIONS[i] for i in english], [REFERENCES[i] for i in english])
    for name, kind in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        assert found[name] == pytest.approx(100 * np.mean([scores[kind].fmeasure for scores in best]))


def test_rouge_reads_korean_and_takes_the_best_reference():
    # 4 words predicted; 어제 밥을 먹었다 has 3: ROUGE-1 and -L 2·3/(4+3), of pairs of words ROUGE-2 2·2/(3+2)
    found = rouge([PREDICTIONS[3]], [REFERENCES[3]])
    assert found == pytest.approx({"rouge_1": 600 / 7, "rouge_2": 80.0, "rouge_l": 600 / 7})
    own_tokenizer = RougeScorer(["rouge1"]).score(REFERENCES[3][1], PREDICTIONS[3])
    assert own_tokenizer["rouge1"].fmeasure == 0


def test_rouge_of_unspaced_scripts_counts_characters():
    assert rouge_tokens("私は東京へ行く") == list("私は東京へ行く")
    assert rouge_tokens("हिन्दी भाषा") == ["हिन्दी", "भाषा"]  # vowel signs are combining marks and belong to the word
    assert rouge(["東京都"], [["京都"]])["rouge_1"] == pytest.approx(80.0)


@pytest.mark.parametrize("name", METRICS)
def test_perfect_and_empty_predictions_reach_the_ends_of_the_scale(name):
    texts = ["the cat sat on the mat", "나는 어제 밥을 먹었다", "a b c d e f"]
    best, worst = (100, 0) if METRICS[name].better == "higher" else (0, 100)
    assert corpus_score(name, texts, [["zzz", text] for text in texts]) == pytest.approx(best)
    assert corpus_score(name, ["", "", ""], [[text] for text in texts]) == worst


@pytest.mark.parametrize("name", METRICS)
def test_the_score_of_a_sum_of_statistics_is_the_score_of_those_sources(name):
    metric = METRICS[name]
    rows = metric.statistics(PREDICTIONS, REFERENCES, str.split)
    draws = [[0, 1, 2, 3, 4, 5], [4, 1, 1], [5, 3, 3, 0]]
    expected = [corpus_score(name, [PREDICTIONS[i] for i in drawn], [REFERENCES[i] for i in drawn]) for drawn in draws]
    found = metric.score(np.array([rows[drawn].sum(axis=0) for drawn in draws]))
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) == 3


def test_importing_the_metrics_imports_no_library_of_the_train_extra():
    program = "import sys, peephole.evaluation.metrics; print({'torch', 'sacrebleu', 'rouge_score'} & set(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert imported.strip() == "set()"


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "metric: wanted at least one source, got none"),
        (["a"], [["a"], ["b"]], "metric: wanted references for 1 source, got 2"),
        (["a", "b"], [["a"], []], "metric, source 2: wanted at least one reference, got none"),
    ],
)
def test_a_corpus_without_sources_or_references_is_an_error(
    predictions: list[str], references: list[list[str]], message: str
) -> None:
    for metric in (exact_match, symbol_error_rate, *(functools.partial(corpus_score, name) for name in METRICS)):
        with pytest.raises(DataError, match=f"^{message}$"):
            metric(predictions, references)
