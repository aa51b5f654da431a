"""Tests the engine's copying output with its loss, (26), (27): the oracle, large sizes, threads, limits, the operator.

test_copying.py compares whole models.
"""

from __future__ import annotations

import pytest
import torch

from peephole import engine
from peephole.engine.copying import copy_loss_sum
from peephole.nn import use_engine
from peephole.nn.copying import CopyOutput
from peephole.nn.copying import copy_loss_sum as definition
from peephole.nn.outputs import Readouts

from .test_copying import EOS, PAD, V, check_loss, problem

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())
smoothings = pytest.mark.parametrize("smoothing", [0.0, 0.3])
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def on_engine(instruction_set, operand="as_is"):
    """Return the engine's loss with the definition's arguments: the readouts are the logits, W_p is 1 and b_p is 0."""

    def loss(logits, gates, weights, copied, target, smoothing):
        identity, zeros = torch.eye(logits.shape[2], dtype=logits.dtype), logits.new_zeros(logits.shape[2])
        given = logits, identity, zeros, gates, weights, copied, target, smoothing, True, operand, instruction_set
        return torch.ops.peephole.copy_loss(*given)[0]

    return loss


@instruction_sets
@smoothings
@dtypes
def test_the_loss_equals_the_oracle(instruction_set, smoothing, dtype):
    check_loss(on_engine(instruction_set), smoothing, dtype)


class Large:
    """Holds an output layer of 300 symbols, and what it reads in a batch of 23 pairs."""

    def __init__(self, dtype=torch.float32):
        draw = torch.Generator().manual_seed(3)
        B, U, T, H, F, symbols = 23, 14, 9, 37, 53, 300
        self.output = CopyOutput(H, symbols, F, draw)
        with torch.no_grad():
            for parameter in self.output.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=draw))
        self.output.to(dtype)
        lengths = torch.randint(1, T + 1, (B,), generator=draw)
        real = torch.arange(T) < lengths[:, None]
        copied = torch.randint(4, symbols + 6, (B, T), generator=draw).masked_fill(~real, PAD)
        copied[:, 1::3] = copied[:, :1].where(real[:, 1::3], PAD)  # the first symbol occurs several times
        gold = torch.randint(4, symbols, (B, U), generator=draw)
        gold[:, ::2] = copied.gather(1, (torch.arange(0, U, 2) * 5) % lengths[:, None])
        steps = torch.randint(1, U + 1, (B,), generator=draw)
        steps[4] = U
        self.target = gold.masked_fill(torch.arange(U) >= steps[:, None], PAD)
        energies = torch.randn(B, U, T, generator=draw, dtype=dtype)
        weights = energies.masked_fill(~real[:, None], -torch.inf).softmax(2).requires_grad_()
        inputs = [torch.randn(B, U, size, generator=draw, dtype=dtype).requires_grad_() for size in (H, F)]
        self.read = Readouts(*inputs, weights, copied)

    def run(self, setting, smoothing=0.1):
        """Return the loss and all gradients."""
        with use_engine(setting):
            loss = self.output.loss_sum(self.read, self.target, smoothing)
        return [loss.detach(), *torch.autograd.grad(loss, [*self.read[:3], *self.output.parameters()])]


@instruction_sets
@smoothings
@dtypes
@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_large_output_equals_the_definition(instruction_set, smoothing, dtype, num_threads, threads):
    threads(num_threads)
    large = Large(dtype)
    assert (large.target >= 300).any()
    for got, want in zip(large.run(instruction_set, smoothing), large.run("off", smoothing), strict=True):
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        assert want.abs().max() > 0
        torch.testing.assert_close(got, want, rtol=0, atol=tolerance * float(want.abs().max()))


@instruction_sets
def test_results_have_the_same_bits_on_any_number_of_threads(instruction_set, threads):
    large, found = Large(), []
    for num_threads in (1, 2, 5):
        threads(num_threads)
        found.append(large.run(instruction_set))
    for other in found[1:]:
        assert all(torch.equal(own, its) for own, its in zip(found[0], other, strict=True))


@instruction_sets
def test_bfloat16_is_closer_to_float32_than_autocast(instruction_set):
    large = Large()
    want = large.run("off")
    with torch.autocast("cpu", torch.bfloat16):
        got, cast = large.run(instruction_set), large.run("off")
    errors = [sum(float((a - b).norm() / b.norm()) for a, b in zip(part, want, strict=True)) for part in (got, cast)]
    assert 0 < errors[0] < errors[1]


@instruction_sets
def test_padding_is_not_read_and_has_no_gradient(instruction_set):
    tensors, copied, target, lengths = problem()
    padding = target == PAD
    want = on_engine(instruction_set)(*tensors.values(), copied, target, 0.1)
    for tensor in tensors.values():
        tensor[padding] = torch.nan
    for b, length in enumerate(lengths):
        tensors["weights"][b, :, length:] = torch.nan
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    got = on_engine(instruction_set)(*leaves.values(), copied, target, 0.1)
    assert torch.equal(got, want)
    for gradient in torch.autograd.grad(got, list(leaves.values())):
        assert gradient.isfinite().all()
        assert not gradient[padding].any()


@instruction_sets
def test_the_loss_of_an_id_that_occurs_nowhere_in_its_source_is_infinite(instruction_set):
    tensors, copied, target, _ = problem()
    loss = on_engine(instruction_set)
    assert loss(*tensors.values(), copied, target, 0.1).isfinite()
    assert loss(*tensors.values(), copied, target.where(target != 8, 9), 0.1) == torch.inf


@instruction_sets
@dtypes
@pytest.mark.parametrize("gate", [-200.0, 200.0])
def test_a_saturated_gate_and_weights_of_zero_leave_finite_gradients(instruction_set, dtype, gate):
    """The first symbol has no weight, the second one all of it."""
    copied, target = torch.tensor([[4, 6, 7, PAD]]), torch.tensor([[4, 6, 7, 5, EOS, PAD]])
    weights = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=dtype).expand(1, 6, 4).clone()
    logits = torch.tensor([90.0, 0, -90, 0, 0, -90], dtype=dtype).expand(1, 6, V).clone()
    leaves = [logits, torch.full((1, 6), gate, dtype=dtype), weights]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    got, want = (run(*leaves, copied, target, 0.1) for run in (on_engine(instruction_set), definition))
    torch.testing.assert_close(got, want)
    for own, its in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(want, leaves), strict=True):
        assert own.isfinite().all()
        torch.testing.assert_close(own, its, rtol=1e-5, atol=1e-5)


def test_a_negative_target_is_refused():
    tensors, copied, target, _ = problem()
    with pytest.raises(IndexError, match=r"^target: wanted no negative symbols, got others too$"):
        on_engine("generic")(*tensors.values(), copied, target - 2, 0.0)


@pytest.mark.parametrize("operand", ["as_is", "bf16"])
def test_opcheck(operand):
    large = Large()
    gates = large.output.gate(large.read.inputs).detach().requires_grad_()
    readouts, _, weights, copied = large.read
    layer = large.output.weight, large.output.bias
    settings = 0.1, True, operand, engine.instruction_sets()[0]
    arguments = readouts, *layer, gates, weights.detach().requires_grad_(), copied, large.target, *settings
    torch.library.opcheck(torch.ops.peephole.copy_loss.default, arguments)


def test_the_engine_is_used(monkeypatch):
    large = Large()
    monkeypatch.setattr("peephole.nn.copying.copy_loss_sum", lambda *_: pytest.fail("not by the engine"))
    assert copy_loss_sum(large.output, large.read, large.target, 0.1).isfinite()
    assert large.run("auto")[0].isfinite()
