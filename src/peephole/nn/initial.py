"""Draw the initial weights of a network from its description, without PyTorch.

The distributions are those that the modules of `peephole.nn` state and draw themselves; a test compares them, name by
name. Each tensor has a generator of its own, so that no part of a network changes the weights of another. Numbers are
drawn in float64 and rounded to float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from peephole.config import ModelConfig
from peephole.nn import schema
from peephole.nn.architecture import Architecture

Array = NDArray[np.float64]
Shape = tuple[int, ...]
Statistics = tuple[Sequence[float], Sequence[float]]


class Draw(NamedTuple):
    """What the rule of a tensor draws from."""

    generator: np.random.Generator
    config: ModelConfig
    statistics: Statistics | None
    inputs: int  # columns of the matrix beside a bias


Rule = Callable[[Draw, Shape], Array]


def initial_weights(
    config: ModelConfig,
    num_source_symbols: int,
    num_target_symbols: int,
    seed: int,
    statistics: Statistics | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return the initial weights of a network by name, in the order of its `state_dict()`.

    Args:
        config: the settings of the model.
        num_source_symbols: number of source symbols, the specials included.
        num_target_symbols: likewise.
        seed: every tensor is a function of the seed and of its name, shape and distribution.
        statistics: mean and standard deviation of each number of the training frames, or of each component of vectors
            with constant scaling; None: 0 and 1.

    Raises:
        ConfigError: a part has an unknown kind.
    """
    specs = schema.tensors(Architecture.of(config), num_source_symbols, num_target_symbols)
    found = {}
    for name, spec in specs.items():
        weight = specs.get(f"{name.rpartition('.')[0]}.weight", spec)
        draw = Draw(np.random.default_rng([seed, *name.encode()]), config, statistics, weight.shape[-1])
        found[name] = rule_of(name, config)(draw, spec.shape).astype(np.float32)
    return found


def rule_of(name: str, config: ModelConfig) -> Rule:
    """Return the rule that draws a tensor."""
    module, _, part = name.rpartition(".")
    if config.initial_range and is_drawn_in_range(name):
        return within_range
    kind = module.partition(".")[0] if module.startswith(("bridge", "ctc")) else module
    if module == "decoder.embedding":
        kind = "linear" if config.predicts_vectors else "embedding"
    elif module.startswith(("encoder.recurrent.layers.", "decoder.layers.")):
        kind = config.cell
    elif module.startswith("frontend.layers."):
        kind = "convolution"
    return RULES[kind][part]


def normal(draw: Draw, shape: Shape) -> Array:
    """Return numbers from N(0, std²), std that of embeddings.

    std = 1 gives the variance that Glorot-uniform input weights assume of their inputs.
    """
    return draw.generator.normal(0.0, draw.config.embedding_std, shape)


def is_drawn_in_range(name: str) -> bool:
    """Return whether `initial_range` draws a tensor: all but constants of the data, gains and vectors of trigrams."""
    return not (name in schema.CONSTANTS or name.endswith("gain") or name.startswith("frontend.ngrams"))


def within_range(draw: Draw, shape: Shape) -> Array:
    """Return numbers from U(-r, r), r = `initial_range`."""
    return uniform(draw, shape, draw.config.initial_range)


def uniform(draw: Draw, shape: Shape, bound: float) -> Array:
    """Return numbers from U(-bound, bound)."""
    return draw.generator.uniform(-bound, bound, shape)


def glorot(draw: Draw, shape: Shape) -> Array:
    """Return a matrix from U(-a, a), a = √(6 / (rows + columns)) (Glorot and Bengio 2010)."""
    return uniform(draw, shape, math.sqrt(6 / sum(shape)))


def orthogonal(draw: Draw, shape: Shape) -> Array:
    """Return an orthogonal matrix, uniform among all (Saxe et al. 2014)."""
    q, r = np.linalg.qr(draw.generator.normal(size=shape))
    found: Array = q * np.sign(np.diag(r))
    return found


def zeros(draw: Draw, shape: Shape) -> Array:
    """Return zeros."""
    return np.zeros(shape)


def ones(draw: Draw, shape: Shape) -> Array:
    """Return ones."""
    return np.ones(shape)


def by_block(rule: Rule, count: int) -> Rule:
    """Return the rule that draws each of `count` blocks of rows, such as those of the gates, on its own."""
    return lambda draw, shape: np.concatenate([rule(draw, (shape[0] // count, *shape[1:])) for _ in range(count)])


def scaled(rule: Rule, factor: float) -> Rule:
    """Return the rule that multiplies what another one draws."""
    return lambda draw, shape: factor * rule(draw, shape)


def torch_linear(draw: Draw, shape: Shape) -> Array:
    """Return weights or biases of a linear layer as torch.nn.Linear draws them: U(-1/√inputs, 1/√inputs)."""
    return uniform(draw, shape, 1 / math.sqrt(draw.inputs))


def keeps_variance(draw: Draw, shape: Shape) -> Array:
    """Return a matrix whose outputs have the variance of its inputs, as embeddings have (LeCun et al. 1998)."""
    return uniform(draw, shape, math.sqrt(3 / shape[1]))


def before_relu(draw: Draw, shape: Shape) -> Array:
    """Return a matrix that keeps the variance through rectified linear units (He et al. 2015)."""
    return uniform(draw, shape, math.sqrt(6 / shape[1]))


def by_length(draw: Draw, shape: Shape) -> Array:
    """Return a vector from U(-1/√A, 1/√A), A its length."""
    return uniform(draw, shape, 1 / math.sqrt(shape[0]))


def lstm_bias(draw: Draw, shape: Shape) -> Array:
    """Return biases of 0, but the forget bias for b_f (Jozefowicz et al. 2015)."""
    i, f, g, o = np.zeros((4, shape[0] // 4))
    return np.concatenate([i, f + draw.config.forget_bias, g, o])


def peepholes(draw: Draw, shape: Shape) -> Array:
    """Return small peepholes, which contribute little at initialisation: orthogonal × 0.1, diagonals within ±0.1."""
    if draw.config.peephole == "diagonal":
        return uniform(draw, shape, 0.1)
    return by_block(scaled(orthogonal, 0.1), 3)(draw, shape)


def mean(draw: Draw, shape: Shape) -> Array:
    """Return the means of the training data."""
    return zeros(draw, shape) if draw.statistics is None else np.array(draw.statistics[0], np.float64)


def deviation(draw: Draw, shape: Shape) -> Array:
    """Return the standard deviations of the training data; 1 for numbers that do not vary."""
    if draw.statistics is None:
        return ones(draw, shape)
    found = np.array(draw.statistics[1], np.float32)  # the precision in which they are used
    return np.where(found > 0, found, 1).astype(np.float64)


def inverse_deviation(draw: Draw, shape: Shape) -> Array:
    """Return what normalised numbers are multiplied by."""
    return 1 / deviation(draw, shape)


LINEAR: Mapping[str, Rule] = {"weight": glorot, "bias": zeros}

RULES: Mapping[str, Mapping[str, Rule]] = {
    "frontend": {"mean": mean, "scale": inverse_deviation},
    "frontend.embedding": {"weight": normal},
    "frontend.ngrams": {"weight": zeros},
    "frontend.projection": {"weight": keeps_variance, "bias": zeros},
    "convolution": {"weight": before_relu, "bias": zeros},
    "lstm": {
        "weight_input": by_block(glorot, 4),
        "weight_hidden": by_block(orthogonal, 4),
        "bias": lstm_bias,
        "weight_peephole": peepholes,
        "gain": ones,
        "cell_gain": ones,
        "cell_bias": zeros,
    },
    "gru": {
        "weight_input": by_block(glorot, 3),
        "weight_hidden": by_block(orthogonal, 3),
        "bias_input": zeros,
        "bias_hidden": zeros,
        "gain": ones,
    },
    "bridge": {"weight": torch_linear, "bias": torch_linear},
    "embedding": {"weight": normal},
    "linear": {"weight": torch_linear, "bias": torch_linear},
    "decoder": {"mean": mean, "deviation": deviation},
    "decoder.attention": {
        **dict.fromkeys(
            (
                "weight",
                "weight_query",
                "weight_symbol",
                "weight_keys",
                "weight_location",
                "weight_values",
                "weight_output",
                "filters",
            ),
            glorot,
        ),
        **dict.fromkeys(("vector", "weight_coverage"), by_length),
        "bias": zeros,
    },
    "decoder.readout": LINEAR,
    "decoder.output": {**LINEAR, "gate_weight": zeros, "gate_bias": zeros},
    "ctc": LINEAR,
}
"""Kind of module → part of its weights → rule."""
