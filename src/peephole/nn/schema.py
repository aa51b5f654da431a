"""The description of the network: each tensor's name, shape and role, which follow from its architecture.

The model file, quantisation and (in engine/src/file/schema.cpp, compared with this file by a test) the C++ engine use
this description. The ONNX export names the tensors itself: it is given exactly those described here, and must use all.
Kinds of cell, attention, input and output have names; each dictionary below maps the names to the tensors of that kind.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from peephole.errors import ConfigError, nearest
from peephole.nn.architecture import Architecture as Architecture
from peephole.nn.architecture import making_of_settings as making_of_settings

Entry = TypeVar("Entry")
EPSILON = 1e-5  # ε of layer normalisation, (44)


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


def find_kind(table: Mapping[str, Entry], kind: Any, where: str) -> Entry:
    """Return the entry of a kind.

    Raises:
        ConfigError: the table has no such kind; the message begins with `where` and names the kinds it has.

    >>> find_kind({"lstm": 4, "gru": 3}, "rnn", "cell")
    Traceback (most recent call last):
    ...
    peephole.errors.ConfigError: cell: wanted lstm|gru, got 'rnn'
    """
    if not isinstance(kind, str) or kind not in table:
        raise ConfigError(f"{where}: wanted {'|'.join(table)}, got {kind!r}{nearest(str(kind), table)}")
    return table[kind]


def tensors(architecture: Architecture, num_source_symbols: int, num_target_symbols: int) -> dict[str, TensorSpec]:
    """Return the name and specification of each tensor of a network, in the order of its `state_dict()`.

    Raises:
        ConfigError: the architecture has an unknown kind.
    """
    frontend = find_kind(INPUTS, architecture.input, "input")
    decoder = find_kind(OUTPUTS, architecture.output, "output")
    return dict(
        [
            *_inside("frontend", frontend(architecture, num_source_symbols)),
            *_inside("encoder", _encoder(architecture)),
            *_inside("bridge", _bridge(architecture)),
            *_inside("decoder", decoder(architecture, num_target_symbols)),
            *_inside("ctc", _ctc(architecture, num_target_symbols)),
        ]
    )


def _inside(module: str, found: Tensors) -> Tensors:
    return ((f"{module}.{name}", spec) for name, spec in found)


def _matrix(*shape: int) -> TensorSpec:
    return TensorSpec(shape, Role.MATRIX)


def _vector(size: int) -> TensorSpec:
    return TensorSpec((size,), Role.VECTOR)


def _linear(inputs: int, outputs: int) -> Tensors:
    yield "weight", _matrix(outputs, inputs)
    yield "bias", _vector(outputs)


def _embedding(architecture: Architecture, num_symbols: int) -> Tensors:
    yield "embedding.weight", _matrix(num_symbols, architecture.embedding_size)


def _frames(a: Architecture, num_symbols: int) -> Tensors:
    yield from _statistics(a)
    yield from _inside("projection", _linear(_input_size(a) * a.frame_stack, a.embedding_size))


def _convolution(a: Architecture, num_symbols: int) -> Tensors:
    yield from _statistics(a)
    channels, features = a.input_planes, _input_size(a) // a.input_planes
    for layer in range(a.convolution_layers):
        yield from _inside(f"layers.{layer}", _linear(channels * 9, a.convolution_channels))
        channels, features = a.convolution_channels, halved(features)
    yield from _inside("projection", _linear(channels * features, a.embedding_size))


def _statistics(a: Architecture) -> Tensors:
    yield "mean", _vector(_input_size(a))
    yield "scale", _vector(_input_size(a))


def _input_size(a: Architecture) -> int:
    """Return F.

    Raises:
        ConfigError: the architecture does not say it.
    """
    if a.input_size is None:
        raise ConfigError(f"input_size: wanted the numbers in a frame for input={a.input!r}, got none")
    return a.input_size


Sizes = TypeVar("Sizes", int, Any)  # or a tensor of them


def halved(size: Sizes) -> Sizes:
    """Return a number of steps after every two are joined; the last one may be left without a partner.

    >>> halved(5), halved(4)
    (3, 2)
    """
    return (size + 1) // 2


def num_places(a: Architecture, length: Sizes) -> Sizes:
    """Return the number of encoder outputs for sources of some length, which attention chooses from.

    >>> num_places(Architecture.from_dict({"input": "convolution", "input_size": 8}), 9)
    3
    """
    if a.input == "none":
        return length * 0 + 1
    if a.input == "frames":
        length = -(-length // a.frame_stack)
    for _ in range((a.convolution_layers if a.input == "convolution" else 0) + a.encoder_pyramid):
        length = halved(length)
    return length


def _no_source(a: Architecture, num_symbols: int) -> Tensors:
    return iter(())


def _encoder(a: Architecture) -> Tensors:
    if a.input == "none":
        return
    for layer in range(a.encoder_layers):
        for direction in range(a.num_directions):
            inputs = a.encoder_size * (2 if layer <= a.encoder_pyramid else 1) if layer else a.embedding_size
            yield from _inside(
                f"recurrent.layers.{layer}.{direction}", _cell(a, inputs, a.encoder_size // a.num_directions)
            )


def _bridge(a: Architecture) -> Tensors:
    if a.encoder_size == a.hidden_size or a.input == "none":
        return
    for part in find_kind(BRIDGE_PARTS, a.cell, "cell"):
        for layer in range(a.decoder_layers):
            yield from _inside(f"{part}.{layer}", _linear(a.encoder_size, a.hidden_size))


def _symbol_decoder(a: Architecture, num_symbols: int) -> Tensors:
    yield from _embedding(a, num_symbols)
    if find_kind(CONTEXTS, a.context, "context") and a.input != "none":
        yield from _inside("attention", find_kind(ATTENTIONS, a.attention, "attention")(a))
    for layer in range(a.decoder_layers):
        inputs = a.hidden_size if layer else a.embedding_size + a.memory_size
        yield from _inside(f"layers.{layer}", _cell(a, inputs, a.hidden_size))
    yield from _inside("readout", _linear(a.hidden_size + a.memory_size + a.embedding_size, a.hidden_size))
    yield from _inside("output", _linear(a.hidden_size, num_symbols))


def _copying_decoder(a: Architecture, num_symbols: int) -> Tensors:
    yield from _symbol_decoder(a, num_symbols)
    yield "output.gate_weight", _vector(a.hidden_size + a.encoder_size + a.embedding_size)
    yield "output.gate_bias", _vector(1)


def _ctc(a: Architecture, num_symbols: int) -> Tensors:
    if a.ctc:
        yield from _linear(a.encoder_size, num_symbols)


def _cell(a: Architecture, inputs: int, hidden: int) -> Tensors:
    return find_kind(CELLS, a.cell, "cell")(a, inputs, hidden)


def _lstm(a: Architecture, inputs: int, hidden: int) -> Tensors:
    yield "weight_input", _matrix(4 * hidden, inputs)
    yield "weight_hidden", _matrix(4 * hidden, hidden)
    yield "bias", _vector(4 * hidden)
    peephole = find_kind(PEEPHOLES, a.peephole, "peephole")(hidden)
    if peephole is not None:
        yield "weight_peephole", peephole
    if a.layer_norm:
        yield from (("gain", _vector(4 * hidden)), ("cell_gain", _vector(hidden)), ("cell_bias", _vector(hidden)))


def _gru(a: Architecture, inputs: int, hidden: int) -> Tensors:
    yield "weight_input", _matrix(3 * hidden, inputs)
    yield "weight_hidden", _matrix(3 * hidden, hidden)
    yield "bias_input", _vector(3 * hidden)
    yield "bias_hidden", _vector(3 * hidden)
    if a.layer_norm:
        yield "gain", _vector(3 * hidden)


def _additive(a: Architecture) -> Tensors:
    yield "weight_query", _matrix(a.hidden_size, a.hidden_size)
    yield "weight_keys", _matrix(a.hidden_size, a.encoder_size)
    yield "vector", _vector(a.hidden_size)


def _dot(a: Architecture) -> Tensors:
    return iter(())


def _general(a: Architecture) -> Tensors:
    yield "weight", _matrix(a.hidden_size, a.encoder_size)


def _location(a: Architecture) -> Tensors:
    yield from _additive(a)
    yield "bias", _vector(a.hidden_size)
    yield "filters", _matrix(a.location_channels, a.location_width)
    yield "weight_location", _matrix(a.hidden_size, a.location_channels)


def _coverage(a: Architecture) -> Tensors:
    yield from _additive(a)
    yield "bias", _vector(a.hidden_size)
    yield "weight_coverage", _vector(a.hidden_size)


def _multihead(a: Architecture) -> Tensors:
    yield from _additive(a)
    yield "weight_values", _matrix(a.encoder_size, a.encoder_size)
    yield "weight_output", _matrix(a.encoder_size, a.encoder_size)


INPUTS: Mapping[str, Callable[[Architecture, int], Tensors]] = {
    "symbols": _embedding,
    "frames": _frames,
    "convolution": _convolution,
    "none": _no_source,
}
"""Input kind → tensors of its frontend, given the number of source symbols."""

OUTPUTS: Mapping[str, Callable[[Architecture, int], Tensors]] = {"symbols": _symbol_decoder, "copy": _copying_decoder}
"""Output kind → tensors of its decoder, given the number of target symbols."""

CELLS: Mapping[str, Callable[[Architecture, int, int], Tensors]] = {"lstm": _lstm, "gru": _gru}
"""Cell kind → tensors of one layer in one direction, given its input size and state size."""

PEEPHOLES: Mapping[str, Callable[[int], TensorSpec | None]] = {
    "full": lambda hidden: _matrix(3 * hidden, hidden),
    "diagonal": lambda hidden: TensorSpec((3, hidden), Role.DIAGONAL),
    "none": lambda hidden: None,
}
"""Form of the peepholes → their weight, given the state size."""

BRIDGE_PARTS: Mapping[str, tuple[str, ...]] = {"lstm": ("hidden", "cell"), "gru": ("hidden",)}
"""Cell kind → parts of a state that the bridge maps, each with weights of its own."""

CONTEXTS: Mapping[str, bool] = {"attention": True, "last": False, "mean": False}
"""Context kind → whether it has an attention module."""

ATTENTIONS: Mapping[str, Callable[[Architecture], Tensors]] = {
    "additive": _additive,
    "dot": _dot,
    "general": _general,
    "location": _location,
    "coverage": _coverage,
    "multihead": _multihead,
}
"""Attention kind → tensors of its module."""
