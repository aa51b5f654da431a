"""Tests attention that reads the symbol fed, (67): definition and operators against the oracle, and wrong queries."""

from __future__ import annotations

import pytest
import torch

from peephole import engine
from peephole.config import Config, ModelConfig
from peephole.consistency import ADDITIVE
from peephole.errors import ConfigError
from peephole.nn import use_engine
from rejection import rejected_by_comparison

from . import right_network, test_copying
from .changes import change_text
from .network_checks import (
    check,
    check_dropout,
    check_mixed_precision,
    check_sampling_of_gold_symbols,
    check_search,
    check_steps,
    make,
)
from .right_network import RightNetwork
from .test_seq2seq import CELLS
from .wrong_queries import ASKING, WRONG_QUERIES

kinds = pytest.mark.parametrize("attention", ADDITIVE)
cells = pytest.mark.parametrize(("cell", "peephole"), CELLS)


@pytest.fixture(params=["off", *engine.instruction_sets()], scope="module")
def implementation(request):
    """Run a test with the definition, and with the engine on each instruction set."""
    with use_engine(request.param):
        yield request.param


@kinds
def test_models_of_each_kind_equal_the_oracle(implementation, attention):
    check(*make(attention=attention, decoder_layers=2, attention_symbol=True))


@cells
def test_models_of_each_cell_equal_the_oracle(implementation, cell, peephole):
    check(*make(cell, peephole, encoder_size=4, attention_symbol=True))


@kinds
def test_single_precision_equals_the_oracle(implementation, attention):
    check(*make(attention=attention, dtype=torch.float32, attention_symbol=True), torch.float32)


@kinds
def test_dropout_and_single_steps_equal_the_oracle(implementation, attention):
    model, config = make(attention=attention, decoder_layers=2, attention_symbol=True)
    check_dropout(model, config)
    check_steps(model, config)
    check_sampling_of_gold_symbols(model)


def test_models_with_input_feeding_and_residual_layers_equal_the_oracle(implementation):
    check(*make(decoder_layers=2, residual=True, input_feeding=True, attention_symbol=True))


def test_gradients_in_mixed_precision_are_close_to_single_precision(implementation):
    check_mixed_precision(make(dtype=torch.float32, decoder_layers=2, attention_symbol=True)[0])


@pytest.mark.parametrize(("cell", "attention"), [("lstm", "coverage"), ("lstm", "multihead"), ("gru", "additive")])
def test_models_that_copy_equal_the_oracle(implementation, cell, attention):
    test_copying.check_model(*test_copying.make(cell, attention, decoder_layers=2, attention_symbol=True))


def test_a_search_asks_with_the_symbol_of_each_hypothesis():
    check_search(make(attention="coverage", attention_symbol=True, seed=3)[0])


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"attention": "dot"}, "'dot'"),
        ({"attention": "general"}, "'general'"),
        ({"context": "last"}, "none"),
        ({"input": "none"}, "none"),
    ],
    ids=str,
)
def test_models_without_additive_energies_are_refused(settings, got):
    with pytest.raises(ConfigError) as caught:
        Config(model=ModelConfig(attention_symbol=True, **settings))
    wanted = "wanted model.attention=additive|location|coverage|multihead with it"
    assert str(caught.value) == f"model.attention_symbol: {wanted}, got {got}"


@pytest.mark.parametrize("settings", ASKING, ids=str)
def test_right_network_is_accepted(settings):
    model, config = make(**settings)
    check(RightNetwork(model, config), config)


@pytest.mark.parametrize("change", WRONG_QUERIES, ids=lambda change: change.name)
def test_wrong_network_is_rejected(change):
    changed = change_text(right_network.right_decoder, change.right, change.wrong)
    for settings in change.settings:
        model, config = make(**settings)
        with rejected_by_comparison(rf"^{change.seen_in}"):
            change.check(RightNetwork(model, config, right_decoder=changed), config)
