"""Tests residual stacks, (41), in the definition and on the engine: whole models against the oracle, and wrong ones."""

from __future__ import annotations

import pytest
import torch

from peephole import engine
from peephole.nn import Noise, use_engine
from peephole.nn.layers import LSTM
from rejection import rejected_by_comparison

from . import right_network
from .changes import change_text
from .network_checks import (
    batch,
    check,
    check_dropout,
    check_mixed_precision,
    check_sampling_of_gold_symbols,
    check_steps,
    make,
)
from .right_network import RightNetwork
from .test_seq2seq import cells, contexts
from .wrong_residuals import DEEP, ONE_DIRECTION, RESIDUAL, WRONG_RESIDUAL_DECODERS, WRONG_RESIDUAL_ENCODERS

NAMES = ("encoder_layers", "decoder_layers", "encoder_size")
SIZES = {"one layer": (1, 1, 2), "deep encoder": (3, 1, 2), "deep decoder": (1, 3, 4), "deep": (3, 3, 2)}
WRONG = [
    *(("right_encoder", change) for change in WRONG_RESIDUAL_ENCODERS),
    *(("right_decoder", change) for change in WRONG_RESIDUAL_DECODERS),
]


@pytest.fixture(params=["off", *engine.instruction_sets()], scope="module")
def implementation(request):
    """Run a test with the definition and with the engine on each instruction set."""
    with use_engine(request.param):
        yield request.param


@cells
@pytest.mark.parametrize("sizes", SIZES)
def test_model_equals_the_oracle(implementation, cell, peephole, sizes):
    check(*make(cell, peephole, residual=True, **dict(zip(NAMES, SIZES[sizes], strict=True))))


@contexts
def test_models_of_each_context_equal_the_oracle(implementation, context, attention):
    check(*make(context=context, attention=attention, **DEEP))
    check_dropout(*make(context=context, attention=attention, **DEEP))


def test_single_precision_equals_the_oracle(implementation):
    check(*make(dtype=torch.float32, **DEEP), torch.float32)


def test_gradients_in_mixed_precision_are_close_to_single_precision(implementation):
    check_mixed_precision(make(dtype=torch.float32, **DEEP)[0])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_single_steps_and_scheduled_sampling_equal_teacher_forcing(implementation, cell):
    model, config = make(cell, "none", **DEEP)
    check_steps(model, config)
    check_sampling_of_gold_symbols(model)


@pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
def test_the_engine_trains_residual_stacks():
    model, _ = make(dtype=torch.float32, **DEEP)
    source, lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(source)), rate=0.2)
    with torch.profiler.profile() as profile:
        model.loss_sum(source, lengths, target, noise=noise).backward()
    called = {event.key for event in profile.key_averages()}
    assert {"peephole::recurrent_layer", "peephole::decoder", "peephole::decoder_backward"} <= called


def test_a_residual_layer_of_one_is_a_plain_one():
    torch.manual_seed(0)
    plain, residual = LSTM(3, 3), LSTM(3, 3, residual=True)
    residual.load_state_dict(plain.state_dict())
    x, lengths = torch.randn(2, 4, 3), torch.tensor([4, 2])
    assert torch.equal(plain(x, lengths)[0], residual(x, lengths)[0])
    assert residual.kinds()["stack"] == "residual"
    assert plain.kinds()["stack"] == "plain"


@pytest.mark.parametrize("settings", [*RESIDUAL, {**DEEP, **ONE_DIRECTION}], ids=str)
def test_right_network_is_accepted(settings):
    model, config = make(**settings)
    check(RightNetwork(model, config), config)
    check_dropout(RightNetwork(model, config), config)


@pytest.mark.parametrize(("function", "change"), WRONG, ids=lambda part: getattr(part, "name", part))
def test_wrong_network_is_rejected(function, change):
    changed = change_text(getattr(right_network, function), change.right, change.wrong)
    for settings in change.settings:
        model, config = make(**settings)
        with rejected_by_comparison(rf"^{change.seen_in}"):
            change.check(RightNetwork(model, config, **{function: changed}), config)
