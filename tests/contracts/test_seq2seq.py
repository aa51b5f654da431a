"""The whole model against its oracle, step by step as well as all at once, and a pair in other batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peephole import engine
from peephole.config import ModelConfig
from peephole.nn import Noise, build_seq2seq, use_engine

from . import oracle
from .checks import TOLERANCE, assert_close
from .model_oracle import BOS, ModelOracle

EOS = 2
SOURCE_SYMBOLS, TARGET_SYMBOLS = 7, 6
# Unequal lengths on both sides, the longest source not with the longest target; each target ends with </s>.
PAIRS = [([4, 6, 5], [4, EOS]), ([5], [5, 4, 3, 5, EOS]), ([6, 4, 4, 3, 5], [3, 3, EOS])]

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


@pytest.fixture(params=["off", *engine.instruction_sets()], autouse=True, scope="module")
def implementation(request):
    """Every test of this file runs with the definition, and with the engine on each instruction set."""
    with use_engine(request.param):
        yield request.param


def make(
    cell="lstm",
    peephole="full",
    context="attention",
    attention="additive",
    *,
    bidirectional=True,
    encoder_layers=1,
    decoder_layers=1,
    encoder_size=2,
    dtype=torch.float64,
    seed=0,
):
    """Return a model of 4 decoder units whose every parameter is random, biases too."""
    config = ModelConfig(
        cell=cell,
        peephole=peephole,
        context=context,
        attention="additive" if attention == "-" else attention,
        bidirectional=bidirectional,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        hidden_size=4,
        encoder_size=4 if attention == "dot" else encoder_size,
        embedding_size=3,
    )
    model = build_seq2seq(config, SOURCE_SYMBOLS, TARGET_SYMBOLS).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Drawn in float32, so that models of both types are the same.
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return model, config


def oracle_of(config, weights, masks=None):
    names = ("cell", "context", "attention", "encoder_layers", "decoder_layers", "bidirectional")
    return ModelOracle(weights, **{name: getattr(config, name) for name in names}, masks=masks or {})


def weights_of(model):
    return {name: value.detach().double().numpy() for name, value in model.state_dict().items()}


def padded(sequences, generator=None):
    """Return sequences (B, longest + 1) and their lengths; the padding is symbols that must not matter."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    ids = torch.randint(3, 6, (len(sequences), int(lengths.max()) + 1), generator=generator)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return ids, lengths


def batch(pairs=PAIRS):
    """Return source, source lengths, target and target lengths."""
    generator = torch.Generator().manual_seed(3)
    sources, targets = zip(*pairs, strict=True)
    return *padded(sources, generator), *padded(targets, generator)


def check(model, config, dtype=torch.float64):
    """Compare log p(Y | X) of all pairs, and its slope along a random direction of each parameter."""
    weights = weights_of(model)
    rng = np.random.default_rng(4)
    factors = rng.normal(size=len(PAIRS))
    directions = {name: rng.normal(size=array.shape) for name, array in weights.items()}

    log_probs = model.log_prob(*batch())
    want = [oracle_of(config, weights).log_prob(source, target) for source, target in PAIRS]
    assert_close(log_probs, np.array(want), "log p(Y | X)", dtype)

    def total(values):
        own = oracle_of(config, values)
        return sum(factor * own.log_prob(*pair) for factor, pair in zip(factors, PAIRS, strict=True))

    slopes = oracle.slopes(total, weights, directions)
    (log_probs * torch.from_numpy(factors).to(dtype)).sum().backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad.double().numpy()
        scale = np.abs(gradient).max() * np.linalg.norm(directions[name])
        assert scale > 0, name
        error = abs((gradient * directions[name]).sum() - slopes[name])
        assert error <= TOLERANCE[dtype] * scale, f"gradient of {name}: off by {error / scale:.2g}"


@cells
@contexts
@both_directions
def test_model_is_the_oracles(cell, peephole, context, attention, bidirectional):
    check(*make(cell, peephole, context, attention, bidirectional=bidirectional))


@cells
@both_directions
@layers
@pytest.mark.parametrize("encoder_size", [2, 4], ids=["bridge", "copy"])
def test_deeper_models_are_the_oracles(cell, peephole, bidirectional, encoder_layers, decoder_layers, encoder_size):
    sizes = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers, "encoder_size": encoder_size}
    check(*make(cell, peephole, bidirectional=bidirectional, **sizes))


@contexts
@layers
def test_contexts_of_deeper_encoders_are_the_oracles(context, attention, encoder_layers, decoder_layers):
    sizes = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
    check(*make(context=context, attention=attention, **sizes))


@cells
@contexts
def test_single_precision(cell, peephole, context, attention):
    check(*make(cell, peephole, context, attention, dtype=torch.float32), torch.float32)


@cells
@contexts
def test_mixed_precision(cell, peephole, context, attention):
    """All operands are rounded to 8 bits; the worst gradient seen here was 0.013 of its length off."""
    model, _ = make(cell, peephole, context, attention, encoder_layers=2, decoder_layers=2, dtype=torch.float32)
    source, source_lengths, target, _ = batch()
    gradients = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = model.loss_sum(source, source_lengths, target)
        assert loss.dtype == torch.float32
        loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert (gradients[1] - gradients[0]).norm() <= 0.02 * gradients[0].norm()


@contexts
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_steps_one_by_one_are_the_oracles(cell, context, attention):
    model, config = make(cell, "full" if cell == "lstm" else "none", context, attention, decoder_layers=2)
    source, source_lengths, target, _ = batch()
    judge = oracle_of(config, weights_of(model))
    wanted = [judge.decode(one, [BOS, *other[:-1]]) for one, other in PAIRS]
    with torch.no_grad():
        all_at_once = model(source, source_lengths, target)
        state = model.start(source, source_lengths)
        previous = torch.full_like(target[:, 0], BOS)
        for t in range(target.shape[1]):
            logits, state, alphas = model.step(previous, state)
            torch.testing.assert_close(logits, all_at_once[:, t], rtol=0, atol=1e-12)
            for b in range(len(PAIRS)):
                rows, weights = wanted[b]
                if t >= len(rows):
                    continue
                assert_close(logits[b].log_softmax(0), rows[t], f"log p of step {t}", torch.float64)
                if context == "attention":
                    alpha = np.pad(weights[t], (0, source.shape[1] - len(weights[t])))
                    assert_close(alphas[b], alpha, f"attention of step {t}", torch.float64)
            previous = target[:, t]
    assert (alphas is None) == (context != "attention")


# Seeds whose models do not say the same symbol at every step.
@pytest.mark.parametrize(("context", "attention", "seed"), [("attention", "additive", 2), ("mean", "-", 8)])
def test_scheduled_sampling_of_every_symbol_is_free_running(context, attention, seed):
    model, config = make(context=context, attention=attention, decoder_layers=2, seed=seed)
    source, source_lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.0)
    got = model(source, source_lengths, target, noise=noise, own_share=1.0).log_softmax(-1)
    judge = oracle_of(config, weights_of(model))
    for b, (own_source, _) in enumerate(PAIRS):
        fed = [BOS]
        for _ in range(target.shape[1] - 1):
            rows, _ = judge.decode(own_source, fed)
            fed.append(int(rows[-1].argmax()))  # (14)
        assert len(set(fed[1:])) > 1
        assert_close(got[b], judge.decode(own_source, fed)[0], "log p", torch.float64)


@cells
@both_directions
def test_dropout_is_on_embeddings_between_layers_and_on_the_readout(cell, peephole, bidirectional):
    model, config = make(cell, peephole, bidirectional=bidirectional, encoder_layers=2, decoder_layers=2)
    source, source_lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.4)
    T, U = source.shape[1], target.shape[1]
    sizes = {"source embedding": (T, 3), "between layers 1": (T, 2)}
    sizes |= {"target embedding": (U, 3), "between decoder layers 1": (U, 4), "readout": (U, 4)}
    masks = {place: noise.mask(place, *size).double().numpy() for place, size in sizes.items()}
    got = model(source, source_lengths, target, noise=noise).log_softmax(-1)
    for b, (own_source, own_target) in enumerate(PAIRS):
        judge = oracle_of(config, weights_of(model), {place: mask[b] for place, mask in masks.items()})
        rows, _ = judge.decode(own_source, [BOS, *own_target[:-1]])
        assert_close(got[b, : len(rows)], rows, "log p", torch.float64)


@contexts
def test_scheduled_sampling_of_no_symbol_is_teacher_forcing_with_the_same_dropout(context, attention):
    model, _ = make(context=context, attention=attention, encoder_layers=2, decoder_layers=2)
    source, source_lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.4)
    forced = model(source, source_lengths, target, noise=noise)
    sampled = model(source, source_lengths, target, noise=noise, own_share=1e-12)
    torch.testing.assert_close(forced, sampled, rtol=0, atol=1e-12)
    assert (forced - model(source, source_lengths, target)).abs().max() > 0.1  # there was dropout


sequences = st.lists(st.integers(3, 5), min_size=1, max_size=10)


# No test of speed: a busy machine must not fail it.
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_pair_depends_on_its_batch(data):
    """Alone, among 64 with longer mates and in any order, a pair's score is the same; in training too."""
    cell, peephole = data.draw(st.sampled_from(CELLS))
    context, attention = data.draw(st.sampled_from(CONTEXTS))
    own_share = data.draw(st.sampled_from([0.0, 0.5]))
    # Which symbol the model would feed itself may hang on a rounding error where two are as good as equal.
    dtype = torch.float64 if own_share else torch.float32
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
            logits = model(source, source_lengths, target, noise=noise, own_share=own_share)
            log_prob = model.log_prob(source, source_lengths, target, target_lengths)
        gold = logits.log_softmax(-1).gather(2, target[:, :, None])[:, :, 0]
        return [(gold[b, : target_lengths[b]], log_prob[b]) for b in range(len(rows))]

    together, shuffled = scores(list(range(64))), scores(order)
    for place, row in enumerate(order):
        torch.testing.assert_close(shuffled[place], together[row], rtol=1e-5, atol=1e-5)
    for row in data.draw(st.lists(st.integers(0, 63), min_size=4, max_size=4)):
        torch.testing.assert_close(scores([row])[0], together[row], rtol=1e-5, atol=1e-5)
