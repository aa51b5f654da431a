"""The engine as a backend of `peephole.nn`: the requests it accepts and the reasons for declining others.

Importing this module registers the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from peephole import engine
from peephole.engine import copying, decoder, dropout, output, recurrence
from peephole.engine.choice import engine_in_use
from peephole.engine.kinds import TRAINING_KINDS, missing_kind
from peephole.nn.backends import BFLOAT16_PRODUCTS, Request, register

NUMBERS = ("float32", "float64", BFLOAT16_PRODUCTS)


def output_loss(first: Any, *rest: Any) -> Tensor:
    """Compute the loss of an output layer that copies, given itself, or of one that does not, given what it reads."""
    return (output.output_loss_sum if isinstance(first, Tensor) else copying.copy_loss_sum)(first, *rest)


IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {
    "recurrent_layer": recurrence.recurrent_layer,
    "decoder": decoder.run_decoder,
    "linear": output.linear,
    "output_loss": output_loss,
    "dropout_mask": dropout.dropout_mask,
}


class EngineBackend:
    """The C++ engine: CPU, float32, float64 and bfloat16 products."""

    name = "engine"

    def variants(self) -> tuple[str, ...]:
        """Return the instruction sets that this processor can run."""
        return engine.instruction_sets()

    def decline(self, request: Request) -> str | None:
        """Return the reason why the engine does not compute a request; None if it does."""
        if request.operator not in IMPLEMENTATIONS:
            return f"has no operator {request.operator!r}"
        if request.device != "cpu":
            return f"not used on {request.device}, it is made for CPUs"
        if engine_in_use() is None:
            return "missing, it needs a C++ compiler when peephole is installed"
        missing = missing_kind(request.kinds, TRAINING_KINDS)
        if missing is None and request.numbers not in NUMBERS:
            return f"does not compute on tensors of kind {request.numbers!r}"
        return missing

    def implementation(self, operator: str) -> Callable[..., Any]:
        """Return the function that computes an operator."""
        return IMPLEMENTATIONS[operator]


register(EngineBackend())
