"""Tests the engine's output layer with loss: accuracy, and equal bits on any threads.

Tests of what the linear product shares with it are here, too; test_engine_linear.py has those of the product alone.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import peephole.engine.output  # noqa: F401  # registers the operators
from peephole import engine
from peephole.config import ModelConfig
from peephole.errors import ShapeError
from peephole.nn import Noise, build_seq2seq, use_engine
from peephole.nn.linear import linear
from peephole.nn.loss import loss_sum
from peephole.nn.outputs import output_loss_sum
from peephole.symbols import PAD

from .output_problems import (
    agree,
    bfloat16,
    check_bfloat16,
    dtypes,
    instruction_sets,
    linear_problem,
    loss_problem,
    needs_engine,
    run_linear,
    run_loss,
    smoothings,
)

LOSS_SIZES = [(1, 1, 2), (9, 5, 40), (70, 33, 83), (300, 48, 600)]  # rows, hidden size, symbols


def numpy_loss(r, weight, bias, target, smoothing, scale=0.7):
    """Return -Σ_n Σ_v q_nv log p_nv over the real rows, p = softmax(W r + b), and its gradients."""
    r, weight, bias, target = (
        tensor.detach().numpy() for tensor in (r[0].double(), weight.double(), bias.double(), target[0])
    )
    real, symbols = np.flatnonzero(target != PAD), len(bias)
    z = r[real] @ weight.T + bias
    z -= z.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    gold = np.full_like(z, smoothing / symbols)
    gold[np.arange(len(real)), target[real]] += 1 - smoothing
    d_z = scale * (np.exp(log_p) - gold)
    d_r = np.zeros_like(r)
    d_r[real] = d_z @ weight
    return [-(gold * log_p).sum(), d_r[None], d_z.T @ r[real], d_z.sum(0)]


@instruction_sets
@dtypes
@smoothings
@pytest.mark.parametrize("sizes", LOSS_SIZES, ids=str)
@pytest.mark.parametrize("num_threads", [1, 3])
def test_output_loss_and_its_gradients_equal_numpy(instruction_set, dtype, smoothing, sizes, num_threads, threads):
    """Compare with NumPy and with the definition in float64; the loss without gradients has the same bits."""
    threads(num_threads)
    *tensors, target = loss_problem(*sizes, dtype=dtype)
    found = run_loss(instruction_set, *tensors, target, smoothing)
    assert agree(found, numpy_loss(*tensors, target, smoothing), dtype)
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    assert agree(found, run_loss("off", *wide, target, smoothing), dtype)
    assert not found[1][target == PAD].any()
    with torch.no_grad(), use_engine(instruction_set):
        assert torch.equal(output_loss_sum(*tensors, target, smoothing), found[0])


def wrong_losses():
    """Return wrong variants of `numpy_loss`, named after their error."""

    def padding_counts(r, weight, bias, target, smoothing):
        return numpy_loss(r, weight, bias, target.clamp(min=1), smoothing)

    def no_bias(r, weight, bias, target, smoothing):
        return numpy_loss(r, weight, bias * 0, target, smoothing)

    def no_smoothing(r, weight, bias, target, smoothing):
        return numpy_loss(r, weight, bias, target, 0.0)

    def smoothed_over_others_only(r, weight, bias, target, smoothing):
        return numpy_loss(r, weight, bias, target, smoothing * len(bias) / (len(bias) - 1))

    def unscaled_gradients(r, weight, bias, target, smoothing):
        return numpy_loss(r, weight, bias, target, smoothing, scale=1.0)

    def last_row_dropped(r, weight, bias, target, smoothing):
        last = int(target[0].nonzero().max())
        return numpy_loss(r, weight, bias, target.index_fill(1, torch.tensor([last]), PAD), smoothing)

    return [padding_counts, no_bias, no_smoothing, smoothed_over_others_only, unscaled_gradients, last_row_dropped]


@pytest.mark.parametrize("wrong", wrong_losses(), ids=lambda wrong: wrong.__name__)
@needs_engine
def test_wrong_losses_are_detected(wrong):
    problem = loss_problem(70, 33, 83)
    assert not agree(run_loss("auto", *problem, 0.1), wrong(*problem, 0.1), torch.float32)


@instruction_sets
@smoothings
def test_gradcheck(instruction_set, smoothing):
    x, weight, bias, _ = linear_problem(7, 5, 6, dtype=torch.float64)
    with use_engine(instruction_set):
        assert torch.autograd.gradcheck(linear, (x, weight, bias))
        assert torch.autograd.gradcheck(linear, (x, weight))
        *tensors, target = loss_problem(7, 5, 6, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda *given: output_loss_sum(*given, target, smoothing), tensors)


@instruction_sets
@smoothings
@pytest.mark.parametrize("sizes", [(70, 33, 83), (301, 48, 601)], ids=str)
@pytest.mark.parametrize("num_threads", [1, 3])
def test_bfloat16_rounds_only_the_operands_of_the_loss(instruction_set, smoothing, sizes, num_threads, threads):
    threads(num_threads)
    *tensors, target = loss_problem(*sizes)
    found = check_bfloat16(instruction_set, lambda setting: run_loss(setting, *tensors, target, smoothing, 1.0))
    r, weight = (tensor.detach().bfloat16().double() for tensor in tensors[:2])
    logits = F.linear(r, weight, tensors[2].detach().double()).requires_grad_()
    loss = loss_sum(logits, target, smoothing)
    [d_z] = torch.autograd.grad(loss, logits)
    near = d_z[0].bfloat16().double()  # equal to the engine's up to a different rounding of single gradients
    assert agree([found[0], found[3]], [loss, d_z[0].sum(0)], torch.float32)
    for got, want in zip(found[1:3], (near @ weight, near.T @ r[0]), strict=True):
        assert float((got - want).abs().max()) < 1e-3 * float(want.abs().max())
    with torch.no_grad(), use_engine(instruction_set), bfloat16():
        assert torch.equal(output_loss_sum(*tensors, target, smoothing), found[0])


@instruction_sets
def test_bfloat16_arguments_give_the_same_bits_as_float32(instruction_set):
    """Autocast passes rounded arguments; the engine rounds float32 operands to the same bits."""
    x, weight, bias, _ = linear_problem(37, 70, 83)
    *tensors, target = loss_problem(70, 33, 83)
    with torch.no_grad(), use_engine(instruction_set), bfloat16():
        assert torch.equal(linear(x.bfloat16(), weight, bias), linear(x, weight, bias))
        r = tensors[0].bfloat16()
        assert torch.equal(output_loss_sum(r, *tensors[1:], target, 0.1), output_loss_sum(*tensors, target, 0.1))


@instruction_sets
@pytest.mark.parametrize("operand", ["float32", "float64", "bfloat16"])
def test_the_same_bits_on_any_number_of_threads(instruction_set, operand, threads):
    """Use more rows than a block of a weight's gradient and than a block of logits."""
    dtype = torch.float64 if operand == "float64" else torch.float32
    product, loss = linear_problem(701, 33, 70, dtype=dtype), loss_problem(701, 20, 9000, dtype=dtype)
    found = []
    for num_threads in (1, 2, 5):
        threads(num_threads)
        with bfloat16(operand == "bfloat16"):
            found.append(run_linear(instruction_set, *product) + run_loss(instruction_set, *loss, 0.1))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@instruction_sets
@dtypes
@smoothings
def test_a_row_has_the_same_bits_in_any_batch(instruction_set, dtype, smoothing, threads):
    """Compare rows of y, losses and gradients of r: alone, among others, in another order and with padding."""
    x, weight, bias, _ = (tensor.detach() for tensor in linear_problem(90, 33, 70, dtype=dtype))
    target = torch.randint(1, 70, (90,), generator=torch.Generator().manual_seed(3))
    order = torch.randperm(90, generator=torch.Generator().manual_seed(4))

    def losses(rows):
        """Return the gradients of the given rows of r and the loss of their batch."""
        r = x[rows][None].requires_grad_()
        loss = output_loss_sum(r, weight, bias, target[rows][None], smoothing)
        return torch.autograd.grad(loss, r)[0][0], loss

    with use_engine(instruction_set):
        wanted, gradients = linear(x, weight, bias), losses(torch.arange(90))[0]
        for num_threads in (1, 3):
            threads(num_threads)
            for size in (1, 2, 7, 90):
                rows = order[:size]
                assert torch.equal(linear(x[rows], weight, bias), wanted[rows])
                assert torch.equal(losses(rows)[0], gradients[rows])
            for row in range(3):
                alone = losses(torch.tensor([row]))[1]
                padded = F.pad(target[row : row + 1], (4, 9), value=PAD)[None]
                padded_r = F.pad(x[row : row + 1], (0, 0, 4, 9), value=float("nan"))[None]
                assert torch.equal(output_loss_sum(padded_r, weight, bias, padded, smoothing), alone)


@instruction_sets
@dtypes
def test_extreme_infinite_and_nan_logits(instruction_set, dtype):
    """Test logits of ±5000, symbols with logit -∞, and NaN, which must make the loss NaN."""
    r, weight, bias, target = loss_problem(9, 5, 40, dtype=dtype)
    far = weight.detach().mul(1000).requires_grad_()
    assert agree(run_loss(instruction_set, r, far, bias, target, 0.1), numpy_loss(r, far, bias, target, 0.1), dtype)
    masked = bias.detach().clone()
    masked[[2, 3]] = -torch.inf
    target = target.masked_fill((target == 2) | (target == 3), 4)
    masked.requires_grad_()
    found = run_loss(instruction_set, r, weight, masked, target, 0.0)
    keep = [v for v in range(40) if v not in (2, 3)]
    moved = torch.where(target > 3, target - 2, target)
    want = run_loss(
        "off", r, weight.detach()[keep].requires_grad_(), masked.detach()[keep].requires_grad_(), moved, 0.0
    )
    assert agree([found[0], found[1], found[2][keep], found[3][keep]], want, torch.float32)
    broken = r.detach().clone()
    broken[0, 3, 0] = float("nan")
    with use_engine(instruction_set):
        assert output_loss_sum(broken, weight, bias, target, 0.1).isnan()


@instruction_sets
def test_a_batch_of_only_padding_has_loss_and_gradients_0(instruction_set):
    r, weight, bias, target = loss_problem(9, 5, 40)
    assert not any(part.any() for part in run_loss(instruction_set, r, weight, bias, target * 0, 0.1))


@needs_engine
class TestOperators:
    @dtypes
    def test_opcheck(self, dtype):
        x, weight, bias, cotangent = linear_problem(7, 5, 6, dtype=dtype)
        best = engine.instruction_sets()[0]
        operands = ["as_is"] if dtype == torch.float64 else engine.OPERANDS  # bfloat16 operands require float32
        for given in (bias, None):
            for operand in operands:
                torch.library.opcheck(torch.ops.peephole.linear.default, (x, weight, given, operand, best))
        plain = [tensor.detach() for tensor in (cotangent, x, weight)]
        torch.library.opcheck(torch.ops.peephole.linear_backward.default, (*plain, True, "as_is", best))
        r, weight, bias, target = loss_problem(7, 5, 6, dtype=dtype)
        for operand in operands:
            leaves = (r.detach()[0].requires_grad_(), weight, bias)
            torch.library.opcheck(
                torch.ops.peephole.output_loss.default, (*leaves, target[0], 0.1, 0.0, True, operand, best)
            )
            pairs = torch.tensor([3, 1, 0, 3, 1, 0])  # with the consistency loss
            torch.library.opcheck(
                torch.ops.peephole.output_loss.default,
                (leaves[0].detach()[:6].requires_grad_(), *leaves[1:], pairs, 0.1, 2.0, True, operand, best),
            )
        scaled = [tensor.detach() for tensor in (torch.tensor(2.0, dtype=dtype), r, weight, bias)]
        torch.library.opcheck(torch.ops.peephole.output_loss_backward.default, scaled)

    def test_backward_twice_is_equal_and_second_derivatives_are_refused(self):
        r, weight, bias, target = loss_problem(9, 5, 40)
        loss = output_loss_sum(r, weight, bias, target, 0.1)
        first, second = (torch.autograd.grad(loss, r, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)
        assert first.any()
        [d_r] = torch.autograd.grad(loss, r, create_graph=True)
        with pytest.raises(RuntimeError):
            torch.autograd.grad(d_r.sum(), weight)

    @pytest.mark.usefixtures("annotations_unchecked")
    def test_errors_name_the_wrong_argument(self):
        r, weight, bias, target = loss_problem(9, 5, 40)
        for wrong in (-1, 40):
            with pytest.raises(IndexError, match="wanted symbols from 0 to 39"):
                output_loss_sum(r, weight, bias, target.index_fill(1, torch.tensor([3]), wrong), 0.1)
        with pytest.raises(ShapeError, match="wanted 6 numbers in a row, as the weight has, got 5"):
            linear(r, torch.ones(7, 6))


@needs_engine
class TestChoice:
    def test_unsupported_types_are_computed_by_the_definition(self, monkeypatch):
        for problem in (engine.LinearProblem, engine.OutputLossProblem):
            monkeypatch.setattr(problem, "scratch_bytes", fail)
        r, weight, bias, target = loss_problem(9, 5, 40)
        with pytest.raises(AssertionError, match="the engine was called"):
            linear(r, weight, bias)
        with pytest.raises(AssertionError, match="the engine was called"):
            output_loss_sum(r, weight, bias, target, 0.1)
        with use_engine("off"):
            linear(r, weight, bias)
            output_loss_sum(r, weight, bias, target, 0.1)
        with torch.autocast("cpu", torch.float16):
            linear(r, weight, bias)
            output_loss_sum(r, weight, bias, target, 0.1)
        half = [tensor.detach().bfloat16() for tensor in (r, weight, bias)]
        linear(*half)
        output_loss_sum(*half, target, 0.1)
        linear(r[:, :0], weight, bias)

    @smoothings
    @pytest.mark.parametrize("sampling_probability", [0.0, 0.5])
    def test_the_loss_of_the_model_equals_the_loss_of_its_logits(self, smoothing, sampling_probability):
        network = build_seq2seq(ModelConfig(hidden_size=6, embedding_size=4, decoder_layers=2), 8, 8).double()
        source, lengths = torch.tensor([[4, 5, 6], [7, 4, 0]]), torch.tensor([3, 2])
        target = torch.tensor([[5, 6, 2, 0], [4, 4, 7, 2]])
        noise = Noise(3, 5, torch.tensor([8, 9]), 0.3)
        given = {"noise": noise, "sampling_probability": sampling_probability}
        with use_engine("off"):
            wanted = loss_sum(network(source, lengths, target, **given), target, smoothing)
            wanted_gradients = torch.autograd.grad(wanted, list(network.parameters()))
        for setting in ("off", "auto"):
            with use_engine(setting):
                found = network.loss_sum(source, lengths, target, **given, label_smoothing=smoothing)
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
            for got, want in zip(torch.autograd.grad(found, list(network.parameters())), wanted_gradients, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)

    def test_the_loss_of_a_large_vocabulary_allocates_no_tensor_of_logits(self):
        """Check the tensors saved for backward and the size of the scratch memory."""
        rows, symbols = 2000, 4000
        r, weight, bias, target = loss_problem(rows, 8, symbols)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            output_loss_sum(r, weight, bias, target, 0.1)
        assert max(kept) == symbols * 8
        problem = engine.OutputLossProblem(4, "as_is", 2, rows, 8, symbols, PAD, 0.1)
        assert problem.scratch_bytes(gradients=True) < 4 * rows * symbols / 2


def fail(*_args, **_keywords):
    raise AssertionError("the engine was called")
