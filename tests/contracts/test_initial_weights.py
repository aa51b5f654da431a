"""Tests the distributions of the initial weights that the docstrings state, gate by gate."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from peephole.config import Config, ModelConfig
from peephole.nn import Seq2Seq, build_seq2seq
from peephole.nn.attention import ATTENTIONS
from peephole.nn.directions import GRUDirection, LSTMDirection
from peephole.nn.seq2seq import CELLS

H, E, SYMBOLS = 64, 48, 500


def build(seed: int = 0, **settings: Any) -> Seq2Seq:
    torch.manual_seed(seed)
    config = ModelConfig(hidden_size=H, embedding_size=E, **settings)
    return build_seq2seq(config, SYMBOLS, SYMBOLS).requires_grad_(False)


def all_layers(network: Seq2Seq) -> list[Any]:
    """Return each layer and direction of the encoder, then the decoder's layers."""
    encoder = [direction for layer in network.encoder.recurrent.layers for direction in layer]
    return [*encoder, *network.decoder.layers]


def assert_glorot_uniform(block: Tensor) -> None:
    """Assert that extremes, mean and spread are within 5 σ of U(-a, a), a = √(6 / (columns + rows))."""
    bound, count = math.sqrt(6 / sum(block.shape)), block.numel()
    assert (1 - 5 / count) * bound < block.abs().max() <= bound
    assert abs(float(block.mean())) < 5 * bound / math.sqrt(3 * count)
    assert float(block.std()) == pytest.approx(bound / math.sqrt(3), rel=5 * math.sqrt(0.2 / count))


def assert_orthogonal(block: Tensor, gain: float = 1.0) -> None:
    torch.testing.assert_close(block @ block.T, gain**2 * torch.eye(len(block)), atol=1e-5, rtol=0)


def test_embeddings_have_the_configured_standard_deviation() -> None:
    for std in (1.0, 0.09):
        network = build(embedding_std=std)
        for embedding in (network.frontend.embedding, network.decoder.embedding):
            assert float(embedding.weight.std()) == pytest.approx(std, rel=0.02)
            assert abs(float(embedding.weight.mean())) < 5 * std / math.sqrt(SYMBOLS * E)


def test_the_scale_of_the_embeddings_changes_no_other_weight() -> None:
    small, large = build(embedding_std=0.1).state_dict(), build().state_dict()
    for name, weight in large.items():
        wanted = 0.1 * weight if "embedding" in name else weight
        torch.testing.assert_close(small[name], wanted, msg=name)


@pytest.mark.parametrize("peephole", ["full", "diagonal", "none"])
def test_lstm_layers_have_the_stated_distributions(peephole: str) -> None:
    network = build(peephole=peephole, forget_bias=1.5, encoder_layers=2, decoder_layers=2)
    layers = all_layers(network)
    assert [type(layer) for layer in layers] == [LSTMDirection] * 6
    for layer in layers:
        for block in layer.weight_input.chunk(4):
            assert_glorot_uniform(block)
        for block in layer.weight_hidden.chunk(4):
            assert_orthogonal(block)
        i, f, g, o = layer.bias.chunk(4)
        assert (f == 1.5).all()
        assert not torch.cat([i, g, o]).any()
        if peephole == "full":
            for block in layer.weight_peephole.chunk(3):
                assert_orthogonal(block, gain=0.1)
        elif peephole == "diagonal":
            assert 0.09 < layer.weight_peephole.abs().max() <= 0.1
            assert all(row.std() > 0.04 for row in layer.weight_peephole)  # 0.2 / √12 = 0.058
        else:
            assert layer.weight_peephole is None


def test_gru_layers_have_the_stated_distributions() -> None:
    network = build(cell="gru", peephole="none", encoder_layers=2)
    layers = all_layers(network)
    assert [type(layer) for layer in layers] == [GRUDirection] * 5
    for layer in layers:
        for block in layer.weight_input.chunk(3):
            assert_glorot_uniform(block)
        for block in layer.weight_hidden.chunk(3):
            assert_orthogonal(block)
        assert not layer.bias_input.any()
        assert not layer.bias_hidden.any()


def test_readout_and_output_are_glorot_uniform_without_bias() -> None:
    decoder = build().decoder
    for layer in (decoder.readout, decoder.output):
        assert_glorot_uniform(layer.weight)
        assert not layer.bias.any()


@pytest.mark.parametrize("kind", ["additive", "general", "location", "coverage", "multihead"])
def test_attention_has_the_stated_distributions(kind: str) -> None:
    attention = build(attention=kind).decoder.attention
    assert attention is not None
    for name, weight in attention.named_parameters():
        if weight.ndim == 2:
            assert_glorot_uniform(weight)
        elif name == "bias":
            assert not weight.any()
        else:
            assert 0.9 * H**-0.5 < weight.abs().max() <= H**-0.5
            assert abs(float(weight.mean())) < 5 * H**-0.5 / math.sqrt(3 * H)


def test_no_two_blocks_are_equal() -> None:
    """Each gate, direction and layer is drawn independently."""
    network = build(encoder_layers=2)
    blocks = [
        block
        for name, weight in network.state_dict().items()
        if weight.dim() == 2 and "weight_hidden" in name
        for block in weight.chunk(4)
    ]
    by_size: dict[torch.Size, list[Tensor]] = {}
    for block in blocks:
        by_size.setdefault(block.shape, []).append(block)
    assert {shape: len(same) for shape, same in by_size.items()} == {(32, 32): 16, (64, 64): 4}
    for same in by_size.values():
        for index, block in enumerate(same):
            assert all((block != other).all() for other in same[:index])


def test_equal_seeds_give_equal_weights() -> None:
    first, second = build(seed=3).state_dict(), build(seed=3).state_dict()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert not torch.equal(first["decoder.output.weight"], build(seed=4).state_dict()["decoder.output.weight"])


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({"peephole": "full"}, 0.082572802901268),
        (
            {"peephole": "diagonal", "encoder_layers": 2, "encoder_size": 32, "attention": "general"},
            0.02717820554971695,
        ),
        (
            {"cell": "gru", "peephole": "none", "decoder_layers": 2, "encoder_size": 32, "context": "last"},
            0.02458960935473442,
        ),
    ],
    ids=["full", "diagonal", "gru"],
)
def test_a_generator_draws_all_weights_in_the_order_of_every_version(settings: dict[str, Any], last: float) -> None:
    """The last weight drawn is uniform, so it is the same number on every machine; all draws before it move it."""
    config = ModelConfig(hidden_size=H, embedding_size=E, **settings)
    wanted = build(seed=7, **settings).state_dict()
    before = torch.get_rng_state()
    network = build_seq2seq(config, SYMBOLS, SYMBOLS, torch.Generator().manual_seed(7))
    assert torch.equal(before, torch.get_rng_state())
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, wanted[name]), name
    assert float(wanted["decoder.output.weight"][-1, -1]) == last


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_no_kind_draws_from_the_global_generator(attention: str, cell: str) -> None:
    values = {"hidden_size": 8, "embedding_size": 4, "attention": attention, "cell": cell, "encoder_layers": 2}
    config = Config().with_values(values).model
    before = torch.get_rng_state()
    first, second = (build_seq2seq(config, 9, 8, torch.Generator().manual_seed(7)).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
