"""Tests zoneout, (43): by masks in training, by expected values in prediction; layers, whole models, wrong ones."""

from __future__ import annotations

import math

import pytest
import torch

import peephole.nn
from peephole import engine
from peephole.errors import ConfigError
from peephole.nn import Noise, gru, lstm, use_engine
from peephole.nn.backends import Request, find
from rejection import rejected_by_comparison

from .changes import change_text
from .checks import Case, check_gru, check_layers, check_lstm
from .network_checks import PAIRS, batch, check, check_dropout, check_sampling_of_gold_symbols, check_steps, make
from .test_seq2seq import CELLS
from .wrong_zoneouts import WRONG_ZONEOUTS, right_zoneout

RATES = (0.3, 0.6)
cells = pytest.mark.parametrize(("cell", "peephole"), CELLS)


@pytest.fixture(params=["off", *engine.instruction_sets()[:1]], autouse=True, scope="module")
def implementation(request):
    """Run every test with the definition, and with the engine where it has the operators."""
    with use_engine(request.param):
        yield request.param


def rates_of(cell):
    return RATES if cell == "lstm" else (RATES[0], 0.0)


@cells
@pytest.mark.parametrize("masked", [False, True], ids=["rates", "masks"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_one_direction_equals_the_oracle(cell, peephole, masked, reverse, dtype):
    case = Case(cell, peephole, dtype, reverse, zoneout=RATES, masked=masked, padding=math.nan)
    if cell == "lstm":
        check_lstm(lstm, case)
    else:
        check_gru(gru, case)


@cells
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
def test_layers_equal_the_oracle(cell, peephole, bidirectional):
    module = peephole_module(cell)
    case = Case(cell, peephole, num_layers=2, bidirectional=bidirectional, lengths=(2, 3, 1), steps=4, zoneout=RATES)
    check_layers(module, case)


def peephole_module(cell):
    return peephole.nn.LSTM if cell == "lstm" else peephole.nn.GRU


@cells
@pytest.mark.parametrize(("context", "attention"), [("attention", "additive"), ("mean", "-")])
def test_prediction_and_training_equal_the_oracle(cell, peephole, context, attention):
    depth = {"encoder_layers": 2, "decoder_layers": 2, "residual": True}
    model, config = make(cell, peephole, context, attention, zoneout=rates_of(cell), **depth)
    check(model, config)
    check_dropout(model, config)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_single_steps_and_scheduled_sampling_equal_teacher_forcing(cell):
    model, config = make(cell, "none", decoder_layers=2, zoneout=rates_of(cell))
    check_steps(model, config)
    check_sampling_of_gold_symbols(model)


@pytest.mark.parametrize("zoneout", [(0.4, 0.0), (0.0, 0.4)])
def test_one_rate_may_be_0(zoneout):
    model, config = make(zoneout=zoneout)
    check(model, config)
    check_dropout(model, config)


def test_training_without_dropout_draws_masks():
    model, _ = make(zoneout=RATES)
    source, lengths, target, _ = batch()
    losses = [
        model.loss_sum(source, lengths, target, noise=noise).item()
        for noise in (None, *(Noise(1, step, torch.arange(3), 0.0) for step in (1, 1, 2)))
    ]
    assert losses[1] == losses[2]
    assert len(set(losses)) == 3


def test_results_of_a_pair_do_not_depend_on_its_batch():
    model, _ = make(encoder_layers=2, decoder_layers=2, zoneout=RATES)
    longer = [*PAIRS, ([4, 5, 6] * 5, [*[3, 4, 5] * 4, 2])]

    def losses(pairs, examples):
        source, lengths, target, target_lengths = batch(pairs)
        noise = Noise(1, 1, torch.tensor(examples), 0.2)
        gold = model(source, lengths, target, noise=noise).log_softmax(-1).gather(2, target[:, :, None])[..., 0]
        return [row[:length].sum() for row, length in zip(gold, target_lengths, strict=True)]

    together = losses(longer, [5, 8, 2, 9])
    for row, example in enumerate([5, 8, 2]):
        torch.testing.assert_close(losses([PAIRS[row]], [example])[0], together[row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.95])
def test_units_are_chosen_at_the_rate(rate):
    noise = Noise(1, 2, torch.arange(40), 0.9)
    chosen = noise.chosen("zoneout 0 0 h", 20, 64, rate)
    assert set(chosen.unique().tolist()) == {0.0, 1.0}
    assert abs(chosen.double().mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / chosen.numel())
    assert torch.equal(chosen[3:5], Noise(1, 2, torch.tensor([3, 4]), 0.0).chosen("zoneout 0 0 h", 20, 64, rate))
    assert not torch.equal(chosen, noise.chosen("zoneout 0 0 c", 20, 64, rate))


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
def test_training_on_the_engine_is_declined_by_name():
    with use_engine("auto"):
        for operator, own in (("decoder", make(zoneout=RATES)[0].decoder), ("recurrent_layer", make()[0].decoder)):
            kinds = own.kinds() | {"zoneout": "states"}
            assert find(Request(operator, kinds, "cpu", "float32")) == (
                None,
                "engine: has no zoneout of kind 'states'",
            )


@pytest.mark.parametrize("zoneout", [(1.5, 0.0), (0.0, -0.1)])
def test_the_error_for_a_wrong_rate_names_it(zoneout):
    with pytest.raises(ConfigError, match=r"^zoneout of [hc]: wanted a number from 0 to 1, got (1.5|-0.1)$"):
        peephole.nn.LSTM(2, 3, zoneout=zoneout)


@pytest.mark.parametrize("masked", [False, True], ids=["rates", "masks"])
def test_right_zoneout_is_accepted(masked):
    check_lstm(right_zoneout, Case(zoneout=RATES, masked=masked))


@pytest.mark.parametrize("change", WRONG_ZONEOUTS, ids=lambda change: change.name)
def test_wrong_zoneout_is_rejected(change):
    for masked in (False, True) if change.masked is None else (change.masked,):
        with rejected_by_comparison(rf"^{change.seen_in}.* at \("):
            check_lstm(change_text(right_zoneout, change.right, change.wrong), Case(zoneout=RATES, masked=masked))
