"""Tests that the search passes the checks of its contract and that every wrong search fails one."""

from __future__ import annotations

import pytest

from peephole import search
from rejection import rejected_by_comparison

from . import contract, contract_constrained, contract_guides, contract_prefix
from .wrong_beams import WRONG_BEAMS
from .wrong_constrained import WRONG_CONSTRAINED
from .wrong_guides import WRONG_GUIDES
from .wrong_prefixes import WRONG_PREFIXES
from .wrong_searches import WRONG_SEARCHES, Wrong, wrong_search

CONTRACT = contract.CONTRACT + contract_constrained.CONTRACT + contract_guides.CONTRACT + contract_prefix.CONTRACT
WRONG = WRONG_BEAMS + WRONG_CONSTRAINED + WRONG_GUIDES + WRONG_PREFIXES + WRONG_SEARCHES


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_search_keeps_the_contract(check):
    check(search)


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change.name)
def test_wrong_search_is_rejected(change, tmp_path):
    with wrong_search(change, tmp_path) as changed, rejected_by_comparison():
        change.rejected_by(changed)


def test_unchanged_copy_is_accepted(tmp_path):
    """Check that copying alone does not cause a rejection."""
    unchanged = Wrong("none", contract.beam_of_one_is_greedy, "beam", "def beam_search(", "def beam_search(")
    with wrong_search(unchanged, tmp_path) as copy:
        assert copy.beam_search is not search.beam_search
        for check in CONTRACT:
            check(copy)
