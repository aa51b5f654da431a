"""Random problems for the linear product and the output layer with its loss, and their results on the engine."""

from __future__ import annotations

import pytest
import torch

import peephole.engine.output  # noqa: F401  # registers the operators
from peephole import engine
from peephole.nn import use_engine
from peephole.nn.linear import linear
from peephole.nn.outputs import output_loss_sum
from peephole.symbols import PAD

DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}  # relative to the largest absolute value of an array
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
smoothings = pytest.mark.parametrize("smoothing", [0.0, 0.1])
needs_engine = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")


def normals(*shapes, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def linear_problem(rows, inputs, outputs, dtype=torch.float32):
    return normals((rows, inputs), (outputs, inputs), (outputs,), (rows, outputs), dtype=dtype)


def loss_problem(rows, hidden_size, symbols, dtype=torch.float32):
    """Return r, weight, bias and targets; every fifth row and the last are padding, unless there is only one row."""
    r, weight, bias = normals((1, rows, hidden_size), (symbols, hidden_size), (symbols,), dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(1, symbols, (1, rows), generator=generator)
    if rows > 1:
        target[0, ::5] = target[0, -1] = PAD
    return r, weight, bias, target


def run_linear(setting, x, weight, bias, cotangent):
    leaves = [x, weight] if bias is None else [x, weight, bias]
    with use_engine(setting):
        y = linear(x, weight, bias)
    return [y, *torch.autograd.grad(y, leaves, cotangent)]


def run_loss(setting, r, weight, bias, target, smoothing, scale=0.7):
    with use_engine(setting):
        loss = output_loss_sum(r, weight, bias, target, smoothing)
    return [loss, *torch.autograd.grad(loss * scale, (r, weight, bias))]


def agree(found, wanted, dtype):
    """Return whether all arrays agree within the tolerance of the type."""
    pairs = ((a.detach().double(), torch.as_tensor(b).detach().double()) for a, b in zip(found, wanted, strict=True))
    return all(float((a - b).abs().max()) <= TOLERANCE[dtype] * float(b.abs().max()) for a, b in pairs)


def bfloat16(enabled=True):
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


def check_bfloat16(instruction_set, run):
    """Check that `run(setting)` under autocast is closer to float32 on the engine than in the definition."""
    want = run("off")
    with bfloat16():
        found, rounded = run(instruction_set), run("off")
    for exact, got, autocast_got in zip(want, found, rounded, strict=True):
        assert got.dtype == torch.float32
        error, allowed = (float((part - exact).detach().norm()) for part in (got, autocast_got))
        assert error < allowed
    assert all((got != exact).any() for exact, got in zip(want[:3], found, strict=False))  # products were rounded
    return found
