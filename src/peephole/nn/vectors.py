"""The model whose targets are real vectors, such as the next values of a series, (51)-(56)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from peephole.config import ModelConfig
from peephole.errors import ConfigError
from peephole.nn.attention import Attention
from peephole.nn.cells import valid_steps
from peephole.nn.decoder import Decoder
from peephole.nn.decoder_recurrence import DecoderRecurrence
from peephole.nn.decoder_state import DecoderState
from peephole.nn.directions import GRUDirection, LSTMDirection
from peephole.nn.encoder import Bridge, Encoder
from peephole.nn.frontends import Frontend, zero_padding
from peephole.nn.linear import Linear, linear
from peephole.nn.loss import Teacher
from peephole.nn.noise import Noise
from peephole.nn.seq2seq import Seq2Seq
from peephole.nn.vector_outputs import GaussianOutput, QuantileOutput, VectorOutput


class Units(NamedTuple):
    """The constants of (51) for each row: z = (y - mean) / deviation."""

    mean: Float[Tensor, "N D"]
    deviation: Float[Tensor, "N D"]

    def normalize(self, y: Float[Tensor, "N *U D"]) -> Float[Tensor, "N *U D"]:
        """Return z of vectors y."""
        return (y - self._like(self.mean, y)) / self._like(self.deviation, y)  # (51)

    def restore(self, z: Float[Tensor, "N *U D"]) -> Float[Tensor, "N *U D"]:
        """Return y of normalised vectors z."""
        return z * self._like(self.deviation, z) + self._like(self.mean, z)

    @staticmethod
    def _like(constants: Tensor, y: Tensor) -> Tensor:
        return constants.reshape(len(constants), *(1,) * (y.dim() - 2), -1)


class VectorInput(Linear):
    """A matrix in the place of an embedding: A z + a for a normalised vector z, (52).

    Args:
        size: D, components of a vector.
        embedding_size: size E of the result.
        std: not used: it is that of an embedding's first numbers.
        generator: draws the initial weights; None: PyTorch's global generator.
    """

    def __init__(
        self, size: int, embedding_size: int, std: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(size, embedding_size, generator)
        self.embedding_dim = embedding_size

    def forward(self, z: Float[Tensor, "*N D"]) -> Float[Tensor, "*N E"]:
        """Return A z + a."""
        return linear(z, self.weight, self.bias)


class VectorDecoder(Decoder):
    """A `Decoder` that is fed the previous vector, z_{t-1}, and describes the distribution of the next one.

    Args:
        size: D, components of a vector.
        embedding_size, context_size, layers, hidden_size, attention: as in `Decoder`.
        output: builds the output layer, given H, D and the generator.
        has_constants: whether it has a mean and a deviation of each component, from the training data.
        residual, zoneout, input_feeding: as in `Decoder`.
        generator: draws the initial weights; None: PyTorch's global generator.
    """

    output: VectorOutput
    mean: Tensor | None
    deviation: Tensor | None

    def __init__(
        self,
        size: int,
        embedding_size: int,
        context_size: int,
        layers: list[LSTMDirection] | list[GRUDirection],
        hidden_size: int,
        attention: Attention | None,
        output: Callable[[int, int, torch.Generator | None], VectorOutput],
        *,
        has_constants: bool = True,
        residual: bool = False,
        zoneout: tuple[float, float] = (0.0, 0.0),
        input_feeding: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            size,
            embedding_size,
            context_size,
            layers,
            hidden_size,
            attention,
            generator=generator,
            make_embedding=VectorInput,
            make_output=output,
            residual=residual,
            zoneout=zoneout,
            input_feeding=input_feeding,
        )
        self.size = size
        self.register_buffer("mean", torch.zeros(size) if has_constants else None)
        self.register_buffer("deviation", torch.ones(size) if has_constants else None)

    def set_statistics(self, mean: Float[Tensor, "D"], deviation: Float[Tensor, "D"]) -> None:
        """Set the constants of (51) from the mean and the standard deviation of each component in the training data.

        A component that does not vary is only shifted.
        """
        assert self.mean is not None
        assert self.deviation is not None
        with torch.no_grad():
            self.mean.copy_(mean)
            self.deviation.copy_(torch.where(deviation > 0, deviation, 1))

    def constants(self, num_rows: int) -> Units:
        """Return the constants for every row."""
        assert self.mean is not None
        assert self.deviation is not None
        return Units(self.mean.expand(num_rows, -1), self.deviation.expand(num_rows, -1))

    def forward(
        self,
        previous: Float[Tensor, "B U D"],
        state: DecoderState,
        noise: Noise | None = None,
        lengths: Int[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B U P D"]:
        """Feed the gold vectors, (13), and return the distributions of all steps; see `readouts`."""
        found: Tensor = self.output(self.readouts(previous, state, noise, lengths).readout)
        return found

    def describe(
        self, previous: Float[Tensor, "N D"], state: DecoderState, recurrence: DecoderRecurrence
    ) -> tuple[Float[Tensor, "N P D"], DecoderState]:
        """Do one step: return the distribution of z_t and the next state.

        Args:
            previous: z_{t-1} of each row.
            state: what `start` or the last `describe` returned.
            recurrence: what `recurrence()` returned.
        """
        embedded = self.embedding(previous)
        zoneouts = [self.zoneout] * len(recurrence.steps)
        state, context, weights = recurrence(embedded, recurrence.project(embedded), state, [], zoneouts)
        state, read = self.read(state, context, embedded, weights)
        return self.output(read.readout), state


class VectorSeq2Seq(Seq2Seq):
    """Encoder-decoder whose target is a sequence of real vectors y_1 … y_U of D components, without an end symbol.

    A target has as many vectors as are asked for. A component that is NaN is missing: it adds nothing to the loss, and
    0, the mean, is fed in its place.

    Args:
        frontend, encoder, bridge, decoder, context: as in `Seq2Seq`; the frontend reads frames.
        scaling: `"constant"`: the units of (51) are constants from the training data; `"source"`: the mean and the
            standard deviation of the source's first D components, which are normalised alike before they are read.
        continues: the target continues the source's first D components: y_0 is its last frame. Else z_0 is 0.
        feedback: each step is fed the vector before; else z_0, so that its distribution depends on the source alone.
    """

    decoder: VectorDecoder

    def __init__(
        self,
        frontend: Frontend,
        encoder: Encoder | None,
        bridge: Bridge | None,
        decoder: VectorDecoder,
        context: str,
        scaling: str,
        continues: bool,
        feedback: bool,
    ) -> None:
        super().__init__(frontend, encoder, bridge, decoder, context)
        self.scaling, self.continues, self.feedback = scaling, continues, feedback

    def read(
        self, source: Float[Tensor, "B T F"], source_lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> tuple[DecoderState, Units, Float[Tensor, "B D"]]:
        """Read the source; return the decoder's first state, the units of the target, and z_0."""
        size, dtype = self.decoder.size, self.decoder.readout.weight.dtype
        source = zero_padding(source.to(dtype), source_lengths)
        if self.scaling == "constant":
            units = self.decoder.constants(len(source))
        else:
            units = source_units(source[..., :size], source_lengths)
        if self.scaling == "source":
            source = torch.cat([units.normalize(source[..., :size]), source[..., size:]], -1)
        first = torch.zeros_like(units.mean)
        if self.continues:
            last = source[torch.arange(len(source), device=source.device), source_lengths - 1, :size]
            first = last if self.scaling == "source" else units.normalize(last)
        return self.start(source, source_lengths, noise), units, first

    def forward(
        self,
        source: Float[Tensor, "B T F"],
        source_lengths: Int[Tensor, "B"],
        target: Float[Tensor, "B U D"],
        *,
        noise: Noise | None = None,
        sampling_probability: float = 0.0,
    ) -> Float[Tensor, "B U P D"]:
        """Return the distribution of every vector of the target given the ones before it, in the target's units.

        P numbers describe a component: mean and standard deviation, or the quantiles; see the output's class.

        Args:
            source: a padded batch of frames.
            source_lengths: real frames of each source, at least 1.
            target: y_1 … y_U; NaN where a component is missing, and in the padding.
            noise: dropout; None: the plain model.
            sampling_probability: must be 0: only gold vectors are fed.
        """
        found, units, _, _ = self._distributions(source, source_lengths, target, noise, sampling_probability)
        shape = target.shape
        return self.decoder.output.rescaled(
            found, units.mean[:, None].expand(shape), units.deviation[:, None].expand(shape)
        )

    def loss_sum(
        self,
        source: Float[Tensor, "B T F"],
        source_lengths: Int[Tensor, "B"],
        target: Float[Tensor, "B U D"],
        *,
        noise: Noise | None = None,
        sampling_probability: float = 0.0,
        label_smoothing: float = 0.0,
        coverage_weight: float = 0.0,
        consistency_weight: float = 0.0,
        teacher: Teacher | None = None,
        ctc_weight: float = 0.0,
    ) -> Float[Tensor, ""]:
        """Return the sum of the losses of all components that are not missing, of normalised vectors z.

        Arguments as in `forward`; there is no label smoothing, coverage or consistency loss,
        teacher or CTC.
        """
        found, _, wanted, known = self._distributions(source, source_lengths, target, noise, sampling_probability)
        return torch.where(known, self.decoder.output.loss(found, wanted), 0).sum()

    def log_prob(
        self,
        source: Float[Tensor, "B T F"],
        source_lengths: Int[Tensor, "B"],
        target: Float[Tensor, "B U D"],
        target_lengths: Int[Tensor, "B"],
    ) -> Float[Tensor, "B"]:
        """Return the logarithm of the density of each target, (11), over the components that are not missing.

        Raises:
            ConfigError: the output has quantiles, not a density.
        """
        if not isinstance(self.decoder.output, GaussianOutput):
            raise ConfigError(f"output: wanted gaussian, which has a density, got {self.decoder.output.kind}")
        real = valid_steps(target_lengths, target.shape[1])[:, :, None]
        given = torch.where(real, target, torch.nan)
        found, units, wanted, known = self._distributions(source, source_lengths, given, None)
        loss = self.decoder.output.loss(found, wanted) + units.deviation.log()[:, None]  # of y, not of z
        return -torch.where(known, loss, 0).sum((1, 2))

    def _distributions(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target: Tensor,
        noise: Noise | None,
        sampling_probability: float = 0.0,
    ) -> tuple[Tensor, Units, Tensor, Tensor]:
        """Return the distributions of z_1 … z_U, (B, U, P, D), the units, z with 0 for missing components, and which
        components are known.
        """
        assert not sampling_probability
        state, units, first = self.read(source, source_lengths, noise)
        known = target.isfinite()
        z = units.normalize(torch.where(known, target.to(units.mean.dtype), units.mean[:, None]))
        fed = torch.cat([first[:, None], z[:, :-1]], 1) if self.feedback else first[:, None].expand(z.shape)
        return self.decoder(fed, state, noise, _lengths(known)), units, z, known


def _lengths(known: Bool[Tensor, "B U D"]) -> Int[Tensor, "B"]:
    """Return the steps of each target up to the last that is not missing, at least 1."""
    steps = torch.arange(1, known.shape[1] + 1, device=known.device)
    return (known.any(2) * steps).amax(1).clamp(min=1)


def source_units(source: Float[Tensor, "B T D"], lengths: Int[Tensor, "B"]) -> Units:
    """Return the mean and the standard deviation of each source's components; 1 for one that does not vary.

    They are computed in float64: a series of large numbers would lose its small changes in float32.

    Args:
        source: the series, 0 past each length.
        lengths: their real steps.

    Source: the mean scaling of Salinas et al. 2020, arXiv:1704.04110, with a standard deviation beside the mean, as in
        Kim et al. 2022 ("Reversible instance normalization"), without learned weights.
    """
    values, counts = source.double(), lengths[:, None]
    mean = values.sum(1) / counts
    valid = valid_steps(lengths, source.shape[1])[:, :, None]
    square = (torch.where(valid, values - mean[:, None], 0) ** 2).sum(1) / counts
    deviation = torch.where(square > 0, square, 1).sqrt()
    return Units(mean.to(source.dtype), deviation.to(source.dtype))


def build_vector_model(
    config: ModelConfig,
    parts: tuple[Frontend, Encoder | None, Bridge | None],
    decoder_parts: tuple[int, int, list[LSTMDirection] | list[GRUDirection], int, Attention | None],
    generator: torch.Generator | None,
    *,
    residual: bool,
    zoneout: tuple[float, float],
    input_feeding: bool,
) -> VectorSeq2Seq:
    """Return a model with the parts given and a new decoder, whose other arguments are the last ones given.

    Raises:
        ConfigError: the settings do not say the numbers in a vector.
    """
    if config.output_size is None:
        raise ConfigError(f"model.output_size: wanted the numbers in a vector for model.output={config.output!r}")

    def quantiles(in_features: int, size: int, generator: torch.Generator | None) -> QuantileOutput:
        return QuantileOutput(in_features, size, config.quantiles, generator)

    decoder = VectorDecoder(
        config.output_size,
        *decoder_parts,
        GaussianOutput if config.output == GaussianOutput.kind else quantiles,
        has_constants=config.scaling == "constant",
        residual=residual,
        zoneout=zoneout,
        input_feeding=input_feeding,
        generator=generator,
    )
    return VectorSeq2Seq(*parts, decoder, config.context, config.scaling, config.continues, config.feedback)
