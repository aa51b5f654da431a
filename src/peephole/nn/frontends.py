"""Frontends: each turns a batch of one kind of input into vectors x (B, T, I) for the encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from peephole.config import ModelConfig
from peephole.errors import ConfigError
from peephole.nn.cells import valid_steps
from peephole.nn.linear import Linear, linear
from peephole.nn.masking import Masking, masked_frames
from peephole.nn.noise import Noise
from peephole.nn.schema import HASH_PRIME, HASH_SUMMAND, halved
from peephole.symbols import BOS, EOS


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

    def steps(self, lengths: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Return the number of vectors for inputs of these lengths."""
        return lengths


class SymbolFrontend(Frontend):
    """Look up a vector for each source symbol, and add one for the symbol and its two neighbours, (66).

    Trigrams share the rows of a table by their hashes, so it has no list of them, and each trigram has a row. All rows
    are 0 at first, and those that no training source has hit stay so.

    Source: Bojanowski et al. 2017 ("Enriching word vectors with subword information", fastText), for the hashed table.
    Differs: there are no n-grams of other lengths, and each symbol of the source is still read by itself.

    Args:
        num_symbols: size of the source vocabulary.
        embedding_size: size of a symbol's vector.
        embedding_std: standard deviation of the initial vectors' entries.
        generator: draws the initial vectors; None: PyTorch's global generator.
        ngram_rows: N, rows of the table of trigrams; 0: none.
    """

    kind = "symbols"

    def __init__(
        self,
        num_symbols: int,
        embedding_size: int,
        embedding_std: float = 1.0,
        generator: torch.Generator | None = None,
        ngram_rows: int = 0,
    ) -> None:
        super().__init__()
        self.embedding = symbol_embedding(num_symbols, embedding_size, embedding_std, generator)
        self.ngrams: nn.Embedding | None = None
        if ngram_rows:
            self.ngrams = nn.Embedding.from_pretrained(torch.zeros(ngram_rows, embedding_size), freeze=False)
        self.output_size = embedding_size

    def forward(
        self, inputs: Int[Tensor, "B T"], lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "B T I"], Int[Tensor, "B"]]:
        """Return the vectors of the source symbols, with dropout "source embedding", and the lengths unchanged."""
        x = self.embedding(inputs)
        if self.ngrams is not None:
            x = x + self.ngrams(ngram_rows(inputs, lengths, self.ngrams.num_embeddings))  # (66)
        return (x if noise is None else noise.dropout(x, "source embedding")), lengths


class NoSource(Frontend):
    """The input of a language model, which reads nothing. It has no weights, and is never called."""

    kind = "none"
    output_size = 0

    def forward(
        self, inputs: Tensor, lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "B T I"], Int[Tensor, "B"]]:
        """Raise TypeError: there is nothing to encode."""
        raise TypeError("a language model does not read sources")

    def steps(self, lengths: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Return 1 for each source."""
        return torch.ones_like(lengths)


class NormalizedFrames(Frontend, ABC):
    """Base of the frontends that read frames of F numbers: they subtract a mean and multiply by a scale.

    Both are constants of each number in a frame, taken from the training data by `set_statistics`; 0 and 1 before.

    Args:
        input_size: F, numbers in a frame.
        output_size: I, size of the vectors that the frontend returns.
    """

    mean: Tensor
    scale: Tensor
    masking: Masking | None = None
    """How frames are masked in training; None: not at all."""

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, output_size
        self.register_buffer("mean", torch.zeros(input_size))
        self.register_buffer("scale", torch.ones(input_size))

    def set_statistics(self, mean: Float[Tensor, "F"], deviation: Float[Tensor, "F"]) -> None:
        """Set the constants from the mean and the standard deviation of each number over all training frames.

        A number that does not vary is only shifted.
        """
        with torch.no_grad():
            self.mean.copy_(mean)
            self.scale.copy_(torch.where(deviation > 0, 1 / deviation, 1))

    def normalize(
        self, frames: Float[Tensor, "B T F"], lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> Float[Tensor, "B T F"]:
        """Return (f - mean) · scale for each frame f, and 0 past each length and where the noise masks."""
        normal = zero_padding((frames.to(self.mean.dtype) - self.mean) * self.scale, lengths)
        if self.masking is None or noise is None:
            return normal
        return masked_frames(normal, lengths, self.masking, noise)


class FrameFrontend(NormalizedFrames):
    """Join each `stack` frames to one and multiply with a matrix: x_t = W [f_{(t-1)k+1} ; … ; f_{tk}] + b.

    The last frames of a source are joined with zeros if they are fewer than k.

    Args:
        input_size: F, numbers in a frame.
        output_size: I, size of a vector x_t.
        stack: k, frames that are joined.
        generator: draws the initial weights; None: PyTorch's global generator.
    """

    kind = "frames"

    def __init__(
        self, input_size: int, output_size: int, stack: int = 1, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(input_size, output_size)
        self.stack = stack
        self.projection = _projection(input_size * stack, output_size, generator)

    def forward(
        self, inputs: Float[Tensor, "B T F"], lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "B S I"], Int[Tensor, "B"]]:
        """Return x_1 … x_S, S = ⌈T / k⌉, with dropout "source embedding", and the lengths, divided likewise."""
        frames = self.normalize(inputs, lengths, noise)
        frames = F.pad(frames, (0, 0, 0, -frames.shape[1] % self.stack))
        joined = frames.unflatten(1, (-1, self.stack)).flatten(2)
        x = linear(joined, self.projection.weight, self.projection.bias)
        return (x if noise is None else noise.dropout(x, "source embedding")), self.steps(lengths)

    def steps(self, lengths: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Return lengths / k, rounded up."""
        return -(-lengths // self.stack)


class ConvolutionFrontend(NormalizedFrames):
    """Read the frames as an image of T x F points through convolutions, and each column of the result as one vector.

    A frame of several planes, such as the three colours, holds the F points of one after those of the other; the first
    layer reads them as channels.

    Each layer is ReLU(K * z + b) with kernels of 3 x 3 points, applied at every second step and every second feature,
    so it halves both; points past the source are 0 before each layer. x_t = W z_t + b, of all channels and features
    of column t.

    Source: the subsampling layers of Dong, Xu and Xu 2018 ("Speech-Transformer"), as ESPnet has them. Differs: each
    layer pads its input by one point on all sides, so that a source of any length has an output.

    Args:
        input_size: F, numbers in a frame.
        output_size: I, size of a vector x_t.
        num_layers: number of convolutions.
        channels: channels of each.
        planes: number of planes; it divides input_size.
        generator: draws the initial weights; None: PyTorch's global generator.
    """

    kind = "convolution"

    def __init__(
        self,
        input_size: int,
        output_size: int,
        num_layers: int = 2,
        channels: int = 32,
        planes: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(input_size, output_size)
        self.layers = nn.ModuleList()
        self.planes = planes
        before, features = planes, input_size // planes
        for _ in range(num_layers):
            layer = Linear(9 * before, channels, generator)  # a kernel's points as columns
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
            self.layers.append(layer)
            before, features = channels, halved(features)
        self.projection = _projection(channels * features, output_size, generator)

    def forward(
        self, inputs: Float[Tensor, "B T F"], lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[Float[Tensor, "B S I"], Int[Tensor, "B"]]:
        """Return x_1 … x_S, T halved by each layer and rounded up, with dropout "source embedding", and the lengths."""
        z = self.normalize(inputs, lengths, noise).unflatten(2, (self.planes, -1)).transpose(1, 2)  # (B, P, T, F)
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            kernels = layer.weight.unflatten(1, (-1, 3, 3))
            lengths = halved(lengths)
            z = torch.relu(F.conv2d(z, kernels, layer.bias, stride=2, padding=1))
            z = zero_padding(z.transpose(1, 2), lengths).transpose(1, 2)
        columns = z.transpose(1, 2).flatten(2)  # (B, S, C·F')
        x = linear(columns, self.projection.weight, self.projection.bias)
        return (x if noise is None else noise.dropout(x, "source embedding")), lengths

    def steps(self, lengths: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Return the lengths after all layers have halved them."""
        for _ in self.layers:
            lengths = halved(lengths)
        return lengths


def _projection(inputs: int, outputs: int, generator: torch.Generator | None) -> Linear:
    """Return a matrix whose outputs have at first the variance of its inputs, as embeddings have.

    With the three times smaller variance of `Linear`, and of convolutions initialised like it, the encoder began with
    vectors near 0, and CTC on recorded speech learned nothing in 1,500 updates.
    """
    projection = Linear(inputs, outputs, generator)
    nn.init.kaiming_uniform_(projection.weight, nonlinearity="linear", generator=generator)
    nn.init.zeros_(projection.bias)
    return projection


def zero_padding(x: Float[Tensor, "B T *F"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B T *F"]:
    """Return x with 0 past each length, whatever is there now."""
    valid = valid_steps(lengths, x.shape[1])
    return torch.where(valid.reshape(*valid.shape, *(1,) * (x.dim() - 2)), x, 0)


def ngram_rows(symbols: Int[Tensor, "B T"], lengths: Int[Tensor, "B"], num_rows: int) -> Int[Tensor, "B T"]:
    """Return the row of each symbol and its neighbours in a table of trigrams, (66); past each length any row."""
    ids = torch.where(valid_steps(lengths, symbols.shape[1]), symbols, EOS)
    before = F.pad(ids[:, :-1], (1, 0), value=BOS)
    after = F.pad(ids[:, 1:], (0, 1), value=EOS)
    code = torch.zeros_like(ids)
    for symbol in (before, ids, after):
        code = (code + symbol) % HASH_PRIME
        code = code * ((code + HASH_SUMMAND) % HASH_PRIME) % HASH_PRIME
    return code * num_rows // HASH_PRIME


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
    return SymbolFrontend(num_symbols, config.embedding_size, config.embedding_std, generator, config.ngram_rows)


def _build_frames(config: ModelConfig, num_symbols: int, generator: torch.Generator | None) -> Frontend:
    return FrameFrontend(_input_size(config), config.embedding_size, config.frame_stack, generator)


def _build_convolution(config: ModelConfig, num_symbols: int, generator: torch.Generator | None) -> Frontend:
    shape = (config.convolution_layers, config.convolution_channels, config.input_planes)
    return ConvolutionFrontend(_input_size(config), config.embedding_size, *shape, generator)


def _input_size(config: ModelConfig) -> int:
    if config.input_size is None:
        raise ConfigError(f"model.input_size: wanted the numbers in a frame for model.input={config.input!r}, got none")
    return config.input_size


FRONTENDS: Mapping[str, Callable[[ModelConfig, int, torch.Generator | None], Frontend]] = {
    SymbolFrontend.kind: _build_symbols,
    FrameFrontend.kind: _build_frames,
    ConvolutionFrontend.kind: _build_convolution,
}
"""Input kind → function that builds its frontend from the settings the number of source symbols and a generator."""
