"""Specifications of tensors: name, shape and role; and those of each kind of attention, for `schema.py`."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from peephole.nn.architecture import Architecture


class Role(enum.Enum):
    """What a tensor is, which decides how it may be stored."""

    MATRIX = "matrix"  # multiplied with vectors, or a table of them: stored in fewer bits in a quantised model
    VECTOR = "vector"  # always float32
    DIAGONAL = "diagonal"  # diagonals of peephole matrices: two dimensions, always float32


class TensorSpec(NamedTuple):
    """The shape and role of a tensor."""

    shape: tuple[int, ...]
    role: Role


Tensors = Iterator[tuple[str, TensorSpec]]
"""Names, within their module, and specifications, in the order of the module's `state_dict()`."""


def inside(module: str, found: Tensors) -> Tensors:
    return ((f"{module}.{name}", spec) for name, spec in found)


def matrix(*shape: int) -> TensorSpec:
    return TensorSpec(shape, Role.MATRIX)


def vector(size: int) -> TensorSpec:
    return TensorSpec((size,), Role.VECTOR)


def linear(inputs: int, outputs: int) -> Tensors:
    yield "weight", matrix(outputs, inputs)
    yield "bias", vector(outputs)


def _additive(a: Architecture) -> Tensors:
    yield "weight_query", matrix(a.hidden_size, a.hidden_size)
    yield "weight_keys", matrix(a.hidden_size, a.encoder_size)
    yield "vector", vector(a.hidden_size)
    if a.attention_symbol:
        yield "weight_symbol", matrix(a.hidden_size, a.embedding_size)


def _dot(a: Architecture) -> Tensors:
    return iter(())


def _general(a: Architecture) -> Tensors:
    yield "weight", matrix(a.hidden_size, a.encoder_size)


def _location(a: Architecture) -> Tensors:
    yield from _additive(a)
    yield "bias", vector(a.hidden_size)
    yield "filters", matrix(a.location_channels, a.location_width)
    yield "weight_location", matrix(a.hidden_size, a.location_channels)


def _coverage(a: Architecture) -> Tensors:
    yield from _additive(a)
    yield "bias", vector(a.hidden_size)
    yield "weight_coverage", vector(a.hidden_size)


def _multihead(a: Architecture) -> Tensors:
    yield from _additive(a)
    yield "weight_values", matrix(a.encoder_size, a.encoder_size)
    yield "weight_output", matrix(a.encoder_size, a.encoder_size)


ATTENTIONS: Mapping[str, Callable[[Architecture], Tensors]] = {
    "additive": _additive,
    "dot": _dot,
    "general": _general,
    "location": _location,
    "coverage": _coverage,
    "multihead": _multihead,
}
"""Attention kind → tensors of its module."""
