"""Tests the engine's GRU layers: large sizes, the same bits in any batch, number formats, and the operator.

test_recurrent.py, which runs on every instruction set, compares them with the oracle.
"""

from __future__ import annotations

import pytest
import torch

from peephole import engine
from peephole.errors import ShapeError
from peephole.nn import GRUWeights, use_engine
from peephole.nn import gru as definition
from peephole.nn.layers import run_gru

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())
directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
DTYPES = (torch.float32, torch.float64)


def random_problem(*, batch, steps, input_size, hidden_size, dtype=torch.float32):
    """Return x, lengths, state and weights; the first sequence has all steps, the last has one."""
    draw = torch.Generator().manual_seed(1)

    def normal(*shape, scale=1.0):
        return (torch.randn(*shape, generator=draw, dtype=dtype) * scale).requires_grad_()

    lengths = torch.randint(1, steps + 1, (batch,), generator=draw)
    lengths[0], lengths[-1] = steps, 1
    G = 3 * hidden_size
    shapes = [(G, input_size), (G, hidden_size), (G,), (G,)]
    weights = GRUWeights(*(normal(*shape, scale=hidden_size**-0.5) for shape in shapes))
    return normal(batch, steps, input_size), lengths, normal(batch, hidden_size), weights


def results_of(run, problem, *, reverse=False):
    """Return the results, and the gradients of a random linear function of them."""
    x, lengths, state, weights = problem
    found = run(x, lengths, state, weights, reverse=reverse)
    draw = torch.Generator().manual_seed(2)
    loss = sum((part * torch.randn(part.shape, generator=draw)).sum() for part in found)
    return [*found, *torch.autograd.grad(loss, [x, state, *weights])]


@instruction_sets
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@directions
@pytest.mark.parametrize("num_threads", [1, 3])
def test_large_layers_equal_the_definition(instruction_set, dtype, reverse, num_threads, threads):
    """Several panels, tiles of every height, and more steps than a block of the weights' gradients."""
    threads(num_threads)
    problem = random_problem(batch=37, steps=21, input_size=70, hidden_size=83, dtype=dtype)
    assert int(problem[1].sum()) > 256
    with use_engine(instruction_set):
        got_all = results_of(run_gru, problem, reverse=reverse)
    for got, want in zip(got_all, results_of(definition, problem, reverse=reverse), strict=True):
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(got, want, rtol=0, atol=tolerance * float(want.detach().abs().max()))


@instruction_sets
@directions
def test_a_sequence_has_the_same_bits_in_any_batch(instruction_set, reverse, threads):
    """Compare it alone, among others, in another order, with NaN as padding and on several numbers of threads."""
    x, lengths, state, weights = random_problem(batch=23, steps=11, input_size=19, hidden_size=37)
    draw = torch.Generator().manual_seed(2)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 4), value=float("nan"))
    with torch.no_grad(), use_engine(instruction_set):
        threads(1)
        want = run_gru(x, lengths, state, weights, reverse=reverse)
        for num_threads in (1, 2, 5):
            threads(num_threads)
            for size in (1, 2, 4, 7, 23):
                rows = torch.randperm(23, generator=draw)[:size]
                out, last = run_gru(padded[rows], lengths[rows], state[rows], weights, reverse=reverse)
                assert torch.equal(out[:, :11], want[0][rows])
                assert not out[:, 11:].any()
                assert torch.equal(last, want[1][rows])


@instruction_sets
def test_gradients_have_the_same_bits_on_any_number_of_threads(instruction_set, threads):
    problem = random_problem(batch=13, steps=25, input_size=33, hidden_size=50)
    found = []
    for num_threads in (1, 2, 5):
        threads(num_threads)
        with use_engine(instruction_set):
            found.append(results_of(run_gru, problem))
    for other in found[1:]:
        assert all(torch.equal(own, its) for own, its in zip(found[0], other, strict=True))


@instruction_sets
@directions
def test_bfloat16_rounds_only_the_operands_of_products(instruction_set, reverse, threads):
    """The results are closer to float32 than the definition under autocast, which also rounds results and states."""
    threads(2)
    problem = random_problem(batch=37, steps=21, input_size=70, hidden_size=83)
    results = []
    for run, autocast in ((definition, False), (run_gru, True), (definition, True)):
        with use_engine(instruction_set), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            results.append(results_of(run, problem, reverse=reverse))
    for want, got, autocast_got in zip(*results, strict=True):
        assert got.dtype == torch.float32
        error, allowed = (float((part - want).detach().norm()) for part in (got, autocast_got))
        assert 0 < error < allowed


@pytest.mark.parametrize(
    ("dtype", "operand"), [(torch.float32, "as_is"), (torch.float64, "as_is"), (torch.float32, "bf16")]
)
def test_opcheck(dtype, operand):
    """Without padded steps or units, which leave uninitialised elements in `saved` that opcheck would compare."""
    x, lengths, state, weights = random_problem(batch=4, steps=4, input_size=16, hidden_size=16, dtype=dtype)
    lengths[:] = 4
    *given, bias_hidden = weights
    settings = "gru", True, operand, engine.instruction_sets()[0]
    arguments = (x, lengths, state, None, *given, None, bias_hidden, *settings)
    torch.library.opcheck(torch.ops.peephole.recurrent_layer.default, arguments)


@pytest.mark.parametrize("name", ["h", *GRUWeights._fields])
def test_the_error_for_a_wrong_shape_names_the_argument(name):
    x, lengths, state, weights = random_problem(batch=3, steps=4, input_size=2, hidden_size=5)
    if name == "h":
        state = torch.zeros(3, 4)
    else:
        weights = weights._replace(**{name: torch.zeros(16, *getattr(weights, name).shape[1:])})
    with pytest.raises(ShapeError, match=f"^{name}: wanted shape"):
        run_gru(x, lengths, state, weights)
