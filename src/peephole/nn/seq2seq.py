"""The whole model, p(Y | X) of (11), put together from encoder, context, bridge and decoder."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from peephole.config import ModelConfig
from peephole.nn.attention import ATTENTIONS
from peephole.nn.cells import valid_steps
from peephole.nn.decoder import Decoder, DecoderState
from peephole.nn.encoder import Bridge, Encoder, fixed_context
from peephole.nn.layers import GRU, LSTM, GRUDirection, LSTMDirection
from peephole.nn.loss import loss_sum
from peephole.nn.noise import Noise
from peephole.nn.outputs import SymbolOutput
from peephole.symbols import BOS, PAD


class Seq2Seq(nn.Module):
    """Encoder-decoder over symbols: p(y_1 … y_U | x_1 … x_T) for any T and U.

    Args:
        encoder: reads the source, (7).
        bridge: gives the decoder its first state, (9).
        decoder: predicts the target, (10).
        context: `"attention"`, (17), or the fixed context `"last"` or `"mean"` of (8).
    """

    def __init__(
        self,
        encoder: Encoder,
        bridge: Bridge,
        decoder: Decoder,
        context: Literal["attention", "last", "mean"],
    ) -> None:
        super().__init__()
        self.encoder, self.bridge, self.decoder, self.context = encoder, bridge, decoder, context

    def kinds(self) -> dict[str, str]:
        """Return the kind of each part as the modules declare it; `network_kinds` returns it from a config."""
        cell, peephole, attention, _ = self.decoder.kinds().values()
        encoder = self.encoder.recurrent.kind
        kinds = {
            "cell": cell if cell == encoder else f"{encoder}, {cell}",
            "peephole": peephole,
            "attention": attention,
        }
        return kinds | {"context": self.context, "output": self.decoder.output.kind}

    def start(
        self, source: Int[Tensor, "B T"], source_lengths: Int[Tensor, "B"], noise: Noise | None = None
    ) -> DecoderState:
        """Read the source and return the decoder's state before the first symbol."""
        outputs, last = self.encoder(source, source_lengths, noise)
        valid = valid_steps(source_lengths, source.shape[1])
        context = None if self.context == "attention" else fixed_context(self.context, outputs, last[-1], valid)
        return self.decoder.start(self.bridge(last), outputs, valid, context)

    def step(
        self, previous: Int[Tensor, "N"], state: DecoderState
    ) -> tuple[Float[Tensor, "N V"], DecoderState, Float[Tensor, "N T"] | None]:
        """Do one decoder step: logits of the next symbol, next state, attention weights; see `Decoder.step`."""
        return self.decoder.step(previous, state)

    def forward(
        self,
        source: Int[Tensor, "B T"],
        source_lengths: Int[Tensor, "B"],
        target: Int[Tensor, "B U"],
        *,
        noise: Noise | None = None,
        sampling_probability: float = 0.0,
    ) -> Float[Tensor, "B U V"]:
        """Return the logits of every target symbol given the ones before it.

        Args:
            source: source symbols, padded.
            source_lengths: real symbols of each source, at least 1.
            target: target symbols y_1 … y_U, the last real one </s>, padded; logits of padding mean nothing.
            noise: dropout, and the choices of scheduled sampling; None: the plain model.
            sampling_probability: probability that a step is fed the model's own symbol, (14), instead of the gold one, (13).
        """
        state = self.start(source, source_lengths, noise)
        if sampling_probability:
            assert noise is not None
            return self.decoder.forward_sampled(_previous(target), state, noise, sampling_probability)
        logits: Tensor = self.decoder(_previous(target), state, noise, _lengths(target))
        return logits

    def loss_sum(
        self,
        source: Int[Tensor, "B T"],
        source_lengths: Int[Tensor, "B"],
        target: Int[Tensor, "B U"],
        *,
        noise: Noise | None = None,
        sampling_probability: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> Float[Tensor, ""]:
        """Return -Σ log p(Y | X) over the batch's real symbols: `loss_sum` of what `forward` returns.

        The engine computes it without holding the logits (B, U, V).
        """
        if sampling_probability:
            logits = self(source, source_lengths, target, noise=noise, sampling_probability=sampling_probability)
            return loss_sum(logits, target, label_smoothing)
        state = self.start(source, source_lengths, noise)
        readouts = self.decoder.readouts(_previous(target), state, noise, _lengths(target))
        return self.decoder.output.loss_sum(readouts, target, label_smoothing)

    def log_prob(
        self,
        source: Int[Tensor, "B T"],
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


def network_kinds(config: ModelConfig) -> dict[str, str]:
    """Return the kind of each part of the network that a config describes."""
    attention = config.attention if config.context == "attention" else "fixed"
    kinds = {"cell": config.cell, "peephole": config.peephole, "attention": attention}
    return kinds | {"context": config.context, "output": SymbolOutput.kind}


def build_seq2seq(config: ModelConfig, num_source_symbols: int, num_target_symbols: int) -> Seq2Seq:
    """Build the model that a config describes, with fresh weights from PyTorch's generator."""
    encoder_size = config.encoder_size or config.hidden_size
    recurrent = _build_recurrent(config, encoder_size)
    encoder = Encoder(num_source_symbols, config.embedding_size, recurrent, config.embedding_std)
    bridge = Bridge(
        config.encoder_layers, config.decoder_layers, encoder_size, config.hidden_size, config.cell == "lstm"
    )
    decoder = Decoder(
        num_target_symbols,
        config.embedding_size,
        encoder_size,
        _build_decoder_layers(config, encoder_size),
        config.hidden_size,
        ATTENTIONS[config.attention](config.hidden_size, encoder_size, config.hidden_size)
        if config.context == "attention"
        else None,
        config.embedding_std,
    )
    return Seq2Seq(encoder, bridge, decoder, config.context)


def _build_recurrent(config: ModelConfig, encoder_size: int) -> LSTM | GRU:
    size = encoder_size // 2 if config.bidirectional else encoder_size
    if config.cell == "gru":
        return GRU(config.embedding_size, size, config.encoder_layers, config.bidirectional)
    return LSTM(
        config.embedding_size,
        size,
        config.encoder_layers,
        config.bidirectional,
        config.peephole,
        config.forget_bias,
    )


def _build_decoder_layers(config: ModelConfig, encoder_size: int) -> list[LSTMDirection] | list[GRUDirection]:
    sizes = [config.embedding_size + encoder_size] + [config.hidden_size] * (config.decoder_layers - 1)
    if config.cell == "gru":
        return [GRUDirection(size, config.hidden_size) for size in sizes]
    return [LSTMDirection(size, config.hidden_size, config.peephole, config.forget_bias) for size in sizes]
