"""Tests of the significance tests: against enumeration, against each other, and their false alarm rate."""

import itertools
import json
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from peephole.errors import ConfigError, DataError
from peephole.evaluation import compare
from peephole.evaluation.bootstrap import resample, swap
from peephole.evaluation.metrics import METRICS, exact_match, symbol_error_rate
from peephole.evaluation.significance import bootstrap_p, mcnemar_p, swaps_p
from peephole.symbols import WhitespaceSymbols

PHONES = WhitespaceSymbols(["AA", "B", "K", "T", "IY"], "NFC")
ALL = tuple(METRICS)


def words(generator, number):
    return [" ".join(generator.choice(["AA", "B", "K", "T", "IY"], size=8)) for _ in range(number)]


def corrupt(generator, texts, share):
    """Replace each symbol with probability `share` by a random phone, which is the same one in five cases."""
    phones = np.array(["AA", "B", "K", "T", "IY"])
    return [
        " ".join(generator.choice(phones) if generator.random() < share else phone for phone in text.split())
        for text in texts
    ]


def test_a_system_does_not_differ_from_itself():
    generator = np.random.default_rng(1)
    references = words(generator, 40)
    predictions = corrupt(generator, references, 0.2)
    found = compare(references, predictions, predictions, [(r,) for r in references], PHONES, ALL, swaps=500)
    assert set(found.differences) == set(ALL)
    for difference in found.differences.values():
        assert difference.value_a == difference.value_b > 0
        assert (difference.difference, difference.low, difference.high) == (0, 0, 0)
        assert (difference.p_bootstrap, difference.p_swaps) == (1, 1)


def test_clearly_different_systems_differ_in_every_metric_and_in_the_right_direction():
    generator = np.random.default_rng(2)
    references = words(generator, 150)
    choices = [(r, "T T") for r in references]
    worse, better = corrupt(generator, references, 0.4), corrupt(generator, references, 0.05)
    forward = compare(references, worse, better, choices, PHONES, ALL, seed=3, swaps=2000)
    backward = compare(references, better, worse, choices, PHONES, ALL, seed=3, swaps=2000)
    split = [PHONES.split(text) for text in better]
    assert forward.differences["exact_match"].value_b == exact_match(better, choices)
    assert forward.differences["symbol_error_rate"].value_b == symbol_error_rate(
        split, [[PHONES.split(text) for text in texts] for texts in choices]
    )
    for name, difference in forward.differences.items():
        gain = 1 if METRICS[name].better == "higher" else -1
        assert difference.difference == difference.value_b - difference.value_a
        assert 0 < gain * difference.low < gain * difference.difference < gain * difference.high or (
            0 < gain * difference.high < gain * difference.difference < gain * difference.low
        )
        assert difference.p_bootstrap == pytest.approx(1 / 1001)
        assert difference.p_swaps == pytest.approx(1 / 2001)
        opposite = backward.differences[name]
        assert (opposite.low, opposite.high) == pytest.approx((-difference.high, -difference.low), abs=1e-9)
        assert (difference.p_mcnemar is None) == (name not in ("exact_match", "sequence_error_rate"))
    assert forward.differences["exact_match"].p_mcnemar < 1e-9


def test_p_of_swaps_is_the_share_of_all_exchanges_that_differ_as_much():
    generator = np.random.default_rng(4)
    a, b = generator.integers(0, 5, (9, 1)), generator.integers(0, 5, (9, 1))
    a, b = (np.concatenate([edits, np.full((9, 1), 8)], axis=1).astype(float) for edits in (a, b))
    score = METRICS["symbol_error_rate"].score

    def difference(exchange):
        sides = [(y, x) if exchanged else (x, y) for x, y, exchanged in zip(a, b, exchange, strict=True)]
        first, second = (sum(side[k] for side in sides)[None] for k in (0, 1))
        return score(second)[0] - score(first)[0]

    exchanges = list(itertools.product((False, True), repeat=9))
    observed = difference(exchanges[0])
    exact = np.mean([abs(difference(exchange)) >= abs(observed) - 1e-9 for exchange in exchanges])
    (swapped_a,), (swapped_b,) = swap([a], [b], swaps=20_000, seed=5)
    found = swaps_p(score(swapped_b) - score(swapped_a), observed)
    assert 0.05 < exact < 0.95
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 3), (0, 7), (9, 2), (13, 25)])
def test_mcnemar_is_the_two_sided_binomial_test(only_a, only_b):
    n = only_a + only_b
    as_extreme = [k for k in range(n + 1) if abs(2 * k - n) >= abs(only_a - only_b)]
    assert mcnemar_p(only_a, only_b) == float(sum(Fraction(comb(n, k), 2**n) for k in as_extreme))


def test_mcnemar_of_many_sources_is_finite():
    assert mcnemar_p(10_000, 10_000) == 1.0
    assert mcnemar_p(0, 5000) == 0.0  # 2 ** -4999 is below the smallest float
    # continuity-corrected normal approximation: z = (|b - c| - 1) / √(b + c)
    assert mcnemar_p(4900, 5100) == pytest.approx(0.0466, abs=2e-4)


def test_swaps_of_exact_matches_agree_with_mcnemar():
    generator = np.random.default_rng(6)
    references = words(generator, 120)
    a, b = corrupt(generator, references, 0.09), corrupt(generator, references, 0.05)
    found = compare(references, a, b, [(r,) for r in references], PHONES, ("exact_match",), swaps=20_000)
    difference = found.differences["exact_match"]
    assert 0.005 < difference.p_mcnemar < 0.5
    assert difference.p_swaps == pytest.approx(difference.p_mcnemar, abs=0.015)


def test_swaps_agree_with_sacrebleus_approximate_randomisation(monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    generator = np.random.default_rng(7)
    references = words(generator, 60)
    a, b = corrupt(generator, references, 0.30), corrupt(generator, references, 0.24)
    _, sacrebleu_result = PairedTest([("a", a), ("b", b)], {"BLEU": BLEU()}, [references], "ar", n_samples=5000)()
    found = compare(references, a, b, [(r,) for r in references], PHONES, ("bleu",)).differences["bleu"]
    assert found.value_b == pytest.approx(sacrebleu_result["BLEU"][1].score)
    assert 0.02 < found.p_swaps < 0.6
    assert found.p_swaps == pytest.approx(sacrebleu_result["BLEU"][1].p_value, abs=0.03)


@pytest.mark.parametrize("test", ["bootstrap", "swaps"])
def test_false_alarm_rate_of_equal_systems_is_five_percent(test):
    generator = np.random.default_rng(8)
    score = METRICS["symbol_error_rate"].score
    experiments, false_alarms = 400, 0
    for _ in range(experiments):
        lengths = generator.integers(3, 12, 100)
        hard = generator.random(100) * 0.4  # some sources are hard for both systems
        a, b = (np.stack([generator.binomial(lengths, hard), lengths], axis=1).astype(float) for _ in "ab")
        observed = (score(b.sum(axis=0)[None]) - score(a.sum(axis=0)[None]))[0]
        seed = int(generator.integers(1 << 30))
        if test == "bootstrap":
            drawn_a, drawn_b = resample([a, b], resamples=300, seed=seed)
            p = bootstrap_p(score(drawn_b) - score(drawn_a), observed)
        else:
            (swapped_a,), (swapped_b,) = swap([a], [b], swaps=300, seed=seed)
            p = swaps_p(score(swapped_b) - score(swapped_a), observed)
        false_alarms += p <= 0.05
    # 3 standard deviations of a binomial around 0.05; the bootstrap is slightly anti-conservative on 100 sources
    assert 0.017 <= false_alarms / experiments <= 0.083


def test_bootstrap_p_counts_resamples_on_both_sides_of_the_observed_difference():
    # shifted by -2: -3, -1, 0, 2, 5; the absolute values of -3, 2 and 5 are at least 2
    assert bootstrap_p(np.array([-1.0, 1, 2, 4, 7]), 2.0) == (1 + 3) / (1 + 5)
    # shifted by 1: 0, 2, 3, 5, 8
    assert bootstrap_p(np.array([-1.0, 1, 2, 4, 7]), -1.0) == (1 + 4) / (1 + 5)


def test_comparison_is_json_and_repeats_with_its_seed():
    generator = np.random.default_rng(9)
    references = words(generator, 30)
    a, b = corrupt(generator, references, 0.3), corrupt(generator, references, 0.2)
    arguments = (references, a, b, [(r,) for r in references], PHONES)
    found = compare(*arguments, seed=1, resamples=100, swaps=100)
    assert compare(*arguments, seed=1, resamples=100, swaps=100) == found
    assert compare(*arguments, seed=2, resamples=100, swaps=100) != found
    tree = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(tree["differences"]) == ["exact_match", "sequence_error_rate", "symbol_error_rate"]
    assert tree["differences"]["exact_match"]["p_swaps"] == found.differences["exact_match"].p_swaps
    assert (tree["num_sources"], tree["resamples"], tree["swaps"], tree["seed"]) == (30, 100, 100, 1)


def test_mismatched_lists_and_unknown_metrics_are_refused():
    with pytest.raises(DataError, match="predictions for 2 sources, got 1"):
        compare(["x", "y"], ["B", "K"], ["B"], [("B",), ("K",)], PHONES)
    with pytest.raises(ConfigError, match=r"'blue'; wanted one of .*, bleu, .*; did you mean 'bleu'\?"):
        compare(["x"], ["B"], ["B"], [("B",)], PHONES, ("blue",))
