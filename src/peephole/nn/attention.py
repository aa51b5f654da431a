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

AttentionState = tuple[Tensor, ...]
"""What an attention carries from step to step besides the decoder's state; every tensor has one row a hypothesis."""


class Attended(NamedTuple):
    """What one step of attention returns."""

    context: Tensor  # (B, M)  c_i
    weights: Tensor  # (B, T)  α_ij
    state: AttentionState  # after the step


class AdditiveAttention(nn.Module):
    """e_ij = vᵀ tanh(W_s s_{i-1} + W_h h_j), the article's small network.

    Args:
        query_size: size Q of the decoder state s.
        memory_size: size M of an encoder output h_j.
        attention_size: size A of the network's layer.
        generator: draws the initial weights; None: PyTorch's global generator.

    Source: docs/equations.md (15)-(17); Bahdanau et al. 2015, arXiv:1409.0473, appendix A.1.2.
    """

    kind = "additive"

    def __init__(
        self, query_size: int, memory_size: int, attention_size: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.weight_query = nn.Parameter(torch.empty(attention_size, query_size))  # W_s
        self.weight_keys = nn.Parameter(torch.empty(attention_size, memory_size))  # W_h
        self.vector = nn.Parameter(torch.empty(attention_size))  # v
        for weight in (self.weight_query, self.weight_keys):
            nn.init.xavier_uniform_(weight, generator=generator)
        nn.init.uniform_(self.vector, -(attention_size**-0.5), attention_size**-0.5, generator)

    def keys(self, memory: Float[Tensor, "B T M"]) -> Float[Tensor, "B T A"]:
        """Return W_h h_j, which does not change from step to step."""
        return linear(memory, self.weight_keys)

    def first_state(self, keys: Float[Tensor, "B T A"]) -> AttentionState:
        """Return the attention state before the first step: none."""
        return ()

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
            query: s_{i-1}.
            keys: what `keys` returned for the memory.
            memory: the encoder's outputs h_j, 0 (at least finite) past each length, as `Encoder` gives them.
            valid: True at real source positions; the others get weight 0.
            state: what `first_state` or the last step returned; () for a kind that carries nothing.
        """
        energy = torch.tanh(keys + F.linear(query, self.weight_query)[:, None]) @ self.vector  # (15)
        return Attended(*attend(energy, memory, valid), state)


class DotAttention(nn.Module):
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

    def first_state(self, keys: Float[Tensor, "B T Q"]) -> AttentionState:
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


class GeneralAttention(nn.Module):
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

    def first_state(self, keys: Float[Tensor, "B T Q"]) -> AttentionState:
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


Attention = AdditiveAttention | DotAttention | GeneralAttention


ATTENTIONS: dict[str, Callable[[int, int, int, torch.Generator | None], Attention]] = {
    AdditiveAttention.kind: AdditiveAttention,
    DotAttention.kind: lambda query_size, memory_size, *_: DotAttention(query_size, memory_size),
    GeneralAttention.kind: lambda query_size, memory_size, _, generator: GeneralAttention(
        query_size, memory_size, generator
    ),
}
"""How an attention of each kind is made: from the sizes of query, memory and alignment model, and a generator."""


def attend(
    energy: Float[Tensor, "B T"], memory: Float[Tensor, "B T M"], valid: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B T"]]:
    """Turn energies e_ij into weights α_ij over the real positions, (16), and the context c_i, (17)."""
    weights = torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)  # (16)
    return torch.bmm(weights[:, None], memory)[:, 0], weights  # (17)
