"""Checks that compare an implementation of the recurrent layers with the oracle.

The inputs are hostile: unequal lengths, padding beyond the longest sequence that is filled with large numbers or NaN,
non-zero initial states, biases and peepholes, and distinct random numbers everywhere. Outputs, final state and the
gradient of every input and weight are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peephole.nn import GRUWeights, LSTMState, LSTMWeights
from peephole.nn.normalization import CellNorm
from peephole.nn.zoneout import Zoneout

from . import oracle

PEEPHOLES = ("full", "diagonal", "none")
DTYPES = (torch.float64, torch.float32)
# Largest allowed error, relative to the largest absolute value of the tensor.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@dataclass(frozen=True)
class Case:
    """Describes one problem for a recurrent layer; x holds the value `padding` past each sequence's length."""

    cell: str = "lstm"
    peephole: str = "full"
    dtype: torch.dtype = torch.float64
    reverse: bool = False
    num_layers: int = 1
    bidirectional: bool = False
    residual: bool = False
    zoneout: tuple[float, float] = (0.0, 0.0)
    layer_norm: bool = False
    masked: bool = False  # zoneout by masks, not by its rates
    lengths: tuple[int, ...] = (3, 5, 1)
    steps: int = 6
    input_size: int = 2
    hidden_size: int = 3
    input_scale: float = 1.0
    padding: float = 9.0

    def __str__(self) -> str:
        changed = [f"{name}={value}" for name, value in vars(self).items() if value != getattr(Case(), name)]
        return " ".join(changed).replace("torch.", "") or "default"

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("h", "c") if self.cell == "lstm" else ("h",)

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1


def check_lstm(lstm: Callable[..., Any], case: Case) -> None:
    """Compare a function like `peephole.nn.lstm` with the oracle."""
    leaves = _leaves(case)
    weights = LSTMWeights(*(leaves.get(f"0.0.{name}") for name in LSTMWeights._fields))
    state = LSTMState(leaves["h"][:, 0], leaves["c"][:, 0])
    out, final = lstm(leaves["x"], _lengths(case), state, weights, reverse=case.reverse, **_variant(case, leaves))
    _compare({"out": out, "h": final.h[:, None], "c": final.c[:, None]}, leaves, case)


def check_gru(gru: Callable[..., Any], case: Case) -> None:
    """Compare a function like `peephole.nn.gru` with the oracle."""
    leaves = _leaves(case)
    weights = GRUWeights(*(leaves[f"0.0.{name}"] for name in GRUWeights._fields))
    out, final = gru(
        leaves["x"], _lengths(case), leaves["h"][:, 0], weights, reverse=case.reverse, **_variant(case, leaves)
    )
    _compare({"out": out, "h": final[:, None]}, leaves, case)


def check_layers(module: Callable[..., nn.Module], case: Case) -> None:
    """Compare a module like `peephole.nn.LSTM` or `peephole.nn.GRU` with the oracle."""
    leaves = _leaves(case)
    form = {"peephole": case.peephole} if case.cell == "lstm" else {}
    sizes = (case.input_size, case.hidden_size, case.num_layers, case.bidirectional)
    zoneout = case.zoneout if case.cell == "lstm" else case.zoneout[0]
    layers = module(*sizes, **form, residual=case.residual, zoneout=zoneout, layer_norm=case.layer_norm)
    layers = layers.to(case.dtype)
    set_weights(layers, leaves)
    if case.cell == "lstm":
        out, final = layers(leaves["x"], _lengths(case), LSTMState(leaves["h"], leaves["c"]))
        got = {"out": out, "h": final.h, "c": final.c}
    else:
        out, final = layers(leaves["x"], _lengths(case), leaves["h"])
        got = {"out": out, "h": final}
    parameters = {name: own for name, own in weights_of(layers).items() if own is not None}
    assert parameters.keys() | set(case.state_names) | {"x"} == leaves.keys()
    _compare(got, leaves | parameters, case)


def weights_of(layers: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of a recurrent module under the names `layer.direction.weight`."""
    return {
        f"{layer}.{direction}.{name}": parameter
        for layer, directions in enumerate(layers.layers)
        for direction, weights in enumerate(directions)
        for name, parameter in weights.named_parameters()
    }


def set_weights(layers: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy values into the weights of a recurrent module, by the names of `weights_of`."""
    with torch.no_grad():
        for name, parameter in weights_of(layers).items():
            assert parameter.shape == values[name].shape, name
            parameter.copy_(values[name])


def assert_close(got: Tensor, want: oracle.Array, name: str, dtype: torch.dtype) -> None:
    """Assert that a tensor has the wanted type, shape and values."""
    assert got.dtype == dtype, f"{name}: wanted {dtype}, got {got.dtype}"
    assert tuple(got.shape) == want.shape, f"{name}: wanted shape {want.shape}, got {tuple(got.shape)}"
    scale = np.abs(want).max()
    assert scale > 0, f"{name}: all wanted values are 0, so the comparison is void"
    error = np.abs(got.detach().numpy().astype(float) - want)
    worst = np.unravel_index(np.argmax(error), error.shape)  # argmax treats NaN as the largest
    assert error[worst] <= TOLERANCE[dtype] * scale, (
        f"{name}: wanted {want[worst]:.12g} at {tuple(map(int, worst))}, got {got[worst]:.12g}"
    )


def _compare(got: dict[str, Tensor], leaves: dict[str, Tensor], case: Case) -> None:
    """Compare outputs, final state, and all gradients of a random linear function of them, with the oracle."""
    values, gradients = _expected(replace(case, dtype=torch.float64, padding=0.0))  # neither changes the exact results
    for name, want in values.items():
        assert_close(got[name], want, name, case.dtype)
    cotangents = _cotangents(case)
    total = sum((got[name] * torch.from_numpy(cotangents[name]).to(case.dtype)).sum() for name in got)
    found = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    for name, gradient in zip(leaves, found, strict=True):
        assert_close(gradient, gradients[name], f"gradient of {name}", case.dtype)
    for name, given in _numbers(case).items():
        np.testing.assert_array_equal(leaves[name].detach().numpy(), given, f"{name} was modified")


@cache
def _expected(case: Case) -> tuple[dict[str, oracle.Array], dict[str, oracle.Array]]:
    """Return the oracle's outputs and final state, and the gradients of their inner product with the cotangents."""
    cotangents = _cotangents(case)

    def run(numbers: dict[str, oracle.Array]) -> dict[str, oracle.Array]:
        state = tuple(numbers[name] for name in case.state_names)
        if case.reverse:
            state = tuple(part[:, 0] for part in state)
            weights = _oracle_layers(numbers, case)[0][0]
            out, final = oracle.recurrent(
                numbers["x"], case.lengths, state, weights, reverse=True, shares=_oracle_shares(case)
            )
            final = tuple(part[:, None] for part in final)
        else:
            shares = [_oracle_shares(case)] * (case.num_layers * case.num_directions)
            out, final = oracle.stack(
                numbers["x"], case.lengths, state, _oracle_layers(numbers, case), residual=case.residual, shares=shares
            )
        return {"out": out, **dict(zip(case.state_names, final, strict=True))}

    def total(numbers: dict[str, oracle.Array]) -> oracle.Array:
        return sum((value * cotangents[name]).sum() for name, value in run(numbers).items())

    return run(_numbers(case)), oracle.gradients(total, _numbers(case))


def _variant(case: Case, leaves: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the arguments of `peephole.nn.lstm` for zoneout and layer normalisation, if there are any."""
    found: dict[str, Any] = {}
    if any(case.zoneout):
        shares = [torch.from_numpy(share).to(case.dtype) if case.masked else share for share in _oracle_shares(case)]
        found["zoneout"] = Zoneout(*shares)
    if case.layer_norm:
        found["norm"] = CellNorm(*(leaves.get(f"0.0.{name}") for name in CellNorm._fields))
    return found


def _oracle_shares(case: Case) -> list[Any]:
    """Return the shares of h and c that zoneout keeps: the rates, or random masks (B, T, H) of these means."""
    if not case.masked:
        return list(case.zoneout)
    rng = np.random.default_rng(6)
    shape = (len(case.lengths), case.steps, case.hidden_size)
    return [(rng.random(shape) < rate).astype(float) for rate in case.zoneout]


def _oracle_layers(numbers: dict[str, oracle.Array], case: Case) -> list[list[Any]]:
    kind = oracle.LSTMWeights if case.cell == "lstm" else oracle.GRUWeights
    return [
        [
            kind(*(numbers.get(f"{layer}.{direction}.{name}") for name in kind._fields))
            for direction in range(case.num_directions)
        ]
        for layer in range(case.num_layers)
    ]


def _numbers(case: Case) -> dict[str, oracle.Array]:
    """Draw x, the initial state (B, L·D, H) and the weights, as float64 numbers that float32 represents exactly."""
    rng = np.random.default_rng(2024)
    B, H = len(case.lengths), case.hidden_size
    x = rng.normal(scale=case.input_scale, size=(B, case.steps, case.input_size))
    for b, length in enumerate(case.lengths):
        x[b, length:] = case.padding
    drawn = {"x": x}
    for name in case.state_names:
        drawn[name] = rng.normal(size=(B, case.num_layers * case.num_directions, H))
    for layer in range(case.num_layers):
        width = case.input_size if layer == 0 else H * case.num_directions
        for direction in range(case.num_directions):
            for name, shape in _weight_shapes(case, width).items():
                drawn[f"{layer}.{direction}.{name}"] = rng.normal(scale=0.7, size=shape)
    return {name: array.astype(np.float32).astype(float) for name, array in drawn.items()}


def _weight_shapes(case: Case, width: int) -> dict[str, tuple[int, ...]]:
    H = case.hidden_size
    if case.cell == "gru":
        shapes = {"weight_input": (3 * H, width), "weight_hidden": (3 * H, H)}
        shapes |= {"bias_input": (3 * H,), "bias_hidden": (3 * H,)}
        return shapes | ({"gain": (3 * H,)} if case.layer_norm else {})
    shapes = {"weight_input": (4 * H, width), "weight_hidden": (4 * H, H), "bias": (4 * H,)}
    forms = {"full": {"weight_peephole": (3 * H, H)}, "diagonal": {"weight_peephole": (3, H)}, "none": {}}
    norm = {"gain": (4 * H,), "cell_gain": (H,), "cell_bias": (H,)} if case.layer_norm else {}
    return shapes | forms[case.peephole] | norm


def _cotangents(case: Case) -> dict[str, oracle.Array]:
    """Draw random factors for outputs and final state, non-zero also for outputs past a sequence's length."""
    rng = np.random.default_rng(7)
    B, H, D = len(case.lengths), case.hidden_size, case.num_directions
    shapes = {"out": (B, case.steps, D * H)}
    shapes |= dict.fromkeys(case.state_names, (B, case.num_layers * D, H))
    return {name: rng.normal(size=shape).astype(np.float32).astype(float) for name, shape in shapes.items()}


def _leaves(case: Case) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(case.dtype).requires_grad_() for name, array in _numbers(case).items()}


def _lengths(case: Case) -> Tensor:
    return torch.tensor(case.lengths)
