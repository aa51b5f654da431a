"""The decoder: s_t from y_{t-1}, the context and s_{t-1}; then g, the distribution of y_t, (10)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from peephole.nn.attention import Attention
from peephole.nn.backends import find_for, multiplies_bfloat16
from peephole.nn.cells import LSTMState
from peephole.nn.copying import CopyOutput
from peephole.nn.decoder_recurrence import DecoderRecurrence
from peephole.nn.decoder_state import DecoderState, Memory, copied_of, hidden
from peephole.nn.directions import GRUDirection, LSTMDirection
from peephole.nn.encoder import LayerState
from peephole.nn.frontends import symbol_embedding
from peephole.nn.layers import Variant, regularization, run_gru, run_lstm, stack_kind
from peephole.nn.linear import Linear, linear
from peephole.nn.noise import Noise
from peephole.nn.outputs import Readouts, SymbolOutput, stack_readouts
from peephole.nn.zoneout import Zoneout, draw_zoneout, zoneout_rates
from peephole.symbols import UNK, UNPREDICTABLE


class Decoder(nn.Module):
    """A stack of recurrent cells fed with the previous target symbol, and the network g over it.

    With E(y) the embedding of a symbol, f the cell of each layer, s_t the top layer's state, step t computes

        c_t = attention(s_{t-1}; h_1 … h_T)      (15)-(17), or the fixed context c of (8)
        s_t = f([E(y_{t-1}) ; c_t], s_{t-1})      the lowest layer; each further one reads the state below it
        r_t = tanh(W_r [s_t ; c_t ; E(y_{t-1})] + b_r)
        p(y_t | y_1 … y_{t-1}, c) = softmax(W_p r_t + b_p)      (10), g(y_{t-1}, s_t, c_t), or with copying (27)

    With input feeding the lowest layer also reads the vector r_{t-1} from which y_{t-1} was predicted:

        s_t = f([E(y_{t-1}) ; c_t ; r_{t-1}], s_{t-1}),   r_0 = 0      (62)

    The query of attention is the top layer's s_{t-1}, or [s_{t-1} ; E(y_{t-1})] where attention reads the symbol, (67).
    Weights: `embedding`, `attention`, `layers[l]` (as in `LSTM`; the lowest layer's `weight_input` is (4H, E + M),
    embedding first, r_{t-1} last where it is fed), `readout` (W_r, b_r), `output` (W_p, b_p).

    Args:
        num_symbols: size of the target vocabulary.
        embedding_size: size of a target symbol's vector.
        context_size: size M of the context; 0 for a language model.
        layers: weights of each layer, made for input sizes E + M, or E + M + H with input feeding, then H.
        hidden_size: size H of s_t, and of r_t.
        attention: the alignment model, or None for a fixed context.
        copying: whether the output layer also copies source symbols, (27).
        embedding_std: standard deviation of the embeddings' first numbers.
        generator: draws the initial weights of `embedding`, `readout` and `output`; None: PyTorch's global generator.
        make_embedding: builds `embedding`, as `symbol_embedding` does.
        make_output: builds `output` without copying, given H, the number of symbols and the generator.
        residual: each layer above the lowest, and r_t, reads the sum of the h_t of all layers below, (41). The query of
            attention stays the top layer's h_{t-1}.
        zoneout: the probabilities of zoneout of h and, for an LSTM, of c, in all layers, (43).
        input_feeding: whether the lowest layer reads r_{t-1}, (62). In training it reads it with its dropout.

    Layer normalisation, (44)-(46), is a property of `layers`.
    """

    def __init__(
        self,
        num_symbols: int,
        embedding_size: int,
        context_size: int,
        layers: list[LSTMDirection] | list[GRUDirection],
        hidden_size: int,
        attention: Attention | None,
        embedding_std: float = 1.0,
        generator: torch.Generator | None = None,
        make_embedding: Callable[[int, int, float, torch.Generator | None], Any] = symbol_embedding,
        make_output: Callable[[int, int, torch.Generator | None], Any] = SymbolOutput,
        *,
        residual: bool = False,
        zoneout: tuple[float, float] = (0.0, 0.0),
        copying: bool = False,
        input_feeding: bool = False,
    ) -> None:
        super().__init__()
        self.residual, self.zoneout, self.input_feeding = residual, zoneout_rates(*zoneout), input_feeding
        self.embedding = make_embedding(num_symbols, embedding_size, embedding_std, generator)
        self.attention = attention
        self.layers = nn.ModuleList(layers)
        read_size = hidden_size + context_size + embedding_size
        self.readout = Linear(read_size, hidden_size, generator)
        self.output = (
            CopyOutput(hidden_size, num_symbols, read_size, generator)
            if copying
            else make_output(hidden_size, num_symbols, generator)
        )
        self.hidden_size, self.context_size = hidden_size, context_size
        for layer in (self.readout, self.output):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def start(
        self,
        first: tuple[LayerState, ...],
        outputs: Float[Tensor, "B T M"],
        valid: Bool[Tensor, "B T"],
        context: Float[Tensor, "B M"] | None,
        copied: Int[Tensor, "B T"] | None = None,
    ) -> DecoderState:
        """Return the state before the first symbol.

        Args:
            first: the bridge's states, (9).
            outputs: encoder outputs h_j.
            valid: True at real source positions.
            context: the fixed context, (8); None for a decoder with attention.
            copied: the id that a copy of each source symbol has, for a decoder that copies.
        """
        readout = self._first_readout(len(valid))
        if self.attention is None:
            assert context is not None
            return DecoderState(first, context, readout=readout)
        memory = Memory(outputs, self.attention.keys(outputs), valid, copied)
        return DecoderState(first, memory, self.attention.first_state(valid), readout)

    def start_alone(self, batch: int) -> DecoderState:
        """Return the state of a language model before the first symbol: s_0 = 0 in all layers, and no context."""
        zeros = self.embedding.weight.new_zeros(batch, self.hidden_size)
        layers = (LSTMState(zeros, zeros) if isinstance(layer, LSTMDirection) else zeros for layer in self.layers)
        return DecoderState(tuple(layers), zeros[:, :0], readout=self._first_readout(batch))

    def _first_readout(self, batch: int) -> Tensor | None:
        """Return r_0 of (62), or None without input feeding."""
        return self.readout.weight.new_zeros(batch, self.hidden_size) if self.input_feeding else None

    def kinds(self) -> dict[str, str]:
        """Return the kind of each part."""
        layer = cast("LSTMDirection | GRUDirection", self.layers[0])
        attention = "fixed" if self.context_size else "none"
        attention = attention if self.attention is None else self.attention.kind
        kinds = {"cell": layer.kind, "peephole": layer.peephole, "attention": attention}
        kinds |= {"input_feeding": "readout" if self.input_feeding else "none"}
        kinds |= {"query": "symbol" if self.attention_symbol else "state"}
        return kinds | {"stack": stack_kind(self.residual), **self._regularization()}

    @property
    def attention_symbol(self) -> bool:
        """Whether the query of attention is [s_{t-1} ; E(y_{t-1})], (67)."""
        return getattr(self.attention, "weight_symbol", None) is not None

    def recurrence(self) -> DecoderRecurrence:
        """Return the recurrence with its weights as they are now, cut once for all steps of a search."""
        return DecoderRecurrence(self)

    def step(
        self, previous: Int[Tensor, "N"], state: DecoderState
    ) -> tuple[Float[Tensor, "N V"], DecoderState, Float[Tensor, "N T"] | None]:
        """Do one step: return the logits of y_t, the next state, and the attention weights α_t.

        Args:
            previous: y_{t-1} of each row.
            state: what `start` or the last `step` returned.
        """
        return self.recurrence().step(previous, state)

    def forward(
        self,
        previous: Int[Tensor, "B U"],
        state: DecoderState,
        noise: Noise | None = None,
        lengths: Int[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B U V"]:
        """Feed the gold symbols, (13), and return the logits of all steps; see `readouts`."""
        return self.output.scores(self.readouts(previous, state, noise, lengths))

    def readouts(
        self,
        previous: Int[Tensor, "B U"] | Float[Tensor, "B U D"],
        state: DecoderState,
        noise: Noise | None = None,
        lengths: Int[Tensor, "B"] | None = None,
    ) -> Readouts:
        """Feed the gold symbols, (13), and return what the output layer reads in all steps.

        Args:
            previous: y_0 … y_{U-1}: symbols, or vectors for a decoder that reads these.
            state: what `start` returned.
            noise: dropout on embeddings, between layers and on r_t.
            lengths: real steps of each target; results of steps past them mean nothing. None: all are real.
        """
        embedded = self._embed(previous, noise)
        if self.input_feeding:
            return self._unroll_readouts(embedded, state, noise)
        states, contexts, weights = self._unroll(embedded, state, noise, lengths)
        inputs = torch.cat([states, contexts, embedded], -1)
        r = torch.tanh(linear(inputs, self.readout.weight, self.readout.bias))
        return Readouts(r if noise is None else noise.dropout(r, "readout"), inputs, weights, copied_of(state))

    def forward_sampled(
        self, previous: Int[Tensor, "B U"], state: DecoderState, noise: Noise, sampling_probability: float
    ) -> tuple[Float[Tensor, "B U V"], Readouts | None]:
        """Feed at each step the gold symbol, (13), or with probability sampling_probability the model's own, (14).

        Return the logits as `forward` does, and what `readouts` does, whose arguments it has; None where a backend
        computes the steps. The model's own symbol is the one that greedy search predicts: the most probable one except
        PAD, BOS and UNK. No gradient flows through the choice.

        Source: Bengio et al. 2015, arXiv:1506.03099. The choice is made for each symbol.
        """
        num_steps = previous.shape[1]
        masks = self._masks(noise, num_steps, self.embedding.weight.dtype)
        run = find_for("sampled_decoder", self.kinds(), decoder_tensors(self, self.embedding.weight, state, masks)).run
        if run is not None:
            computed: Tensor = run(self, previous, state, noise, sampling_probability)
            return computed, None
        recurrence = self.recurrence()
        zoneouts = self._zoneouts(noise, num_steps)
        samples = noise.uniform("scheduled sampling", num_steps) < sampling_probability
        embedding_mask = noise.mask("target embedding", num_steps, self.embedding.embedding_dim)
        readout_mask = noise.mask("readout", num_steps, self.hidden_size)
        never = torch.tensor(UNPREDICTABLE, device=previous.device)
        logits: list[Tensor] = []
        reads: list[Readouts] = []
        for t in range(num_steps):
            fed = previous[:, t]
            if t:
                predicted = logits[-1].detach().index_fill(1, never, -torch.inf).argmax(1)
                fed = torch.where(samples[:, t], predicted, fed)
            embedded = self.embedding(self.known(fed)) * embedding_mask[:, t]
            kept = [zoneout and zoneout.at(t) for zoneout in zoneouts]
            projected = recurrence.project(embedded)
            state, context, alpha = recurrence(embedded, projected, state, [m[:, t] for m in masks], kept)
            state, read = self.read(state, context, embedded, alpha, readout_mask[:, t])
            reads.append(read)
            logits.append(self.output.scores(read))
        return torch.stack(logits, 1), stack_readouts(reads)

    def known(self, symbols: Tensor) -> Tensor:
        """Return the symbols that are fed to a decoder: <unk> for a copied one that the vocabulary lacks."""
        return symbols.masked_fill(symbols >= self.output.out_features, UNK) if self.output.copies else symbols

    def _embed(self, previous: Tensor, noise: Noise | None) -> Tensor:
        embedded: Tensor = self.embedding(self.known(previous))
        return embedded if noise is None else noise.dropout(embedded, "target embedding")

    def _masks(self, noise: Noise | None, num_steps: int, dtype: torch.dtype) -> list[Tensor]:
        """Return the dropout masks (B, U, H) between the layers, as numbers of `dtype`; none for no dropout."""
        if noise is None or not noise.rate:
            return []
        sites = (f"between decoder layers {layer}" for layer in range(1, len(self.layers)))
        return [noise.mask(site, num_steps, self.hidden_size).to(dtype) for site in sites]

    def _zoneouts(self, noise: Noise | None, num_steps: int) -> list[Zoneout | None]:
        """Return the shares of the states that each layer keeps at all steps."""
        sites = (f"decoder {layer}" for layer in range(len(self.layers)))
        return [draw_zoneout(self.zoneout, noise, site, num_steps, self.hidden_size) for site in sites]

    def _unroll(
        self, embedded: Tensor, state: DecoderState, noise: Noise | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the output of the stack, (B, U, H), c_t, (B, U, M), and α_t, (B, U, T), of all steps.

        A backend computes them, α_t only for a decoder that copies, or else the loop below.
        """
        masks = self._masks(noise, embedded.shape[1], embedded.dtype)
        if lengths is None:
            lengths = torch.full((embedded.shape[0],), embedded.shape[1])
        if not self.context_size:
            zoneouts = self._zoneouts(noise, embedded.shape[1])
            return self._unroll_layers(embedded, state, lengths, masks, zoneouts), embedded[..., :0], None
        run = find_for("decoder", self.kinds(), decoder_tensors(self, embedded, state, masks)).run
        if run is not None:
            found: tuple[Tensor, Tensor, Tensor | None] = run(self, embedded, lengths, state, masks)
            return found
        recurrence, zoneouts = self.recurrence(), self._zoneouts(noise, embedded.shape[1])
        states, contexts, weights = [], [], []
        for t, projected in enumerate(recurrence.project(embedded).unbind(1)):
            kept = [zoneout and zoneout.at(t) for zoneout in zoneouts]
            given = embedded[:, t], projected, state, [mask[:, t] for mask in masks], kept
            state, context, alpha = recurrence(*given)
            states.append(self.stack_output(state.layers))
            contexts.append(context)
            weights += [] if alpha is None else [alpha]
        return torch.stack(states, 1), torch.stack(contexts, 1), torch.stack(weights, 1) if weights else None

    def _unroll_readouts(self, embedded: Tensor, state: DecoderState, noise: Noise | None) -> Readouts:
        """Return what the output layer reads in all steps of a decoder with input feeding, (62)."""
        num_steps = embedded.shape[1]
        masks = self._masks(noise, num_steps, embedded.dtype)
        run = find_for("feeding_decoder", self.kinds(), decoder_tensors(self, embedded, state, masks)).run
        if run is not None:
            found: Readouts = run(self, embedded, state, noise)
            return found
        zoneouts = self._zoneouts(noise, num_steps)
        drops = None if noise is None or not noise.rate else noise.mask("readout", num_steps, self.hidden_size)
        recurrence, reads = self.recurrence(), []
        for t, projected in enumerate(recurrence.project(embedded).unbind(1)):
            kept = [zoneout and zoneout.at(t) for zoneout in zoneouts]
            given = embedded[:, t], projected, state, [mask[:, t] for mask in masks], kept
            state, context, alpha = recurrence(*given)
            state, read = self.read(state, context, embedded[:, t], alpha, None if drops is None else drops[:, t])
            reads.append(read)
        return stack_readouts(reads)

    def _unroll_layers(
        self, x: Tensor, state: DecoderState, lengths: Tensor, masks: list[Tensor], zoneouts: list[Zoneout | None]
    ) -> Tensor:
        """Return the output of the stack of a language model, (B, U, H): without a context, layer after layer."""
        for index, (layer, first, zoneout) in enumerate(zip(self.layers, state.layers, zoneouts, strict=True)):
            own = cast("LSTMDirection | GRUDirection", layer)
            how: dict[str, Any] = {"variant": Variant(zoneout, own.norm())}
            how["kinds"] = {"cell": own.kind, "peephole": own.peephole, **self._regularization()}
            below, x = x, x * masks[index - 1] if index and masks else x
            if isinstance(first, LSTMState):
                x, _ = run_lstm(x, lengths, first, cast("LSTMDirection", own).weights(), **how)
            else:
                x, _ = run_gru(x, lengths, first, cast("GRUDirection", own).weights(), **how)
            x = x + below if self.residual and index else x  # (41)
        return x

    def _regularization(self) -> dict[str, str]:
        layer = cast("LSTMDirection | GRUDirection", self.layers[0])
        return regularization(self.zoneout, layer_norm=layer.norm() is not None)

    def read(
        self, state: DecoderState, context: Tensor, embedded: Tensor, weights: Tensor | None, drop: Tensor | None = None
    ) -> tuple[DecoderState, Readouts]:
        """Return the state for the next step, and what the output layer reads in this one.

        Args:
            state: what the recurrence returned, as are context and weights.
            context: c_t.
            embedded: E(y_{t-1}), (N, E).
            weights: α_t, or None.
            drop: dropout mask of r_t, (N, H); None for no dropout.
        """
        inputs = torch.cat([self.stack_output(state.layers), context, embedded], -1)
        r = torch.tanh(self.readout(inputs))
        r = r if drop is None else r * drop
        state = state._replace(readout=r) if self.input_feeding else state  # r_t of (62) for the next step
        return state, Readouts(r, inputs, weights, copied_of(state))

    def stack_output(self, layers: Sequence[LayerState]) -> Tensor:
        """Return the output of a stack: the top layer's h, or in a residual one the sum over all layers, (41)."""
        if not self.residual:
            return hidden(layers[-1])
        return functools.reduce(torch.add, map(hidden, layers))


def decoder_tensors(decoder: Decoder, embedded: Tensor, state: DecoderState, masks: list[Tensor]) -> list[Tensor]:
    """Return the tensors that a backend computes the decoder with; their device and number format decide which can."""
    source = [state.source.outputs, state.source.keys] if isinstance(state.source, Memory) else [state.source]
    states = [part for layer in state.layers for part in (layer if isinstance(layer, LSTMState) else (layer,))]
    given = [embedded, *source, *states]
    if multiplies_bfloat16():  # autocast may have made them bfloat16
        given = [tensor.float() for tensor in given]
    layers = [weight for layer in decoder.layers for weight in layer.parameters()]
    attention = [] if decoder.attention is None else list(decoder.attention.parameters())
    return [*given, *layers, *masks, *attention]
