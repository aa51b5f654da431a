"""Number formats of a training for Fabric, without state that the threads of a process share.

Fabric's plugin for 64-true changes PyTorch's default number format for the whole process during each forward pass. The
one for bf16-mixed makes Fabric raise an error if another thread ends its backward pass at the wrong moment. These two
compute the same numbers.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from lightning_fabric.plugins import Precision
from torch import Tensor, nn


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

    def forward_context(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass."""
        return torch.autocast(self.device, dtype=torch.bfloat16)

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
