"""Tests that the engine draws real vectors as the definition does, on every instruction set."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from peephole import engine
from peephole.config import Config
from peephole.engine.forecast import draw
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.errors import ModelFileError, PeepholeError
from peephole.search import random_numbers, trajectories
from peephole.search.torch import pad
from peephole.storage.model_file import ModelFile, encode_model
from peephole.symbols import FrameSymbols

from .vector_checks import LENGTHS, OUTPUTS, UNITS, D, F, make, sources

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
MODELS = {
    "full": {"decoder_layers": 2},
    "diagonal, last": {"peephole": "diagonal", "context": "last", "bidirectional": False},
    "none, location": {"peephole": "none", "attention": "location", "location_channels": 2, "location_width": 3},
    "gru, mean": {"cell": "gru", "peephole": "none", "context": "mean", "encoder_layers": 2},
    "feeding": {"input_feeding": True, "encoder_size": 4},
    "vector read": {"attention_symbol": True, "attention": "coverage", "encoder_size": 4},
    "convolution": {"input": "convolution", "convolution_layers": 1, "convolution_channels": 2, "encoder_size": 4},
    "residual": {"decoder_layers": 2, "residual": True, "layer_norm": True, "zoneout_hidden": 0.2, "zoneout_cell": 0.1},
}


def model_file(model, config, stored="float32"):
    tables = FrameSymbols("numbers", size=F), FrameSymbols("numbers", size=D)
    tensors = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    return encode_model(ModelFile(tensors, Config(model=config), *tables, stored))


def frames():
    return [source.astype(np.float32) for source in sources()]


def expected(model, noise):
    return trajectories(model.float(), *pad(frames()), torch.from_numpy(noise)).numpy()


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("units", UNITS)
def test_outputs_and_units_equal_the_definition(output, units, instruction_set):
    model, config = make(**OUTPUTS[output], **UNITS[units], decoder_layers=2)
    noise = random_numbers(config.output, 3, range(len(LENGTHS)), (5, 4, D))
    packed = PackedModel(model_file(model, config), instruction_set)
    found = draw(packed, frames(), noise, batch_size=2, threads=2)
    np.testing.assert_allclose(found, expected(model, noise), rtol=1e-5, atol=1e-5 * np.abs(found).max())


@pytest.mark.parametrize("kind", MODELS)
def test_all_cells_contexts_and_inputs_equal_the_definition(kind):
    model, config = make(**MODELS[kind])
    noise = random_numbers(config.output, 3, range(len(LENGTHS)), (3, 4, D))
    found = draw(PackedModel(model_file(model, config)), frames(), noise, batch_size=4)
    np.testing.assert_allclose(found, expected(model, noise), rtol=1e-5, atol=1e-5 * np.abs(found).max())


def test_draws_do_not_depend_on_threads_batches_or_other_sources():
    model, config = make()
    packed = PackedModel(model_file(model, config))
    noise = random_numbers(config.output, 3, range(len(LENGTHS)), (3, 4, D))
    whole = draw(packed, frames(), noise, batch_size=3, threads=1)
    for size, threads in ((1, 1), (2, 2), (1, 3)):
        np.testing.assert_array_equal(whole, draw(packed, frames(), noise, batch_size=size, threads=threads))
    np.testing.assert_array_equal(whole[2:, :2], draw(packed, frames()[2:], noise[2:, :2], batch_size=1))
    assert draw(packed, [], noise[:0], batch_size=1).shape == (0, 3, 4, D)


@pytest.mark.parametrize("stored", ["bfloat16", "int8"])
def test_models_in_fewer_bits_draw_nearly_the_same(stored):
    model, config = make(decoder_layers=2)
    noise = random_numbers(config.output, 3, range(len(LENGTHS)), (3, 4, D))
    whole, fewer = (
        draw(PackedModel(model_file(model, config, kind)), frames(), noise, batch_size=4)
        for kind in ("float32", stored)
    )
    assert 0 < np.abs(whole - fewer).max() < 0.2 * np.abs(whole).max()  # the weights have 8 bits


def test_wrong_requests_are_refused():
    model, config = make()
    packed = PackedModel(model_file(model, config))
    noise = np.zeros((1, 2, 3, D), np.float32)
    with pytest.raises(PeepholeError, match=r"source 0: wanted frames of 3 numbers, got shape \(4, 2\)"):
        draw(packed, [np.zeros((4, 2), np.float32)], noise, batch_size=1)
    with pytest.raises(PeepholeError, match="source 0: wanted at least 1 frames, got 0"):
        draw(packed, [np.zeros((0, F), np.float32)], noise, batch_size=1)
    with pytest.raises(PeepholeError, match=r"noise: wanted shape \(1, S, U, 2\), got \(1, 2, 3, 1\)"):
        draw(packed, [np.zeros((4, F), np.float32)], noise[..., :1], batch_size=1)
    for name, shape in (("samples", noise[:, :0]), ("steps", noise[:, :, :0])):
        with pytest.raises(PeepholeError, match=f"{name}: wanted at least 1, got 0"):
            draw(packed, [np.zeros((4, F), np.float32)], shape, batch_size=1)
    with pytest.raises(PeepholeError, match="models: wanted targets of symbols, got vectors"):
        PackedSearch([packed]).find(frames(), [3] * len(LENGTHS), Config().search)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": "symbols"}, "input: wanted frames"),
        ({"output_size": None}, "output_size: wanted the numbers in a vector, got none"),
        ({"output_size": 4}, "continues: wanted output_size at most input_size = 3, got 4"),
        ({"continues": False}, "continues: wanted true for scaling='source'"),
        ({"ctc": True}, "ctc: wanted false"),
        ({"quantiles": 1}, "quantiles: wanted a number from 2 to 999, got 1"),
        ({"scaling": "made-up"}, r"scaling: wanted source\|constant, got"),
    ],
)
def test_files_of_impossible_models_are_refused(change, message):
    tree = {"output": "gaussian", "input": "frames", "input_size": F, "output_size": D, "hidden_size": 4} | change
    table = json.dumps(FrameSymbols("numbers", size=F).to_json())
    metadata = {"format": "peephole", "format_version": "3", "architecture": json.dumps(tree)}
    content = save({"x": np.zeros(1, np.float32)}, metadata | {"source_symbols": table, "target_symbols": table})
    with pytest.raises(ModelFileError, match=message):
        PackedModel(content)
