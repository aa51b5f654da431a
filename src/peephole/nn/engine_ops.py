"""The engine as PyTorch operators: `peephole::lstm` and its gradient, and the choice between it and the definition.

Not for second derivatives, forward-mode derivatives or vmap: `use_engine("off")` gives the definition, which has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from peephole import engine
from peephole.nn.cells import GATES, LSTMState, LSTMWeights, check_lstm_shapes, lstm

_setting: ContextVar[str] = ContextVar("engine", default="auto")


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
    instruction_set: str

    def problem(self) -> engine.LSTMProblem:
        """Return the sizes as the engine takes them."""
        peephole = self.weight_peephole
        form = "none" if peephole is None else "diagonal" if peephole.shape[0] == 3 else "full"  # alike where H = 1
        batch, steps, input_size = self.x.shape
        return engine.LSTMProblem(
            scalar=self.x.element_size(),
            form=form,
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
    "Tensor? weight_peephole, bool reverse, str instruction_set"
)
_RESULTS = "Tensor, Tensor, Tensor, Tensor"
_GIVEN = "Tensor d_out, Tensor d_h, Tensor d_c, Tensor out, Tensor saved"


@contextmanager
def use_engine(setting: str) -> Iterator[None]:
    """Decide who computes the recurrences within the block.

    Args:
        setting: `"auto"`: the engine where it can; `"off"`: the definition; or the name of one of
            `peephole.engine.instruction_sets()`: the engine with that one.

    Raises:
        ValueError: the setting is none of these.
    """
    wanted = ("auto", "off", *engine.instruction_sets())
    if setting not in wanted:
        raise ValueError(f"engine: wanted one of {', '.join(wanted)}; got {setting!r}")
    token = _setting.set(setting)
    try:
        yield
    finally:
        _setting.reset(token)


def engine_in_use() -> str | None:
    """Return the instruction set the engine computes with, None if the definition is asked for or all there is."""
    setting = _setting.get()
    if setting == "auto":
        return engine.instruction_sets()[0] if engine.available() else None
    return None if setting == "off" else setting


def run_lstm(
    x: Tensor, lengths: Tensor, state: LSTMState, weights: LSTMWeights, *, reverse: bool = False
) -> tuple[Tensor, LSTMState]:
    """Run `lstm`, its arguments, results and errors, on the engine where it can do it and is not turned off.

    The engine computes float32 and float64 on the CPU, outside autocast.
    """
    instruction_set = engine_in_use()
    tensors = [x, *state, *(weight for weight in weights if weight is not None)]
    fits = (
        x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and all(tensor.dtype == x.dtype and tensor.device.type == "cpu" for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
    )
    if instruction_set is None or not fits:
        return lstm(x, lengths, state, weights, reverse=reverse)
    check_lstm_shapes(x, state, weights, lengths)
    lengths = lengths.to("cpu", torch.int64)
    out, h, c, _ = torch.ops.peephole.lstm(x, lengths, *state, *weights, reverse, instruction_set)
    return out, LSTMState(h, c)


@torch.library.custom_op(
    "peephole::lstm", mutates_args=(), device_types="cpu", schema=f"({_ARGUMENTS}) -> ({_RESULTS})"
)
def _lstm(*arguments: Any) -> tuple[Tensor, ...]:
    """Return the outputs, the last h and c, and what the backward pass needs."""
    call = _Call(*arguments)
    out, h, c, saved = _empty_results(*arguments)
    arrays = {**call.arrays(), "out": out, "h_last": h, "c_last": c, "saved": saved}
    arrays["scratch"] = _scratch(call, backward=False)
    call.problem().forward(_addresses(arrays), call.instruction_set)
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
    arrays |= {"out": out, "saved": saved, "scratch": _scratch(call, backward=True)}
    call.problem().backward(_addresses(arrays), _addresses(gradients), call.instruction_set)
    return found


def _scratch(call: _Call, *, backward: bool) -> Tensor:
    return torch.empty(call.problem().scratch_bytes(backward=backward), dtype=torch.uint8)


def _addresses(arrays: Mapping[str, Tensor]) -> dict[str, int | None]:
    return {name: tensor.data_ptr() for name, tensor in arrays.items()}


def _empty_results(*arguments: Any) -> tuple[Tensor, ...]:
    call = _Call(*arguments)
    (batch, steps, _), hidden_size = call.x.shape, call.h.shape[1]
    per_vector = 64 // call.x.element_size()  # peephole.h pads units to 64 bytes
    units = (hidden_size + per_vector - 1) // per_vector * per_vector
    new = call.x.new_empty
    saved = new(batch * steps, len(GATES) + 1, units)
    return new(batch, steps, hidden_size), new(batch, hidden_size), new(batch, hidden_size), saved


def _empty_gradients(
    d_out: Tensor, d_h: Tensor, d_c: Tensor, out: Tensor, saved: Tensor, *arguments: Any
) -> list[Tensor]:
    arrays = _Call(*arguments).arrays()
    return [tensor.new_empty(tensor.shape) for name, tensor in arrays.items() if name != "lengths"]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    out, _, _, saved = output
    call = _Call(*inputs)
    ctx.mark_non_differentiable(saved)
    ctx.set_materialize_grads(False)  # else a gradient of the size of `saved` is made, and filled with zeros
    ctx.save_for_backward(out, saved, *inputs[:8])
    ctx.reverse, ctx.instruction_set = call.reverse, call.instruction_set


def _gradients(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
    out, saved, *inputs = ctx.saved_tensors
    call = _Call._make((*inputs, ctx.reverse, ctx.instruction_set))
    incoming = (
        torch.zeros_like(like) if d is None else d for d, like in zip(given, (out, call.h, call.c), strict=False)
    )
    x, h, c, *weights = torch.ops.peephole.lstm_backward(*incoming, out, saved, *call)
    if call.weight_peephole is None:
        weights.append(None)
    return x, None, h, c, *weights, None, None


_lstm.register_fake(_empty_results)
_lstm_backward.register_fake(_empty_gradients)
_lstm.register_autograd(_gradients, setup_context=_remember)
