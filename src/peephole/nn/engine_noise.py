"""The engine's `peephole::dropout_mask`: the masks that `Noise` defines, bit for bit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from peephole import engine


class _DropoutMask(ctypes.Structure):
    """`peephole_dropout_mask`."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("threads", "threshold")),
        ("keep_rate", ctypes.c_float),
        *((name, ctypes.c_int64) for name in ("batch", "steps", "units", "place")),
        *((name, ctypes.c_void_p) for name in ("examples", "unit_keys", "mask")),
    )


@torch.library.custom_op("peephole::dropout_mask", mutates_args=(), device_types="cpu")
def dropout_mask(
    examples: Tensor,
    unit_keys: Tensor,
    num_steps: int,
    place: int,
    threshold: int,
    keep_rate: float,
    instruction_set: str,
) -> Tensor:
    """Return the mask, (B, num_steps, F) float32.

    Args:
        examples: index of each row's pair, (B,) int64.
        unit_keys: a number of each unit, (F,) int32.
        num_steps: positions.
        place: a number of the run, the training step and the place in the model, 64 bits.
        threshold: a unit is dropped where its bits, a signed number of 32 bits, are below.
        keep_rate: units that are kept become 1 / keep_rate.
        instruction_set: one of `engine.instruction_sets()`.
    """
    mask = torch.empty(len(examples), num_steps, len(unit_keys))
    if not mask.numel():
        return mask
    examples, unit_keys = examples.contiguous(), unit_keys.contiguous()
    pointers = (tensor.data_ptr() for tensor in (examples, unit_keys, mask))
    problem = _DropoutMask(torch.get_num_threads(), threshold, keep_rate, *mask.shape, place, *pointers)
    if _kernel()(ctypes.byref(problem), instruction_set.encode()):
        raise ValueError(f"instruction set: wanted one of {engine.instruction_sets()}, got {instruction_set!r}")
    return mask


@dropout_mask.register_fake
def _empty_mask(examples: Tensor, unit_keys: Tensor, num_steps: int, *_: Any) -> Tensor:
    return examples.new_empty((examples.shape[0], num_steps, unit_keys.shape[0]), dtype=torch.float32)


@cache
def _kernel() -> Callable[..., int]:
    function = engine._library().peephole_dropout_mask_run
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return function
