"""Tests layer normalisation inside the cells, (44)-(46): layers and whole models against the oracle, and wrong ones."""

from __future__ import annotations

import math

import pytest
import torch

import peephole.nn
from peephole import engine
from peephole.nn import gru, gru_cell, lstm, lstm_cell, use_engine
from peephole.nn.backends import Request, find
from peephole.nn.cells import GRUWeights, LSTMState, LSTMWeights
from peephole.nn.normalization import CellNorm, normalize
from rejection import rejected_by_comparison

from . import wrong_norms
from .changes import change_text
from .checks import Case, check_gru, check_layers, check_lstm
from .network_checks import (
    check,
    check_dropout,
    check_mixed_precision,
    check_sampling_of_gold_symbols,
    check_steps,
    make,
)
from .test_recurrent import random, random_arguments
from .test_seq2seq import CELLS
from .wrong_norms import WRONG_GRUS, WRONG_LSTMS, WRONG_SCALES

cells = pytest.mark.parametrize(("cell", "peephole"), CELLS)
SHAPES = {
    "padded": {"padding": math.nan},
    "saturated gates": {"input_scale": 20.0},
    "one step": {"lengths": (1, 1), "steps": 1},
}


def check_direction(function, case):
    (check_lstm if case.cell == "lstm" else check_gru)(function, case)


@cells
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_one_direction_equals_the_oracle(cell, peephole, reverse):
    check_direction(
        lstm if cell == "lstm" else gru, Case(cell, peephole, reverse=reverse, layer_norm=True, padding=math.nan)
    )


@cells
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_layers_equal_the_oracle(cell, peephole, dtype):
    module = peephole_module(cell)
    sizes = {"num_layers": 2, "lengths": (2, 3), "steps": 3, "residual": True}
    check_layers(module, Case(cell, peephole, dtype, layer_norm=True, **sizes))


def peephole_module(cell):
    return peephole.nn.LSTM if cell == "lstm" else peephole.nn.GRU


@pytest.mark.parametrize(("cell", "peephole"), [CELLS[0], CELLS[3]])
def test_gradcheck_of_one_direction_and_of_one_step(cell, peephole):
    x, lengths, state, weights = random_arguments(cell, peephole)
    sizes = [(12,), (3,), (3,)] if cell == "lstm" else [(9,)]
    norms = [random(*size, seed=30 + index) for index, size in enumerate(sizes)]

    def run(x, *rest, step=False):
        rest, norm = rest[: -len(norms)], CellNorm(*rest[-len(norms) :])
        if cell == "lstm":
            given = LSTMState(*rest[:2]), LSTMWeights(*rest[2:])
            if step:
                return tuple(lstm_cell(x[:, 0], *given, norm))
            out, final = lstm(x, lengths, *given, norm=norm)
            return out, *final
        given = rest[0], GRUWeights(*rest[1:])
        return gru_cell(x[:, 0], *given, norm) if step else gru(x, lengths, *given, norm=norm)

    torch.autograd.gradcheck(run, (x, *state, *weights, *norms))
    torch.autograd.gradcheck(lambda *given: run(*given, step=True), (x, *state, *weights, *norms))


@cells
def test_models_equal_the_oracle(cell, peephole):
    depth = {"encoder_layers": 2, "decoder_layers": 2, "encoder_size": 6, "layer_norm": True}
    check(*make(cell, peephole, **depth))
    check_dropout(*make(cell, peephole, **depth))
    check_steps(*make(cell, peephole, **depth))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_all_kinds_together_equal_the_oracle(cell):
    zoneout = (0.2, 0.4) if cell == "lstm" else (0.2, 0.0)
    settings = {"encoder_layers": 3, "decoder_layers": 3, "encoder_size": 6}
    settings |= {"layer_norm": True, "residual": True, "zoneout": zoneout}
    model, config = make(cell, "full" if cell == "lstm" else "none", **settings)
    check(model, config)
    check_dropout(model, config, variational=True)
    check_sampling_of_gold_symbols(model)


def test_gradients_in_mixed_precision_are_close_to_single_precision():
    check_mixed_precision(make(layer_norm=True, dtype=torch.float32)[0])


def test_equal_numbers_become_the_bias():
    z = torch.full((2, 6), 3.0)
    assert torch.equal(normalize(z, torch.ones(6), torch.arange(6.0), 2), torch.arange(6.0).expand(2, 6))


def test_initial_gains_are_1_and_draw_no_numbers():
    torch.manual_seed(0)
    plain = peephole.nn.LSTM(3, 4, 2).state_dict()
    torch.manual_seed(0)
    normalized = peephole.nn.LSTM(3, 4, 2, layer_norm=True).state_dict()
    assert all(torch.equal(value, normalized[name]) for name, value in plain.items())
    added = {name: value for name, value in normalized.items() if name not in plain}
    wanted = {"gain": torch.ones(16), "cell_gain": torch.ones(4), "cell_bias": torch.zeros(4)}
    assert len(added) == 6
    assert all(torch.equal(value, wanted[name.split(".")[-1]]) for name, value in added.items())


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
@pytest.mark.parametrize("operator", ["recurrent_layer", "decoder"])
def test_training_on_the_engine_is_declined_by_name(operator):
    kinds = make(layer_norm=True)[0].decoder.kinds()
    with use_engine("auto"):
        assert find(Request(operator, kinds, "cpu", "float32")) == (
            None,
            "engine: has no normalization of kind 'layer'",
        )


def right_of(cell):
    return wrong_norms.right_norm_lstm if cell == "lstm" else wrong_norms.right_norm_gru


@cells
@pytest.mark.parametrize("shape", SHAPES)
def test_right_cell_is_accepted(cell, peephole, shape):
    case = Case(cell, peephole, layer_norm=True, **SHAPES[shape])
    check_direction(lstm if cell == "lstm" else gru, case)
    check_direction(right_of(cell), case)


@pytest.mark.parametrize("change", WRONG_LSTMS, ids=lambda change: change.name)
def test_wrong_lstm_is_rejected(change):
    for form in change.forms:
        with rejected_by_comparison(rf"^{change.seen_in}.* at \("):
            wrong = change_text(wrong_norms.right_norm_lstm, change.right, change.wrong)
            check_lstm(wrong, Case(peephole=form, layer_norm=True))


@pytest.mark.parametrize("change", WRONG_GRUS, ids=lambda change: change.name)
def test_wrong_gru_is_rejected(change):
    wrong = change_text(wrong_norms.right_norm_gru, change.right, change.wrong)
    with rejected_by_comparison(rf"^{change.seen_in}.* at \("):
        check_gru(wrong, Case("gru", "none", layer_norm=True))


@pytest.mark.parametrize("change", WRONG_SCALES, ids=lambda change: change.name)
def test_wrong_scale_is_rejected(change, monkeypatch):
    monkeypatch.setattr(wrong_norms, "scaled", change_text(wrong_norms.scaled, change.right, change.wrong))
    with rejected_by_comparison(rf"^{change.seen_in}.* at \("):
        check_lstm(wrong_norms.right_norm_lstm, Case(layer_norm=True))
