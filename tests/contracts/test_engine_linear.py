"""Tests the engine's linear product: values and gradients, in bfloat16, too, and arguments of any layout.

test_engine_output.py tests what it shares with the output layer: equal bits, the operators, the choice of the engine.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from peephole.nn.linear import linear

from .output_problems import agree, check_bfloat16, dtypes, instruction_sets, linear_problem, needs_engine, run_linear

LINEAR_SIZES = [(1, 1, 1), (5, 3, 2), (37, 70, 83), (600, 48, 66), (2, 64, 256)]  # rows, inputs, outputs


@instruction_sets
@dtypes
@pytest.mark.parametrize("sizes", LINEAR_SIZES, ids=str)
@pytest.mark.parametrize("num_threads", [1, 3])
def test_linear_and_its_gradients_equal_numpy(instruction_set, dtype, sizes, num_threads, threads):
    threads(num_threads)
    x, weight, bias, cotangent = linear_problem(*sizes, dtype=dtype)
    X, W, b, d = (tensor.detach().double().numpy() for tensor in (x, weight, bias, cotangent))
    wanted = [X @ W.T + b, d @ W, d.T @ X, d.sum(0)]
    assert agree(run_linear(instruction_set, x, weight, bias, cotangent), wanted, dtype)
    assert agree(run_linear(instruction_set, x, weight, None, cotangent), [wanted[0] - b, *wanted[1:3]], dtype)


@instruction_sets
@pytest.mark.parametrize("sizes", [(37, 70, 83), (601, 49, 67), (5, 3, 1)], ids=str)
@pytest.mark.parametrize("num_threads", [1, 3])
def test_bfloat16_rounds_only_the_operands_of_linear(instruction_set, sizes, num_threads, threads):
    """The gradient of the bias is not a product, so it equals that of float32."""
    threads(num_threads)
    problem = linear_problem(*sizes)
    found = check_bfloat16(instruction_set, lambda setting: run_linear(setting, *problem))
    assert agree(found, rounded_linear(*problem), torch.float32)


def rounded_linear(x, weight, bias, cotangent):
    """Return y and its gradients, computed in float64 from operands rounded to bfloat16."""
    X, W, d = (tensor.detach().bfloat16().double() for tensor in (x, weight, cotangent))
    return [X @ W.T + bias.double(), d @ W, d.T @ X, cotangent.double().sum(0)]


@needs_engine
class TestOperators:
    def test_transposed_and_higher_dimensional_arguments_are_accepted(self):
        x, weight, bias, _ = linear_problem(12, 5, 6)
        turned, weight = x.detach().view(3, 4, 5).transpose(0, 1), weight.detach().t().contiguous().t()
        torch.testing.assert_close(linear(turned, weight, bias), F.linear(turned, weight, bias), rtol=0, atol=1e-5)
        assert linear(turned, weight).shape == (4, 3, 6)
