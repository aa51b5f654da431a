"""Tests that `initial_weights` draws every tensor from the distribution from which its module draws it."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch

from peephole.config import Config, ModelConfig
from peephole.errors import ConfigError
from peephole.nn import build_seq2seq
from peephole.nn.frontends import NormalizedFrames
from peephole.nn.initial import initial_weights
from peephole.nn.vectors import VectorDecoder

SIZES = {"hidden_size": 24, "embedding_size": 20}
SYMBOLS = 40, 30
FRAMES = {"input": "frames", "input_size": 12, "frame_stack": 3}
IMAGES = {"input": "convolution", "input_size": 8, "convolution_channels": 6, "input_planes": 2}
NETWORKS: list[dict[str, Any]] = [
    {"embedding_std": 0.3, "forget_bias": 1.5, "encoder_layers": 2, "decoder_layers": 2},
    {"peephole": "diagonal", "encoder_size": 16, "attention": "general"},
    {"peephole": "none", "layer_norm": True, "attention": "dot", "bidirectional": False},
    {"cell": "gru", "peephole": "none", "layer_norm": True, "encoder_size": 16, "attention": "coverage"},
    {"attention": "location", "output": "copy", "encoder_pyramid": 1, "encoder_layers": 2},
    {"attention": "multihead", "ctc": True, "input_feeding": True, "ngram_rows": 12, "attention_symbol": True},
    {"initial_range": 0.2, "layer_norm": True, "ngram_rows": 12, "encoder_size": 16, "ctc": True},
    {**FRAMES, "initial_range": 0.1, "output": "gaussian", "output_size": 12, "scaling": "constant"},
    {"input": "none", "decoder_layers": 2},
    {**FRAMES, "context": "mean"},
    {**IMAGES, "context": "last"},
    {**FRAMES, "output": "gaussian", "output_size": 12, "scaling": "constant"},
    {**FRAMES, "output": "quantile", "output_size": 12, "quantiles": 5, "scaling": "source"},
]
SEEDS = range(40)
STATISTICS = [0.5 * i for i in range(12)], [0.0, *(0.3 * i for i in range(1, 12))]


def settings_of(network: dict[str, Any]) -> ModelConfig:
    return ModelConfig(**SIZES | network)


def drawn_by_modules(config: ModelConfig, seed: int) -> dict[str, np.ndarray]:
    network = build_seq2seq(config, *SYMBOLS, torch.Generator().manual_seed(seed))
    return {name: weight.detach().numpy() for name, weight in network.state_dict().items()}


def blocks_of(name: str, array: np.ndarray, config: ModelConfig) -> list[np.ndarray]:
    """Return the parts of a tensor that are drawn alone: gates, and the peepholes of each gate."""
    gates = 4 if config.cell == "lstm" else 3
    count = {"weight_input": gates, "weight_hidden": gates, "bias": gates, "weight_peephole": 3}
    is_recurrent = "layers." in name and not name.startswith("frontend")
    return np.split(array, count.get(name.rpartition(".")[2], 1) if is_recurrent else 1)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_every_tensor_has_the_distribution_of_its_module(network: dict[str, Any]) -> None:
    """Compare extremes, mean and spread over many seeds, block by block, and the products of orthogonal matrices."""
    config = settings_of(network)
    ours = [initial_weights(config, *SYMBOLS, seed) for seed in SEEDS]
    theirs = [drawn_by_modules(config, seed) for seed in SEEDS]
    assert [(name, w.shape, w.dtype) for name, w in ours[0].items()] == [
        (name, w.shape, w.dtype) for name, w in theirs[0].items()
    ]
    for name in ours[0]:
        pairs = zip(*([blocks_of(name, w[name], config) for w in side] for side in (ours, theirs)), strict=True)
        columns = [tuple(zip(*pair, strict=True)) for pair in pairs]  # by seed, by block
        for index in range(len(columns[0])):
            got, wanted = (np.stack([column[index][side] for column in columns]) for side in (0, 1))
            assert_same_distribution(name, got, wanted)


def assert_same_distribution(name: str, got: np.ndarray, wanted: np.ndarray) -> None:
    """Compare two samples of tensors, by seed: constants exactly, numbers within 6 standard errors."""
    if wanted.min() == wanted.max():
        assert (got == wanted).all(), name
        return
    spread, count = float(wanted.std()), wanted.size
    assert abs(got.mean() - wanted.mean()) < 6 * spread * math.sqrt(2 / count), name
    assert got.std() == pytest.approx(spread, rel=6 * math.sqrt(2 / count)), name
    kurtosis = ((wanted - wanted.mean()) ** 4).mean() / spread**4
    if kurtosis < 2.0:  # uniform: the bounds are sharp
        assert np.abs(got).max() == pytest.approx(np.abs(wanted).max(), rel=20 / count), name
    else:
        assert ((got - got.mean()) ** 4).mean() / got.std() ** 4 == pytest.approx(kurtosis, rel=0.2), name
    if got.ndim == 3 and got.shape[1] == got.shape[2]:
        products = [w @ np.swapaxes(w, 1, 2) for w in (got, wanted)]
        off_diagonal = ~np.eye(got.shape[1], dtype=bool)
        sizes = [float(np.abs(product[:, off_diagonal]).max()) for product in products]
        assert (sizes[0] < 1e-5) == (sizes[1] < 1e-5), name  # orthogonal, both or none
        if sizes[1] < 1e-5:  # and scaled alike
            np.testing.assert_allclose(products[0], products[1], atol=1e-5, err_msg=name)


def test_weights_within_a_range_fill_it() -> None:
    """All are uniform, biases too, but gains, which begin as 1, and trigrams, which add nothing at first."""
    config = settings_of({"initial_range": 0.2, "layer_norm": True, "ngram_rows": 12, "encoder_layers": 2})
    for name, weight in initial_weights(config, *SYMBOLS, 3).items():
        if name.endswith("gain") or name == "frontend.ngrams.weight":
            assert (weight == name.endswith("gain")).all(), name
            continue
        assert 0.2 * (1 - 8 / weight.size) < np.abs(weight).max() <= 0.2, name
        assert weight.std() == pytest.approx(0.2 / math.sqrt(3), rel=5 * math.sqrt(0.2 / weight.size)), name


def test_no_block_is_drawn_twice() -> None:
    config = settings_of({"encoder_layers": 2})
    weights = initial_weights(config, *SYMBOLS, 3)
    found = [block for name, w in weights.items() if w.ndim == 2 for block in blocks_of(name, w, config)]
    assert len({block.tobytes() for block in found}) == len(found) > 30


def test_a_part_of_the_network_changes_no_other_weight() -> None:
    one, other = (initial_weights(settings_of(n), *SYMBOLS, 3) for n in ({}, {"ctc": True, "embedding_std": 0.1}))
    for name, weight in one.items():
        np.testing.assert_allclose(other[name], weight * (0.1 if "embedding" in name else 1), rtol=1e-6, err_msg=name)


def test_equal_seeds_give_equal_weights_and_other_seeds_others() -> None:
    first, again, other = (initial_weights(settings_of({}), *SYMBOLS, seed) for seed in (3, 3, 4))
    for name, weight in first.items():
        assert np.array_equal(weight, again[name])
        assert not np.array_equal(weight, other[name]) or name.endswith("bias")


def test_the_weights_of_a_seed_stay() -> None:
    """They are the same numbers in every version and on every machine, so that results can be repeated."""
    weights = initial_weights(settings_of({"decoder_layers": 2}), *SYMBOLS, 1)
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in weights.values())).hexdigest()
    assert digest[:16] == "bd9360f5f3869d76"


def test_statistics_are_those_that_the_modules_set() -> None:
    config = settings_of({**FRAMES, "output": "gaussian", "output_size": 12, "scaling": "constant"})
    network = build_seq2seq(config, *SYMBOLS, torch.Generator())
    assert isinstance(network.frontend, NormalizedFrames)
    assert isinstance(network.decoder, VectorDecoder)
    for part in (network.frontend, network.decoder):
        part.set_statistics(*map(torch.tensor, STATISTICS))
    found = initial_weights(config, *SYMBOLS, 1, STATISTICS)
    for name in ("frontend.mean", "frontend.scale", "decoder.mean", "decoder.deviation"):
        np.testing.assert_array_equal(found[name], network.state_dict()[name].numpy())


@pytest.mark.parametrize("name", ["embedding_std", "forget_bias"])
def test_another_scale_than_the_range_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().with_values({"initial_range": 0.1, name: 0.5})
    drawn = (
        f"model.{name}: wanted 1, the default, with model.initial_range = 0.1, which draws these weights, too; got 0.5"
    )
    assert str(caught.value) == drawn
