"""Tests the loss of a teacher, (69): against NumPy, in a network's loss, on the engine; wrong ones are rejected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.engine.problems import OutputLossProblem
from peephole.errors import ConfigError
from peephole.nn import Noise
from peephole.nn.copying import CopyOutput
from peephole.nn.loss import Teacher, loss_sum, teacher_loss_sum
from peephole.nn.outputs import Readouts
from peephole.symbols import EOS, PAD
from rejection import rejected_by_comparison

from . import oracle
from .changes import change_text
from .checks import assert_close
from .network_checks import batch, make
from .output_problems import instruction_sets, needs_engine
from .training_checks import exact_shares
from .wrong_losses import WRONG_TEACHER_LOSSES, right_teacher_loss

TARGET = np.array([[4, 3, EOS, 0], [1, EOS, 0, 0], [3, 3, 1, EOS]])
V, K = 5, 3
DRAW = np.random.default_rng(0)
LOGITS = 2 * DRAW.normal(size=(*TARGET.shape, V))
SYMBOLS = DRAW.permuted(np.tile(np.arange(V), (*TARGET.shape, 1)), axis=2)[..., :K]
SHARES = DRAW.dirichlet(np.full(K, 0.5), TARGET.shape)


def wanted_loss(logits: Any) -> Any:
    """Return the loss of scores, (3, 4, V), symbol by symbol."""
    total = 0.0
    for row, step in np.ndindex(TARGET.shape):
        if TARGET[row, step]:
            p = oracle.softmax(logits[row, step])
            for symbol, share in zip(SYMBOLS[row, step], SHARES[row, step], strict=True):
                total = total - share * np.log(p[symbol])
    return total


def teacher(weight: float = 1.0) -> Teacher:
    return Teacher(torch.tensor(SYMBOLS), torch.tensor(SHARES), weight)


def check_loss(loss: Any) -> None:
    """Compare the value and the gradient of a function like `teacher_loss_sum` with the loop."""
    logits = torch.tensor(LOGITS, requires_grad=True)
    found = loss(logits, torch.tensor(TARGET), teacher())
    assert_close(found, wanted_loss(LOGITS), "loss", torch.float64)
    wanted = oracle.gradients(lambda given: wanted_loss(given["logits"]), {"logits": LOGITS})["logits"]
    assert_close(torch.autograd.grad(found, logits)[0], wanted, "gradient", torch.float64)


@pytest.mark.parametrize("loss", [teacher_loss_sum, right_teacher_loss], ids=["definition", "right loss"])
def test_it_equals_a_loop_over_symbols(loss: Any) -> None:
    check_loss(loss)


@pytest.mark.parametrize("change", WRONG_TEACHER_LOSSES, ids=lambda change: change.name)
def test_a_wrong_one_is_rejected(change: Any) -> None:
    with rejected_by_comparison(rf"^{change.seen_in}\b"):
        check_loss(change_text(right_teacher_loss, change.right, change.wrong))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_it_has_its_weight_in_the_loss(weight: float) -> None:
    """Label smoothing is that of the gold symbols, which have the rest of the weight."""
    logits, target = torch.tensor(LOGITS), torch.tensor(TARGET)
    found = loss_sum(logits, target, 0.1, 0.0, teacher(weight))
    wanted = (1 - weight) * loss_sum(logits, target, 0.1) + weight * wanted_loss(LOGITS)
    torch.testing.assert_close(found, wanted)


def test_a_teacher_of_gold_symbols_changes_nothing() -> None:
    logits, target = torch.tensor(LOGITS), torch.tensor(TARGET)
    gold = Teacher(target[..., None], torch.ones(*TARGET.shape, 1), 0.4)
    torch.testing.assert_close(loss_sum(logits, target, 0.0, 0.0, gold), loss_sum(logits, target, 0.0))


@pytest.mark.parametrize("sampling", [0.0, 1e-12], ids=["gold symbols fed", "scheduled sampling"])
def test_a_network_learns_from_it(sampling: float) -> None:
    network, _ = make()
    source, lengths, target, target_lengths = batch()
    target = target.where(torch.arange(target.shape[1]) < target_lengths[:, None], PAD)
    draw = torch.Generator().manual_seed(2)
    symbols = torch.randint(1, network.decoder.output.out_features, (*target.shape, 2), generator=draw)
    given = Teacher(symbols, torch.full(symbols.shape, 0.5, dtype=torch.float64), 0.7)
    noise = Noise(seed=1, step=1, examples=torch.arange(len(target)), rate=0.3)
    how = {"noise": noise, "sampling_probability": sampling}
    found = network.loss_sum(source, lengths, target, teacher=given, **how)
    logits = network(source, lengths, target, noise=noise)
    torch.testing.assert_close(found, loss_sum(logits, target, 0.0, 0.0, given))
    assert abs(float((found - network.loss_sum(source, lengths, target, **how)).detach())) > 0.1


def test_a_model_that_copies_has_none() -> None:
    read = Readouts(
        torch.zeros(2, 1, 3), torch.zeros(2, 1, 4), torch.ones(2, 1, 1), torch.ones(2, 1, dtype=torch.int64)
    )
    given = Teacher(torch.ones(2, 1, 1, dtype=torch.int64), torch.ones(2, 1, 1), 0.5)
    with pytest.raises(ConfigError, match="teacher: wanted none for a model that copies, got one"):
        CopyOutput(3, 5, 4).loss_sum(read, torch.full((2, 1), EOS), 0.1, 0.0, given)


def run_on_the_engine(arrays: dict[str, Any], problem: OutputLossProblem, instruction_set: str) -> dict[str, Any]:
    """Return the loss and all gradients."""
    kind = arrays["readouts"].dtype
    found = {name: np.full(arrays[name].shape, np.nan, kind) for name in ("readouts", "weight", "bias")}
    loss, scratch = np.zeros(1, kind), np.zeros(problem.scratch_bytes(gradients=True), np.uint8)
    given = {**arrays, "loss": loss, "scratch": scratch}
    addresses = {name: array.ctypes.data for name, array in given.items()}
    problem.run(addresses, {name: array.ctypes.data for name, array in found.items()}, instruction_set)
    return {"loss": loss, **found}


def output_problem(rows: int, hidden_size: int, symbols: int, kind: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
    """Return a problem with a teacher and its arrays; every fifth row and the last are padding."""
    draw = np.random.default_rng(rows)
    count = min(4, symbols)
    shapes = {"readouts": (rows, hidden_size), "weight": (symbols, hidden_size), "bias": (symbols,)}
    arrays: dict[str, Any] = {name: draw.normal(size=shape).astype(kind) for name, shape in shapes.items()}
    target = draw.integers(1, symbols, rows)
    if rows > 1:
        target[::5] = target[-1] = PAD
    taught = draw.permuted(np.tile(np.arange(symbols, dtype=np.int32), (rows, 1)), axis=1)[:, :count]
    arrays |= {"targets": target, "taught_symbols": np.ascontiguousarray(taught)}
    arrays["taught_shares"] = exact_shares(draw, count, (rows,))
    sizes = (rows, hidden_size, symbols, PAD, 0.1)
    scalar = np.dtype(kind).itemsize
    return OutputLossProblem(scalar, "as_is", 2, *sizes, teacher_weight=0.6, num_taught=count, **more), arrays


def definition_of(arrays: dict[str, Any], weight: float, consistency: float = 0.0) -> dict[str, Any]:
    """Return what the definition computes in float64."""
    leaves = {name: torch.tensor(arrays[name]).double().requires_grad_() for name in ("readouts", "weight", "bias")}
    shape = (2, -1) if consistency else (1, -1)
    parts = (torch.tensor(arrays[name]) for name in ("targets", "taught_symbols", "taught_shares"))
    target, symbols, shares = (part.reshape(*shape, *part.shape[1:]) for part in parts)
    logits = leaves["readouts"] @ leaves["weight"].T + leaves["bias"]
    given = Teacher(symbols, shares.double(), weight)
    loss = loss_sum(logits.reshape(*target.shape, -1), target, 0.1, consistency, given)
    return {
        "loss": loss[None].detach(),
        **dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()]), strict=True)),
    }


def assert_equal(got: dict[str, Any], wanted: dict[str, Any], tolerance: float) -> None:
    for name, array in wanted.items():
        largest = float(array.abs().max())
        assert np.abs(got[name] - array.numpy()).max() <= tolerance * largest, name


@needs_engine
@instruction_sets
@pytest.mark.parametrize(("kind", "tolerance"), [(np.float32, 2e-5), (np.float64, 1e-12)], ids=["float", "double"])
@pytest.mark.parametrize("sizes", [(1, 1, 2), (9, 5, 40), (70, 33, 83), (300, 48, 600)], ids=str)
@pytest.mark.parametrize("consistency", [0.0, 2.0])
def test_the_engine_computes_that_of_the_definition(
    instruction_set: str, kind: Any, tolerance: float, sizes: Any, consistency: float
) -> None:
    rows, *others = sizes
    problem, arrays = output_problem(rows + rows % 2 * bool(consistency), *others, kind, consistency_loss=consistency)
    if consistency:
        half = len(arrays["targets"]) // 2
        arrays["targets"][half:] = arrays["targets"][:half]
    found = run_on_the_engine(arrays, problem, instruction_set)
    assert_equal(found, definition_of(arrays, 0.6, consistency), tolerance)


@needs_engine
@pytest.mark.parametrize("wrong", [-1, 40], ids=str)
def test_the_engine_refuses_what_is_no_symbol(wrong: int) -> None:
    problem, arrays = output_problem(9, 5, 40, np.float32)
    arrays["taught_symbols"][0] = wrong  # of padding, which is not read
    run_on_the_engine(arrays, problem, engine.instruction_sets()[0])
    arrays["taught_symbols"][1, 2] = wrong
    with pytest.raises(IndexError, match="wanted symbols from 0 to 39, got others too"):
        run_on_the_engine(arrays, problem, engine.instruction_sets()[0])
