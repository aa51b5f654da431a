"""Tests the engine's recurrent layers: the same bits in any batch, accurate σ and tanh, operators, and selection."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import peephole
from peephole import engine
from peephole.engine.choice import engine_in_use
from peephole.engine.trainer import EngineTrainer
from peephole.nn import LSTM, LSTMState, LSTMWeights, use_engine
from peephole.nn import lstm as definition
from peephole.nn.layers import run_lstm

from .checks import PEEPHOLES

ROOT = Path(__file__).parents[2]
DTYPES = (torch.float32, torch.float64)
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())
peepholes = pytest.mark.parametrize("peephole", PEEPHOLES)
compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def random_problem(peephole, *, batch, steps, input_size, hidden_size, dtype=torch.float32, seed=0):
    """Return x, lengths, state and weights; the first sequence has all steps, the last has one."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return (torch.randn(*shape, generator=generator, dtype=dtype) * scale).requires_grad_()

    lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
    lengths[0], lengths[-1] = steps, 1
    H = hidden_size
    shapes = {"full": [(3 * H, H)], "diagonal": [(3, H)], "none": []}[peephole]
    weights = [normal(*shape, scale=H**-0.5) for shape in [(4 * H, input_size), (4 * H, H), (4 * H,), *shapes]]
    state = LSTMState(normal(batch, H), normal(batch, H))
    return normal(batch, steps, input_size), lengths, state, LSTMWeights(*weights)


def flat(result):
    """Return outputs and the parts of the final state as one list."""
    out, state = result
    return [out, *state]


@pytest.mark.skipif(compiler is None, reason="without a compiler there is no engine")
def test_the_engine_is_available():
    assert engine.available(), "install the package (pip install -e .) or set PEEPHOLE_LIBRARY"
    assert engine.instruction_sets()[-1] == "generic"


@instruction_sets
@peepholes
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_large_layers_equal_the_definition(instruction_set, peephole, dtype, reverse, num_threads, threads):
    """Several panels, tiles of every height, and more steps than a block of the weights' gradients."""
    threads(num_threads)
    x, lengths, state, weights = random_problem(
        peephole, batch=37, steps=21, input_size=70, hidden_size=83, dtype=dtype
    )
    leaves = [x, *state, *(weight for weight in weights if weight is not None)]
    results = []
    for run in (definition, run_lstm):
        with use_engine(instruction_set):
            found = flat(run(x, lengths, state, weights, reverse=reverse))
        generator = torch.Generator().manual_seed(1)
        loss = sum((part * torch.randn(part.shape, generator=generator, dtype=dtype)).sum() for part in found)
        results.append(found + list(torch.autograd.grad(loss, leaves)))
    assert int(lengths.sum()) > 256
    for want, got in zip(*results, strict=True):
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(got, want, rtol=0, atol=tolerance * float(want.detach().abs().max()))


@instruction_sets
@peepholes
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_a_sequence_has_the_same_bits_in_any_batch(instruction_set, peephole, reverse, threads):
    """Compare it alone, among others, in another order, with more padding and on several numbers of threads."""
    x, lengths, state, weights = random_problem(peephole, batch=23, steps=11, input_size=19, hidden_size=37)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad(), use_engine(instruction_set):
        threads(1)
        want = flat(run_lstm(x, lengths, state, weights, reverse=reverse))
        for num_threads in (1, 2, 5):
            threads(num_threads)
            order = torch.randperm(23, generator=generator)
            padded = torch.nn.functional.pad(x, (0, 0, 0, 4), value=float("nan"))
            got = flat(
                run_lstm(
                    padded[order],
                    lengths[order],
                    LSTMState(state.h[order], state.c[order]),
                    weights,
                    reverse=reverse,
                )
            )
            assert torch.equal(got[0][:, :11], want[0][order])
            assert not got[0][:, 11:].any()
            assert torch.equal(got[1], want[1][order])
            assert torch.equal(got[2], want[2][order])
            for size in (1, 2, 4, 7):
                rows = torch.randperm(23, generator=generator)[:size]
                longest = int(lengths[rows].max())
                own = LSTMState(state.h[rows], state.c[rows])
                few = flat(run_lstm(x[rows, :longest], lengths[rows], own, weights, reverse=reverse))
                assert torch.equal(few[0], want[0][rows, :longest])
                assert torch.equal(few[1], want[1][rows])
                assert torch.equal(few[2], want[2][rows])


@instruction_sets
@peepholes
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_bfloat16_rounds_only_the_operands_of_products(instruction_set, peephole, reverse, threads):
    """The results are closer to float32 than the definition under autocast, which also rounds results and states."""
    threads(2)
    x, lengths, state, weights = random_problem(peephole, batch=37, steps=21, input_size=70, hidden_size=83)
    leaves = [x, *state, *(weight for weight in weights if weight is not None)]
    results = []
    for run, autocast in ((definition, False), (run_lstm, True), (definition, True)):
        with use_engine(instruction_set), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = flat(run(x, lengths, state, weights, reverse=reverse))
        generator = torch.Generator().manual_seed(1)
        loss = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in found)
        results.append(found + list(torch.autograd.grad(loss, leaves)))
    for want, got, autocast_got in zip(*results, strict=True):
        assert got.dtype == torch.float32
        error, allowed = (float((part - want).detach().norm()) for part in (got, autocast_got))
        assert 0 < error < allowed


@instruction_sets
@peepholes
def test_gradients_have_the_same_bits_on_any_number_of_threads(instruction_set, peephole, threads):
    problem = random_problem(peephole, batch=13, steps=25, input_size=33, hidden_size=50)
    x, lengths, state, weights = problem
    leaves = [x, *state, *(weight for weight in weights if weight is not None)]
    found = []
    for num_threads in (1, 2, 5):
        threads(num_threads)
        with use_engine(instruction_set):
            out, last = run_lstm(x, lengths, state, weights)
        found.append(torch.autograd.grad((out * out).sum() + last.c.sum(), leaves))
    for other in found[1:]:
        assert all(torch.equal(own, its) for own, its in zip(found[0], other, strict=True))
    assert all(own.abs().max() > 0 for own in found[0])


@instruction_sets
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_sigmoid_and_tanh_are_accurate(instruction_set, dtype, function):
    """Compare errors in units in the last place, against a wider type, with the bounds in engine/src/simd/vector.h."""
    limit = 87.0 if dtype == torch.float32 else 700.0
    generator = np.random.default_rng(3)
    z = np.concatenate(
        [
            generator.uniform(-limit, limit, 50_001),
            generator.normal(size=50_000),
            generator.normal(size=20_000) * 10.0 ** generator.uniform(-30, 0, 20_000),
        ]
    )
    source = torch.from_numpy(z).to(dtype)
    result = torch.empty_like(source)
    engine.activation(
        function, source.element_size(), len(source), source.data_ptr(), result.data_ptr(), instruction_set
    )
    wide = source.numpy().astype(np.longdouble)
    want = np.tanh(wide) if function == "tanh" else 1 / (1 + np.exp(-wide))
    unit = np.spacing(np.abs(want).astype(source.numpy().dtype)).astype(np.longdouble)
    error = np.abs(result.numpy().astype(np.longdouble) - want) / unit
    worst = int(np.argmax(error))
    bound = 2 if function == "sigmoid" else 3
    assert error[worst] <= bound, f"{function}({z[worst]}): {float(error[worst]):.2f} units in the last place"


@instruction_sets
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sigmoid_and_tanh_of_infinite_large_and_nan_arguments(instruction_set, dtype):
    source = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, 1e4, -1e4], dtype=dtype)
    result = torch.empty_like(source)
    for function, want in {"tanh": [1, -1, None, 0, 1, -1], "sigmoid": [1, 0, None, 0.5, 1, 0]}.items():
        engine.activation(
            function, source.element_size(), len(source), source.data_ptr(), result.data_ptr(), instruction_set
        )
        assert bool(result[2].isnan())
        for got, value in zip(result.tolist(), want, strict=True):
            if value is not None:
                assert abs(got - value) < 1e-37


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
class TestOperators:
    @peepholes
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("operand", ["as_is", "bf16"])
    def test_opcheck(self, peephole, dtype, operand):
        """Without padded steps or units, which leave uninitialised elements in `saved` that opcheck would compare."""
        x, lengths, state, weights = random_problem(
            peephole, batch=4, steps=4, input_size=2, hidden_size=16, dtype=dtype
        )
        lengths[:] = 4
        if operand == "bf16":
            if dtype == torch.float64:
                pytest.skip("bfloat16 operands have sums in float32")
            x = torch.cat([x] * 8, 2).detach().requires_grad_()  # 16 inputs, also a multiple of the vector width
            weights = weights._replace(weight_input=torch.cat([weights.weight_input] * 8, 1).detach().requires_grad_())
        arguments = (x, lengths, *state, *weights, None, "lstm", True, operand, engine.instruction_sets()[0])
        torch.library.opcheck(torch.ops.peephole.recurrent_layer.default, arguments)

    def test_transposed_and_expanded_arguments_are_accepted(self):
        x, lengths, _, weights = random_problem("full", batch=5, steps=4, input_size=3, hidden_size=6)
        x, lengths = x.detach().transpose(0, 1).contiguous().transpose(0, 1), lengths.to(torch.int32)
        state = LSTMState(*(torch.full((1, 6), value).expand(5, 6) for value in (0.3, -0.4)))
        weights = weights._replace(weight_hidden=weights.weight_hidden.detach().t().contiguous().t())
        for got, want in zip(
            flat(run_lstm(x, lengths, state, weights)), flat(definition(x, lengths, state, weights)), strict=True
        ):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-6)

    def test_backward_twice_gives_the_same_bits(self):
        x, lengths, state, weights = random_problem("full", batch=5, steps=4, input_size=3, hidden_size=6)
        out, _ = run_lstm(x, lengths, state, weights)
        first, second = (torch.autograd.grad(out.sum(), x, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)
        assert first.abs().max() > 0

    def test_concurrent_calls_give_the_same_bits(self):
        problem = random_problem("full", batch=16, steps=9, input_size=20, hidden_size=40)
        with torch.no_grad():
            want = flat(run_lstm(*problem))
            with ThreadPoolExecutor(4) as pool:
                for result in pool.map(lambda _: run_lstm(*problem), range(40)):
                    assert all(map(torch.equal, flat(result), want))

    def test_a_forked_child_computes_the_same_bits(self):
        script = (
            "import os, torch\n"
            "torch.set_num_threads(2)\n"
            "from peephole.nn import LSTM\n"
            "layers, x, lengths = LSTM(8, 40), torch.ones(6, 3, 8), torch.tensor([3] * 6)\n"
            "want = layers(x, lengths)[0]\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    os._exit(0 if torch.equal(layers(x, lengths)[0], want) else 3)\n"
            "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        )
        subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)


class TestChoice:
    def test_off_selects_the_definition(self, monkeypatch):
        monkeypatch.setattr(engine.LSTMProblem, "forward", fail)
        problem = random_problem("full", batch=2, steps=3, input_size=2, hidden_size=2)
        with use_engine("off"):
            assert engine_in_use() is None
            run_lstm(*problem)

    @pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
    def test_auto_selects_the_engine(self, monkeypatch):
        monkeypatch.setattr(engine.LSTMProblem, "forward", fail)
        assert engine_in_use() == engine.instruction_sets()[0]
        with pytest.raises(AssertionError, match="the engine was called"):
            LSTM(2, 2)(torch.ones(1, 2, 2), torch.tensor([2]))

    def test_unsupported_types_are_computed_by_the_definition(self, monkeypatch):
        monkeypatch.setattr(engine.LSTMProblem, "forward", fail)
        layers = LSTM(2, 2)
        with torch.autocast("cpu", torch.float16):
            layers(torch.ones(1, 2, 2), torch.tensor([2]))
        layers.bfloat16()(torch.ones(1, 2, 2, dtype=torch.bfloat16), torch.tensor([2]))

    def test_the_error_for_an_unknown_setting_names_it(self):
        with pytest.raises(ValueError, match=r"wanted one of auto, off.*got 'sse9'"), use_engine("sse9"):
            pass

    @pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
    def test_training_uses_the_configured_engine(self, monkeypatch, tmp_path):
        monkeypatch.setattr(engine.LSTMProblem, "forward", fail)  # the layers in PyTorch's steps
        monkeypatch.setattr(EngineTrainer, "step", fail)  # the engine's own steps
        pairs = tmp_path / "pairs.tsv"
        pairs.write_text("".join(f"{word}\t{word[::-1]}\n" for word in ("ab", "ba", "abc", "bca", "cab", "acb")))
        sizes = {"hidden_size": 4, "embedding_size": 2, "steps": 2, "overwrite": True, "dev_fraction": 0.3}
        peephole.train(pairs, out=tmp_path / "off.safetensors", engine="off", **sizes)
        for settings in ({}, {"coverage_loss": 0.1, "attention": "coverage"}):
            with pytest.raises(AssertionError, match="the engine was called"):
                peephole.train(pairs, out=tmp_path / "auto.safetensors", engine="auto", **sizes, **settings)


def fail(*_args, **_keywords):
    raise AssertionError("the engine was called")
