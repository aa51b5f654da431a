"""Tests that the engine's predictions with quantised weights are close to those of the definition."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import pytest
import torch

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.nn import build_seq2seq, schema
from peephole.nn.schema import Architecture
from peephole.search.hypothesis import Hypothesis
from peephole.search.torch import DefinitionSearch
from peephole.storage.quantization import Stored, dequantize, quantize

from .search_cases import ROUNDING, ROUNDING_OF_NORMS, SHAPES, SOURCE, TARGET, encoded, make_config, make_sources

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")


@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@pytest.mark.parametrize("stored", ROUNDING)
def test_scores_with_quantized_weights_are_close_to_the_definition(stored: Stored, instruction_set: str) -> None:
    """Compare with the definition in float32 with the same rounded weights."""
    for shape, settings in SHAPES.items():
        file, wanted = quantized(shape, stored)
        packed = PackedSearch([PackedModel(file, instruction_set)])
        allowed = (ROUNDING_OF_NORMS if "layer_norm" in settings else ROUNDING)[stored]
        for one, other in zip(packed.force(*scored_pairs(), SearchConfig()), wanted, strict=True):
            assert one.symbol_log_probs == pytest.approx(other.symbol_log_probs, abs=allowed), shape


def scored_pairs() -> tuple[list[list[int]], list[list[int]]]:
    """Return sources and the targets whose scores are compared."""
    sources, rng = make_sources(30, seed=4), random.Random(5)
    return sources, [[rng.randrange(3, len(TARGET)) for _ in range(11)] for _ in sources]


@cache
def quantized(shape: str, stored: Stored) -> tuple[bytes, Sequence[Hypothesis]]:
    """Return a file of quantised weights, and the scores of the definition with the same rounded weights."""
    config = make_config(**SHAPES[shape])
    torch.manual_seed(len(shape))
    network = build_seq2seq(config.model, len(SOURCE), len(TARGET)).eval()
    with torch.no_grad():  # two matrices that are packed as one get unequal scales
        for layer in network.decoder.layers:
            layer.weight_hidden /= 4
        for weight in network.parameters():
            if weight.dim() == 2 and not weight.any():  # a table of trigrams
                weight.normal_()
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    file = encoded(config, network, stored)
    specs = schema.tensors(Architecture.of(config.model), len(SOURCE), len(TARGET))
    rounded = dequantize(quantize(weights, stored, specs))
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in rounded.items()})
    return file, DefinitionSearch([network]).force(*scored_pairs(), SearchConfig())
