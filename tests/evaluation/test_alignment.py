"""Tests of alignments: worked out by hand, and as a property of any two lists of symbols."""

from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from peephole.evaluation.alignment import align, worst_mistakes

symbols = st.lists(st.sampled_from(["K", "AE", "가", "👩‍👩‍👧", " ", ""]), max_size=9)


def test_an_alignment_worked_out_by_hand():
    assert align(list("kitten"), list("sitting")) == (
        ("k", "s"),
        ("i", "i"),
        ("t", "t"),
        ("t", "t"),
        ("e", "i"),
        ("n", "n"),
        (None, "g"),
    )
    assert align([], ["값", "이"]) == ((None, "값"), (None, "이"))
    assert align(["값"], []) == (("값", None),)


@settings(deadline=None)
@given(symbols, symbols)
def test_columns_hold_both_sides_and_differ_exactly_at_the_edits(predicted, reference):
    columns = align(predicted, reference)
    assert [symbol for symbol, _ in columns if symbol is not None] == predicted
    assert [symbol for _, symbol in columns if symbol is not None] == reference
    assert sum(left != right for left, right in columns) == Levenshtein.distance(predicted, reference)
    assert (None, None) not in columns


def test_right_predictions_are_no_mistakes():
    assert worst_mistakes(["a"], ["x y"], [("y", "x  y")], str.split, most=5) == ()
