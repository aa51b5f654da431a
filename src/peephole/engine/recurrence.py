"""One LSTM layer on the engine, as the PyTorch operator `peephole::lstm` and its gradient.

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
from peephole.nn.cells import LSTMState, LSTMWeights, check_lstm_shapes, peephole_form

Size = int | torch.SymInt  # a symbol where PyTorch traces with sizes left open


class _Call(NamedTuple):
    """The arguments of `peephole::lstm`."""

    x: Tensor  # (B, T, I)
    lengths: Tensor  # (B,) int64
    h: Tensor  # (B, H), as c
    c: Tensor
    weight_input: Tensor  # the weights as LSTMWeights has them
    weight_hidden: Tensor
    bias: Tensor
    weight_peephole: Tensor | None
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
        )

    def arrays(self) -> dict[str, Tensor]:
        """Return the tensors by the names and in the layout of peephole.h."""
        tensors = {"lengths": self.lengths, "x": self.x, "h0": self.h, "c0": self.c}
        tensors |= {name: getattr(self, name) for name in LSTMWeights._fields}
        return {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}


_ARGUMENTS = (
    "Tensor x, Tensor lengths, Tensor h, Tensor c, Tensor weight_input, Tensor weight_hidden, Tensor bias, "
    "Tensor? weight_peephole, bool reverse, str operand, str instruction_set"
)
_RESULTS = "Tensor, Tensor, Tensor, Tensor"
_GIVEN = "Tensor d_out, Tensor d_h, Tensor d_c, Tensor out, Tensor saved"


def recurrent_layer(
    x: Tensor, lengths: Tensor, state: LSTMState, weights: LSTMWeights, *, reverse: bool = False
) -> tuple[Tensor, LSTMState]:
    """Run `peephole.nn.lstm`, its arguments, results and errors, on the engine.

    Under autocast to bfloat16 its products multiply bfloat16, with sums, states and results in float32.
    """
    check_lstm_shapes(x, state, weights, lengths)
    lengths = lengths.to("cpu", torch.int64)
    settings = (reverse, operand_in_use(), instruction_set_in_use())
    out, h, c, _ = torch.ops.peephole.lstm(x, lengths, *state, *weights, *settings)
    return out, LSTMState(h, c)


def operand_in_use() -> str:
    """Return the number format of the engine's products here: "bf16" under autocast to it, else "as_is"."""
    return "bf16" if multiplies_bfloat16() else "as_is"


@torch.library.custom_op(
    "peephole::lstm", mutates_args=(), device_types="cpu", schema=f"({_ARGUMENTS}) -> ({_RESULTS})"
)
def _lstm(*arguments: Any) -> tuple[Tensor, ...]:
    """Return the outputs, the last h and c, and the arrays saved for the backward pass."""
    call = _Call(*arguments)
    out, h, c, saved = _empty_results(*arguments)
    arrays = {**call.arrays(), "out": out, "h_last": h, "c_last": c, "saved": saved}
    arrays["scratch"] = scratch(call.problem().scratch_bytes(backward=False))
    call.problem().forward(addresses(arrays), call.instruction_set)
    return out, h, c, saved


@torch.library.custom_op(
    "peephole::lstm_backward", mutates_args=(), device_types="cpu", schema=f"({_GIVEN}, {_ARGUMENTS}) -> Tensor[]"
)
def _lstm_backward(
    d_out: Tensor, d_h: Tensor, d_c: Tensor, out: Tensor, saved: Tensor, *arguments: Any
) -> list[Tensor]:
    """Return the gradients of x, h, c and the weights."""
    call = _Call(*arguments)
    arrays = call.arrays()
    found = _empty_gradients(d_out, d_h, d_c, out, saved, *arguments)
    gradients = dict(zip((name for name in arrays if name != "lengths"), found, strict=True))
    gradients |= {"out": d_out.contiguous(), "h_last": d_h.contiguous(), "c_last": d_c.contiguous()}
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
    return (
        new(batch, steps, hidden_size),
        new(batch, hidden_size),
        new(batch, hidden_size),
        new(saved, dtype=torch.uint8),
    )


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
    d_out: Tensor, d_h: Tensor, d_c: Tensor, out: Tensor, saved: Tensor, *arguments: Any
) -> list[Tensor]:
    arrays = _Call(*arguments).arrays()
    return [tensor.new_empty(tensor.shape) for name, tensor in arrays.items() if name != "lengths"]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    out, _, _, saved = output
    call = _Call(*inputs)
    ctx.mark_non_differentiable(saved)
    ctx.set_materialize_grads(False)  # else a gradient of the size of `saved` is made, and filled with zeros
    ctx.save_for_backward(out, saved, *inputs[:8])
    ctx.settings = call[8:]


def _gradients(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
    out, saved, *inputs = ctx.saved_tensors
    call = _Call._make((*inputs, *ctx.settings))
    incoming = (
        torch.zeros_like(like) if d is None else d for d, like in zip(given, (out, call.h, call.c), strict=False)
    )
    x, h, c, *weights = torch.ops.peephole.lstm_backward(*incoming, out, saved, *call)
    if call.weight_peephole is None:
        weights.append(None)
    return x, None, h, c, *weights, None, None, None


_lstm.register_fake(_empty_results)
_lstm_backward.register_fake(_empty_gradients)
_lstm.register_autograd(_gradients, setup_context=_save_for_backward)
