"""Tests vectors of trigrams, (66), in the definition: whole models against the oracle, hashes, and wrong ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import ModelConfig
from peephole.nn import build_seq2seq, use_engine
from peephole.nn.frontends import SymbolFrontend, ngram_rows
from rejection import rejected_by_comparison

from . import right_network
from .changes import change_text
from .network_checks import SOURCE_SYMBOLS, check, check_dropout, check_mixed_precision, check_steps, make
from .right_network import RightNetwork
from .test_seq2seq import CELLS
from .trigram_oracle import trigram_row
from .wrong_trigrams import WRONG_TRIGRAMS


@pytest.fixture(params=["off", *engine.instruction_sets()[:1]], scope="module")
def implementation(request):
    """Run a test with the definition, and with the engine around the encoder and the decoder."""
    with use_engine(request.param):
        yield request.param


@pytest.mark.parametrize("rows", [1, 5, 4096])
@pytest.mark.parametrize(("cell", "peephole"), CELLS)
def test_models_equal_the_oracle(implementation, cell, peephole, rows):
    check(*make(cell, peephole, ngram_rows=rows, encoder_layers=2))


def test_dropout_single_steps_and_number_formats(implementation):
    model, config = make(ngram_rows=6)
    check_dropout(model, config)
    check_dropout(model, config, variational=True)
    check_steps(model, config)
    check(*make(ngram_rows=6, dtype=torch.float32), torch.float32)
    check_mixed_precision(make(ngram_rows=6, dtype=torch.float32)[0])


@pytest.mark.parametrize("num_rows", [1, 2, 1000, 2**20])
def test_rows_equal_the_oracle_for_any_symbols_and_lengths(num_rows):
    draw = np.random.default_rng(3)
    symbols = draw.integers(0, [[4], [40], [10**6], [10**6]], (4, 9))
    lengths = [9, 1, 4, 8]
    found = ngram_rows(torch.from_numpy(symbols), torch.tensor(lengths), num_rows)
    for source, length, rows in zip(symbols.tolist(), lengths, found.tolist(), strict=True):
        around = [1, *source[:length], 2]
        want = [trigram_row(*around[t : t + 3], num_rows) for t in range(length)]
        assert rows[:length] == want
        assert all(0 <= row < num_rows for row in want)


def test_the_hash_spreads_trigrams_evenly():
    """The 27,000 trigrams of 30 letters fill as many of the rows as a random choice would."""
    letters = torch.arange(4, 34)
    trigrams = torch.cartesian_prod(letters, letters, letters)
    rows = ngram_rows(trigrams, torch.full((len(trigrams),), 3), 27_000)[:, 1]
    assert len(rows.unique()) / 27_000 == pytest.approx(1 - np.exp(-1), abs=0.05)


def test_the_table_is_0_at_first_and_changes_no_other_weight():
    config = {"hidden_size": 4, "embedding_size": 3}
    plain, model = (
        build_seq2seq(ModelConfig(**config, ngram_rows=rows), 9, 8, torch.Generator().manual_seed(1)) for rows in (0, 7)
    )
    assert not model.frontend.ngrams.weight.any()
    others = {name: value for name, value in model.state_dict().items() if name != "frontend.ngrams.weight"}
    assert others.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, others[name]) for name, value in plain.state_dict().items())


def test_a_row_that_no_source_has_hit_gets_no_gradient():
    frontend = SymbolFrontend(9, 2, ngram_rows=50)
    source, lengths = torch.tensor([[4, 5, 6, 8, 8]]), torch.tensor([3])
    frontend(source, lengths)[0][:, :3].sum().backward()
    hit = ngram_rows(source, lengths, 50)[0, :3]
    assert frontend.ngrams.weight.grad.any(1).nonzero().flatten().tolist() == sorted(set(hit.tolist()))


def test_the_right_network_is_accepted():
    model, config = make(ngram_rows=40)
    check(RightNetwork(model, config), config)


@pytest.mark.parametrize("change", WRONG_TRIGRAMS, ids=lambda change: change.name)
def test_wrong_trigrams_are_rejected(change):
    assert SOURCE_SYMBOLS < 40
    changed = change_text(right_network.right_symbols, change.right, change.wrong)
    for settings in change.settings:
        model, config = make(**settings)
        with rejected_by_comparison(rf"^{change.seen_in}"):
            change.check(RightNetwork(model, config, right_symbols=changed), config)
