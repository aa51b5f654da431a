"""One recurrent layer on the engine, as the PyTorch operator `peephole::recurrent_layer` and its gradient.

Not for second derivatives, forward-mode derivatives or vmap: `use_engine("off")` gives the definition, which has them.
"""

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from peephole import engine
from peephole.engine.choice import instruction_set_in_use
from peephole.nn.backends import multiplies_bfloat16
from peephole.nn.cells import GRUWeights, LSTMState, check_gru_shapes, check_lstm_shapes, peephole_form

WEIGHTS = ("weight_input", "weight_hidden", "bias", "weight_peephole", "bias_hidden")
"""The names of a layer's weights in peephole.h, of which each kind of cell has some."""
NAMES = {"bias_input": "bias"}
"""The names there of weights that `peephole.nn` calls otherwise."""
Size = int | torch.SymInt  # a symbol where PyTorch traces with sizes left open


class _Call(NamedTuple):
    """The arguments of `peephole::recurrent_layer`."""

    x: Tensor  # (B, T, I)
    lengths: Tensor  # (B,) int64
    h: Tensor  # (B, H)
    c: Tensor | None  # likewise, of an LSTM
    weight_input: Tensor  # WEIGHTS, in the shapes of LSTMWeights or GRUWeights
    weight_hidden: Tensor
    bias: Tensor
    weight_peephole: Tensor | None
    bias_hidden: Tensor | None
    cell: str  # lstm, gru
    reverse: bool
    operand: str  # what products multiply: as_is, bf16
    instruction_set: str

    def problem(self) -> engine.LSTMProblem:
        """Return the sizes as the engine takes them."""
        batch, steps, input_size = self.x.shape
        return engine.LSTMProblem(
            scalar=self.x.element_size(),
            operand=self.operand,
            form=peephole_form(self.weight_peephole),
            reverse=self.reverse,
            threads=torch.get_num_threads(),
            batch=batch,
            steps=steps,
            input_size=input_size,
            hidden_size=self.h.shape[1],
            cell=self.cell,
        )

    def arrays(self) -> dict[str, Tensor]:
        """Return the tensors by the names and in the layout of peephole.h."""
        tensors = {"lengths": self.lengths, **self.learned()}
        return {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}

    def learned(self) -> dict[str, Tensor | None]:
        """Return the tensors that have gradients."""
        weights = {name: getattr(self, name) for name in WEIGHTS}
        return {"x": self.x, "h0": self.h, "c0": self.c, **weights}


_ARGUMENTS = (
    "Tensor x, Tensor lengths, Tensor h, Tensor? c, Tensor weight_input, Tensor weight_hidden, Tensor bias, "
    "Tensor? weight_peephole, Tensor? bias_hidden, str cell, bool reverse, str operand, str instruction_set"
)
_NUM_TENSORS = 9
_RESULTS = "Tensor, Tensor, Tensor, Tensor"
_GIVEN = "Tensor d_out, Tensor d_h, Tensor? d_c, Tensor out, Tensor saved"


def recurrent_layer(x: Tensor, lengths: Tensor, state: Any, weights: Any, *, reverse: bool = False) -> tuple[Any, Any]:
    """Run `peephole.nn.lstm` or, for weights of a GRU, `peephole.nn.gru` on the engine: arguments, results and errors.

    Under autocast to bfloat16 its products multiply bfloat16, with sums, states and results in float32.
    """
    is_gru = isinstance(weights, GRUWeights)
    (check_gru_shapes if is_gru else check_lstm_shapes)(x, state, weights, lengths)
    states = (state, None) if is_gru else state
    named = {NAMES.get(name, name): weight for name, weight in weights._asdict().items()}
    given = [named.get(name) for name in WEIGHTS]
    settings = ("gru" if is_gru else "lstm", reverse, operand_in_use(), instruction_set_in_use())
    out, h, c, _ = torch.ops.peephole.recurrent_layer(x, lengths.to("cpu", torch.int64), *states, *given, *settings)
    return out, h if is_gru else LSTMState(h, c)


def operand_in_use() -> str:
    """Return the number format of the engine's products here: "bf16" under autocast to it, else "as_is"."""
    return "bf16" if multiplies_bfloat16() else "as_is"


@torch.library.custom_op(
    "peephole::recurrent_layer", mutates_args=(), device_types="cpu", schema=f"({_ARGUMENTS}) -> ({_RESULTS})"
)
def _layer(*arguments: Any) -> tuple[Tensor, ...]:
    """Return the outputs, the last h and c (empty without c), and the arrays saved for the backward pass."""
    call = _Call(*arguments)
    out, h, c, saved = results = _empty_results(*arguments)
    arrays = {**call.arrays(), "out": out, "h_last": h, "saved": saved}
    if call.c is not None:
        arrays["c_last"] = c
    arrays["scratch"] = scratch(call.problem().scratch_bytes(backward=False))
    call.problem().forward(addresses(arrays), call.instruction_set)
    return results


@torch.library.custom_op(
    "peephole::recurrent_layer_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"({_GIVEN}, {_ARGUMENTS}) -> Tensor[]",
)
def _layer_backward(
    d_out: Tensor, d_h: Tensor, d_c: Tensor | None, out: Tensor, saved: Tensor, *arguments: Any
) -> list[Tensor]:
    """Return the gradients of x, h, c and the weights, of those that there are."""
    call = _Call(*arguments)
    arrays = call.arrays()
    found = _empty_gradients(d_out, d_h, d_c, out, saved, *arguments)
    gradients = dict(zip((name for name in arrays if name != "lengths"), found, strict=True))
    gradients |= {"out": d_out.contiguous(), "h_last": d_h.contiguous()}
    if d_c is not None:
        gradients["c_last"] = d_c.contiguous()
    arrays |= {"out": out, "saved": saved, "scratch": scratch(call.problem().scratch_bytes(backward=True))}
    call.problem().backward(addresses(arrays), addresses(gradients), call.instruction_set)
    return found


class _Scratch(threading.local):
    """Scratch memory of each thread, kept between calls because it is then still in the cache."""

    memory = torch.empty(0, dtype=torch.uint8)


_scratch = _Scratch()


def scratch(size: int) -> Tensor:
    """Return at least `size` bytes for the time of one call; the thread's next call gets the same."""
    if len(_scratch.memory) < size:
        _scratch.memory = torch.empty(size, dtype=torch.uint8)
    return _scratch.memory


def addresses(arrays: Mapping[str, Tensor]) -> dict[str, int | None]:
    """Return the tensors as the engine takes them."""
    return {name: tensor.data_ptr() for name, tensor in arrays.items()}


def _empty_results(*arguments: Any) -> tuple[Tensor, ...]:
    call = _Call(*arguments)
    (batch, steps, _), hidden_size = call.x.shape, call.h.shape[1]
    new = call.x.new_empty
    full = peephole_form(call.weight_peephole) == "full"
    saved = saved_bytes(batch, steps, 0, hidden_size, call.x.element_size(), call.operand, full)
    c = new(0) if call.c is None else new(batch, hidden_size)
    return new(batch, steps, hidden_size), new(batch, hidden_size), c, new(saved, dtype=torch.uint8)


def array_bytes(rows: Size, numbers: Size, size: int) -> Size:
    """Return the bytes of an array of the engine: of whole cache lines."""
    return (rows * numbers * size + 63) // 64 * 64


def padded_units(numbers: Size, scalar: int) -> Size:
    """Return a number of units of `scalar` bytes, rounded up to whole cache lines."""
    return (numbers + 64 // scalar - 1) // (64 // scalar) * (64 // scalar)


def saved_bytes(
    batch: Size, steps: Size, inner_size: Size, hidden_size: Size, scalar: int, operand: str, full: bool
) -> Size:
    """Return the bytes that a layer saves for its gradients: CellSaved in engine/src/train/cell_memory.h."""
    rows, units, inner = batch * steps, padded_units(hidden_size, scalar), padded_units(inner_size, scalar)
    gates = array_bytes(rows, 4 * units, scalar)
    cells = array_bytes(batch + rows, units, scalar)
    if operand == "as_is":
        return gates + cells + array_bytes(rows, inner + units, scalar)
    return gates + cells + array_bytes(rows, inner + units, 2) + (array_bytes(batch + rows, units, 2) if full else 0)


def _empty_gradients(
    d_out: Tensor, d_h: Tensor, d_c: Tensor | None, out: Tensor, saved: Tensor, *arguments: Any
) -> list[Tensor]:
    learned = _Call(*arguments).learned().values()
    return [tensor.new_empty(tensor.shape) for tensor in learned if tensor is not None]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    out, _, _, saved = output
    ctx.mark_non_differentiable(saved)
    ctx.set_materialize_grads(False)  # else a gradient of the size of `saved` is made, and filled with zeros
    ctx.save_for_backward(out, saved, *inputs[:_NUM_TENSORS])
    ctx.settings = inputs[_NUM_TENSORS:]


def _gradients(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
    out, saved, *inputs = ctx.saved_tensors
    call = _Call._make((*inputs, *ctx.settings))
    incoming = (
        torch.zeros_like(like) if d is None and like is not None else d
        for d, like in zip(given, (out, call.h, call.c), strict=False)
    )
    found = iter(torch.ops.peephole.recurrent_layer_backward(*incoming, out, saved, *call))
    x, *rest = [None if tensor is None else next(found) for tensor in call.learned().values()]
    return x, None, *rest, *(None for _ in ctx.settings)


_layer.register_fake(_empty_results)
_layer_backward.register_fake(_empty_gradients)
_layer.register_autograd(_gradients, setup_context=_save_for_backward)
