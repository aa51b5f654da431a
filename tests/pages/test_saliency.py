"""Tests of gradient × input against finite differences: the source's vectors multiplied by 1 ± ε."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from random_models import random_model
from torch import Tensor

from peephole.inspect import saliency
from peephole.model import Model
from peephole.nn import Seq2Seq
from peephole.nn.saliency import ROWS, gradient_times_input
from peephole.symbols import FrameSymbols

STEP = 1e-5


def finite_differences(network: Seq2Seq, source: Tensor, target: Tensor) -> np.ndarray:
    """Return d log p(y_t) / dε at ε = 0, where vector j of the source is multiplied by 1 + ε, (U, T)."""
    lengths = torch.tensor([source.shape[1]])
    columns = []
    for place in range(source.shape[1]):
        log_probs = []
        for sign in (1, -1):
            factors = torch.ones(source.shape[1], dtype=torch.float64)
            factors[place] += sign * STEP

            def scale(_: Any, given: tuple[Any, ...], factors: Tensor = factors) -> tuple[Any, ...]:
                return (given[0] * factors[:, None], *given[1:])

            if source.is_floating_point():
                found = network(source * factors[:, None], lengths, target)
            else:
                handle = network.encoder.register_forward_pre_hook(scale)
                found = network(source, lengths, target)
                handle.remove()
            log_probs.append(torch.log_softmax(found, 2)[0].gather(1, target[0, :, None])[:, 0])
        columns.append((log_probs[0] - log_probs[1]) / (2 * STEP))
    return torch.stack(columns, 1).detach().numpy()


KINDS: dict[str, dict[str, Any]] = {
    "usual": {},
    "stacks and heads": {
        "encoder_layers": 2,
        "decoder_layers": 2,
        "attention": "multihead",
        "attention_heads": 2,
    },
    "gru and location": {"cell": "gru", "peephole": "none", "attention": "location"},
    "last state": {"context": "last", "peephole": "diagonal"},
    "numbers": {"source": FrameSymbols("numbers", size=5), "frame_stack": 2},
    "copy and coverage": {"output": "copy", "attention": "coverage"},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_it_is_the_change_that_a_larger_vector_makes(kind: dict[str, Any]) -> None:
    network = copy.deepcopy(random_model(**kind).networks[0]).double()
    generator = torch.Generator().manual_seed(1)
    source: Tensor = torch.tensor([[4, 7, 4, 9, 5]])
    if kind.get("source"):
        source = torch.randn(1, 7, 5, generator=generator, dtype=torch.float64)
    if kind.get("output") == "copy":
        source = torch.stack([source, torch.tensor([[5, 14, 13, 9, 14]])], 2)
    target = torch.tensor([[5, 9, 5, 2] * 5])
    assert ROWS < 20 < 2 * ROWS  # a whole batch of rows and a part of one
    found = gradient_times_input(network, source, torch.tensor([source.shape[1]]), target).numpy()
    wanted = finite_differences(network, source, target)
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(found, wanted, atol=1e-8)


WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sign": lambda right: -right,
    "sizes": np.abs,
    "of all steps": lambda right: np.broadcast_to(right.sum(0), right.shape),
    "steps in the other order": lambda right: right[::-1],
    "places in the other order": lambda right: right[:, ::-1],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_ones_differ_from_finite_differences(wrong: Callable[[np.ndarray], np.ndarray]) -> None:
    network = copy.deepcopy(random_model().networks[0]).double()
    source, target = torch.tensor([[4, 7, 4, 9, 5]]), torch.tensor([[5, 9, 5, 2]])
    right = gradient_times_input(network, source, torch.tensor([5]), target).numpy()
    assert np.abs(wrong(right) - finite_differences(network, source, target)).max() > 1e-4


def test_of_a_model_it_has_a_row_for_each_symbol() -> None:
    model: Model = random_model()
    found = saliency(model, "abc", "ok <b>bold</b>")
    assert found.shape == (3, 3)
    network = model.networks[0]
    ids = torch.tensor([model.source_symbols.encode("abc")])
    target = torch.tensor([[*model.target_symbols.encode("ok <b>bold</b>"), 2]])
    wanted = finite_differences(copy.deepcopy(network).double(), ids, target)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_array_equal(saliency(model, "abc", ["ok", "<b>bold</b>"], finished=False), found[:2])
