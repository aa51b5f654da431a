"""Tests models whose targets are real vectors against the oracle: losses, densities, gradients, draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import Config, ModelConfig
from peephole.errors import ConfigError
from peephole.nn import Noise, build_seq2seq, use_engine
from peephole.search import random_numbers, trajectories

from .checks import assert_close
from .vector_checks import (
    LENGTHS,
    OUTPUTS,
    TARGET_LENGTHS,
    UNITS,
    D,
    batch,
    check,
    check_distributions,
    check_draws,
    make,
    oracle_of,
    sources,
    targets,
    weights_of,
)


@pytest.fixture(params=["off", *engine.instruction_sets()[:1]], autouse=True, scope="module")
def implementation(request):
    """Run every test of this file with the definition, and with the engine where it has the operators."""
    with use_engine(request.param):
        yield request.param


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("units", UNITS)
def test_losses_gradients_and_draws_equal_the_oracle(output, units):
    model, config = make(**OUTPUTS[output], **UNITS[units], decoder_layers=2)
    check(model, config)
    check_distributions(model, config)
    check_draws(model, config)


@pytest.mark.parametrize(("cell", "peephole"), [("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")])
def test_all_cells_equal_the_oracle(cell, peephole):
    check(*make(**UNITS["the source's"], cell=cell, peephole=peephole))


@pytest.mark.parametrize(
    "settings",
    [
        {"context": "last", "bidirectional": False},
        {"context": "mean", "encoder_layers": 2},
        {"attention": "location", "location_channels": 2, "location_width": 3},
        {"input": "convolution", "convolution_layers": 1, "convolution_channels": 2},
        {"frame_stack": 2},
        {"input_feeding": True, "decoder_layers": 2},
        {"attention_symbol": True, "attention": "coverage"},
    ],
    ids=["last", "mean", "location", "convolution", "stacked frames", "feeding", "vector read"],
)
def test_all_contexts_and_inputs_equal_the_oracle(settings):
    check(*make(**UNITS["the source's"], **settings))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_other_stacks_and_cells_equal_the_oracle(cell):
    own = {"peephole": "none"} if cell == "gru" else {"zoneout_cell": 0.1}
    layers = {
        "encoder_layers": 2,
        "decoder_layers": 2,
        "residual": True,
        "layer_norm": True,
        "zoneout_hidden": 0.2,
        "encoder_size": 6,
    }
    model, config = make(**UNITS["the source's"], cell=cell, **layers, **own)
    check(model, config)
    check_draws(model, config)


@pytest.mark.parametrize("output", OUTPUTS)
def test_single_precision_equals_the_oracle(output):
    check(*make(torch.float32, **OUTPUTS[output], **UNITS["the source's"], context="mean"), torch.float32)


@pytest.mark.parametrize("output", OUTPUTS)
def test_dropout_has_the_sites_of_the_oracle(output):
    model, config = make(**OUTPUTS[output])
    source, lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(LENGTHS)), rate=0.4)
    sizes = {"source embedding": 3, "target embedding": 3, "readout": 4}
    masks = {site: noise.mask(site, 9, size).double().numpy() for site, size in sizes.items()}
    rows = enumerate(zip(sources(), targets(), strict=True))
    own = [
        oracle_of(config, weights_of(model), {site: mask[row] for site, mask in masks.items()}).loss(*pair)
        for row, pair in rows
    ]
    assert_close(model.loss_sum(source, lengths, target, noise=noise)[None], np.array([sum(own)]), "loss", source.dtype)


def test_draws_of_quantiles_follow_the_quantile_function():
    """At the levels themselves the draws are the quantiles; below and above, the outer lines are drawn on."""
    model, _ = make(output="quantile", quantiles=3)
    found = torch.tensor([[[-1.0], [0.0], [3.0]]], dtype=torch.float64)
    levels = torch.tensor([0.25, 0.5, 0.75, 0.375, 0.0, 1.0], dtype=torch.float64)
    drawn = model.decoder.output.draw(found.expand(6, 3, 1), levels[:, None])
    assert drawn[:, 0].tolist() == [-1, 0, 3, -0.5, -2, 6]


def test_quantiles_never_cross():
    model, _ = make(output="quantile", quantiles=9)
    raw = 5 * torch.randn(200, 9, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert (model.decoder.output.described(raw).diff(dim=1) > 0).all()


@pytest.mark.parametrize("units", ["constants, continued", "the source's"])
def test_a_missing_component_adds_nothing_and_is_fed_as_the_mean(units):
    model, _ = make(**UNITS[units])
    source, lengths, target, _ = batch()
    _, constants, _ = model.read(source, lengths)
    filled = target.clone()
    filled[1, 1, 0] = constants.mean[1, 0]  # what is fed for it, so that only its own loss differs
    own = model(source, lengths, target)[1, 1, :, 0]
    normal = torch.distributions.Normal(*own.unbind(0))
    loss = -normal.log_prob(filled[1, 1, 0]) - constants.deviation[1, 0].log()
    gain = model.loss_sum(source, lengths, filled) - model.loss_sum(source, lengths, target)
    torch.testing.assert_close(gain, loss, rtol=0, atol=1e-12)


def test_scaled_series_have_scaled_forecasts():
    """With the source's own units, k y + m has forecasts k ŷ + m, also far from 0 in single precision."""
    model, config = make(torch.float32, **UNITS["the source's"], input_size=D)
    source = torch.randn(2, 6, D, generator=torch.Generator().manual_seed(2))
    noise = torch.from_numpy(random_numbers(config.output, 1, [0, 1], (2, 4, D)))
    one, other = (trajectories(model, s, torch.tensor([6, 4]), noise) for s in (source, 4 * source + 4096))
    torch.testing.assert_close(4 * one + 4096, other, rtol=1e-5, atol=0)


def test_random_numbers_are_those_of_a_source_whatever_its_batch():
    for output in ("gaussian", "quantile"):
        whole = random_numbers(output, 5, [0, 1, 2], (4, 3, D))
        np.testing.assert_array_equal(whole[1:2, :2], random_numbers(output, 5, [1], (2, 3, D)))
        assert not (whole == random_numbers(output, 6, [0, 1, 2], (4, 3, D))).any()
        assert len(np.unique(whole)) == whole.size


def test_statistics_of_the_target_are_constants_that_training_leaves_alone():
    model, _ = make(scaling="constant")
    model.decoder.set_statistics(torch.tensor([3.0, 4.0]), torch.tensor([2.0, 0.0]))
    assert (model.decoder.mean.tolist(), model.decoder.deviation.tolist()) == ([3, 4], [2, 1])
    assert not {"decoder.mean", "decoder.deviation"} & dict(model.named_parameters()).keys()


def test_quantiles_have_no_density():
    model, _ = make(output="quantile")
    with pytest.raises(ConfigError, match="output: wanted gaussian, which has a density, got quantile"):
        model.log_prob(*batch())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model.input": "symbols"}, "model.output='gaussian': wanted model.input='frames', or data.horizon"),
        ({"model.continues": False}, "model.continues: wanted true for model.scaling='source'"),
        ({"model.ctc": True}, "model.ctc: wanted false for model.output='gaussian', which has no symbols"),
        ({"model.input_size": 1}, "output_size at most input_size = 1, got 2"),
        ({"train.scheduled_sampling": "linear"}, "train.scheduled_sampling: wanted none for model.output='gaussian'"),
        (
            {"train.coverage_loss": 1, "model.attention": "coverage"},
            "train.coverage_loss: wanted 0 for model.output='gaussian', got 1",
        ),
    ],
)
def test_settings_that_contradict_real_vectors_are_refused(values, message):
    fits = {"model.output": "gaussian", "model.output_size": 2, "model.input": "frames", "model.input_size": 3}
    with pytest.raises(ConfigError, match=message):
        Config().with_values(fits | values)


def test_the_size_of_a_vector_must_be_known():
    with pytest.raises(ConfigError, match="output_size: wanted the numbers in a vector"):
        build_seq2seq(ModelConfig(input="frames", input_size=3, output="gaussian"), 0, 0)


def test_the_steps_of_a_batch_are_those_of_its_longest_target():
    """Steps past the last known vector are not computed: the result is that of the shorter batch."""
    model, _ = make()
    source, lengths, target, _ = batch()
    longer = torch.cat([target, torch.full_like(target, torch.nan)], 1)
    assert target.shape[1] > max(TARGET_LENGTHS)
    assert model.loss_sum(source, lengths, longer) == model.loss_sum(source, lengths, target)
