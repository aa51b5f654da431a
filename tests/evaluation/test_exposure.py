"""Tests of the exposure gap: worked out by hand, and against the symbol error rate."""

import json

import numpy as np
import pytest

from peephole.errors import DataError
from peephole.evaluation import exposure_gap
from peephole.evaluation.metrics import symbol_error_rate

EOS = 2


def test_a_gap_worked_out_by_hand():
    references = [[[4, 5, 6, 7]], [[8, 9]]]
    forced = [[[4, 5, 5, 7]], [[8, EOS]]]  # 3 of 4 and 1 of 2 right; the end symbol too early is wrong
    predictions = [[4, 6, 6, 9, 9], []]  # 3 edits of 4 symbols, 2 of 2
    found = exposure_gap(forced, predictions, references)
    assert found.teacher_forced == pytest.approx(100 * 4 / 6)
    assert found.free_running == pytest.approx(100 * (1 - 5 / 6))
    assert found.gap == pytest.approx(100 * 3 / 6)
    assert found.free_running == pytest.approx(100 - symbol_error_rate(predictions, references))


def test_each_side_is_compared_with_its_best_reference():
    references = [["abc", "xyzw"]]
    forced = [["abd", "xqqw"]]  # 1 wrong of 3, 2 wrong of 4
    found = exposure_gap(forced, ["xyz"], references)  # 3 edits to the first, 1 to the second
    assert found.teacher_forced == pytest.approx(100 * 2 / 3)
    assert found.free_running == pytest.approx(75.0)
    assert found.gap == pytest.approx(100 * 2 / 3 - 75)


def test_positions_are_those_of_the_reference_after_alignment():
    # free running deletes the first symbol and inserts one: compared by position, no symbol would match
    found = exposure_gap(forced=[["abxd"], ["az"]], predictions=["bcdq", "ab"], references=[["abcd"], ["ab"]])
    assert [p.position for p in found.positions] == [1, 2, 3, 4]
    assert [p.teacher_forced for p in found.positions] == [100, 50, 0, 100]
    assert [p.free_running for p in found.positions] == [50, 100, 100, 100]
    assert [p.num_teacher_forced for p in found.positions] == [2, 2, 1, 1]
    assert [p.num_free_running for p in found.positions] == [2, 2, 1, 1]
    # the total counts the insertion: 2 edits of 6 symbols
    assert found.free_running == pytest.approx(100 * 4 / 6)


def test_positions_end_with_the_shorter_best_reference():
    found = exposure_gap(forced=[["ab", "xxxx"]], predictions=["cdef"], references=[["ab", "cdef"]])
    assert [(p.num_teacher_forced, p.num_free_running) for p in found.positions] == [(1, 1), (1, 1)]


def test_the_interval_is_that_of_paired_resamples():
    generator = np.random.default_rng(1)
    references = [[list(generator.integers(4, 9, 6))] for _ in range(25)]
    forced = [[[s if generator.random() < 0.9 else 3 for s in r[0]]] for r in references]
    predictions = [[s if generator.random() < 0.7 else 3 for s in r[0]] for r in references]
    found = exposure_gap(forced, predictions, references, seed=5, resamples=40)
    draws = np.random.default_rng(5).integers(25, size=(40, 25))
    gaps = []
    for drawn in draws:
        part = exposure_gap(*([side[i] for i in drawn] for side in (forced, predictions, references)), resamples=1)
        gaps.append(part.gap)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(gaps, [0.025, 0.975])))
    assert found.low < found.gap < found.high


def test_gap_converts_to_json():
    found = exposure_gap([["ab"]], ["b"], [["ab"]], seed=7, resamples=10)
    tree = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (tree["gap"], tree["teacher_forced"], tree["seed"]) == (50.0, 100.0, 7)
    assert tree["positions"][0]["free_running"] == 0.0


@pytest.mark.parametrize(
    ("forced", "predictions", "references", "message"),
    [
        ([], [], [], "got 0, 0 and 0"),
        ([["a"]], ["a", "b"], [["a"]], "got 1, 2 and 1"),
        ([["a"], ["abc"]], ["a", "b"], [["a"], ["ab"]], r"source 2: .* lengths \[2\], got \[3\]"),
        ([["a"]], ["a"], [["a", "b"]], r"source 1: .* lengths \[1, 1\], got \[1\]"),
        ([[]], ["a"], [[]], "source 1"),
    ],
)
def test_mismatched_lists_are_refused(forced, predictions, references, message):
    with pytest.raises(DataError, match=message):
        exposure_gap(forced, predictions, references)
