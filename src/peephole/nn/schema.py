"""The description of the network: each tensor's name, shape and role, which follow from its architecture.

The model file, quantisation and (in engine/src/file/schema.cpp, compared with this file by a test) the C++ engine use
this description. The ONNX export names the tensors itself: it is given exactly those described here, and must use all.
Kinds of cell, attention, input and output have names; each dictionary below maps the names to the tensors of that kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from peephole.errors import ConfigError, nearest
from peephole.nn.architecture import Architecture as Architecture
from peephole.nn.architecture import making_of_settings as making_of_settings
from peephole.nn.tensors import ATTENTIONS as ATTENTIONS
from peephole.nn.tensors import Role as Role
from peephole.nn.tensors import Tensors, inside, linear, matrix, vector
from peephole.nn.tensors import TensorSpec as TensorSpec

Entry = TypeVar("Entry")
EPSILON = 1e-5  # ε of layer normalisation, (44)
HASH_PRIME, HASH_SUMMAND = 2**31 - 1, 668265263  # P and a of (66): products of numbers below P fit in int64
CONSTANTS = ("frontend.mean", "frontend.scale", "decoder.mean", "decoder.deviation")
"""The tensors that are set from the data and not trained."""


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
            *inside("frontend", frontend(architecture, num_source_symbols)),
            *inside("encoder", _encoder(architecture)),
            *inside("bridge", _bridge(architecture)),
            *inside("decoder", decoder(architecture, num_target_symbols)),
            *inside("ctc", _ctc(architecture, num_target_symbols)),
        ]
    )


def _embedding(architecture: Architecture, num_symbols: int) -> Tensors:
    yield "embedding.weight", matrix(num_symbols, architecture.embedding_size)


def _symbols(a: Architecture, num_symbols: int) -> Tensors:
    yield from _embedding(a, num_symbols)
    if a.ngram_rows:
        yield "ngrams.weight", matrix(a.ngram_rows, a.embedding_size)


def _frames(a: Architecture, num_symbols: int) -> Tensors:
    yield from _statistics(a)
    yield from inside("projection", linear(_input_size(a) * a.frame_stack, a.embedding_size))


def _convolution(a: Architecture, num_symbols: int) -> Tensors:
    yield from _statistics(a)
    channels, features = a.input_planes, _input_size(a) // a.input_planes
    for layer in range(a.convolution_layers):
        yield from inside(f"layers.{layer}", linear(channels * 9, a.convolution_channels))
        channels, features = a.convolution_channels, halved(features)
    yield from inside("projection", linear(channels * features, a.embedding_size))


def _statistics(a: Architecture) -> Tensors:
    yield "mean", vector(_input_size(a))
    yield "scale", vector(_input_size(a))


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
            yield from inside(
                f"recurrent.layers.{layer}.{direction}", _cell(a, inputs, a.encoder_size // a.num_directions)
            )


def _bridge(a: Architecture) -> Tensors:
    if a.encoder_size == a.hidden_size or a.input == "none":
        return
    for part in find_kind(BRIDGE_PARTS, a.cell, "cell"):
        for layer in range(a.decoder_layers):
            yield from inside(f"{part}.{layer}", linear(a.encoder_size, a.hidden_size))


def _symbol_decoder(a: Architecture, num_symbols: int) -> Tensors:
    yield from _embedding(a, num_symbols)
    yield from _decoder(a, num_symbols)


def _vector_decoder(a: Architecture, num_symbols: int) -> Tensors:
    size = _output_size(a)
    if a.scaling == "constant":
        yield "mean", vector(size)
        yield "deviation", vector(size)
    yield from inside("embedding", linear(size, a.embedding_size))
    yield from _decoder(a, size * (2 if a.output == "gaussian" else a.quantiles))


def _output_size(a: Architecture) -> int:
    """Return D.

    Raises:
        ConfigError: the architecture does not say it.
    """
    if a.output_size is None:
        raise ConfigError(f"output_size: wanted the numbers in a vector for output={a.output!r}, got none")
    return a.output_size


def _decoder(a: Architecture, num_outputs: int) -> Tensors:
    """Yield the decoder's tensors, but not those that read the previous symbol or vector."""
    if find_kind(CONTEXTS, a.context, "context") and a.input != "none":
        yield from inside("attention", find_kind(ATTENTIONS, a.attention, "attention")(a))
    for layer in range(a.decoder_layers):
        inputs = a.hidden_size if layer else a.decoder_input_size
        yield from inside(f"layers.{layer}", _cell(a, inputs, a.hidden_size))
    yield from inside("readout", linear(a.hidden_size + a.memory_size + a.embedding_size, a.hidden_size))
    yield from inside("output", linear(a.hidden_size, num_outputs))


def _copying_decoder(a: Architecture, num_symbols: int) -> Tensors:
    yield from _symbol_decoder(a, num_symbols)
    yield "output.gate_weight", vector(a.hidden_size + a.encoder_size + a.embedding_size)
    yield "output.gate_bias", vector(1)


def _ctc(a: Architecture, num_symbols: int) -> Tensors:
    if a.ctc:
        yield from linear(a.encoder_size, num_symbols)


def _cell(a: Architecture, inputs: int, hidden: int) -> Tensors:
    return find_kind(CELLS, a.cell, "cell")(a, inputs, hidden)


def _lstm(a: Architecture, inputs: int, hidden: int) -> Tensors:
    yield "weight_input", matrix(4 * hidden, inputs)
    yield "weight_hidden", matrix(4 * hidden, hidden)
    yield "bias", vector(4 * hidden)
    peephole = find_kind(PEEPHOLES, a.peephole, "peephole")(hidden)
    if peephole is not None:
        yield "weight_peephole", peephole
    if a.layer_norm:
        yield from (("gain", vector(4 * hidden)), ("cell_gain", vector(hidden)), ("cell_bias", vector(hidden)))


def _gru(a: Architecture, inputs: int, hidden: int) -> Tensors:
    yield "weight_input", matrix(3 * hidden, inputs)
    yield "weight_hidden", matrix(3 * hidden, hidden)
    yield "bias_input", vector(3 * hidden)
    yield "bias_hidden", vector(3 * hidden)
    if a.layer_norm:
        yield "gain", vector(3 * hidden)


INPUTS: Mapping[str, Callable[[Architecture, int], Tensors]] = {
    "symbols": _symbols,
    "frames": _frames,
    "convolution": _convolution,
    "none": _no_source,
}
"""Input kind → tensors of its frontend, given the number of source symbols."""

OUTPUTS: Mapping[str, Callable[[Architecture, int], Tensors]] = {
    "symbols": _symbol_decoder,
    "copy": _copying_decoder,
    "gaussian": _vector_decoder,
    "quantile": _vector_decoder,
}
"""Output kind → tensors of its decoder, given the number of target symbols."""

CELLS: Mapping[str, Callable[[Architecture, int, int], Tensors]] = {"lstm": _lstm, "gru": _gru}
"""Cell kind → tensors of one layer in one direction, given its input size and state size."""

PEEPHOLES: Mapping[str, Callable[[int], TensorSpec | None]] = {
    "full": lambda hidden: matrix(3 * hidden, hidden),
    "diagonal": lambda hidden: TensorSpec((3, hidden), Role.DIAGONAL),
    "none": lambda hidden: None,
}
"""Form of the peepholes → their weight, given the state size."""

BRIDGE_PARTS: Mapping[str, tuple[str, ...]] = {"lstm": ("hidden", "cell"), "gru": ("hidden",)}
"""Cell kind → parts of a state that the bridge maps, each with weights of its own."""

CONTEXTS: Mapping[str, bool] = {"attention": True, "last": False, "mean": False}
"""Context kind → whether it has an attention module."""
