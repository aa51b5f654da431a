"""Tests input feeding, (62), in the definition: whole models against the oracle, and wrong ones."""

from __future__ import annotations

import pytest
import torch

from peephole import engine
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
from .wrong_feedings import FEEDING, WRONG_FEEDINGS

KINDS = [("attention", kind) for kind in ("additive", "dot", "general", "location", "coverage", "multihead")]
KINDS += [("last", "-"), ("mean", "-")]
kinds = pytest.mark.parametrize(("context", "attention"), KINDS)
cells = pytest.mark.parametrize(("cell", "peephole"), CELLS)
STACKS = {
    "residual": {"residual": True, "encoder_layers": 2, "decoder_layers": 3},
    "layer norm": {"layer_norm": True, "encoder_size": 6, "bidirectional": False},
    "zoneout": {"zoneout": (0.2, 0.3), "decoder_layers": 2},
}


@pytest.fixture(params=["off", *engine.instruction_sets()[:1]], scope="module")
def implementation(request):
    """Run a test with the definition, and with the engine around the decoder."""
    with use_engine(request.param):
        yield request.param


@kinds
def test_models_of_each_context_equal_the_oracle(context, attention):
    with use_engine("off"):
        check(*make(context=context, attention=attention, decoder_layers=2, input_feeding=True))


@cells
def test_models_of_each_cell_equal_the_oracle(implementation, cell, peephole):
    check(*make(cell, peephole, decoder_layers=2, input_feeding=True))


@pytest.mark.parametrize("stack", STACKS)
def test_stacks_and_regularised_cells_equal_the_oracle(implementation, stack):
    check(*make(input_feeding=True, **STACKS[stack]))
    check_dropout(*make(input_feeding=True, **STACKS[stack]), variational=True)


@cells
def test_single_precision_equals_the_oracle(implementation, cell, peephole):
    check(*make(cell, peephole, dtype=torch.float32, input_feeding=True), torch.float32)


@kinds
def test_dropout_and_single_steps_equal_the_oracle(context, attention):
    model, config = make(context=context, attention=attention, decoder_layers=2, input_feeding=True)
    check_dropout(model, config)
    check_steps(model, config)
    check_sampling_of_gold_symbols(model)
    check_sampling_of_gold_symbols(model, variational=True)


def test_gradients_in_mixed_precision_are_close_to_single_precision(implementation):
    check_mixed_precision(make(dtype=torch.float32, decoder_layers=2, input_feeding=True)[0])


@pytest.mark.parametrize(("cell", "attention"), [("lstm", "coverage"), ("lstm", "multihead"), ("gru", "additive")])
def test_models_that_copy_equal_the_oracle(implementation, cell, attention):
    test_copying.check_model(*test_copying.make(cell, attention, decoder_layers=2, input_feeding=True))


def test_a_search_feeds_each_hypothesis_its_own_vector():
    check_search(make(attention="coverage", input_feeding=True, seed=3)[0])


@pytest.mark.parametrize("settings", FEEDING, ids=str)
def test_right_network_is_accepted(settings):
    model, config = make(**settings)
    check(RightNetwork(model, config), config)
    check_dropout(RightNetwork(model, config), config)


@pytest.mark.parametrize("change", WRONG_FEEDINGS, ids=lambda change: change.name)
def test_wrong_network_is_rejected(change):
    changed = change_text(right_network.right_decoder, change.right, change.wrong)
    for settings in change.settings:
        model, config = make(**settings)
        with rejected_by_comparison(rf"^{change.seen_in}"):
            change.check(RightNetwork(model, config, right_decoder=changed), config)
