"""Tests of resampling: against sacrebleu and plain loops, and the coverage of the confidence interval."""

import itertools

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import _bootstrap_resample

from peephole.evaluation import bootstrap
from peephole.evaluation.bootstrap import interval, resample, swap
from peephole.evaluation.metrics import METRICS

WORDS = ["the", "a", "cat", "house", "sees", "finds", "old", "near", "강", "바다", "산"]


def sentences(generator, number):
    return [" ".join(generator.choice(WORDS, size=generator.integers(1, 12))) for _ in range(number)]


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU()), ("chrf", CHRF())])
def test_resampled_scores_are_those_of_sacrebleus_bootstrap(name, metric, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    generator = np.random.default_rng(1)
    predictions, first, second = (sentences(generator, 53) for _ in range(3))
    references = list(zip(first, second, strict=True))
    rows = METRICS[name].statistics(predictions, references, str.split)
    (sums,) = resample([rows], resamples=200, seed=12345)
    _, sacrebleu_scores = _bootstrap_resample(
        metric._extract_corpus_statistics(predictions, [first, second]), metric, 200
    )
    expected = np.array([score.score for score in sacrebleu_scores])
    # sacrebleu adds in float32, which changes the sixth digit of chrF
    np.testing.assert_allclose(METRICS[name].score(sums), expected, rtol=1e-5)
    assert expected.std() > 0.1


def test_sums_equal_those_of_a_plain_loop_for_any_block_size(monkeypatch):
    tables = [np.random.default_rng(2).random((7, 2)), np.random.default_rng(3).random((7, 3))]
    generator = np.random.default_rng(4)
    draws = [[generator.integers(7) for _ in range(7)] for _ in range(11)]
    for entries in (1, 20, 1 << 21):
        monkeypatch.setattr(bootstrap, "_BLOCK_ENTRIES", entries)
        found = resample(tables, resamples=11, seed=4)
        for table, sums in zip(tables, found, strict=True):
            np.testing.assert_allclose(sums, [sum(table[i] for i in drawn) for drawn in draws], rtol=1e-12)


def test_interval_contains_the_true_value_in_95_of_100_experiments():
    truth, experiments = 70.0, 400
    generator = np.random.default_rng(5)
    contained = 0
    for _ in range(experiments):
        rows = np.stack([generator.random(150) < truth / 100, np.ones(150)], axis=1).astype(float)
        (sums,) = resample([rows], resamples=400, seed=int(generator.integers(1 << 30)))
        low, high = interval(METRICS["exact_match"].score(sums))
        contained += low <= truth <= high
    # an exact 95 % interval leaves this range with probability 0.003 (binomial, 3 standard deviations of 1.1 %)
    assert 0.917 <= contained / experiments <= 0.983


def test_swaps_reach_every_exchange_equally_often_and_keep_the_total(monkeypatch):
    a = np.array([[1.0, 10], [2, 20], [5, 50], [4, 40]])
    b = np.array([[7.0, 11], [2, 20], [9, 53], [0, 44]])  # the second source is the same in both
    possible = {
        tuple(sum(b[i] if exchanged else a[i] for i, exchanged in zip((0, 2, 3), exchange, strict=True)) + a[1])
        for exchange in itertools.product((False, True), repeat=3)
    }
    for entries in (5, 1 << 21):
        monkeypatch.setattr(bootstrap, "_BLOCK_ENTRIES", entries)
        (sums_a,), (sums_b,) = swap([a], [b], swaps=4000, seed=6)
        assert np.array_equal(sums_a + sums_b, np.broadcast_to(a.sum(axis=0) + b.sum(axis=0), (4000, 2)))
        found, counts = np.unique(sums_a, axis=0, return_counts=True)
        assert set(map(tuple, found)) == possible
        assert len(possible) == 8
        assert np.abs(counts - 500).max() < 4 * np.sqrt(500 * 7 / 8)  # 4 standard deviations


def test_swaps_exchange_the_same_sources_in_every_table():
    a, b = np.zeros((30, 1)), np.arange(30.0)[:, None]
    (first, second), _ = swap([a, a], [b, 2 * b], swaps=20, seed=7)
    assert np.array_equal(second, 2 * first)
    assert len(np.unique(first)) > 10
