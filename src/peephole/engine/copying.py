"""The copying output with its loss on the engine, (26), (27), as the PyTorch operator `peephole::copy_loss`.

Not for second derivatives, forward-mode derivatives or vmap: `use_engine("off")` gives the definition, which has them.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from peephole import engine
from peephole.engine.choice import instruction_set_in_use
from peephole.engine.output import linear
from peephole.engine.recurrence import addresses, operand_in_use, scratch
from peephole.nn.copying import CopyOutput
from peephole.nn.outputs import Readouts
from peephole.symbols import PAD


class _Call(NamedTuple):
    """The arguments of `peephole::copy_loss`."""

    readouts: Tensor  # (B, U, H)
    weight: Tensor  # (V, H)
    bias: Tensor  # (V,)
    gates: Tensor  # (B, U)
    weights: Tensor  # (B, U, T)
    copied: Tensor  # (B, T) int64
    target: Tensor  # (B, U) int64
    label_smoothing: float
    with_gradients: bool
    operand: str  # what products multiply: as_is, bf16
    instruction_set: str

    def problem(self) -> engine.OutputLossProblem:
        """Return the sizes as the engine takes them."""
        batch, steps, hidden_size = self.readouts.shape
        return engine.OutputLossProblem(
            scalar=self.readouts.element_size(),
            operand=self.operand,
            threads=torch.get_num_threads(),
            rows=batch * steps,
            hidden_size=hidden_size,
            symbols=self.weight.shape[0],
            padding=PAD,
            label_smoothing=self.label_smoothing,
            steps=steps,
            source_steps=self.copied.shape[1],
        )

    def differentiable(self) -> dict[str, Tensor]:
        """Return the tensors that have a gradient by their names in peephole.h."""
        return {name: getattr(self, name) for name in ("readouts", "weight", "bias", "gates", "weights")}


def copy_loss_sum(output: CopyOutput, read: Readouts, target: Tensor, label_smoothing: float) -> Tensor:
    """Return the loss of `CopyOutput.loss_sum`, its arguments and errors."""
    assert read.weights is not None
    assert read.copied is not None
    number = output.weight.dtype  # autocast may have made the others bfloat16
    readouts, inputs, weights = (tensor.to(number) for tensor in (read.readout, read.inputs, read.weights))
    gates = linear(inputs, output.gate_weight[None], output.gate_bias)[..., 0]
    tensors = readouts, output.weight, output.bias, gates, weights
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    ids = (tensor.to("cpu", torch.int64) for tensor in (read.copied, target))
    choice = operand_in_use(), instruction_set_in_use()
    loss: Tensor = torch.ops.peephole.copy_loss(*tensors, *ids, label_smoothing, wanted, *choice)[0]
    return loss


@torch.library.custom_op(
    "peephole::copy_loss",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor readouts, Tensor weight, Tensor bias, Tensor gates, Tensor weights, Tensor copied, Tensor target, "
    "float label_smoothing, bool with_gradients, str operand, str instruction_set) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _copy_loss(*arguments: Any) -> tuple[Tensor, ...]:
    """Return the loss and its gradients, those of `differentiable`, empty if not wanted."""
    call = _Call(*arguments)
    problem = call.problem()
    loss, *found = _empty_copy_loss(*arguments)
    arrays = {name: tensor.contiguous() for name, tensor in call.differentiable().items()}
    arrays |= {"targets": call.target.contiguous(), "copied": call.copied.contiguous(), "loss": loss}
    arrays["scratch"] = scratch(problem.scratch_bytes(gradients=call.with_gradients))
    gradients = dict(zip(call.differentiable(), found, strict=True)) if call.with_gradients else None
    problem.run(addresses(arrays), None if gradients is None else addresses(gradients), call.instruction_set)
    return loss, *found


def _empty_copy_loss(*arguments: Any) -> tuple[Tensor, ...]:
    call = _Call(*arguments)
    shapes = ((t, t.shape if call.with_gradients else (0,)) for t in call.differentiable().values())
    return call.readouts.new_empty(()), *(tensor.new_empty(shape) for tensor, shape in shapes)


@torch.library.custom_op("peephole::copy_loss_backward", mutates_args=(), device_types="cpu")
def _copy_loss_backward(d_loss: Tensor, gradients: list[Tensor]) -> list[Tensor]:
    """Scale the gradients; an operator, so that a second derivative is refused and not wrong."""
    return [d * d_loss for d in gradients]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    gradients = output[1:]
    ctx.mark_non_differentiable(*gradients)
    ctx.set_materialize_grads(False)  # else gradients of the gradients are made, and filled with zeros
    ctx.save_for_backward(*gradients)


def _gradients(ctx: Any, d_loss: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if d_loss is None:  # no gradient of the loss is wanted
        return (None,) * len(_Call._fields)
    found = torch.ops.peephole.copy_loss_backward(d_loss, list(ctx.saved_tensors))
    return (*found, *[None] * (len(_Call._fields) - len(found)))


_copy_loss.register_fake(_empty_copy_loss)
_copy_loss_backward.register_fake(lambda _, gradients: [d.new_empty(d.shape) for d in gradients])
_copy_loss.register_autograd(_gradients, setup_context=_save)
