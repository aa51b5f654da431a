"""Tests the whole model against its oracle, step by step and all at once, and a pair's results in other batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peephole import engine
from peephole.nn import Noise, use_engine
from peephole.symbols import PAD, UNK

from .checks import assert_close
from .model_oracle import BOS
from .network_checks import (
    PAIRS,
    batch,
    check,
    check_dropout,
    check_mixed_precision,
    check_sampling_of_gold_symbols,
    check_steps,
    make,
    oracle_of,
    weights_of,
)
from .pairwise import covering

CELLS = [("lstm", "full"), ("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")]
CONTEXTS = [
    ("attention", "additive"),
    ("attention", "dot"),
    ("attention", "general"),
    ("last", "-"),
    ("mean", "-"),
]
LAYERS = [(1, 1), (2, 1), (1, 2), (2, 2)]
cells = pytest.mark.parametrize(("cell", "peephole"), CELLS)
contexts = pytest.mark.parametrize(("context", "attention"), CONTEXTS)
both_directions = pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
layers = pytest.mark.parametrize(("encoder_layers", "decoder_layers"), LAYERS)


IMPLEMENTATIONS = ["off", *engine.instruction_sets()]


@pytest.fixture(params=IMPLEMENTATIONS, autouse=True, scope="module")
def implementation(request):
    """Run every test of this file with the definition and with the engine on each instruction set."""
    with use_engine(request.param):
        yield request.param


@cells
@contexts
@both_directions
def test_model_equals_the_oracle(cell, peephole, context, attention, bidirectional):
    check(*make(cell, peephole, context, attention, bidirectional=bidirectional))


@pytest.mark.parametrize(
    ("implementation", "kind", "bidirectional", "depths", "encoder_size"),
    covering(IMPLEMENTATIONS, CELLS, [False, True], LAYERS, [2, 4], strength=3),  # sizes: a bridge, and a copy
    indirect=["implementation"],
    ids=str,
)
def test_deeper_models_equal_the_oracle(kind, bidirectional, depths, encoder_size):
    sizes = {"encoder_layers": depths[0], "decoder_layers": depths[1], "encoder_size": encoder_size}
    check(*make(*kind, bidirectional=bidirectional, **sizes))


@pytest.mark.parametrize(("encoder_layers", "decoder_layers"), [(2, 3), (3, 2)])
@pytest.mark.parametrize("encoder_size", [2, 4], ids=["bridge", "copy"])
def test_layers_of_encoder_and_decoder_are_matched_from_the_top(encoder_layers, decoder_layers, encoder_size):
    check(*make(encoder_layers=encoder_layers, decoder_layers=decoder_layers, encoder_size=encoder_size))


@contexts
@layers
def test_contexts_of_deeper_encoders_equal_the_oracle(context, attention, encoder_layers, decoder_layers):
    sizes = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
    check(*make(context=context, attention=attention, **sizes))


@cells
@contexts
def test_single_precision_equals_the_oracle(cell, peephole, context, attention):
    check(*make(cell, peephole, context, attention, dtype=torch.float32), torch.float32)


@cells
@contexts
def test_gradients_in_mixed_precision_are_close_to_single_precision(cell, peephole, context, attention):
    depth = {"encoder_layers": 2, "decoder_layers": 2}
    check_mixed_precision(make(cell, peephole, context, attention, **depth, dtype=torch.float32)[0])


@contexts
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_single_steps_equal_the_oracle(cell, context, attention):
    check_steps(*make(cell, "full" if cell == "lstm" else "none", context, attention, decoder_layers=2))


# Seeds whose models predict different symbols, and would predict PAD, BOS or UNK without a mask.
@pytest.mark.parametrize(("context", "attention", "seed"), [("attention", "additive", 2), ("mean", "-", 3)])
def test_scheduled_sampling_with_probability_1_is_free_running(context, attention, seed):
    """Check that the decoder is fed the predictions of greedy search, (14): never PAD, BOS or UNK."""
    model, config = make(context=context, attention=attention, decoder_layers=2, seed=seed)
    source, source_lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.0)
    got = model(source, source_lengths, target, noise=noise, sampling_probability=1.0).log_softmax(-1)
    reference = oracle_of(config, weights_of(model))
    unpredictable = [PAD, BOS, UNK]
    most_probable = set()
    for b, (own_source, _) in enumerate(PAIRS):
        fed = [BOS]
        for _ in range(target.shape[1] - 1):
            rows, _ = reference.decode(own_source, fed)
            row = rows[-1].copy()
            most_probable.add(int(row.argmax()))
            row[unpredictable] = -np.inf
            fed.append(int(row.argmax()))
        assert len(set(fed[1:])) > 1
        assert_close(got[b], reference.decode(own_source, fed)[0], "log p", torch.float64)
    assert most_probable & set(unpredictable)  # else the test would pass without the mask


@cells
@both_directions
def test_dropout_applies_to_embeddings_between_layers_and_to_the_readout(cell, peephole, bidirectional):
    model, config = make(cell, peephole, bidirectional=bidirectional, encoder_layers=2, decoder_layers=2)
    check_dropout(model, config)


@contexts
def test_scheduled_sampling_with_probability_near_0_is_teacher_forcing_with_the_same_dropout(context, attention):
    model, _ = make(context=context, attention=attention, encoder_layers=2, decoder_layers=2)
    check_sampling_of_gold_symbols(model)


sequences = st.lists(st.integers(3, 5), min_size=1, max_size=10)


# No deadline: the test must also pass on a busy machine.
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_results_of_a_pair_do_not_depend_on_its_batch(data):
    """Compare a pair's score and training outputs alone, in a batch of 64 with longer pairs, and in another order."""
    cell, peephole = data.draw(st.sampled_from(CELLS))
    context, attention = data.draw(st.sampled_from(CONTEXTS))
    sampling_probability = data.draw(st.sampled_from([0.0, 0.5]))
    # Float64, since rounding could change a sampled symbol when two symbols are almost equally probable.
    dtype = torch.float64 if sampling_probability else torch.float32
    depth = {"encoder_layers": 2, "decoder_layers": 2}
    model, _ = make(cell, peephole, context, attention, dtype=dtype, **depth)
    pairs = data.draw(st.lists(st.tuples(sequences, sequences), min_size=64, max_size=64))
    order = data.draw(st.permutations(range(64)))
    rate = data.draw(st.sampled_from([0.0, 0.3]))

    def scores(rows):
        """Return the log-probabilities of each pair's gold symbols in this batch, and its score (11)."""
        source, source_lengths, target, target_lengths = batch([pairs[row] for row in rows])
        noise = Noise(seed=1, step=2, examples=torch.tensor(rows), rate=rate)
        with torch.no_grad():
            logits = model(source, source_lengths, target, noise=noise, sampling_probability=sampling_probability)
            log_prob = model.log_prob(source, source_lengths, target, target_lengths)
        gold = logits.log_softmax(-1).gather(2, target[:, :, None])[:, :, 0]
        return [(gold[b, : target_lengths[b]], log_prob[b]) for b in range(len(rows))]

    together, shuffled = scores(list(range(64))), scores(order)
    for index, row in enumerate(order):
        torch.testing.assert_close(shuffled[index], together[row], rtol=1e-5, atol=1e-5)
    for row in data.draw(st.lists(st.integers(0, 63), min_size=4, max_size=4)):
        torch.testing.assert_close(scores([row])[0], together[row], rtol=1e-5, atol=1e-5)
