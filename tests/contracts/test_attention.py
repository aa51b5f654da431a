"""Tests the contexts against the oracle: attention, (15)-(17) and (21)-(25), and the fixed contexts, (8)."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from peephole.errors import ShapeError
from peephole.nn import (
    AdditiveAttention,
    CoverageAttention,
    DotAttention,
    GeneralAttention,
    LocationAttention,
    LSTMState,
    MultiheadAttention,
    fixed_context,
)
from rejection import rejected_by_comparison

from . import oracle
from .changes import change_text
from .checks import DTYPES, assert_close
from .wrong_attentions import KINDS, RIGHT, WRONG_ATTENTIONS

B, N, T, Q, M, A = 3, 3, 5, 4, 4, 6  # N steps
CHANNELS, WIDTH, HEADS = 2, 3, 2
LENGTHS = (3, 5, 1)
VALID = torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def numbers(kind):
    """Draw queries, memory (random also past each length) and parameters, which float32 represents exactly."""
    rng = np.random.default_rng(5)
    shapes = {"queries": (B, N, Q), "memory": (B, T, M)}
    additive = {"weight_query": (A, Q), "weight_keys": (A, M), "vector": (A,)}
    shapes |= {
        "additive": additive,
        "dot": {},
        "general": {"weight": (Q, M)},
        "location": {**additive, "bias": (A,), "filters": (CHANNELS, WIDTH), "weight_location": (A, CHANNELS)},
        "coverage": {**additive, "bias": (A,), "weight_coverage": (A,)},
        "multihead": {**additive, "weight_values": (M, M), "weight_output": (M, M)},
    }[kind]
    return {name: rng.normal(size=shape).astype(np.float32).astype(float) for name, shape in shapes.items()}


def expected(kind, values):
    """Return contexts and weights of N steps by the oracle."""
    queries, memory, *parameters = values.values()
    contexts, weights = [], []
    for b, length in enumerate(LENGTHS):
        state = oracle.first_attention_state(kind, length)
        for query in queries[b]:
            found = oracle.attend(kind, query, memory[b, :length], state, *parameters, num_heads=HEADS)
            context, alpha, state = found
            contexts.append(context)
            weights.append(np.concatenate([alpha, np.zeros(T - length)]))  # padding has weight 0
    return np.array(contexts).reshape(B, N, M), np.array(weights).reshape(B, N, T)


@cache
def expected_gradients(kind):
    """Return the gradients of a random sum of contexts and weights, and the factors of the sum."""
    rng = np.random.default_rng(6)
    factors = rng.normal(size=(B, N, M)), rng.normal(size=(B, N, T))

    def total(values):
        return sum((got * factor).sum() for got, factor in zip(expected(kind, values), factors, strict=True))

    return oracle.gradients(total, numbers(kind)), factors


def check_attention(attention, kind, dtype=torch.float64):
    """Compare a function (queries, memory, valid, *parameters) -> contexts, weights of N steps with the oracle."""
    arrays = numbers(kind)
    leaves = {name: torch.from_numpy(array).to(dtype).requires_grad_() for name, array in arrays.items()}
    queries, memory, *parameters = leaves.values()
    got = attention(queries, memory, VALID, *parameters)
    for name, one, want in zip(("context", "weights"), got, expected(kind, arrays), strict=True):
        assert_close(one, want, name, dtype)
    wanted, factors = expected_gradients(kind)
    own_total = sum((one * torch.from_numpy(factor).to(dtype)).sum() for one, factor in zip(got, factors, strict=True))
    found = torch.autograd.grad(own_total, list(leaves.values()), materialize_grads=True)
    for name, gradient in zip(leaves, found, strict=True):
        assert_close(gradient, wanted[name], f"gradient of {name}", dtype)


def module_of(kind):
    """Return the attention module of a kind."""
    return {
        "additive": lambda: AdditiveAttention(Q, M, A),
        "dot": lambda: DotAttention(Q, M),
        "general": lambda: GeneralAttention(Q, M),
        "location": lambda: LocationAttention(Q, M, A, CHANNELS, WIDTH),
        "coverage": lambda: CoverageAttention(Q, M, A),
        "multihead": lambda: MultiheadAttention(Q, M, A, HEADS),
    }[kind]()


def run_module(kind):
    """Return a function that runs the module of a kind with given parameters."""
    module = module_of(kind)
    names = [name for name in numbers(kind) if name not in ("queries", "memory")]
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())

    class AttentionOfMemory(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = module

        def forward(self, queries, memory, valid):
            keys, state = self.attention.keys(memory), self.attention.first_state(valid)
            contexts, alphas = [], []
            for query in queries.unbind(1):
                context, weights, state = self.attention(query, keys, memory, valid, state)
                contexts.append(context)
                alphas.append(weights)
            return torch.stack(contexts, 1), torch.stack(alphas, 1)

    def run(queries, memory, valid, *parameters):
        values = {f"attention.{name}": value for name, value in zip(names, parameters, strict=True)}
        return torch.func.functional_call(AttentionOfMemory(), values, (queries, memory, valid))

    return run


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_attention_equals_the_oracle(kind, dtype):
    check_attention(run_module(kind), kind, dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck_of_attention(kind):
    """Two steps, of which the second reads the state of the first, of two sources."""
    arrays = numbers(kind)
    arrays |= {"queries": arrays["queries"][1:, :2], "memory": arrays["memory"][1:]}
    leaves = [torch.from_numpy(array).requires_grad_() for array in arrays.values()]
    run = run_module(kind)
    torch.autograd.gradcheck(lambda queries, memory, *rest: run(queries, memory, VALID[1:], *rest), leaves)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_padding_are_exactly_zero_and_the_others_sum_to_one(kind):
    queries, memory, *parameters = (torch.from_numpy(array) for array in numbers(kind).values())
    memory[~VALID] = 1e6
    for weights in run_module(kind)(queries, memory, VALID, *parameters)[1].unbind(1):
        assert (weights[~VALID] == 0).all()
        assert (weights[VALID] > 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(B, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["dot", "general"])
def test_energies_beyond_the_range_of_exp_give_finite_weights(kind):
    queries, memory, *parameters = (torch.from_numpy(array).float() for array in numbers(kind).values())
    run = run_module(kind)
    best = run(queries, memory, VALID, *parameters)[1].argmax(2)
    _, weights = run(queries * 1e5, memory, VALID, *parameters)
    torch.testing.assert_close(weights, torch.eye(T)[best], rtol=0, atol=1e-6)


def test_dot_attention_refuses_different_sizes():
    with pytest.raises(ShapeError, match=r"\b3\b.*\b4\b"):
        DotAttention(4, 3)


def test_multihead_attention_refuses_sizes_that_its_heads_do_not_divide():
    with pytest.raises(ShapeError, match=r"divides the sizes 6 .* and 4 of the memory, got 4"):
        MultiheadAttention(Q, M, A, 4)
    with pytest.raises(ShapeError, match=r"divides the sizes 6 .* and 4 of the memory, got 3"):
        MultiheadAttention(Q, M, A, 3)


def test_the_weights_of_a_step_are_the_mean_of_the_heads():
    attention = MultiheadAttention(Q, M, A, HEADS).double()
    queries, memory = (torch.from_numpy(numbers("multihead")[name]) for name in ("queries", "memory"))
    keys = attention.keys(memory)
    heads = attention.heads(queries[:, 0], keys, VALID)
    assert heads.shape == (B, T, HEADS)
    assert (heads[:2, :, 0] - heads[:2, :, 1]).abs().max() > 0.01
    torch.testing.assert_close(heads.sum(1), torch.ones(B, HEADS, dtype=torch.float64))
    torch.testing.assert_close(attention(queries[:, 0], keys, memory, VALID).weights, heads.mean(2))


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
    check_attention(RIGHT[kind], kind)


@pytest.mark.parametrize("name", WRONG_ATTENTIONS)
def test_wrong_attention_is_rejected(name):
    kinds, right, wrong = WRONG_ATTENTIONS[name]
    for kind in kinds:
        attention = change_text(RIGHT[kind], right, wrong)
        seen_in = "gradient" if name.startswith("no gradient") else "(context|weights)"
        with rejected_by_comparison(rf"^{seen_in}.* at \("):
            check_attention(attention, kind)
