"""Checks that compare models of real vectors with the oracle: values and every gradient."""

from __future__ import annotations

import numpy as np
import torch

from peephole.config import ModelConfig
from peephole.nn import build_seq2seq
from peephole.search import random_numbers, trajectories

from .checks import assert_close
from .network_checks import check_gradients
from .vector_oracle import VectorOracle

F, D = 3, 2  # numbers in a frame; in a vector of the target, fewer than in a frame
LENGTHS, TARGET_LENGTHS = (5, 1, 7), (3, 4, 1)
FIELDS = (
    "cell",
    "context",
    "attention",
    "attention_heads",
    "encoder_layers",
    "decoder_layers",
    "bidirectional",
    "input",
    "frame_stack",
    "encoder_pyramid",
    "residual",
    "input_feeding",
    "output",
    "output_size",
    "quantiles",
    "scaling",
    "continues",
    "feedback",
)
OUTPUTS = {
    "gaussian": {"output": "gaussian"},
    "two quantiles": {"output": "quantile", "quantiles": 2},
    "five quantiles": {"output": "quantile", "quantiles": 5},
}
UNITS = {
    "constants": {"scaling": "constant", "continues": False},
    "constants, continued": {"scaling": "constant", "continues": True},
    "the source's": {"scaling": "source", "continues": True},
    "the source's, no feedback": {"scaling": "source", "continues": True, "feedback": False},
}


def make(dtype=torch.float64, **settings):
    """Return a model with random weights and constants, and its settings."""
    shape = {"input": "frames", "input_size": F, "output_size": D}
    sizes = {"hidden_size": 4, "encoder_size": 2, "embedding_size": 3}
    config = ModelConfig(**shape | sizes | {"output": "gaussian"} | settings)
    model = build_seq2seq(config, 4, 4).to(dtype)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            drawn = 0.7 * torch.randn(tensor.shape, generator=generator)
            tensor.copy_(drawn.abs() + 0.5 if name == "decoder.deviation" else drawn)
    return model, config


def sources():
    """Return series that float32 represents exactly, far from 0; a component of one does not vary."""
    rng = np.random.default_rng(8)
    found = [3 + 2 * rng.normal(size=(length, F)).astype(np.float32).astype(float) for length in LENGTHS]
    found[0][:, 1] = 2.5
    return found


def targets():
    """Return targets, one component of which is missing."""
    rng = np.random.default_rng(9)
    found = [2 + 3 * rng.normal(size=(length, D)).astype(np.float32).astype(float) for length in TARGET_LENGTHS]
    found[1][1, 0] = np.nan
    return found


def batch(dtype=torch.float64):
    """Return source, source lengths, target and target lengths; NaN in all padding."""
    source = torch.full((len(LENGTHS), max(LENGTHS) + 2, F), torch.nan, dtype=dtype)
    target = torch.full((len(LENGTHS), max(TARGET_LENGTHS) + 1, D), torch.nan, dtype=dtype)
    for row, (own_source, own_target) in enumerate(zip(sources(), targets(), strict=True)):
        source[row, : len(own_source)] = torch.from_numpy(own_source)
        target[row, : len(own_target)] = torch.from_numpy(own_target)
    return source, torch.tensor(LENGTHS), target, torch.tensor(TARGET_LENGTHS)


def weights_of(model):
    return {name: value.detach().double().numpy() for name, value in model.state_dict().items()}


def oracle_of(config, weights, masks=None):
    zoneout = (config.zoneout_hidden, config.zoneout_cell)
    return VectorOracle(weights, **{name: getattr(config, name) for name in FIELDS}, zoneout=zoneout, masks=masks or {})


def check(model, config, dtype=torch.float64):
    """Compare losses, densities, and the derivatives of the loss by every weight and every number of the source."""
    weights = weights_of(model)
    source, source_lengths, target, target_lengths = batch(dtype)
    source.requires_grad_()
    pairs = list(zip(sources(), targets(), strict=True))
    if config.output == "gaussian":
        want = np.array([-oracle_of(config, weights).loss(*pair, in_units=True) for pair in pairs])
        assert_close(model.log_prob(source, source_lengths, target, target_lengths), want, "log p(Y | X)", dtype)
    loss = model.loss_sum(source, source_lengths, target)
    want = np.array([sum(oracle_of(config, weights).loss(*pair) for pair in pairs)])
    assert_close(loss[None], want, "loss", dtype)

    def total(values):
        own = oracle_of(config, values)
        return sum(own.loss(values[f"source {row}"], pair[1]) for row, pair in enumerate(pairs))

    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    found |= {f"source {row}": source.grad[row, :length] for row, length in enumerate(LENGTHS)}
    arrays = weights | {f"source {row}": pair[0] for row, pair in enumerate(pairs)}
    check_gradients(total, arrays, found, dtype, key=("loss of vectors", config))
    for row, length in enumerate(LENGTHS):
        assert not source.grad[row, length:].any()  # nothing depends on the padding


def check_draws(model, config):
    """Compare targets drawn vector by vector."""
    noise = random_numbers(config.output, 3, range(len(LENGTHS)), (4, 3, D))
    found = trajectories(model, *batch()[:2], torch.from_numpy(noise).double())
    reference = oracle_of(config, weights_of(model))
    for row, source in enumerate(sources()):
        wanted = np.array([reference.trajectory(source, own) for own in noise[row].astype(float)])
        assert_close(found[row], wanted, "draws", torch.float64)


def check_distributions(model, config):
    """Compare the numbers that describe each vector, in the target's units."""
    source, source_lengths, target, _ = batch()
    found = model(source, source_lengths, target)
    reference = oracle_of(config, weights_of(model))
    for row, (own_source, own_target) in enumerate(zip(sources(), targets(), strict=True)):
        mean, deviation = reference.units(own_source)
        z = [np.nan_to_num((y - mean) / deviation) for y in own_target]
        wanted = np.array(reference.distributions(own_source, reference.fed(own_source, z[:-1])))
        wanted = wanted * deviation + (mean if config.output == "quantile" else np.stack([mean, 0 * mean]))
        assert_close(found[row, : len(z)], wanted, "distributions", torch.float64)
