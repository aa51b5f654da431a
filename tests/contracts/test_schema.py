"""Tests the schema of the network's tensors against the network itself, for random architectures."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from peephole.config import ModelConfig
from peephole.consistency import ADDITIVE
from peephole.errors import ConfigError
from peephole.nn import build_seq2seq
from peephole.nn.directions import LSTMDirection
from peephole.nn.schema import Architecture, Role, making_of_settings, tensors

CELLS = [("lstm", "full"), ("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")]


@st.composite
def model_configs(draw: st.DrawFn) -> ModelConfig:
    cell, peephole = draw(st.sampled_from(CELLS))
    context = draw(st.sampled_from(["attention", "last", "mean"]))
    attention = draw(st.sampled_from(["additive", "dot", "general", "location", "coverage", "multihead"]))
    hidden_size = 2 * draw(st.integers(1, 4))
    encoder_size = draw(st.none() | st.integers(1, 4).map(lambda half: 2 * half))
    encoder_layers = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["symbols", "frames", "convolution", "none"]))
    copies = kind == "symbols" and context == "attention" and draw(st.booleans())
    outputs = ["gaussian", "quantile"] if kind in ("frames", "convolution") else []
    output = "copy" if copies else draw(st.sampled_from(["symbols", *outputs]))
    output_size = draw(st.integers(1, 3)) if output in outputs else None
    continues = output in outputs and draw(st.booleans())
    planes = draw(st.integers(1, 3))
    return ModelConfig(
        cell=cell,
        peephole=peephole,
        hidden_size=hidden_size,
        encoder_size=hidden_size if (context, attention) == ("attention", "dot") else encoder_size,
        embedding_size=draw(st.integers(1, 4)),
        input=kind,
        input_size=planes * draw(st.integers(output_size or 1, 9)),
        output=output,
        output_size=output_size,
        quantiles=draw(st.integers(2, 5)),
        continues=continues,
        feedback=draw(st.booleans()),
        scaling=draw(st.sampled_from(["constant", "source"])) if continues else "constant",
        input_planes=planes,
        frame_stack=draw(st.integers(1, 3)),
        convolution_layers=draw(st.integers(1, 3)),
        convolution_channels=draw(st.integers(1, 4)),
        encoder_layers=encoder_layers,
        encoder_pyramid=0 if copies else draw(st.integers(0, encoder_layers - 1)),
        decoder_layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        residual=draw(st.booleans()),
        input_feeding=draw(st.booleans()),
        ngram_rows=draw(st.integers(0, 9)) if kind == "symbols" else 0,
        attention_symbol=kind != "none" and context == "attention" and attention in ADDITIVE and draw(st.booleans()),
        layer_norm=draw(st.booleans()),
        zoneout_hidden=draw(st.sampled_from([0.0, 0.1])),
        zoneout_cell=draw(st.sampled_from([0.0, 0.05])) if cell == "lstm" else 0.0,
        context=context,
        attention=attention,
        location_channels=draw(st.integers(1, 4)),
        location_width=2 * draw(st.integers(0, 4)) + 1,
        attention_heads=draw(st.sampled_from([1, 2])),
        ctc=kind != "none" and output == "symbols" and draw(st.booleans()),
    )


def roles_of(network: nn.Module, peephole: str) -> dict[str, Role]:
    """Return the role of each parameter, derived from the module that owns it."""
    roles = {}
    for path, module in network.named_modules():
        for name, parameter in chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
            role = Role.MATRIX if parameter.dim() == 2 else Role.VECTOR
            if isinstance(module, LSTMDirection) and name == "weight_peephole":
                # With 1 unit both forms have the same shape; only the setting distinguishes them
                role = Role.MATRIX if peephole == "full" else Role.DIAGONAL
            roles[f"{path}.{name}"] = role
    return roles


@settings(max_examples=300, deadline=None)
@given(model_configs(), st.integers(5, 9), st.integers(5, 9))
def test_names_shapes_and_roles_equal_those_of_the_network(config: ModelConfig, source: int, target: int) -> None:
    with torch.device("meta"):
        network = build_seq2seq(config, source, target)
    found = tensors(Architecture.of(config), source, target)
    assert [(name, spec.shape) for name, spec in found.items()] == [
        (name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()
    ]
    assert {name: spec.role for name, spec in found.items()} == roles_of(network, config.peephole)


@settings(max_examples=50, deadline=None)
@given(model_configs())
def test_an_architecture_is_unchanged_by_json(config: ModelConfig) -> None:
    architecture = Architecture.of(config)
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    assert Architecture.of(ModelConfig(**architecture.model_settings())) == architecture


def test_missing_keys_have_default_values() -> None:
    assert Architecture.from_dict({}) == Architecture.of(ModelConfig())
    assert Architecture.from_dict({"hidden_size": 6}).encoder_size == 6
    with pytest.raises(ConfigError, match=r"wanted model\.peephole='none', got 'full'"):
        Architecture.from_dict({"cell": "gru"})  # unlike settings, where the cell determines the default of peephole


def test_every_model_setting_is_part_of_the_architecture_or_of_its_making() -> None:
    architecture = Architecture.of(ModelConfig())
    assert making_of_settings() == ["dropout", "forget_bias", "embedding_std", "initial_range"]
    assert architecture.model_settings().keys() | set(making_of_settings()) == vars(ModelConfig()).keys()
    added = {"location_channels": 3, "location_width": 5, "attention_heads": 2, "input_size": 6, "frame_stack": 2}
    added |= {"input_planes": 2, "convolution_layers": 1, "convolution_channels": 2, "encoder_pyramid": 1, "ctc": True}
    added |= {"output_size": 3, "quantiles": 5, "scaling": "constant", "continues": False, "feedback": False}
    added |= {
        "ngram_rows": 7,
        "input_feeding": True,
        "attention_symbol": True,
        "residual": True,
        "zoneout_hidden": 0.1,
        "zoneout_cell": 0.2,
        "layer_norm": True,
    }
    changed = replace(architecture, **added)
    assert changed.to_dict().keys() == changed.model_settings().keys()
    assert architecture.to_dict().keys() == changed.to_dict().keys() - added  # as the first files of format 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "rnn"}, r"here\.cell: wanted lstm\|gru, got 'rnn'"),
        (
            {"attention": "made-up"},
            r"here\.attention: wanted additive\|dot\|general\|location\|coverage\|multihead, got 'made-up'",
        ),
        ({"attention": "location", "location_width": 4}, r"^here: .*location_width: wanted an odd number, .* got 4"),
        (
            {"attention": "multihead", "attention_heads": 3, "encoder_size": 6},
            r"^here: .*attention_heads: wanted a divisor of hidden_size = 256 and encoder_size = 6, got 3",
        ),
        ({"attention": "multihead", "encoder_size": 6}, r"^here: .*attention_heads: wanted a divisor .* got 4"),
        ({"context": 3}, r"here\.context: wanted attention\|last\|mean, got 3"),
        ({"input": "audio"}, r"here\.input: wanted symbols\|frames\|convolution\|none, got 'audio'"),
        ({"output": None}, r"here\.output: wanted symbols\|copy\|gaussian\|quantile, got None"),
        ({"output": "gaussian"}, r"^here: model\.output='gaussian': wanted model\.input='frames'"),
        ({"hiden_size": 4}, r"here: unknown key 'hiden_size'; did you mean 'hidden_size'\?"),
        ({"dropout": 0.1}, r"here: unknown key 'dropout'"),
        ({"hidden_size": 0}, r"here\.hidden_size: wanted a number from 1 to 65536, got 0"),
        ({"hidden_size": 65537}, r"here\.hidden_size: wanted a number from 1 to 65536, got 65537"),
        ({"hidden_size": 1.5}, r"here\.hidden_size: wanted a whole number, got 1.5"),
        ({"hidden_size": "4"}, r"here\.hidden_size: wanted a whole number, got '4'"),
        ({"encoder_layers": 65}, r"here\.encoder_layers: wanted a number from 1 to 64, got 65"),
        ({"bidirectional": 1}, r"here\.bidirectional: wanted true or false, got 1"),
        ({"residual": 1}, r"here\.residual: wanted true or false, got 1"),
        ({"zoneout_hidden": 0.96}, r"here\.zoneout_hidden: wanted a number from 0 to 0.95, got 0.96"),
        (
            {"zoneout_cell": 0.1, "cell": "gru", "peephole": "none"},
            r"^here: model\.cell='gru' has no cell state: wanted model\.zoneout_cell=0, got 0.1",
        ),
        ({"bidirectional": "true"}, r"here\.bidirectional: wanted true or false, got 'true'"),
        ({"cell": "gru"}, r"^here: .*cell='gru' has no cell state: wanted .*peephole='none', got 'full'"),
        ({"encoder_pyramid": 1}, r"^here: .*encoder_pyramid: wanted fewer than encoder_layers = 1, got 1"),
        ({"input": "frames", "input_size": 0}, r"here\.input_size: wanted a number from 1 to 65536, got 0"),
        ({"encoder_size": 3}, r"^here: .*encoder_size: wanted an even number, half of it for each direction; got 3"),
        (
            {"attention": "dot", "encoder_size": 4},
            r"^here: .*attention='dot' .* wanted encoder_size = hidden_size = 256, got 4",
        ),
    ],
)
def test_the_error_for_a_wrong_architecture_is_one_line(change: dict[str, Any], message: str) -> None:
    tree = Architecture.of(ModelConfig()).to_dict() | change
    with pytest.raises(ConfigError, match=message) as caught:
        Architecture.from_dict(tree, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["cell", "peephole", "context", "attention", "input", "output"])
def test_an_unknown_kind_has_no_tensors(key: str) -> None:
    architecture = replace(Architecture.of(ModelConfig()), **{key: "made-up"})
    with pytest.raises(ConfigError, match=rf"^{key}: wanted .*, got 'made-up'$"):
        tensors(architecture, 5, 5)


@pytest.mark.parametrize("kind", ["gaussian", "quantile"])
def test_the_tensors_of_vectors_need_their_size(kind: str) -> None:
    architecture = replace(Architecture.of(ModelConfig()), output=kind)
    with pytest.raises(
        ConfigError, match=f"^output_size: wanted the numbers in a vector for output='{kind}', got none"
    ):
        tensors(architecture, 5, 5)


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize("key", ["cell", "context", "attention"])
def test_an_unknown_kind_is_not_built(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: wanted .*, got 'made-up'$"):
        build_seq2seq(ModelConfig(**{key: "made-up"}), 5, 5)
