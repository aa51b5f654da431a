"""Frontends: each turns a batch of one kind of input into vectors x (B, T, I) for the encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from peephole.config import ModelConfig
from peephole.nn.noise import Noise


class Frontend(nn.Module, ABC):
    """Turn one batch of inputs into vectors for the encoder, (B, T, I), and their lengths, (B,).

    A frontend may change the number of steps, for example when it joins several frames of sound into one vector; so it
    returns the lengths that the encoder must use.
    """

    kind: ClassVar[str]
    """The name of the input kind, as `Architecture.input` has it."""

    output_size: int
    """I, the size of a vector."""

    @abstractmethod
    def forward(
        self, inputs: Tensor, lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "B T I"], Int[Tensor, "B"]]:
        """Return the vectors x_1 … x_T of each source and the number of real ones.

        Args:
            inputs: a padded batch of inputs, batch first.
            lengths: real steps of each input, at least 1.
            noise: dropout; None applies none.
        """


class SymbolFrontend(Frontend):
    """Look up a vector for each source symbol.

    Args:
        num_symbols: size of the source vocabulary.
        embedding_size: size of a symbol's vector.
        embedding_std: standard deviation of the initial vectors' entries.
        generator: draws the initial vectors; None: PyTorch's global generator.
    """

    kind = "symbols"

    def __init__(
        self,
        num_symbols: int,
        embedding_size: int,
        embedding_std: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.embedding = symbol_embedding(num_symbols, embedding_size, embedding_std, generator)
        self.output_size = embedding_size

    def forward(
        self, inputs: Int[Tensor, "B T"], lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "B T I"], Int[Tensor, "B"]]:
        """Return the vectors of the source symbols, with dropout "source embedding", and the lengths unchanged."""
        x = self.embedding(inputs)
        return (x if noise is None else noise.dropout(x, "source embedding")), lengths


def symbol_embedding(
    num_symbols: int, embedding_size: int, std: float, generator: torch.Generator | None = None
) -> nn.Embedding:
    """Return an embedding with entries from N(0, std²).

    std = 1 gives the variance that Glorot-uniform input weights assume of their inputs, and a short training gets
    further. Smaller entries are soon overwritten, because an optimiser like Adam changes all weights by similar steps.
    """
    weight = torch.empty(num_symbols, embedding_size)
    nn.init.normal_(weight, generator=generator)  # as nn.Embedding(…) did: a seed keeps its weights
    nn.init.normal_(weight, std=std, generator=generator)
    embedding: nn.Embedding = nn.Embedding.from_pretrained(weight, freeze=False)
    return embedding


def _build_symbols(config: ModelConfig, num_symbols: int, generator: torch.Generator | None) -> Frontend:
    return SymbolFrontend(num_symbols, config.embedding_size, config.embedding_std, generator)


FRONTENDS: Mapping[str, Callable[[ModelConfig, int, torch.Generator | None], Frontend]] = {
    SymbolFrontend.kind: _build_symbols
}
"""Input kind → function that builds its frontend from the settings, the number of source symbols and a generator."""
