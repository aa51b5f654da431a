"""Attention, (15)-(17): how well each source position fits the decoder's state, and the context that follows."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from peephole.errors import ShapeError
from peephole.nn.engine_output import linear


class AdditiveAttention(nn.Module):
    """e_ij = vᵀ tanh(W_s s_{i-1} + W_h h_j), the article's small network.

    Args:
        query_size: size Q of the decoder state s.
        memory_size: size M of an encoder output h_j.
        attention_size: size A of the network's layer.

    Source: docs/equations.md (15)-(17); Bahdanau et al. 2015, arXiv:1409.0473, appendix A.1.2.
    """

    def __init__(self, query_size: int, memory_size: int, attention_size: int) -> None:
        super().__init__()
        self.weight_query = nn.Parameter(torch.empty(attention_size, query_size))  # W_s
        self.weight_keys = nn.Parameter(torch.empty(attention_size, memory_size))  # W_h
        self.vector = nn.Parameter(torch.empty(attention_size))  # v
        nn.init.xavier_uniform_(self.weight_query)
        nn.init.xavier_uniform_(self.weight_keys)
        nn.init.uniform_(self.vector, -(attention_size**-0.5), attention_size**-0.5)

    def query_weights(self) -> tuple[Tensor, Tensor]:
        """Return W_s and v, with which a query asks."""
        return self.weight_query, self.vector

    def keys(self, memory: Float[Tensor, "B T M"]) -> Float[Tensor, "B T A"]:
        """Return W_h h_j, which does not change from step to step."""
        return linear(memory, self.weight_keys)

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        keys: Float[Tensor, "B T A"],
        memory: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
    ) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B T"]]:
        """Return the context c_i and the weights α_ij.

        Args:
            query: s_{i-1}.
            keys: what `keys` returned for the memory.
            memory: the encoder's outputs h_j, 0 (at least finite) past each length, as `Encoder` gives them.
            valid: True at real source positions; the others get weight 0.
        """
        energy = torch.tanh(keys + F.linear(query, self.weight_query)[:, None]) @ self.vector  # (15)
        return attend(energy, memory, valid)


class DotAttention(nn.Module):
    """e_ij = s_{i-1}ᵀ h_j; the two must have the same size.

    Source: Luong et al. 2015, arXiv:1508.04025, section 3.1. Differs: it looks with s_{i-1}, as the article does.
    """

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        if query_size != memory_size:
            raise ShapeError(
                f"dot attention: wanted a decoder state of the memory's size {memory_size}, got {query_size}"
            )

    def query_weights(self) -> tuple[None, None]:
        """Return nothing: a query asks as it is."""
        return None, None

    def keys(self, memory: Float[Tensor, "B T M"]) -> Float[Tensor, "B T M"]:
        """Return h_j itself."""
        return memory

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        keys: Float[Tensor, "B T Q"],
        memory: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
    ) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B T"]]:
        """Return the context c_i and the weights α_ij; see `AdditiveAttention.forward`."""
        return attend(torch.bmm(keys, query[:, :, None])[..., 0], memory, valid)


class GeneralAttention(nn.Module):
    """e_ij = s_{i-1}ᵀ W h_j.

    Source: Luong et al. 2015, arXiv:1508.04025, section 3.1. Differs: it looks with s_{i-1}, as the article does.
    """

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(query_size, memory_size))
        nn.init.xavier_uniform_(self.weight)

    def query_weights(self) -> tuple[None, None]:
        """Return nothing: a query asks as it is."""
        return None, None

    def keys(self, memory: Float[Tensor, "B T M"]) -> Float[Tensor, "B T Q"]:
        """Return W h_j, which does not change from step to step."""
        return linear(memory, self.weight)

    def forward(
        self,
        query: Float[Tensor, "B Q"],
        keys: Float[Tensor, "B T Q"],
        memory: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
    ) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B T"]]:
        """Return the context c_i and the weights α_ij; see `AdditiveAttention.forward`."""
        return attend(torch.bmm(keys, query[:, :, None])[..., 0], memory, valid)


Attention = AdditiveAttention | DotAttention | GeneralAttention


def attend(
    energy: Float[Tensor, "B T"], memory: Float[Tensor, "B T M"], valid: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B T"]]:
    """Turn energies e_ij into weights α_ij over the real positions, (16), and the context c_i, (17)."""
    weights = torch.softmax(energy.masked_fill(~valid, -torch.inf), 1)  # (16)
    return torch.bmm(weights[:, None], memory)[:, 0], weights  # (17)
