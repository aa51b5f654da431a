"""The search keeps its contract, and every wrong search of a list breaks it."""

from __future__ import annotations

import pytest

from peephole import search

from .contract import CONTRACT
from .wrong_searches import WRONG_SEARCHES, Wrong, wrong_search


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_search_keeps_the_contract(check):
    check(search)


@pytest.mark.parametrize("change", WRONG_SEARCHES, ids=lambda change: change.name)
def test_wrong_search_is_rejected(change, tmp_path):
    with wrong_search(change, tmp_path) as changed:
        assert any(breaks(changed, check) for check in CONTRACT)


def test_unchanged_copy_is_accepted(tmp_path):
    """So it is the change that a wrong search is rejected for."""
    with wrong_search(Wrong("none", "beam", "def beam_search(", "def beam_search("), tmp_path) as copy:
        assert copy.beam_search is not search.beam_search
        assert not any(breaks(copy, check) for check in CONTRACT)


def breaks(changed, check):
    """Whether a check fails: by its own assertions, or as the search runs into an error of its own."""
    try:
        check(changed)
    except (AssertionError, RuntimeError, IndexError, ValueError):
        return True
    return False
