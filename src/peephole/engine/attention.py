"""The decoder's kinds of attention as the engine trains them: their weights, and what they save for their gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from torch import Tensor

from peephole.engine.recurrence import Size, array_bytes, padded_units
from peephole.nn.attention import AdditiveAttention, CoverageAttention, LocationAttention, MultiheadAttention


class AttentionWeights(NamedTuple):
    """An alignment model, (15), (21), (22) or (24), as the engine computes it."""

    kind: str  # of engine.ATTENTIONS
    weight_query: Tensor | None = None  # (A, H), W_s; None for a product, as v
    vector: Tensor | None = None  # (A,), v
    bias: Tensor | None = None  # (A,), b of location and coverage
    weight_location: Tensor | None = None  # (A, C), U of location; (A,), w_c of coverage
    filters: Tensor | None = None  # (C, R), F of location
    weight_output: Tensor | None = None  # (M, M), W_o of multihead
    heads: int = 0  # K of multihead


def additive_weights(attention: AdditiveAttention) -> AttentionWeights:
    """Return the weights of vᵀ tanh(W_s s + k_j)."""
    return AttentionWeights("additive", attention.weight_query, attention.vector)


def location_weights(attention: LocationAttention) -> AttentionWeights:
    """Return the weights of (21)."""
    own = attention.bias, attention.weight_location, attention.filters
    return AttentionWeights("location", attention.weight_query, attention.vector, *own)


def coverage_weights(attention: CoverageAttention) -> AttentionWeights:
    """Return the weights of (22)."""
    own = attention.bias, attention.weight_coverage
    return AttentionWeights("coverage", attention.weight_query, attention.vector, *own)


def multihead_weights(attention: MultiheadAttention) -> AttentionWeights:
    """Return the weights of (24) and (25) but those of keys and values."""
    own = attention.weight_output, attention.num_heads
    return AttentionWeights("multihead", attention.weight_query, attention.vector, None, None, None, *own)


ATTENTIONS: dict[str, Callable[[Any], AttentionWeights]] = {
    "fixed": lambda _: AttentionWeights("fixed_context"),
    "additive": additive_weights,
    "dot": lambda _: AttentionWeights("product"),
    "general": lambda _: AttentionWeights("product"),
    "location": location_weights,
    "coverage": coverage_weights,
    "multihead": multihead_weights,
}
"""How the engine computes an attention module of each kind."""


def split_values(keys: Tensor, attention: AttentionWeights) -> tuple[Tensor, Tensor]:
    """Return W_h h_j and W_v h_j of what `MultiheadAttention.keys` returned."""
    size = len(cast("Tensor", attention.vector))
    return keys[..., :size], keys[..., size:]


def attention_bytes(
    kind: str,
    rows: Size,
    source_steps: Size,
    memory_size: Size,
    key_size: Size | None,
    heads: int,
    scalar: int,
    operand: str,
) -> Size:
    """Return the bytes that attention saves for its gradients: what a kind in engine/src/cell takes from `kept`.

    Args:
        kind: of engine.ATTENTIONS.
        rows: B·U.
        source_steps: T.
        memory_size: M.
        key_size: A; None for a product.
        heads: K of multihead.
        scalar: bytes of a number.
        operand: what products multiply: as_is, bf16.
    """
    weights = array_bytes(rows, source_steps, scalar)
    if key_size is None:
        return weights
    queries = array_bytes(rows, padded_units(key_size, scalar), scalar)
    if kind == "coverage":
        return 2 * weights + queries
    if kind == "multihead":
        contexts = array_bytes(rows, padded_units(memory_size, scalar), scalar if operand == "as_is" else 2)
        return array_bytes(rows, heads * source_steps, scalar) + queries + contexts
    return weights + queries
