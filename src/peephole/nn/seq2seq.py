"""The whole model, p(Y | X) of (11): frontend, encoder, context, bridge and decoder, built by their kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from peephole.config import ModelConfig
from peephole.nn.attention import ATTENTIONS, Attention
from peephole.nn.cells import valid_steps
from peephole.nn.ctc import CTC
from peephole.nn.decoder import Decoder
from peephole.nn.decoder_state import DecoderState
from peephole.nn.directions import GRUDirection, LSTMDirection
from peephole.nn.encoder import FIXED_CONTEXTS, Bridge, Encoder, LayerState, fixed_context
from peephole.nn.frontends import FRONTENDS, Frontend, NoSource
from peephole.nn.initial import is_drawn_in_range
from peephole.nn.layers import GRU, LSTM
from peephole.nn.loss import Teacher, coverage_loss_sum, loss_sum
from peephole.nn.noise import Noise
from peephole.nn.schema import Architecture, find_kind
from peephole.symbols import BOS, PAD

Generator = torch.Generator | None
"""The generator that draws initial weights; None: PyTorch's global generator."""


class Encoded(NamedTuple):
    """The result of the encoder for a batch of sources."""

    outputs: Tensor  # (B, S, M) h_1 … h_S, 0 past each length
    last: list[LayerState]  # of each layer, both directions side by side
    lengths: Tensor  # (B,) real outputs of each source
    copied: Tensor | None = None  # (B, T) the id that a copy of each symbol has; None for a model that does not copy


class Seq2Seq(nn.Module):
    """Encoder-decoder: p(y_1 … y_U | x_1 … x_T) for any T and U.

    Args:
        frontend: turns the source into vectors.
        encoder: reads the vectors, (7). None, with the frontend `NoSource`: a language model, whose decoder begins with
            states of 0 and has no context.
        bridge: gives the decoder its first state, (9); None for a language model.
        decoder: predicts the target, (10).
        context: `"attention"`, (17), or the fixed context `"last"` or `"mean"` of (8); `"none"` for a language model.
        ctc: a second output over the encoder, (31); None: there is none.
    """

    def __init__(
        self,
        frontend: Frontend,
        encoder: Encoder | None,
        bridge: Bridge | None,
        decoder: Decoder,
        context: str,
        ctc: CTC | None = None,
    ) -> None:
        super().__init__()
        self.frontend, self.encoder, self.bridge, self.decoder = frontend, encoder, bridge, decoder
        self.context = context
        self.ctc = ctc

    def kinds(self) -> dict[str, str]:
        """Return the kind of each part as its module declares it, in the form of `Architecture.kinds`."""
        decoder = self.decoder.kinds()
        encoder = {} if self.encoder is None else self.encoder.recurrent.kinds()
        both = {part: kind if decoder[part] == kind else f"{kind}, {decoder[part]}" for part, kind in encoder.items()}
        kinds = {"context": self.context, "input": self.frontend.kind, "output": self.decoder.output.kind}
        return decoder | both | kinds | ({} if self.ctc is None else {"ctc": self.ctc.kind})

    def start(self, source: Tensor, source_lengths: Int[Tensor, "B"], noise: Noise | None = None) -> DecoderState:
        """Read the source, as its frontend takes it, and return the decoder's state before the first symbol.

        A source of a model that copies is (B, T, 2); see `peephole.nn.copying`.
        """
        if self.encoder is None:
            return self.decoder.start_alone(len(source_lengths))
        return self.begin(self.encode(source, source_lengths, noise))

    def encode(self, source: Tensor, source_lengths: Int[Tensor, "B"], noise: Noise | None = None) -> Encoded:
        """Read the source, as its frontend takes it, with the encoder; see `start`."""
        assert self.encoder is not None, "a language model has no encoder"
        copied = None
        if self.decoder.output.copies:
            source, copied = source.unbind(2)
            copied = copied.where(valid_steps(source_lengths, copied.shape[1]), PAD)
        x, lengths = self.frontend(source, source_lengths, noise)
        outputs, last, lengths = self.encoder(x, lengths, noise)
        return Encoded(outputs, last, lengths, copied)

    def begin(self, encoded: Encoded) -> DecoderState:
        """Return the decoder's state before the first symbol."""
        assert self.bridge is not None, "a language model has no bridge"
        outputs, last, lengths, copied = encoded
        valid = valid_steps(lengths, outputs.shape[1])
        context = None if self.context == "attention" else fixed_context(self.context, outputs, last[-1], valid)
        return self.decoder.start(self.bridge(last), outputs, valid, context, copied)

    def ctc_log_probs(
        self, source: Tensor, source_lengths: Int[Tensor, "B"]
    ) -> tuple[Float[Tensor, "B S V"], Int[Tensor, "B"]]:
        """Return log p(k | j), (31), at each output of the encoder, and the number of real outputs of each source."""
        assert self.ctc is not None
        outputs, _, lengths, _ = self.encode(source, source_lengths)
        return self.ctc.log_probs(outputs), lengths

    def places(self, source_lengths: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Return the number of encoder outputs of each source, which attention chooses from; 1 without an encoder."""
        lengths = self.frontend.steps(source_lengths)
        return lengths if self.encoder is None else self.encoder.steps(lengths)

    def step(
        self, previous: Int[Tensor, "N"], state: DecoderState
    ) -> tuple[Float[Tensor, "N V"], DecoderState, Float[Tensor, "N T"] | None]:
        """Do one decoder step: logits of the next symbol, next state, attention weights; see `Decoder.step`."""
        return self.decoder.step(previous, state)

    def forward(
        self,
        source: Tensor,
        source_lengths: Int[Tensor, "B"],
        target: Int[Tensor, "B U"],
        *,
        noise: Noise | None = None,
        sampling_probability: float = 0.0,
    ) -> Float[Tensor, "B U V"]:
        """Return the logits of every target symbol given the ones before it.

        Args:
            source: a padded batch as the frontend takes it: symbols (B, T), or frames (B, T, F); see `start`.
            source_lengths: real symbols or frames of each source, at least 1.
            target: target symbols y_1 … y_U, the last real one </s>, padded; logits of padding mean nothing.
            noise: dropout, and the choices of scheduled sampling; None: the plain model.
            sampling_probability: probability that a step is fed the model's own symbol, (14), not the gold one, (13).
        """
        state = self.start(source, source_lengths, noise)
        if sampling_probability:
            assert noise is not None
            return self.decoder.forward_sampled(_previous(target), state, noise, sampling_probability)[0]
        logits: Tensor = self.decoder(_previous(target), state, noise, _lengths(target))
        return logits

    def loss_sum(
        self,
        source: Tensor,
        source_lengths: Int[Tensor, "B"],
        target: Int[Tensor, "B U"],
        *,
        noise: Noise | None = None,
        sampling_probability: float = 0.0,
        label_smoothing: float = 0.0,
        coverage_weight: float = 0.0,
        consistency_weight: float = 0.0,
        teacher: Teacher | None = None,
        ctc_weight: float = 0.0,
    ) -> Float[Tensor, ""]:
        """Return -Σ log p(Y | X) over the batch's real symbols: `loss_sum` of what `forward` returns.

        The engine computes it without holding the logits (B, U, V). With a coverage_weight, that weight times the
        coverage loss, (23), is added; with a consistency_weight, that weight times the consistency loss, (68), for
        which the second half of the batch is its first half again, as other examples; with a teacher, the gold
        distribution is (69). A network with a CTC output then
        returns (33): 1 - ctc_weight of this loss and ctc_weight of the CTC loss, which has none of label smoothing,
        coverage and consistency loss.
        """
        encoded = None if self.encoder is None else self.encode(source, source_lengths, noise)
        state = self.decoder.start_alone(len(source_lengths)) if encoded is None else self.begin(encoded)
        if sampling_probability:
            assert noise is not None
            logits, readouts = self.decoder.forward_sampled(_previous(target), state, noise, sampling_probability)
        else:
            logits, readouts = None, self.decoder.readouts(_previous(target), state, noise, _lengths(target))
        if logits is not None and not self.decoder.output.copies:
            loss = loss_sum(logits, target, label_smoothing, consistency_weight, teacher)
        else:
            assert readouts is not None
            loss = self.decoder.output.loss_sum(readouts, target, label_smoothing, consistency_weight, teacher)
        if coverage_weight:
            assert readouts is not None
            assert readouts.weights is not None
            loss = loss + coverage_weight * coverage_loss_sum(readouts.weights, target)
        if encoded is None or self.ctc is None or not ctc_weight:
            return loss
        outputs = encoded.outputs if noise is None else noise.dropout(encoded.outputs, "ctc")
        return (1 - ctc_weight) * loss + ctc_weight * self.ctc.loss_sum(outputs, encoded.lengths, target)

    def log_prob(
        self,
        source: Tensor,
        source_lengths: Int[Tensor, "B"],
        target: Int[Tensor, "B U"],
        target_lengths: Int[Tensor, "B"],
    ) -> Float[Tensor, "B"]:
        """Return log p(Y | X), (11), in natural logarithms; </s> counts as the last symbol of each target."""
        log_probs = torch.log_softmax(self(source, source_lengths, target), -1)
        chosen = log_probs.gather(2, target[:, :, None])[..., 0]
        return torch.where(valid_steps(target_lengths, target.shape[1]), chosen, 0).sum(1)


def _previous(target: Int[Tensor, "B U"]) -> Int[Tensor, "B U"]:
    """Return y_0 … y_{U-1}, what teacher forcing feeds, (13)."""
    return torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], 1)


def _lengths(target: Int[Tensor, "B U"]) -> Int[Tensor, "B"]:
    """Return the real steps of each target, at least 1."""
    return (target != PAD).sum(1).clamp(min=1)


def build_seq2seq(
    config: ModelConfig, num_source_symbols: int, num_target_symbols: int, generator: Generator = None
) -> Seq2Seq:
    """Build the model that a config describes, with fresh weights.

    Args:
        config: the settings of the model.
        num_source_symbols: number of source symbols, the specials included.
        num_target_symbols: likewise.
        generator: draws all weights, and no other generator is used; None: PyTorch's global generator.

    Raises:
        ConfigError: a part has an unknown kind.
    """
    network = _build(config, num_source_symbols, num_target_symbols, generator)
    if config.initial_range:
        for name, weight in network.named_parameters():
            if is_drawn_in_range(name):
                nn.init.uniform_(weight, -config.initial_range, config.initial_range, generator)
    return network


def _build(config: ModelConfig, num_source_symbols: int, num_target_symbols: int, generator: Generator) -> Seq2Seq:
    architecture = Architecture.of(config)
    cell = find_kind(CELLS, architecture.cell, "cell")
    output = find_kind(OUTPUTS, architecture.output, "output")
    if architecture.input == "none":
        return output(config, (NoSource(), None, None), num_target_symbols, generator)
    encoder = Encoder(cell.stack(config, architecture, generator))  # drawn before the frontend
    frontend = find_kind(FRONTENDS, architecture.input, "input")(config, num_source_symbols, generator)
    bridge = Bridge(
        config.encoder_layers,
        config.decoder_layers,
        encoder.output_size,
        config.hidden_size,
        cell.has_cell_state,
        generator,
    )
    return output(config, (frontend, encoder, bridge), num_target_symbols, generator)


Parts = tuple[Frontend, Encoder | None, Bridge | None]
"""The parts of a model below its decoder; a language model has no encoder."""


def _symbol_model(
    config: ModelConfig, parts: Parts, num_symbols: int, generator: Generator, *, copying: bool = False
) -> Seq2Seq:
    decoder = Decoder(
        num_symbols,
        *decoder_parts(config, generator),
        embedding_std=config.embedding_std,
        generator=generator,
        copying=copying,
        input_feeding=config.input_feeding,
        **_regularization(config),
    )
    # Drawn last: the other weights are those of the same network without it
    ctc = CTC(parts[1].output_size, num_symbols, generator) if config.ctc and parts[1] is not None else None
    return Seq2Seq(*parts, decoder, "none" if config.input == "none" else config.context, ctc)


def decoder_parts(
    config: ModelConfig, generator: Generator
) -> tuple[int, int, list[LSTMDirection] | list[GRUDirection], int, Attention | None]:
    """Return the arguments embedding_size, context_size, layers, hidden_size and attention of a `Decoder`."""
    architecture = Architecture.of(config)
    sizes = [architecture.decoder_input_size] + [config.hidden_size] * (config.decoder_layers - 1)
    layers = find_kind(CELLS, architecture.cell, "cell").layers(config, sizes, generator)
    context = "none" if architecture.input == "none" else architecture.context
    attention = find_kind(CONTEXTS, context, "context")(architecture, generator)
    return config.embedding_size, architecture.memory_size, layers, config.hidden_size, attention


def _vector_model(config: ModelConfig, parts: Parts, num_symbols: int, generator: Generator) -> Seq2Seq:
    from peephole.nn.vectors import build_vector_model  # which imports this module

    how = {"input_feeding": config.input_feeding, **_regularization(config)}
    return build_vector_model(config, parts, decoder_parts(config, generator), generator, **how)


def _regularization(config: ModelConfig) -> dict[str, Any]:
    return {"residual": config.residual, "zoneout": (config.zoneout_hidden, config.zoneout_cell)}


class CellKind(NamedTuple):
    """The functions that build modules of one kind of cell."""

    stack: Callable[[ModelConfig, Architecture, Generator], LSTM | GRU]  # the encoder's layers
    layers: Callable[[ModelConfig, list[int], Generator], list[LSTMDirection] | list[GRUDirection]]
    """The decoder's layers, by input size."""
    has_cell_state: bool  # c beside h


def _lstm_stack(config: ModelConfig, architecture: Architecture, generator: Generator) -> LSTM:
    size = architecture.encoder_size // architecture.num_directions
    shape = (config.embedding_size, size, config.encoder_layers, config.bidirectional)
    return LSTM(
        *shape,
        config.peephole,
        config.forget_bias,
        config.encoder_pyramid,
        generator,
        **_regularization(config),
        layer_norm=config.layer_norm,
    )


def _gru_stack(config: ModelConfig, architecture: Architecture, generator: Generator) -> GRU:
    size = architecture.encoder_size // architecture.num_directions
    shape = (config.embedding_size, size, config.encoder_layers, config.bidirectional, config.encoder_pyramid)
    return GRU(*shape, generator, residual=config.residual, zoneout=config.zoneout_hidden, layer_norm=config.layer_norm)


def _lstm_layers(config: ModelConfig, sizes: list[int], generator: Generator) -> list[LSTMDirection]:
    shape = (config.hidden_size, config.peephole, config.forget_bias)
    return [LSTMDirection(size, *shape, generator, layer_norm=config.layer_norm) for size in sizes]


def _gru_layers(config: ModelConfig, sizes: list[int], generator: Generator) -> list[GRUDirection]:
    return [GRUDirection(size, config.hidden_size, generator, layer_norm=config.layer_norm) for size in sizes]


CELLS: Mapping[str, CellKind] = {
    "lstm": CellKind(_lstm_stack, _lstm_layers, has_cell_state=True),
    "gru": CellKind(_gru_stack, _gru_layers, has_cell_state=False),
}
"""Cell kind → functions that build its modules."""


def _build_attention(architecture: Architecture, generator: Generator) -> Attention:
    return find_kind(ATTENTIONS, architecture.attention, "attention")(architecture, generator)


CONTEXTS: Mapping[str, Callable[[Architecture, Generator], Attention | None]] = {
    "attention": _build_attention,
    **dict.fromkeys((*FIXED_CONTEXTS, "none"), lambda architecture, generator: None),
}
"""Context kind → function that builds its attention module; None for a fixed context."""

OUTPUTS: Mapping[str, Callable[[ModelConfig, Parts, int, Generator], Seq2Seq]] = {
    "symbols": _symbol_model,
    "copy": partial(_symbol_model, copying=True),
    "gaussian": _vector_model,
    "quantile": _vector_model,
}
"""Output kind → function that builds the model, given its other parts and the number of target symbols."""
