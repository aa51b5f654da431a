"""Tests the contexts against the oracle: attention, (15)-(17), and the last state or the mean of all, (8)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peephole.errors import ShapeError
from peephole.nn import AdditiveAttention, DotAttention, GeneralAttention, LSTMState, fixed_context
from rejection import rejected_by_comparison

from . import oracle
from .changes import change_text
from .checks import DTYPES, assert_close
from .wrong_attentions import KINDS, WRONG_ATTENTIONS, right_attention

B, T, Q, M, A = 3, 5, 4, 3, 2
LENGTHS = (3, 5, 1)
VALID = torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def numbers(kind):
    """Draw query, memory (random also past each length) and parameters, which float32 represents exactly."""
    rng = np.random.default_rng(5)
    query_size = M if kind == "dot" else Q
    shapes = {"query": (B, query_size), "memory": (B, T, M)}
    if kind == "additive":
        shapes |= {"weight_query": (A, Q), "weight_keys": (A, M), "vector": (A,)}
    elif kind == "general":
        shapes |= {"weight": (Q, M)}
    return {name: rng.normal(size=shape).astype(np.float32).astype(float) for name, shape in shapes.items()}


def check_attention(attention, kind, dtype=torch.float64):
    """Compare a function (query, memory, valid, *parameters) -> context, weights with the oracle."""
    arrays = numbers(kind)
    rng = np.random.default_rng(6)
    cotangents = rng.normal(size=(B, M)), rng.normal(size=(B, T))

    def expected(values):
        query, memory, *parameters = values.values()
        contexts, weights = [], []
        for b, length in enumerate(LENGTHS):
            context, alpha = oracle.attend(kind, query[b], memory[b, :length], *parameters)
            contexts.append(context)
            weights.append(np.concatenate([alpha, np.zeros(T - length)]))  # padding has weight 0
        return np.array(contexts), np.array(weights)

    def total(values):
        return sum((got * factor).sum() for got, factor in zip(expected(values), cotangents, strict=True))

    leaves = {name: torch.from_numpy(array).to(dtype).requires_grad_() for name, array in arrays.items()}
    query, memory, *parameters = leaves.values()
    got = attention(query, memory, VALID, *parameters)
    for name, one, want in zip(("context", "weights"), got, expected(arrays), strict=True):
        assert_close(one, want, name, dtype)
    factors = [torch.from_numpy(factor).to(dtype) for factor in cotangents]
    own_total = sum((one * factor).sum() for one, factor in zip(got, factors, strict=True))
    found = torch.autograd.grad(own_total, list(leaves.values()), materialize_grads=True)
    wanted = oracle.gradients(total, arrays)
    for name, gradient in zip(leaves, found, strict=True):
        assert_close(gradient, wanted[name], f"gradient of {name}", dtype)


def module_of(kind):
    """Return the attention module of a kind."""
    if kind == "additive":
        return AdditiveAttention(Q, M, A)
    return DotAttention(M, M) if kind == "dot" else GeneralAttention(Q, M)


def run_module(kind):
    """Return a function that runs the module of a kind with given parameters."""
    module = module_of(kind)
    names = [name for name in numbers(kind) if name not in ("query", "memory")]
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())

    class AttentionOfMemory(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = module

        def forward(self, query, memory, valid):
            return self.attention(query, self.attention.keys(memory), memory, valid)[:2]

    def run(query, memory, valid, *parameters):
        values = {f"attention.{name}": value for name, value in zip(names, parameters, strict=True)}
        return torch.func.functional_call(AttentionOfMemory(), values, (query, memory, valid))

    return run


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_attention_equals_the_oracle(kind, dtype):
    check_attention(run_module(kind), kind, dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_of_attention(kind):
    leaves = [torch.from_numpy(array).requires_grad_() for array in numbers(kind).values()]
    run = run_module(kind)
    torch.autograd.gradcheck(lambda query, memory, *rest: run(query, memory, VALID, *rest), leaves)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_padding_are_exactly_zero_and_the_others_sum_to_one(kind):
    query, memory, *parameters = (torch.from_numpy(array) for array in numbers(kind).values())
    memory[~VALID] = 1e6
    _, weights = run_module(kind)(query, memory, VALID, *parameters)
    assert (weights[~VALID] == 0).all()
    assert (weights[VALID] > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(B, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["dot", "general"])
def test_energies_beyond_the_range_of_exp_give_finite_weights(kind):
    query, memory, *parameters = (torch.from_numpy(array).float() for array in numbers(kind).values())
    run = run_module(kind)
    best = run(query, memory, VALID, *parameters)[1].argmax(1)
    _, weights = run(query * 1e5, memory, VALID, *parameters)
    torch.testing.assert_close(weights, torch.eye(T)[best], rtol=0, atol=1e-6)


def test_dot_attention_refuses_different_sizes():
    with pytest.raises(ShapeError, match=r"\b3\b.*\b4\b"):
        DotAttention(4, 3)


def context_arguments():
    """Return random encoder outputs, h and c."""
    rng = np.random.default_rng(8)
    outputs = torch.from_numpy(rng.normal(size=(B, T, M)))
    outputs[~VALID] = 0  # as an encoder returns them
    h, c = (torch.from_numpy(rng.normal(size=(B, M))).requires_grad_() for _ in "hc")
    return outputs.requires_grad_(), h, c


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("kind", ["last", "mean"])
def test_fixed_contexts_equal_the_oracle(kind, cell):
    outputs, h, c = context_arguments()
    context = fixed_context(kind, outputs, LSTMState(h, c) if cell == "lstm" else h, VALID)
    want = [
        oracle.fixed_context(kind, outputs.detach().numpy()[b, :length], h.detach().numpy()[b])
        for b, length in enumerate(LENGTHS)
    ]
    assert_close(context, np.array(want), kind, torch.float64)


@pytest.mark.parametrize("kind", ["last", "mean"])
def test_gradcheck_of_fixed_contexts(kind):
    torch.autograd.gradcheck(
        lambda outputs, h, c: fixed_context(kind, outputs, LSTMState(h, c), VALID), context_arguments()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_right_attention_is_accepted(kind):
    check_attention(right_attention, kind)


@pytest.mark.parametrize("name", WRONG_ATTENTIONS)
def test_wrong_attention_is_rejected(name):
    kinds, right, wrong = WRONG_ATTENTIONS[name]
    attention = change_text(right_attention, right, wrong)
    for kind in kinds:
        seen_in = "gradient" if name.startswith("no gradient") else "(context|weights)"
        with rejected_by_comparison(rf"^{seen_in}.* at \("):
            check_attention(attention, kind)
