"""Tests that the contract suite rejects every layer of a list of wrong ones and accepts the correct one."""

from __future__ import annotations

import pytest

from rejection import rejected_by_comparison

from .changes import change_text
from .checks import PEEPHOLES, Case, check_gru, check_lstm
from .wrong_cells import WRONG_GRUS, WRONG_LSTMS, Wrong, right_gru, right_lstm


def directions(change: Wrong) -> tuple[bool, ...]:
    """Return the values of `reverse` for which the change affects the results."""
    return (False, True) if change.reverse is None else (change.reverse,)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("peephole", PEEPHOLES)
@pytest.mark.parametrize("padding", [9.0, float("nan")])
def test_right_lstm_is_accepted(peephole, reverse, padding):
    check_lstm(right_lstm, Case(peephole=peephole, reverse=reverse, padding=padding))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("padding", [9.0, float("nan")])
def test_right_gru_is_accepted(reverse, padding):
    check_gru(right_gru, Case(cell="gru", peephole="none", reverse=reverse, padding=padding))


@pytest.mark.parametrize("change", WRONG_LSTMS, ids=lambda change: change.name)
def test_wrong_lstm_is_rejected(change):
    lstm = change_text(right_lstm, change.right, change.wrong)
    for peephole in change.forms:
        for reverse in directions(change):
            with rejected_by_comparison(rf"^{change.seen_in}.* at \("):
                check_lstm(lstm, Case(peephole=peephole, reverse=reverse, padding=change.padding))


@pytest.mark.parametrize("change", WRONG_GRUS, ids=lambda change: change.name)
def test_wrong_gru_is_rejected(change):
    gru = change_text(right_gru, change.right, change.wrong)
    for reverse in directions(change):
        with rejected_by_comparison(rf"^{change.seen_in}.* at \("):
            check_gru(gru, Case(cell="gru", peephole="none", reverse=reverse, padding=change.padding))
