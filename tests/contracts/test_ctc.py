"""Tests CTC against the forward algorithm of the paper and a list of all paths, alone and in the whole network."""

from __future__ import annotations

from types import MethodType

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import ModelConfig
from peephole.nn import Noise, build_seq2seq, use_engine
from peephole.nn.ctc import CTC, ctc_loss_sum
from peephole.nn.seq2seq import Seq2Seq
from rejection import rejected_by_comparison

from .changes import change_text
from .checks import assert_close
from .ctc_oracle import ctc_loss, ctc_prob, paths, prefix_prob
from .model_oracle import ModelOracle
from .network_checks import check_gradients, weights_of
from .oracle import coverage_loss, log_softmax
from .wrong_ctcs import WRONG_CTC_LOSSES, WRONG_JOINT_LOSSES, right_ctc_loss

V = 6
# Targets with </s>: equal neighbours, no symbol, as many symbols as outputs, and two without a path.
TARGETS = [[4, 4, 5, 2], [3, 2], [2], [5, 4, 2], [4, 4, 2], [5, 4, 5, 2], [3, 3, 2]]
LENGTHS = [6, 3, 4, 2, 3, 2, 2]
WITHOUT_PATH = [5, 6]


def padded_targets(targets):
    target = torch.zeros(len(targets), max(map(len, targets)) + 1, dtype=torch.int64)
    for row, ids in zip(target, targets, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return target


@pytest.mark.parametrize("symbols", [3, 4])
def test_the_oracle_equals_the_sum_over_all_paths(symbols):
    """Also the prefix probabilities: that of the empty prefix is 1, and each is that of its extensions and itself."""
    for S in range(1, 6):
        y = np.random.default_rng(S).dirichlet(np.full(symbols, 0.5), S)
        listed = paths(y)
        assert sum(listed.values()) == pytest.approx(1)
        for target, p in listed.items():
            assert ctc_prob(y, target) == pytest.approx(p, rel=1e-12)
            longer = sum(prefix_prob(listed, (*target, k)) for k in range(1, symbols))
            assert prefix_prob(listed, target) == pytest.approx(p + longer, rel=1e-12)
        assert ctc_prob(y, (1,) * (S + 1)) == 0


def check_loss(loss_of, dtype=torch.float64):
    """Compare value and gradient of a function like `ctc_loss_sum` with the oracle; padded outputs are NaN."""
    scores = np.random.default_rng(2).normal(size=(len(TARGETS), max(LENGTHS) + 1, V)) * 2
    own = [row[:length] for row, length in zip(scores, LENGTHS, strict=True)]

    def total(arrays):
        return sum(
            ctc_loss(np.exp(np.array([log_softmax(z) for z in row])), target[:-1])
            for row, target in zip(arrays.values(), TARGETS, strict=True)
        )

    for row, length in zip(scores, LENGTHS, strict=True):
        row[length:] = np.nan
    given = torch.tensor(scores, dtype=dtype, requires_grad=True)
    got = loss_of(given.log_softmax(-1), torch.tensor(LENGTHS), padded_targets(TARGETS))
    assert_close(got[None], np.array([total(dict(enumerate(own)))]), "loss", dtype)
    [gradient] = torch.autograd.grad(got, given)
    gradient = gradient.nan_to_num()  # the softmax of NaN
    for b, length in enumerate(LENGTHS):
        assert (gradient[b, length:] == 0).all(), "gradient of padding"
        if b in WITHOUT_PATH:
            assert (gradient[b] == 0).all(), "gradient of a target without a path"
    found = {b: gradient[b, :length] for b, length in enumerate(LENGTHS) if b not in WITHOUT_PATH}
    check_gradients(total, dict(enumerate(own)), found, dtype, key=("CTC loss",))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("loss", [ctc_loss_sum, right_ctc_loss], ids=["definition", "right loss"])
def test_the_loss_equals_the_oracle(loss, dtype):
    check_loss(loss, dtype)


@pytest.mark.parametrize("change", WRONG_CTC_LOSSES, ids=lambda change: change.name)
def test_wrong_loss_is_rejected(change):
    loss = change_text(right_ctc_loss, change.right, change.wrong)
    with rejected_by_comparison(rf"^{change.seen_in}\b"):
        check_loss(loss)


def test_targets_without_a_path_leave_the_others_alone():
    """Such a pair alone has loss 0, and no gradient is NaN."""
    log_probs = torch.randn(2, 2, V, requires_grad=True)
    alone = ctc_loss_sum(log_probs.log_softmax(-1), torch.tensor([2, 1]), torch.tensor([[5, 4, 5, 2], [4, 5, 2, 0]]))
    alone.backward()
    assert alone == 0
    assert (log_probs.grad == 0).all()


def test_scores_are_those_of_a_linear_layer():
    layer = CTC(3, V, torch.Generator().manual_seed(0))
    assert layer.weight.abs().max() <= (6 / (3 + V)) ** 0.5
    assert layer.bias.eq(0).all()
    with torch.no_grad():
        layer.bias.normal_()
        outputs = torch.randn(2, 4, 3)
        want = (outputs @ layer.weight.T + layer.bias).log_softmax(-1)
        torch.testing.assert_close(layer.log_probs(outputs), want)
        torch.testing.assert_close(layer.double().log_probs(outputs.double()).float(), want)


# -- the whole network

SETTINGS = [
    {},
    {"context": "mean", "cell": "gru", "peephole": "none"},
    {"encoder_layers": 2, "encoder_pyramid": 1, "bidirectional": False},
    {"attention": "coverage", "encoder_size": 6},
]
PAIRS = [([4, 6, 5, 4, 4, 3], [4, 4, 2]), ([5, 6], [5, 2]), ([6, 4, 4, 3, 5], [3, 5, 2]), ([5, 4, 3], [4, 4, 5, 4, 2])]


def make(seed=0, **settings):
    """Return a tiny network with a CTC output and random weights, and its config."""
    shape = {"hidden_size": 4, "encoder_size": 2, "embedding_size": 3, "ctc": True}
    config = ModelConfig(**shape | settings)
    model = build_seq2seq(config, 7, V).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return model, config


def batch():
    sources, targets = zip(*PAIRS, strict=True)
    source, target = padded_targets(sources), padded_targets(targets)
    return source, torch.tensor([len(row) for row in sources]), target


def oracle_of(config, weights, masks=None):
    names = ("cell", "context", "attention", "encoder_layers", "decoder_layers", "bidirectional", "attention_heads")
    settings = {name: getattr(config, name) for name in (*names, "encoder_pyramid")}
    return ModelOracle(weights, **settings, masks=masks or {})


def wanted_loss(config, weights, masks, *, ctc_weight, label_smoothing, coverage_weight):
    """Return (33) pair by pair; `masks` has those of each pair."""
    total = 0.0
    for (source, target), own in zip(PAIRS, masks, strict=True):
        reference = oracle_of(config, weights, own)
        rows, alphas = reference.decode(source, [1, *target[:-1]])
        share = (1 - label_smoothing) * np.eye(V)[target] + label_smoothing / V
        attention = -(share * rows).sum()
        if coverage_weight:
            attention = attention + coverage_weight * coverage_loss(alphas)
        outputs = reference.drop("ctc", reference.encode(source)[0])
        y = np.array([np.exp(log_softmax(reference.linear("ctc", h))) for h in outputs])
        total = total + (1 - ctc_weight) * attention + ctc_weight * ctc_loss(y, target[:-1])
    return total


def joint_oracle(config, noise, how):
    """Return a function of weights that returns `wanted_loss` of the batch with the masks of some noise."""
    source, _, target = batch()
    T, U, M = source.shape[1], target.shape[1], config.encoder_size
    sizes = {"source embedding": (T, 3), "target embedding": (U, 3), "readout": (U, 4)}
    joined = (T + 1) // 2 if config.encoder_pyramid else T
    sizes |= {"ctc": (joined, M)} | ({"between layers 1": (T, M)} if config.encoder_layers > 1 else {})
    masks = {site: noise.mask(site, *size).double().numpy() for site, size in sizes.items()}
    own = [{site: mask[b] for site, mask in masks.items()} for b in range(len(PAIRS))]
    return lambda weights: wanted_loss(config, weights, own, **how)


def loss_settings(config, ctc_weight):
    """Return the settings of (33) in a test."""
    weight = 0.5 if config.attention == "coverage" else 0.0
    return {"label_smoothing": 0.1, "ctc_weight": ctc_weight, "coverage_weight": weight}


def check_joint(loss_sum, settings, *, ctc_weight=0.3, rate=0.4):
    """Compare (33) and the gradients of all weights with the oracle, with dropout and label smoothing."""
    model, config = make(**settings)
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=rate)
    how = loss_settings(config, ctc_weight)
    got = MethodType(loss_sum, model)(*batch(), noise=noise, **how)
    total = joint_oracle(config, noise, how)
    assert_close(got[None], np.array([total(weights_of(model))]), "loss", torch.float64)
    got.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    check_gradients(total, weights_of(model), gradients, key=("joint loss", config, ctc_weight, rate))


@pytest.mark.parametrize("implementation", ["off", *engine.instruction_sets()])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_joint_loss_equals_the_oracle(settings, implementation):
    with use_engine(implementation):
        check_joint(Seq2Seq.loss_sum, settings)


@pytest.mark.parametrize("change", WRONG_JOINT_LOSSES, ids=lambda change: change.name)
def test_wrong_joint_loss_is_rejected(change):
    loss_sum = change_text(Seq2Seq.loss_sum, change.right, change.wrong)
    pyramid = {"encoder_layers": 2, "encoder_pyramid": 1}
    with rejected_by_comparison(rf"^{change.seen_in}\b"), use_engine("off"):
        check_joint(loss_sum, pyramid)


def test_without_a_ctc_weight_the_loss_is_that_of_attention():
    model, _ = make()
    plain = model.loss_sum(*batch())
    assert plain == model.loss_sum(*batch(), ctc_weight=0.0)
    assert -plain.item() == pytest.approx(model.log_prob(*batch(), (batch()[2] != 0).sum(1)).sum().item())
    joint, ctc = (model.loss_sum(*batch(), ctc_weight=weight) for weight in (0.25, 1.0))
    torch.testing.assert_close(joint, 0.75 * plain + 0.25 * ctc)


def test_ctc_changes_no_other_initial_weight():
    config = ModelConfig(hidden_size=4, embedding_size=3)
    plain, both = (
        build_seq2seq(ModelConfig(**vars(config) | {"ctc": ctc}), 7, V, torch.Generator().manual_seed(3)).state_dict()
        for ctc in (False, True)
    )
    assert [name for name in both if name not in plain] == ["ctc.weight", "ctc.bias"]
    assert all(torch.equal(weight, both[name]) for name, weight in plain.items())


def test_bfloat16_products_are_close_to_single_precision():
    model, _ = make()
    model = model.float()
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(model.loss_sum(*batch(), ctc_weight=1.0))
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.02)
