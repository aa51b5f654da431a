"""Checks that compare an implementation of the whole network with the oracle.

An implementation provides `log_prob`, `named_parameters`, `state_dict` and a call that returns logits, like
`peephole.nn.Seq2Seq`.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from peephole.config import ModelConfig
from peephole.nn import Noise, Seq2SeqStepper, build_seq2seq
from peephole.search import beam_search, force

from . import oracle
from .checks import TOLERANCE, assert_close
from .model_oracle import BOS, ModelOracle

EOS = 2
SOURCE_SYMBOLS, TARGET_SYMBOLS = 7, 6
# Unequal lengths on both sides, longest source and longest target in different pairs; targets end with </s>.
PAIRS = [([4, 6, 5], [4, EOS]), ([5], [5, 4, 3, 5, EOS]), ([6, 4, 4, 3, 5], [3, 3, EOS])]


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
    residual=False,
    input_feeding=False,
    attention_symbol=False,
    ngram_rows=0,
    zoneout=(0.0, 0.0),
    layer_norm=False,
    dtype=torch.float64,
    seed=0,
):
    """Return a model with 4 decoder units and random parameters, including biases, and its config."""
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
        location_channels=2,
        location_width=3,
        attention_heads=2,
        residual=residual,
        input_feeding=input_feeding,
        attention_symbol=attention_symbol,
        ngram_rows=ngram_rows,
        zoneout_hidden=zoneout[0],
        zoneout_cell=zoneout[1],
        layer_norm=layer_norm,
    )
    model = build_seq2seq(config, SOURCE_SYMBOLS, TARGET_SYMBOLS).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Drawn in float32, so that models of both types have the same weights.
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return model, config


def oracle_of(config, weights, masks=None):
    """Return the oracle of a model with the given config and weights."""
    names = ("cell", "context", "attention", "encoder_layers", "decoder_layers", "bidirectional", "attention_heads")
    names += ("residual", "input_feeding")
    zoneout = (config.zoneout_hidden, config.zoneout_cell)
    return ModelOracle(weights, **{name: getattr(config, name) for name in names}, zoneout=zoneout, masks=masks or {})


def weights_of(model):
    return {name: value.detach().double().numpy() for name, value in model.state_dict().items()}


def padded(sequences, generator=None):
    """Return sequences (B, longest + 1) padded with random symbols, which must be ignored, and their lengths."""
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
    """Compare log p(Y | X) of all pairs, and its derivative along a random direction of each parameter."""
    weights = weights_of(model)
    rng = np.random.default_rng(4)
    factors = rng.normal(size=len(PAIRS))

    log_probs = model.log_prob(*batch())
    reference = oracle_of(config, weights)
    want = computed_once(
        ("log p", config), weights, lambda: np.array([reference.log_prob(source, target) for source, target in PAIRS])
    )
    assert_close(log_probs, want, "log p(Y | X)", dtype)

    def total(values):
        own = oracle_of(config, values)
        return sum(factor * own.log_prob(*pair) for factor, pair in zip(factors, PAIRS, strict=True))

    (log_probs * torch.from_numpy(factors).to(dtype)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    check_gradients(total, weights, gradients, dtype, key=("sum of log p", config))


def check_gradients(function, arrays, gradients, dtype=torch.float64, *, key):
    """Compare gradients with the oracle's derivatives of a function along a random direction in each array.

    Args:
        function: takes all arrays by name, and returns a number.
        arrays: where the derivatives are taken.
        gradients: those of the implementation, by the names of the arrays; not all need to be there.
        dtype: the type of the implementation's numbers.
        key: all that the function depends on besides the arrays; see `computed_once`.
    """
    rng = np.random.default_rng(5)
    directions = {name: rng.normal(size=array.shape) for name, array in arrays.items()}
    slopes = computed_once(key, arrays, lambda: oracle.slopes(function, arrays, directions))
    for name, tensor in gradients.items():
        gradient = tensor.double().numpy()
        scale = np.abs(gradient).max() * np.linalg.norm(directions[name])
        assert scale > 0, name
        error = abs((gradient * directions[name]).sum() - slopes[name])
        assert error <= TOLERANCE[dtype] * scale, f"gradient of {name}: off by {error / scale:.2g}"


_computed = {}


def computed_once(key, arrays, compute):
    """Return what `compute` returned for the same key and arrays of the same bits, or else what it returns now.

    The oracle is slow, and most implementations are compared with the same weights.

    Args:
        key: names what is computed, and all that it depends on besides the arrays.
        arrays: float64 arrays by name.
        compute: a function without arguments.
    """
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode() + array.tobytes())
    key = (*key, digest.digest())
    if key not in _computed:
        _computed[key] = compute()
    return _computed[key]


def check_dropout(model, config, variational=False):
    """Compare log p under dropout with the oracle under the same masks, or under those of the first step."""
    source, source_lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.4)
    T, U = source.shape[1], target.shape[1]
    sizes = {"source embedding": (T, config.embedding_size), "target embedding": (U, config.embedding_size)}
    sizes["readout"] = (U, config.hidden_size)
    sizes |= {f"between layers {n}": (T, config.encoder_size) for n in range(1, config.encoder_layers)}
    sizes |= {f"between decoder layers {n}": (U, config.hidden_size) for n in range(1, config.decoder_layers)}
    masks = {site: noise.mask(site, *size).double().numpy() for site, size in sizes.items()}
    if variational:
        masks = {site: np.repeat(mask[:, :1], mask.shape[1], 1) for site, mask in masks.items()}
        noise = noise._replace(variational=True)
    masks |= zoneout_masks(config, noise, T, U)
    got = model(source, source_lengths, target, noise=noise).log_softmax(-1)
    for b, (own_source, own_target) in enumerate(PAIRS):
        reference = oracle_of(config, weights_of(model), {site: mask[b] for site, mask in masks.items()})
        rows, _ = reference.decode(own_source, [BOS, *own_target[:-1]])
        assert_close(got[b, : len(rows)], rows, "log p", torch.float64)


def zoneout_masks(config, noise, num_source_steps, num_target_steps):
    """Return the units of each state that keep their values at each step, by site; none without zoneout."""
    directions = range(2 if config.bidirectional else 1)
    size = config.encoder_size // len(directions)
    sites = {f"{layer} {d}": (num_source_steps, size) for layer in range(config.encoder_layers) for d in directions}
    sites |= {f"decoder {layer}": (num_target_steps, config.hidden_size) for layer in range(config.decoder_layers)}
    rates = {"h": config.zoneout_hidden, "c": config.zoneout_cell}
    return {
        f"zoneout {site} {part}": noise.chosen(f"zoneout {site} {part}", *shape, rate).double().numpy()
        for site, shape in sites.items()
        for part, rate in rates.items()
        if any(rates.values())
    }


def check_mixed_precision(model):
    """Compare gradients with those in float32.

    Operands are rounded to 8 bits; the largest relative error measured was 0.013 in norm.
    """
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


def check_steps(model, config):
    """Compare single steps with all steps at once, and log p and attention of each with the oracle."""
    source, source_lengths, target, _ = batch()
    reference = oracle_of(config, weights_of(model))
    wanted = [reference.decode(one, [BOS, *other[:-1]]) for one, other in PAIRS]
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
                if config.context == "attention":
                    alpha = np.pad(weights[t], (0, source.shape[1] - len(weights[t])))
                    assert_close(alphas[b], alpha, f"attention of step {t}", torch.float64)
            previous = target[:, t]
    assert (alphas is None) == (config.context != "attention")


def check_sampling_of_gold_symbols(model, variational=False):
    """Compare scheduled sampling that never samples with teacher forcing with the same dropout."""
    source, source_lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.4, variational=variational)
    forced = model(source, source_lengths, target, noise=noise)
    sampled = model(source, source_lengths, target, noise=noise, sampling_probability=1e-12)
    torch.testing.assert_close(forced, sampled, rtol=0, atol=1e-12)
    assert (forced - model(source, source_lengths, target)).abs().max() > 0.1  # dropout has an effect


def check_search(model):
    """Compare the scores of beam search, which reorders its hypotheses at every step, with those of forced targets."""
    source, lengths, _, _ = batch()
    stepper, most = Seq2SeqStepper(model), torch.tensor([5, 4, 6])
    compared = 0
    for row, found in enumerate(beam_search(stepper, source, lengths, beam_size=6, nbest=6, max_lengths=most)):
        finished = [one for one in found if one.finished]
        assert len(finished) > 1
        for one in finished:
            alone = source[row : row + 1, : lengths[row]], lengths[row : row + 1]
            [again] = force(stepper, *alone, [list(one.ids)])
            assert abs(one.log_prob - again.log_prob) < 1e-10
            compared += len(one.ids) > 1
    assert compared > 5
