"""Attention, (15)-(17): how well each source position fits the decoder's state, and the context that follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from peephole.errors import ShapeError
from peephole.nn.linear import linear
from peephole.nn.schema import Architecture

AttentionState = tuple[Tensor, ...]
"""What an attention carries from step to step besides the decoder's state; every tensor has one row a hypothesis."""


class Attended(NamedTuple):
    """What one step of attention returns."""

    context: Tensor  # (B, M)  c_i
    weights: Tensor  # (B, T)  α_ij
    state: AttentionState  # after the step


class _Additive(nn.Module):
    """The weights of vᵀ tanh(W_s s_{i-1} + W_h h_j + …), which several kinds share; each kind draws their values.

    With a symbol_size the query is [s_{i-1} ; E(y_{i-1})], and W_y E(y_{i-1}) is added to W_s s_{i-1}, (67).
    """

    def __init__(self, query_size: int, memory_size: int, attention_size: int, symbol_size: int) -> None:
        super().__init__()
        self.weight_query = nn.Parameter(torch.empty(attention_size, query_size))  # W_s
        self.weight_keys = nn.Parameter(torch.empty(attention_size, memory_size))  # W_h
        self.vector = nn.Parameter(torch.empty(attention_size))  # v
        self.weight_symbol = nn.Parameter(torch.empty(attention_size, symbol_size)) if symbol_size else None  # W_y

    def keys(self, memory: Float[Tensor, "B T M"]) -> Float[Tensor, "B T A"]:
        """Return W_h h_j, which does not change from step to step."""
        return linear(memory, self.weight_keys)

    def ask(self, query: Float[Tensor, "B Q"], bias: Float[Tensor, "A"] | None = None) -> Float[Tensor, "B 1 A"]:
        """Return what the query adds at every source position: W_s s_{i-1}, and W_y E(y_{i-1}) and b where they are."""
        weight: Tensor = self.weight_query
        if self.weight_symbol is not None:
            weight = torch.cat([weight, self.weight_symbol], 1)
        return F.linear(query, weight, bias)[:, None]

    def first_state(self, valid: Bool[Tensor, "B T"]) -> AttentionState:
        """Return the attention state before the first step: none."""
        return ()


class AdditiveAttention(_Additive):
    """e_ij = vᵀ tanh(W_s s_{i-1} + W_h h_j), the article's small network.

    Args:
        query_size: size Q of the decoder state s.
        memory_size: size M of an encoder output h_j.
        attention_size: size A of the network's layer.
        generator: draws the initial weights; None: PyTorch's global generator.
        symbol_size: size E of E(y_{i-1}), (67); 0: attention does not read it.

    Source: docs/equations.md (15)-(17); Bahdanau et al. 2015, arXiv:1409.0473, appendix A.1.2.
    """

    kind = "additive"

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        generator: torch.Generator | None = None,
        symbol_size: int = 0,
    ) -> None:
        super().__init__(query_size, memory_size, attention_size, symbol_size)
        _draw_weights(self, generator)

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        keys: Float[Tensor, "B T A"],
        memory: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
        state: AttentionState = (),
    ) -> Attended:
        """Return the context c_i, the weights α_ij and the attention state after the step.

        Args:
            query: s_{i-1}, or [s_{i-1} ; E(y_{i-1})] of (67).
            keys: what `keys` returned for the memory.
            memory: the encoder's outputs h_j, 0 (at least finite) past each length, as `Encoder` gives them.
            valid: True at real source positions; the others get weight 0.
            state: what `first_state` or the last step returned; () for a kind that carries nothing.
        """
        energy = torch.tanh(keys + self.ask(query)) @ self.vector  # (15)
        return Attended(*attend(energy, memory, valid), state)


class _Product(nn.Module):
    """Energies that are products of s_{i-1} with keys of its size."""

    def first_state(self, valid: Bool[Tensor, "B T"]) -> AttentionState:
        """Return the attention state before the first step: none."""
        return ()

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        keys: Float[Tensor, "B T Q"],
        memory: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
        state: AttentionState = (),
    ) -> Attended:
        """Return the context, the weights and the state; see `AdditiveAttention.forward`."""
        return Attended(*attend(torch.bmm(keys, query[:, :, None])[..., 0], memory, valid), state)


class DotAttention(_Product):
    """e_ij = s_{i-1}ᵀ h_j; the two must have the same size.

    Source: Luong et al. 2015, arXiv:1508.04025, section 3.1. Differs: the query is s_{i-1}, as in the article.
    """

    kind = "dot"

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        if query_size != memory_size:
            raise ShapeError(
                f"dot attention: wanted a decoder state of the memory's size {memory_size}, got {query_size}"
            )

    def keys(self, memory: Float[Tensor, "B T M"]) -> Float[Tensor, "B T M"]:
        """Return h_j itself."""
        return memory


class GeneralAttention(_Product):
    """e_ij = s_{i-1}ᵀ W h_j.

    Source: Luong et al. 2015, arXiv:1508.04025, section 3.1. Differs: the query is s_{i-1}, as in the article.
    """

    kind = "general"

    def __init__(self, query_size: int, memory_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(query_size, memory_size))
        nn.init.xavier_uniform_(self.weight, generator=generator)

    def keys(self, memory: Float[Tensor, "B T M"]) -> Float[Tensor, "B T Q"]:
        """Return W h_j, which does not change from step to step."""
        return linear(memory, self.weight)


class LocationAttention(_Additive):
    """e_ij = vᵀ tanh(W_s s_{i-1} + W_h h_j + U f_ij + b), with features f_i = F * α_{i-1} of the step before.

    f_ij has a number for each of C filters of width R, centred at j: f_ij = Σ_r F_r α_{i-1, j+r}, r from -(R-1)/2 to
    (R-1)/2, with α = 0 outside the source. α_0j = 1/T on a source of T positions. The state is α_{i-1}.

    Args:
        query_size: size Q of the decoder state s.
        memory_size: size M of an encoder output h_j.
        attention_size: size A of the network's layer.
        channels: number C of filters.
        width: width R of a filter, odd.
        generator: draws the initial weights; None: PyTorch's global generator.
        symbol_size: size E of E(y_{i-1}), (67); 0: attention does not read it.

    Source: docs/equations.md (21); Chorowski et al. 2015, arXiv:1506.07503, (8), (9). The article leaves α_0 open; here
        it is uniform, as in ESPnet's AttLoc.
    """

    kind = "location"

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        channels: int,
        width: int,
        generator: torch.Generator | None = None,
        symbol_size: int = 0,
    ) -> None:
        super().__init__(query_size, memory_size, attention_size, symbol_size)
        self.bias = nn.Parameter(torch.empty(attention_size))  # b
        self.filters = nn.Parameter(torch.empty(channels, width))  # F
        self.weight_location = nn.Parameter(torch.empty(attention_size, channels))  # U
        _draw_weights(self, generator)

    def first_state(self, valid: Bool[Tensor, "B T"]) -> AttentionState:
        """Return α_0, (B, T)."""
        uniform = valid.to(self.vector.dtype)
        return (uniform / uniform.sum(1, keepdim=True),)

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        keys: Float[Tensor, "B T A"],
        memory: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
        state: AttentionState,
    ) -> Attended:
        """Return the context, the weights and the state; see `AdditiveAttention.forward`."""
        (before,) = state
        located = F.conv1d(before[:, None], self.filters[:, None], padding=self.filters.shape[1] // 2)  # f_i, (B, C, T)
        located = F.linear(located.transpose(1, 2), self.weight_location)
        energy = torch.tanh(keys + self.ask(query, self.bias) + located) @ self.vector  # (21)
        context, weights = attend(energy, memory, valid)
        return Attended(context, weights, (weights,))


class CoverageAttention(_Additive):
    """e_ij = vᵀ tanh(W_s s_{i-1} + W_h h_j + w_c κ_ij + b), with the coverage κ_i = α_1 + … + α_{i-1}.

    The state is κ_i; κ_1 = 0.

    Args:
        query_size: size Q of the decoder state s.
        memory_size: size M of an encoder output h_j.
        attention_size: size A of the network's layer.
        generator: draws the initial weights; None: PyTorch's global generator.
        symbol_size: size E of E(y_{i-1}), (67); 0: attention does not read it.

    Source: docs/equations.md (22); See et al. 2017, arXiv:1704.04368, (10), (11). Differs: the query is s_{i-1}.
    """

    kind = "coverage"

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        generator: torch.Generator | None = None,
        symbol_size: int = 0,
    ) -> None:
        super().__init__(query_size, memory_size, attention_size, symbol_size)
        self.bias = nn.Parameter(torch.empty(attention_size))  # b
        self.weight_coverage = nn.Parameter(torch.empty(attention_size))  # w_c
        _draw_weights(self, generator)

    def first_state(self, valid: Bool[Tensor, "B T"]) -> AttentionState:
        """Return κ_1, zeros (B, T)."""
        return (torch.zeros_like(valid, dtype=self.vector.dtype),)

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        keys: Float[Tensor, "B T A"],
        memory: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
        state: AttentionState,
    ) -> Attended:
        """Return the context, the weights and the state; see `AdditiveAttention.forward`."""
        (coverage,) = state
        covered = coverage[:, :, None] * self.weight_coverage
        energy = torch.tanh(keys + self.ask(query, self.bias) + covered) @ self.vector  # (22)
        context, weights = attend(energy, memory, valid)
        return Attended(context, weights, (coverage + weights,))


class MultiheadAttention(_Additive):
    """Additive attention with K heads, each with its own part of the query, the keys, v and the values.

    e^k_ij = v_kᵀ tanh(W_s^k s_{i-1} + W_h^k h_j); α^k_i = softmax(e^k_i); c^k_i = Σ_j α^k_ij W_v^k h_j
    c_i = W_o [c^1_i ; … ; c^K_i]

    Head k has rows k A/K … (k + 1) A/K of W_s, W_h and v, and rows k M/K … (k + 1) M/K of W_v. The weights that a step
    returns are the mean of the heads'; `heads` returns those of each head.

    Args:
        query_size: size Q of the decoder state s.
        memory_size: size M of an encoder output h_j, a multiple of the number of heads, and of the context.
        attention_size: size A of all heads' layers together, a multiple of the number of heads.
        num_heads: number K of heads.
        generator: draws the initial weights; None: PyTorch's global generator.
        symbol_size: size E of E(y_{i-1}), (67); 0: attention does not read it.

    Source: docs/equations.md (24), (25); heads: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2, with additive
        energies in an encoder-decoder of LSTMs as in Chiu et al. 2018, arXiv:1712.01769, section 2.2.
    """

    kind = "multihead"

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        num_heads: int,
        generator: torch.Generator | None = None,
        symbol_size: int = 0,
    ) -> None:
        super().__init__(query_size, memory_size, attention_size, symbol_size)
        if attention_size % num_heads or memory_size % num_heads:
            raise ShapeError(
                f"multihead attention: wanted a number of heads that divides the sizes {attention_size} of attention "
                f"and {memory_size} of the memory, got {num_heads}"
            )
        self.num_heads = num_heads
        self.weight_values = nn.Parameter(torch.empty(memory_size, memory_size))  # W_v
        self.weight_output = nn.Parameter(torch.empty(memory_size, memory_size))  # W_o
        _draw_weights(self, generator)

    def keys(self, memory: Float[Tensor, "B T M"]) -> Float[Tensor, "B T AM"]:
        """Return [W_h h_j ; W_v h_j], which do not change from step to step, of A + M numbers."""
        return linear(memory, torch.cat([self.weight_keys, self.weight_values]))

    def heads(
        self, query: Float[Tensor, "B Q"], keys: Float[Tensor, "B T AM"], valid: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T K"]:
        """Return the weights α^k_ij of each head."""
        parts = torch.tanh(keys[..., : len(self.vector)] + self.ask(query)) * self.vector
        energy = parts.unflatten(2, (self.num_heads, -1)).sum(3)  # (24)
        return torch.softmax(energy.masked_fill(~valid[:, :, None], -torch.inf), 1)

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        keys: Float[Tensor, "B T AM"],
        memory: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
        state: AttentionState = (),
    ) -> Attended:
        """Return the context, the mean of the heads' weights, and the state; see `AdditiveAttention.forward`."""
        weights = self.heads(query, keys, valid)
        values = keys[..., len(self.vector) :].unflatten(2, (self.num_heads, -1))
        contexts = torch.einsum("btk,btkm->bkm", weights.to(values.dtype), values).flatten(1)
        return Attended(F.linear(contexts, self.weight_output), weights.mean(2), state)  # (25)


Attention = (
    AdditiveAttention | DotAttention | GeneralAttention | LocationAttention | CoverageAttention | MultiheadAttention
)


def _sizes(a: Architecture) -> tuple[int, int, int]:
    """Return the sizes of the decoder's state, memory and the alignment model's layer."""
    return a.hidden_size, a.encoder_size, a.hidden_size


def _symbol_size(a: Architecture) -> int:
    """Return the size of E(y_{i-1}), which attention reads, or 0."""
    return a.embedding_size * a.attention_symbol


ATTENTIONS: dict[str, Callable[[Architecture, torch.Generator | None], Attention]] = {
    AdditiveAttention.kind: lambda a, draw: AdditiveAttention(*_sizes(a), draw, _symbol_size(a)),
    DotAttention.kind: lambda a, _: DotAttention(a.hidden_size, a.encoder_size),
    GeneralAttention.kind: lambda a, draw: GeneralAttention(a.hidden_size, a.encoder_size, draw),
    LocationAttention.kind: lambda a, draw: LocationAttention(
        *_sizes(a), a.location_channels, a.location_width, draw, _symbol_size(a)
    ),
    CoverageAttention.kind: lambda a, draw: CoverageAttention(*_sizes(a), draw, _symbol_size(a)),
    MultiheadAttention.kind: lambda a, draw: MultiheadAttention(*_sizes(a), a.attention_heads, draw, _symbol_size(a)),
}
"""Attention kind → function that builds its module for an architecture, with weights that a generator draws."""


def _draw_weights(attention: nn.Module, generator: torch.Generator | None) -> None:
    """Draw matrices from Glorot's uniform distribution, and v and w_c from U(-1/√A, 1/√A); set b to 0."""
    for name, parameter in attention.named_parameters():
        if parameter.ndim == 2:
            nn.init.xavier_uniform_(parameter, generator=generator)
        elif name == "bias":
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -(len(parameter) ** -0.5), len(parameter) ** -0.5, generator)


def attend(
    energy: Float[Tensor, "B T"], memory: Float[Tensor, "B T M"], valid: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B T"]]:
    """Turn energies e_ij into weights α_ij over the real positions, (16), and the context c_i, (17)."""
    weights = torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)  # (16)
    return torch.bmm(weights[:, None], memory)[:, 0], weights  # (17)
