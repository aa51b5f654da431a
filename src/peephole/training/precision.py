"""Number formats of a training for Fabric, without state that the threads of a process share.

Fabric's plugin for 64-true changes PyTorch's default number format for the whole process during each forward pass. The
one for bf16-mixed makes Fabric raise an error if another thread ends its backward pass at the wrong moment. These two
compute the same numbers.

PyTorch itself has one cache for all threads, of weights cast by autocast, and the end of a forward pass in any thread
empties it. A weight that is then cast again has a gradient that is rounded in two parts instead of one. So the forward
passes of trainings with bf16-mixed take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning_fabric.plugins import Precision
from torch import Tensor, nn

_cast_weights = threading.Lock()  # held while autocast may add to its cache of weights


class Float64(Precision):
    """Weights, products and sums in float64; the loss is returned as float32."""

    precision: Literal["64-true"] = "64-true"

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return the module with weights in float64."""
        return module.double()

    def convert_output(self, data: Any) -> Any:
        """Return the loss as float32."""
        return _as_float32(data)


class BFloat16Products(Precision):
    """Products of bfloat16 under autocast; weights and the loss in float32.

    Args:
        device: device of the training, as torch.device.type.
    """

    precision: Literal["bf16-mixed"] = "bf16-mixed"

    def __init__(self, device: str) -> None:
        self.device = device

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """Return the context of a forward pass."""
        with _cast_weights, torch.autocast(self.device, dtype=torch.bfloat16):
            yield

    def convert_output(self, data: Any) -> Any:
        """Return the loss as float32."""
        return _as_float32(data)


def precision_plugin(precision: str, device: str) -> Precision | None:
    """Return the plugin for a value of `train.precision`; None where Fabric's own shares nothing or is not replaced.

    Args:
        precision: the setting, resolved.
        device: device of the training, as torch.device.type.
    """
    if precision == "64-true":
        return Float64()
    return BFloat16Products(device) if precision == "bf16-mixed" else None


def _as_float32(loss: Tensor) -> Tensor:
    return loss.float()
