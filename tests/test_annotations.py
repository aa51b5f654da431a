"""Tests that the run-time checks reject arguments whose shape, number format or type contradicts the annotation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from peephole.evaluation.bootstrap import interval
from peephole.nn import valid_steps
from peephole.nn.loss import loss_sum
from peephole.symbols import CharacterSymbols
from typechecker import CHECKED_CALLS

LOGITS, TARGET = torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.long)


@pytest.mark.parametrize(
    ("logits", "target"),
    [(LOGITS[0], TARGET), (LOGITS, TARGET[:, :2]), (LOGITS, TARGET.double()), (LOGITS.long(), TARGET)],
    ids=["rank", "size", "target of floats", "logits of integers"],
)
def test_wrong_shape_or_number_format_is_rejected(logits, target):
    loss_sum(LOGITS, TARGET, 0.1)
    with pytest.raises(TypeCheckError, match=r"peephole\.nn\.loss\.loss_sum"):
        loss_sum(logits, target, 0.1)


def test_wrong_type_is_rejected():
    with pytest.raises(TypeCheckError, match=r"valid_steps.\n.*num_steps"):
        valid_steps(torch.tensor([1, 2]), "3")
    with pytest.raises(TypeCheckError, match=r"decode"):
        CharacterSymbols(["a"], "NFC").decode("a")
    with pytest.raises(TypeCheckError, match=r"interval"):
        interval(np.array(["a"]))


@pytest.mark.parametrize("case", range(2))
def test_the_first_calls_in_each_test_are_checked(case):
    """Wrong arguments are rejected in the first and in the last of them, then reach the function."""
    symbols = CharacterSymbols(["a"], "NFC")
    for calls in (0, CHECKED_CALLS - 2):
        for _ in range(calls):
            valid_steps(torch.tensor([1, 2]), 3)
            symbols.decode([4])
        with pytest.raises(TypeCheckError, match="valid_steps"):
            valid_steps(torch.tensor([1, 2]), "3")
        with pytest.raises(TypeCheckError, match="decode"):
            symbols.decode("a")
    with pytest.raises(TypeError, match=r"^arange\(\)"):
        valid_steps(torch.tensor([1, 2]), "3")
    with pytest.raises(TypeError, match="not supported"):
        symbols.decode("a")
