"""Products outside the recurrences, and the output layer with its loss, on the engine, as PyTorch operators.

`peephole::linear` and `peephole::output_loss`. Not for second derivatives, forward-mode derivatives or vmap:
`use_engine("off")` gives the definition, which has them.
"""

from typing import Any

import torch
from torch import Tensor

from peephole import engine
from peephole.engine.choice import instruction_set_in_use
from peephole.engine.recurrence import addresses, operand_in_use, scratch
from peephole.errors import ShapeError
from peephole.symbols import PAD


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return W x + b for every row of x; see `peephole.nn.linear.linear`."""
    choice = operand_in_use(), instruction_set_in_use()
    y: Tensor = torch.ops.peephole.linear(x.flatten(0, -2), weight, bias, *choice)
    return y.view(*x.shape[:-1], -1)


def output_loss_sum(
    readouts: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float, consistency_weight: float
) -> Tensor:
    """Return the loss of `peephole.nn.outputs.output_loss_sum`, its arguments and errors."""
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (readouts, weight, bias))
    rows, targets = readouts.flatten(0, 1), target.flatten().to("cpu", torch.int64)
    given = label_smoothing, consistency_weight, wanted, operand_in_use(), instruction_set_in_use()
    loss: Tensor = torch.ops.peephole.output_loss(rows, weight, bias, targets, *given)[0]
    return loss


@torch.library.custom_op("peephole::linear", mutates_args=(), device_types="cpu")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, operand: str, instruction_set: str) -> Tensor:
    """Return y, (N, O), of x, (N, K)."""
    problem = _linear_problem(x, weight, operand)
    y = _empty_linear(x, weight, bias, operand, instruction_set)
    arrays = {"x": x.contiguous(), "weight": weight.contiguous(), "y": y}
    arrays["scratch"] = scratch(problem.scratch_bytes(backward=False))
    if bias is not None:
        arrays["bias"] = bias.contiguous()
    problem.forward(addresses(arrays), instruction_set)
    return y


@torch.library.custom_op("peephole::linear_backward", mutates_args=(), device_types="cpu")
def _linear_backward(
    d_y: Tensor, x: Tensor, weight: Tensor, has_bias: bool, operand: str, instruction_set: str
) -> list[Tensor]:
    """Return the gradients of x and weight and, where there is one, of the bias."""
    problem = _linear_problem(x, weight, operand)
    found = _empty_linear_gradients(d_y, x, weight, has_bias, operand, instruction_set)
    gradients = dict(zip(("x", "weight", "bias"), found, strict=False)) | {"y": d_y.contiguous()}
    arrays = {"x": x.contiguous(), "weight": weight.contiguous()}
    arrays["scratch"] = scratch(problem.scratch_bytes(backward=True))
    problem.backward(addresses(arrays), addresses(gradients), instruction_set)
    return found


def _linear_problem(x: Tensor, weight: Tensor, operand: str) -> engine.LinearProblem:
    outputs, inputs = weight.shape
    if x.shape[1] != inputs:
        raise ShapeError(f"x: wanted {inputs} numbers in a row, as the weight has, got {x.shape[1]}")
    return engine.LinearProblem(x.element_size(), operand, torch.get_num_threads(), x.shape[0], inputs, outputs)


def _empty_linear(x: Tensor, weight: Tensor, bias: Tensor | None, operand: str, instruction_set: str) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def _empty_linear_gradients(
    d_y: Tensor, x: Tensor, weight: Tensor, has_bias: bool, operand: str, instruction_set: str
) -> list[Tensor]:
    bias = [weight.new_empty(weight.shape[0])] if has_bias else []
    return [x.new_empty(x.shape), weight.new_empty(weight.shape), *bias]


def _save_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, *ctx.settings = inputs
    ctx.save_for_backward(x, weight)
    ctx.has_bias = bias is not None


def _linear_gradients(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
    given = (d_y, *ctx.saved_tensors, ctx.has_bias, *ctx.settings)
    x, weight, *bias = torch.ops.peephole.linear_backward(*given)
    return x, weight, bias[0] if bias else None, None, None


@torch.library.custom_op("peephole::output_loss", mutates_args=(), device_types="cpu")
def _output_loss(
    r: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    label_smoothing: float,
    consistency_weight: float,
    with_gradients: bool,
    operand: str,
    instruction_set: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loss of r, (N, H), and its gradients with respect to r, weight and bias, empty if not wanted."""
    (rows, hidden_size), symbols = r.shape, weight.shape[0]
    problem = engine.OutputLossProblem(
        scalar=r.element_size(),
        operand=operand,
        threads=torch.get_num_threads(),
        rows=rows,
        hidden_size=hidden_size,
        symbols=symbols,
        padding=PAD,
        label_smoothing=label_smoothing,
        consistency_loss=consistency_weight,
    )
    settings = label_smoothing, consistency_weight, with_gradients, operand, instruction_set
    loss, *found = _empty_output_loss(r, weight, bias, target, *settings)
    arrays = {
        "targets": target.contiguous(),
        "readouts": r.contiguous(),
        "weight": weight.contiguous(),
        "bias": bias.contiguous(),
        "loss": loss,
        "scratch": scratch(problem.scratch_bytes(gradients=with_gradients)),
    }
    gradients = addresses(dict(zip(("readouts", "weight", "bias"), found, strict=True))) if with_gradients else None
    problem.run(addresses(arrays), gradients, instruction_set)
    return loss, found[0], found[1], found[2]


@torch.library.custom_op("peephole::output_loss_backward", mutates_args=(), device_types="cpu")
def _output_loss_backward(d_loss: Tensor, d_r: Tensor, d_weight: Tensor, d_bias: Tensor) -> list[Tensor]:
    """Scale the gradients; an operator, so that a second derivative is refused and not wrong."""
    return [d * d_loss for d in (d_r, d_weight, d_bias)]


def _empty_output_loss(
    r: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    label_smoothing: float,
    consistency_weight: float,
    with_gradients: bool,
    operand: str,
    instruction_set: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    d_r, d_weight, d_bias = (t.new_empty(t.shape if with_gradients else (0,)) for t in (r, weight, bias))
    return r.new_empty(()), d_r, d_weight, d_bias


def _save_output_loss(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    gradients = output[1:]
    ctx.mark_non_differentiable(*gradients)
    ctx.set_materialize_grads(False)  # else gradients of the gradients are made, and filled with zeros
    ctx.save_for_backward(*gradients)


def _output_loss_gradients(ctx: Any, d_loss: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if d_loss is None:  # no gradient of the loss is wanted
        return (None,) * 9
    gradients = torch.ops.peephole.output_loss_backward(d_loss, *ctx.saved_tensors)
    return *gradients, None, None, None, None, None, None


_linear.register_fake(_empty_linear)
_linear_backward.register_fake(_empty_linear_gradients)
_linear.register_autograd(_linear_gradients, setup_context=_save_linear)
_output_loss.register_fake(_empty_output_loss)
_output_loss_backward.register_fake(lambda _, *gradients: [d.new_empty(d.shape) for d in gradients])
_output_loss.register_autograd(_output_loss_gradients, setup_context=_save_output_loss)
