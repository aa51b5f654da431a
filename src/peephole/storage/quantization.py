"""Quantised weights: matrices in bfloat16, or in int8 with a scale for each row.

The role of a tensor in `peephole.nn.schema` decides whether it is a matrix; the others stay float32. An int8 matrix
W (O, K) is stored with `<its name>.scale` (O,), float32:

    W[o, k] = scale[o] · q[o, k],   q[o, k] = W[o, k] / scale[o] rounded to the nearest whole number, ties to even,
    scale[o] = max_k |W[o, k]| / 127, rounded up to 17 significant bits.

With 17 bits the products are exact in float32, so quantizing weights that were read from a file gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from peephole.errors import ModelFileError
from peephole.nn.schema import Role, TensorSpec

Tensors = Mapping[str, npt.NDArray[Any]]
Float32 = npt.NDArray[np.float32]
Stored = Literal["float32", "bfloat16", "int8"]

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""Substitute for bfloat16, which NumPy lacks: the upper half of a float32."""

SCALE = ".scale"  # ends the name of an int8 matrix's scales
SCALE_BITS = 17  # with the 7 bits of an int8 they make the 24 of a float32
SMALLEST_SCALE = 2.0**-120  # keeps products normal numbers; also the scale of a row of zeros
LARGEST_WEIGHT = 2.0**127


def number_format(tensor: npt.NDArray[Any]) -> str:
    """Return the name of an array's number format, such as float32, bfloat16 or int8."""
    return "bfloat16" if tensor.dtype == BFLOAT16 else str(tensor.dtype)


def quantize(tensors: Tensors, to: Stored, specs: Mapping[str, TensorSpec]) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a model with its matrices in fewer bits.

    Args:
        tensors: all float32.
        to: the number format of the matrices.
        specs: the role of each tensor; those with `Role.MATRIX` are quantised.

    Raises:
        ModelFileError: a weight is NaN, infinite or above 2**127.
    """
    if to == "float32":
        return dict(tensors)
    found: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if specs[name].role is not Role.MATRIX:
            found[name] = tensor
            continue
        if not np.all(np.abs(tensor) < LARGEST_WEIGHT):
            raise ModelFileError(f"tensor {name}: wanted weights below 2**127 to quantize, got larger ones or NaN")
        if to == "bfloat16":
            found[name] = round_to_bfloat16(tensor)
        else:
            found[name], found[name + SCALE] = round_to_int8(tensor)
    return found


def dequantize(tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a model with all matrices as float32; each int8 matrix must have its scales."""
    found: dict[str, npt.NDArray[Any]] = {}
    scales = {name + SCALE for name, tensor in tensors.items() if tensor.dtype == np.int8}
    for name, tensor in tensors.items():
        if tensor.dtype == BFLOAT16:
            found[name] = read_bfloat16(tensor)
        elif tensor.dtype == np.int8:
            found[name] = tensor * tensors[name + SCALE][:, None]
        elif name not in scales:
            found[name] = tensor
    return found


def round_to_bfloat16(tensor: Float32) -> npt.NDArray[Any]:
    """Return finite numbers rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(tensor).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").view(BFLOAT16)


def read_bfloat16(tensor: npt.NDArray[Any]) -> Float32:
    """Return bfloat16 numbers as float32, exactly."""
    return (tensor["bfloat16"].astype(np.uint32) << 16).view(np.float32)


def round_to_int8(matrix: Float32) -> tuple[npt.NDArray[np.int8], Float32]:
    """Return q (O, K) and the scales (O,) of a finite matrix (O, K)."""
    largest = np.abs(matrix).max(1, initial=0).astype(np.float64)
    fraction, exponent = np.frexp(np.maximum(largest / 127, SMALLEST_SCALE))
    scale = np.ldexp(np.ceil(np.ldexp(fraction, SCALE_BITS)), exponent - SCALE_BITS)
    return np.rint(matrix / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def largest_rounding_error(tensors: Tensors, rounded: Tensors) -> tuple[float, str]:
    """Return the largest rounding error of a weight relative to its row's largest magnitude, and the tensor's name."""
    worst = (0.0, "")
    for name, tensor in tensors.items():
        row = np.abs(tensor).max(-1, initial=0, keepdims=True)
        error = np.abs(rounded[name] - tensor) / np.where(row > 0, row, 1)
        worst = max(worst, (float(error.max(initial=0)), name))
    return worst
