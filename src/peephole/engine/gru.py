"""One GRU layer on the engine, as the PyTorch operator `peephole::gru` and its gradient; see `recurrence.py`."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from peephole import engine
from peephole.engine.choice import instruction_set_in_use
from peephole.engine.recurrence import addresses, operand_in_use, saved_bytes, scratch
from peephole.nn.cells import GRUWeights, check_gru_shapes

WEIGHTS = {"weight_input": "weight_input", "weight_hidden": "weight_hidden", "bias_input": "bias"}
WEIGHTS |= {"bias_hidden": "bias_hidden"}
"""The name in peephole.h of each of the `GRUWeights`."""


class _Call(NamedTuple):
    """The arguments of `peephole::gru`."""

    x: Tensor  # (B, T, I)
    lengths: Tensor  # (B,) int64
    h: Tensor  # (B, H)
    weight_input: Tensor  # the weights as GRUWeights has them
    weight_hidden: Tensor
    bias_input: Tensor
    bias_hidden: Tensor
    reverse: bool
    operand: str  # what products multiply: as_is, bf16
    instruction_set: str

    def problem(self) -> engine.LSTMProblem:
        """Return the sizes as the engine takes them."""
        batch, steps, input_size = self.x.shape
        return engine.LSTMProblem(
            scalar=self.x.element_size(),
            operand=self.operand,
            form="none",
            reverse=self.reverse,
            threads=torch.get_num_threads(),
            batch=batch,
            steps=steps,
            input_size=input_size,
            hidden_size=self.h.shape[1],
            cell="gru",
        )

    def arrays(self) -> dict[str, Tensor]:
        """Return the tensors by the names and in the layout of peephole.h."""
        tensors = {"lengths": self.lengths, "x": self.x, "h0": self.h}
        tensors |= {name: getattr(self, own) for own, name in WEIGHTS.items()}
        return {name: tensor.contiguous() for name, tensor in tensors.items()}


_ARGUMENTS = (
    "Tensor x, Tensor lengths, Tensor h, Tensor weight_input, Tensor weight_hidden, Tensor bias_input, "
    "Tensor bias_hidden, bool reverse, str operand, str instruction_set"
)
_RESULTS = "Tensor, Tensor, Tensor"
_GIVEN = "Tensor d_out, Tensor d_h, Tensor out, Tensor saved"


def gru_layer(
    x: Tensor, lengths: Tensor, state: Tensor, weights: GRUWeights, *, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Run `peephole.nn.gru`, its arguments, results and errors, on the engine.

    Under autocast to bfloat16 its products multiply bfloat16, with sums, states and results in float32.
    """
    check_gru_shapes(x, state, weights, lengths)
    lengths = lengths.to("cpu", torch.int64)
    settings = (reverse, operand_in_use(), instruction_set_in_use())
    out, h, _ = torch.ops.peephole.gru(x, lengths, state, *weights, *settings)
    return out, h


@torch.library.custom_op("peephole::gru", mutates_args=(), device_types="cpu", schema=f"({_ARGUMENTS}) -> ({_RESULTS})")
def _gru(*arguments: Any) -> tuple[Tensor, ...]:
    """Return the outputs, the last h, and the arrays saved for the backward pass."""
    call = _Call(*arguments)
    out, h, saved = _empty_results(*arguments)
    arrays = {**call.arrays(), "out": out, "h_last": h, "saved": saved}
    arrays["scratch"] = scratch(call.problem().scratch_bytes(backward=False))
    call.problem().forward(addresses(arrays), call.instruction_set)
    return out, h, saved


@torch.library.custom_op(
    "peephole::gru_backward", mutates_args=(), device_types="cpu", schema=f"({_GIVEN}, {_ARGUMENTS}) -> Tensor[]"
)
def _gru_backward(d_out: Tensor, d_h: Tensor, out: Tensor, saved: Tensor, *arguments: Any) -> list[Tensor]:
    """Return the gradients of x, h and the weights."""
    call = _Call(*arguments)
    arrays = call.arrays()
    found = _empty_gradients(d_out, d_h, out, saved, *arguments)
    gradients = dict(zip((name for name in arrays if name != "lengths"), found, strict=True))
    gradients |= {"out": d_out.contiguous(), "h_last": d_h.contiguous()}
    arrays |= {"out": out, "saved": saved, "scratch": scratch(call.problem().scratch_bytes(backward=True))}
    call.problem().backward(addresses(arrays), addresses(gradients), call.instruction_set)
    return found


def _empty_results(*arguments: Any) -> tuple[Tensor, ...]:
    call = _Call(*arguments)
    (batch, steps, _), hidden_size = call.x.shape, call.h.shape[1]
    new = call.x.new_empty
    saved = saved_bytes(batch, steps, 0, hidden_size, call.x.element_size(), call.operand, full=False)
    return new(batch, steps, hidden_size), new(batch, hidden_size), new(saved, dtype=torch.uint8)


def _empty_gradients(d_out: Tensor, d_h: Tensor, out: Tensor, saved: Tensor, *arguments: Any) -> list[Tensor]:
    arrays = _Call(*arguments).arrays()
    return [tensor.new_empty(tensor.shape) for name, tensor in arrays.items() if name != "lengths"]


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    out, _, saved = output
    ctx.mark_non_differentiable(saved)
    ctx.set_materialize_grads(False)  # else a gradient of the size of `saved` is made, and filled with zeros
    ctx.save_for_backward(out, saved, *inputs[:7])
    ctx.settings = inputs[7:]


def _gradients(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
    out, saved, *inputs = ctx.saved_tensors
    call = _Call._make((*inputs, *ctx.settings))
    incoming = (torch.zeros_like(like) if d is None else d for d, like in zip(given, (out, call.h), strict=False))
    x, *rest = torch.ops.peephole.gru_backward(*incoming, out, saved, *call)
    return x, None, *rest, None, None, None


_gru.register_fake(_empty_results)
_gru_backward.register_fake(_empty_gradients)
_gru.register_autograd(_gradients, setup_context=_save_for_backward)
