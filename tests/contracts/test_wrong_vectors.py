"""Tests that the checks of models of real vectors reject models that are wrong in one place each."""

from __future__ import annotations

import pytest

from peephole.nn import use_engine
from rejection import rejected_by_comparison

from .vector_checks import OUTPUTS, UNITS, check, check_distributions, check_draws, make
from .wrong_vectors import WRONG


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change.name)
def test_wrong_vectors_are_rejected(change, monkeypatch):
    monkeypatch.setattr(change.owner, change.function, change.replacement())
    model, config = make(**OUTPUTS[change.output], **UNITS[change.units], decoder_layers=2)
    with use_engine("off"), rejected_by_comparison(rf"^{change.seen_in}"):
        check(model, config)
        check_distributions(model, config)
        check_draws(model, config)
