"""The decoder's recurrence on the engine, as a PyTorch operator: `peephole::decoder` and its gradient."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from peephole import engine
from peephole.engine.attention import ATTENTIONS, AttentionWeights, attention_bytes, split_values
from peephole.engine.choice import instruction_set_in_use
from peephole.engine.recurrence import (
    NAMES,
    Size,
    addresses,
    operand_in_use,
    saved_bytes,
    scratch,
)
from peephole.nn.cells import GRUWeights, LSTMState, LSTMWeights, peephole_form
from peephole.nn.decoder import Decoder
from peephole.nn.decoder_state import DecoderState, Memory
from peephole.nn.directions import GRUDirection, LSTMDirection
from peephole.nn.linear import linear

_OPTIONAL = ("keys", "asked", "weight_query", "vector", "attention_bias", "weight_location", "filters", "weight_output")
"""The arguments of `peephole::decoder` that only some kinds of attention have, in its order."""


class _Call(NamedTuple):
    """The arguments of `peephole::decoder`."""

    embedded: Tensor  # (B, U, E)
    lengths: Tensor  # (B,) int64
    source_lengths: Tensor  # (B,) int64
    memory: Tensor  # (B, T, M), or (B, M) the context without attention
    keys: Tensor | None  # (B, T, A)
    asked: Tensor | None  # (B, U, A)
    weight_query: Tensor | None  # (A, H)
    vector: Tensor | None  # (A,)
    attention_bias: Tensor | None  # (A,)
    weight_location: Tensor | None  # (A, C) or (A,)
    filters: Tensor | None  # (C, R)
    weight_output: Tensor | None  # (M, M)
    states: list[Tensor]  # h and, of an LSTM, c of each layer, (B, H)
    weights: list[Tensor]  # of each layer, those there are, in the order of LSTMWeights or GRUWeights
    masks: list[Tensor]  # (B, U, H) for each layer above the lowest, or none at all
    with_weights: bool  # whether α_t are wanted
    cell: str  # lstm, gru
    attention: str  # of engine.ATTENTIONS
    heads: int  # K
    residual: bool  # each layer reads the sum of the h_t of all layers below it
    operand: str
    instruction_set: str

    def num_layers(self) -> int:
        """Return the number of layers."""
        return len(self.states) // (2 if self.cell == "lstm" else 1)

    def layers(self) -> list[dict[str, Tensor]]:
        """Return the first states and the weights layer by layer, by their names in peephole.h."""
        count = self.num_layers()
        own = LSTMWeights._fields if self.cell == "lstm" else GRUWeights._fields
        names = (*(("h0", "c0") if self.cell == "lstm" else ("h0",)), *(NAMES.get(name, name) for name in own))
        parts, each = len(self.states) // count, len(self.weights) // count
        rows = zip(_in_rows(self.states, parts), _in_rows(self.weights, each), strict=True)
        return [dict(zip(names, (*states, *weights), strict=False)) for states, weights in rows]

    def form(self) -> str:
        """Return the form of the peepholes."""
        return peephole_form(self.layers()[0].get("weight_peephole"))

    def problem(self) -> engine.DecoderProblem:
        """Return the sizes as the engine takes them."""
        batch, steps, embedding_size = self.embedded.shape
        hidden_size = self.states[0].shape[1]
        return engine.DecoderProblem(
            scalar=self.embedded.element_size(),
            operand=self.operand,
            form=self.form(),
            attention=self.attention,
            threads=torch.get_num_threads(),
            num_layers=self.num_layers(),
            batch=batch,
            steps=steps,
            source_steps=1 if self.keys is None else self.memory.shape[1],
            embedding_size=embedding_size,
            memory_size=self.memory.shape[-1],
            key_size=hidden_size if self.keys is None else self.keys.shape[2],
            hidden_size=hidden_size,
            channels=0 if self.filters is None else self.filters.shape[0],
            filter_width=0 if self.filters is None else self.filters.shape[1],
            heads=self.heads,
            cell=self.cell,
            residual=self.residual,
        )

    def differentiable(self) -> dict[str, Tensor]:
        """Return the tensors that have a gradient by their names in peephole.h."""
        tensors = {name: getattr(self, name) for name in ("embedded", "memory", *_OPTIONAL)}
        return {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}

    def layer_arrays(self) -> list[dict[str, Tensor]]:
        """Return the tensors of each layer that have a gradient, by their names in peephole.h."""
        return [{name: tensor.contiguous() for name, tensor in row.items()} for row in self.layers()]

    def arrays(self) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Return all arguments of the problem and of its layers, by their names in peephole.h."""
        layers = self.layer_arrays()
        for row, mask in zip(layers[1:], self.masks, strict=False):
            row["mask"] = mask.contiguous()
        return {**self.differentiable(), "lengths": self.lengths, "source_lengths": self.source_lengths}, layers


def _in_rows(tensors: list[Tensor], each: int) -> list[list[Tensor]]:
    return [tensors[i : i + each] for i in range(0, len(tensors), each)]


_RESULTS = "Tensor, Tensor, Tensor, Tensor, Tensor"
_ARGUMENTS = (
    "Tensor embedded, Tensor lengths, Tensor source_lengths, Tensor memory, Tensor? keys, Tensor? asked, "
    "Tensor? weight_query, "
    "Tensor? vector, Tensor? attention_bias, Tensor? weight_location, Tensor? filters, Tensor? weight_output, "
    "Tensor[] states, Tensor[] weights, Tensor[] masks, bool with_weights, str cell, str attention, int heads, "
    "bool residual, str operand, str instruction_set"
)


def run_decoder(
    decoder: Decoder, embedded: Tensor, lengths: Tensor, state: DecoderState, masks: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Compute s_t and c_t of all target steps, and α_t if the decoder copies or has coverage, whose loss reads them.

    Args:
        decoder: its weights.
        embedded: E(y_{t-1}), (B, U, E).
        lengths: real target steps, (B,).
        state: the state before the first step.
        masks: for each layer above the lowest, the dropout mask of its input, (B, U, H); [] for no dropout.

    Returns:
        The output of the stack, (B, U, H), the contexts, (B, U, M), and the weights, (B, U, T), or None; 0 past each
        length.
    """
    keys, source_lengths, memory = None, lengths, state.source
    if isinstance(memory, Memory):
        keys, source_lengths, memory = memory.keys, memory.valid.sum(1), memory.outputs
    kind = decoder.kinds()["attention"]
    attention = ATTENTIONS[kind](decoder.attention)
    if kind == "multihead":
        keys, memory = split_values(cast("Tensor", keys), attention)
    weights = [cast("LSTMDirection | GRUDirection", layer).weights() for layer in decoder.layers]
    residual = decoder.residual and len(weights) > 1
    reads_weights = decoder.output.copies or kind == "coverage"
    symbol = getattr(decoder.attention, "weight_symbol", None)
    asked = None if symbol is None else linear(embedded, symbol)  # (67)
    return decode(
        embedded,
        lengths,
        source_lengths,
        memory,
        keys,
        attention,
        state.layers,
        weights,
        masks,
        residual,
        reads_weights,
        asked,
    )


def decode(
    embedded: Tensor,
    lengths: Tensor,
    source_lengths: Tensor,
    memory: Tensor,
    keys: Tensor | None,
    attention: AttentionWeights,
    states: Sequence[LSTMState | Tensor],
    weights: Sequence[LSTMWeights | GRUWeights],
    masks: list[Tensor],
    residual: bool = False,
    with_weights: bool = False,
    asked: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Compute what `run_decoder` returns, from tensors.

    Args:
        embedded: E(y_{t-1}), (B, U, E).
        lengths: real target steps, (B,).
        source_lengths: real source steps, (B,); not read for a fixed context.
        memory: h_j, (B, T, M), for multihead W_v h_j, or the fixed context, (B, M).
        keys: k_j, (B, T, A); None for a fixed context.
        attention: the alignment model.
        states: first state of each layer.
        weights: weights of each layer; the lowest reads [embedding ; context].
        masks: as in `run_decoder`.
        residual: whether each layer reads, and the result is, the sum of the h_t of all layers below, (41).
        with_weights: whether α_t are wanted.
        asked: W_y E(y_{t-1}) of (67), (B, U, A); None: attention does not read the symbol.
    """
    parts = [part for state in states for part in (state if isinstance(state, LSTMState) else (state,))]
    if operand_in_use() == "bf16":
        embedded, memory = embedded.float(), memory.float()
        keys, asked = (None if given is None else given.float() for given in (keys, asked))
        parts = [part.float() for part in parts]
    lengths, source_lengths = (tensor.to("cpu", torch.int64) for tensor in (lengths, source_lengths))
    out, contexts, alphas, _, sums = torch.ops.peephole.decoder(
        embedded,
        lengths,
        source_lengths,
        memory,
        keys,
        asked,
        *attention[1:7],
        parts,
        [weight for layer in weights for weight in layer if weight is not None],
        masks,
        with_weights,
        "gru" if isinstance(weights[0], GRUWeights) else "lstm",
        attention.kind,
        attention.heads,
        residual,
        operand_in_use(),
        instruction_set_in_use(),
    )
    return (sums if residual else out), contexts, alphas if with_weights else None


@torch.library.custom_op(
    "peephole::decoder", mutates_args=(), device_types="cpu", schema=f"({_ARGUMENTS}) -> ({_RESULTS})"
)
def _decoder(*arguments: Any) -> tuple[Tensor, ...]:
    """Return the top layer's h_t, contexts, weights, the arrays saved for backward, and the sums of all layers' h_t.

    The sums are empty for a stack that is not residual; in one that is, no gradient flows through h_t.
    """
    call = _Call(*arguments)
    out, contexts, alphas, saved, sums = _empty_results(*arguments)
    arrays, layers = call.arrays()
    problem = call.problem()
    arrays |= {"contexts": contexts, "saved": saved} | ({"weights": alphas} if call.with_weights else {})
    if call.residual:
        arrays["sums"] = sums
    arrays["scratch"] = scratch(problem.scratch_bytes(backward=False))
    hidden = [torch.empty_like(out) for _ in layers[1:]] + [out]
    rows = [{**row, "hidden": part} for row, part in zip(layers, hidden, strict=True)]
    problem.forward(addresses(arrays), [addresses(row) for row in rows], call.instruction_set)
    return out, contexts, alphas, saved, sums


@torch.library.custom_op(
    "peephole::decoder_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor d_out, Tensor d_contexts, Tensor? d_alphas, Tensor out, Tensor saved, {_ARGUMENTS}) -> Tensor[]",
)
def _decoder_backward(
    d_out: Tensor, d_contexts: Tensor, d_alphas: Tensor | None, out: Tensor, saved: Tensor, *arguments: Any
) -> list[Tensor]:
    """Return the gradients of `differentiable`, then those of each layer's `layer_arrays`."""
    call = _Call(*arguments)
    found = _empty_gradients(d_out, d_contexts, d_alphas, out, saved, *arguments)
    arrays, layers = call.arrays()
    problem = call.problem()
    arrays |= {"saved": saved, "scratch": scratch(problem.scratch_bytes(backward=True))}
    layers[-1]["hidden"] = out
    remaining = iter(found)
    gradients = {name: next(remaining) for name in call.differentiable()}
    layer_gradients = [{name: next(remaining) for name in row} for row in call.layer_arrays()]
    gradients |= {"states": d_out.contiguous(), "contexts": d_contexts.contiguous()}
    gradients |= {} if d_alphas is None else {"weights": d_alphas.contiguous()}
    problem.backward(
        addresses(arrays),
        [addresses(row) for row in layers],
        addresses(gradients),
        [addresses(row) for row in layer_gradients],
        call.instruction_set,
    )
    return found


def _empty_results(*arguments: Any) -> tuple[Tensor, ...]:
    call = _Call(*arguments)
    (batch, steps, _), hidden_size = call.embedded.shape, call.states[0].shape[1]
    scalar, full = call.embedded.element_size(), call.form() == "full"
    saved: Size = 0
    for index in range(call.num_layers()):
        inner = hidden_size if index else call.memory.shape[-1]
        saved += saved_bytes(batch, steps, inner, hidden_size, scalar, call.operand, full)
    if call.keys is not None:
        key_size = None if call.vector is None else call.vector.shape[0]
        sizes = batch * steps, call.memory.shape[1], call.memory.shape[2], key_size
        saved += attention_bytes(call.attention, *sizes, call.heads, scalar, call.operand)
    new = call.embedded.new_empty
    return (
        new(batch, steps, hidden_size),
        new(batch, steps, call.memory.shape[-1]),
        new((batch, steps, call.memory.shape[1]) if call.with_weights else 0),
        new(saved, dtype=torch.uint8),
        new(batch, steps, hidden_size) if call.residual else new(0),
    )


def _empty_gradients(
    d_out: Tensor, d_contexts: Tensor, d_alphas: Tensor | None, out: Tensor, saved: Tensor, *arguments: Any
) -> list[Tensor]:
    call = _Call(*arguments)
    tensors = [*call.differentiable().values(), *(tensor for row in call.layer_arrays() for tensor in row.values())]
    return [tensor.new_empty(tensor.shape) for tensor in tensors]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    out, contexts, _, saved, sums = output
    call = _Call(*inputs)
    ctx.mark_non_differentiable(saved, out if call.residual else sums)
    ctx.set_materialize_grads(False)  # else a gradient of the size of `saved` is made, and filled with zeros
    ctx.num_states, ctx.num_weights = len(call.states), len(call.weights)
    ctx.settings = call[-7:]
    ctx.save_for_backward(out, saved, *call[:12], *call.states, *call.weights, *call.masks)
    ctx.like = contexts.shape


def _gradients(ctx: Any, *given: Tensor | None) -> tuple[Any, ...]:
    d_out, d_contexts, d_alphas, _, d_sums = given
    out, saved, *inputs = ctx.saved_tensors
    lists = inputs[12:]
    end = ctx.num_states + ctx.num_weights
    states, weights, masks = lists[: ctx.num_states], lists[ctx.num_states : end], lists[end:]
    call = _Call._make((*inputs[:12], states, weights, masks, *ctx.settings))
    d_out = d_sums if call.residual else d_out
    d_out = torch.zeros_like(out) if d_out is None else d_out
    d_contexts = out.new_zeros(ctx.like) if d_contexts is None else d_contexts
    found = iter(torch.ops.peephole.decoder_backward(d_out, d_contexts, d_alphas, out, saved, *call))
    named = {name: next(found) for name in call.differentiable()}
    rows = [{name: next(found) for name in row} for row in call.layer_arrays()]
    d_states = [row.pop(name) for row in rows for name in ("h0", "c0") if name in row]
    d_weights = [gradient for row in rows for gradient in row.values()]
    optional = (named.get(name) for name in _OPTIONAL)
    return (
        named["embedded"],
        None,
        None,
        named["memory"],
        *optional,
        d_states,
        d_weights,
        [None] * len(masks),
        *[None] * len(ctx.settings),
    )


_decoder.register_fake(_empty_results)
_decoder_backward.register_fake(_empty_gradients)
_decoder.register_autograd(_gradients, setup_context=_save_for_backward)
