"""Tests that the arrays which PyTorch allocates for the engine have the size that the engine requires."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from peephole import engine
from peephole.config import ModelConfig
from peephole.engine import decoder, recurrence
from peephole.nn import build_seq2seq

CALLS = {"peephole::recurrent_layer": recurrence._Call, "peephole::decoder": decoder._Call}
SAVED = {"peephole::recurrent_layer": -1, "peephole::decoder": 3}  # which result is `saved`


class Sizes(TorchDispatchMode):
    """Compares the size of `saved`, a result of each forward call, with the size that the engine requires."""

    def __init__(self) -> None:
        super().__init__()
        self.compared: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        name = func.name()
        if name in CALLS:
            assert results[SAVED[name]].numel() == CALLS[name](*args).problem().saved_bytes(), name
            self.compared[name] += 1
        return results


@pytest.mark.skipif(not engine.available(), reason="built without the engine")
@pytest.mark.parametrize("number", ["float32", "float64", "bfloat16 products"])
@pytest.mark.parametrize("context", ["additive", "general", "last"])
@pytest.mark.parametrize("peephole", ["full", "diagonal", "none"])
def test_saved_has_the_size_that_the_engine_requires(peephole: str, context: str, number: str) -> None:
    attention = {"context": "last"} if context == "last" else {"attention": context}
    for hidden_size, layers, batch, steps in itertools.product((2, 18, 34), (1, 2), (1, 5), (1, 7)):
        config = ModelConfig(
            hidden_size=hidden_size,
            encoder_size=2 * hidden_size - 2,
            embedding_size=3,
            peephole=peephole,  # type: ignore[arg-type]
            encoder_layers=layers,
            decoder_layers=layers,
            **attention,  # type: ignore[arg-type]
        )
        network = build_seq2seq(config, 9, 9).to(torch.float64 if number == "float64" else torch.float32)
        source, target = torch.full((batch, steps), 5), torch.full((batch, steps + 1), 6)
        with Sizes() as sizes, torch.autocast("cpu", torch.bfloat16, enabled=number == "bfloat16 products"):
            network.loss_sum(source, torch.full((batch,), steps), target)
        assert sizes.compared == {"peephole::recurrent_layer": 2 * layers, "peephole::decoder": 1}
