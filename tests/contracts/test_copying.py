"""Tests copying, (26), (27), against the oracle: the mixture, its loss, whole models, and numbers at their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import ModelConfig
from peephole.engine.kinds import TRAINING_KINDS
from peephole.nn import Noise, build_seq2seq, copying, use_engine
from peephole.nn.copying import copy_loss_sum, mixture
from rejection import rejected_by_comparison

from . import oracle
from .changes import change_text
from .checks import assert_close
from .model_oracle import BOS, ModelOracle
from .network_checks import check_gradients, weights_of
from .wrong_copying import WRONG_LOSSES, WRONG_MIXTURES, WRONG_SUMS

PAD, EOS, UNK = 0, 2, 3
V = 6  # ids from 6 on are symbols of a source

# Each source has 1 to 5 symbols: ids read and ids copied. Among them: symbols that occur twice, or in both vocabularies
# or one, and such as look alike to the encoder; targets copy, generate, or both, and a UNK that occurs nowhere.
PAIRS = [
    (([4, 6, 5], [4, 6, 5]), [4, 6, EOS]),
    (([3], [6]), [6, 3, 4, EOS]),
    (([6, 3, 3, 6, 5], [7, 6, 8, 7, 4]), [8, 7, 7, 4, 5, EOS]),
    (([5, 4], [5, 5]), [5, EOS]),
]


@pytest.fixture(autouse=True)
def definition_only():
    """Run a test with the definition, unless it says otherwise."""
    with use_engine("off"):
        yield


def padded_copies(pairs=PAIRS):
    """Return source (B, T, 2) padded with ids that must be ignored, lengths, and targets padded with <pad>."""
    lengths = torch.tensor([len(read) for (read, _), _ in pairs])
    source = torch.full((len(pairs), int(lengths.max()) + 1, 2), 5)
    target = torch.full((len(pairs), max(len(target) for _, target in pairs) + 1), PAD)
    for b, ((read, copied), wanted) in enumerate(pairs):
        source[b, : len(read)] = torch.tensor([read, copied]).T
        target[b, : len(wanted)] = torch.tensor(wanted)
    return source, lengths, target


def problem(dtype=torch.float64):
    """Return random logits, gate and weights for the pairs, the ids copied and the targets."""
    rng = np.random.default_rng(3)
    source, lengths, target = padded_copies()
    copied = source[..., 1].where(torch.arange(source.shape[1]) < lengths[:, None], PAD)
    shape = target.shape
    energies = rng.normal(size=(*shape, source.shape[1]))
    energies[(torch.arange(source.shape[1]) >= lengths[:, None])[:, None].expand(energies.shape).numpy()] = -np.inf
    arrays = {"logits": rng.normal(size=(*shape, V)), "gate": rng.normal(size=shape), "weights": np.exp(energies)}
    arrays["weights"] /= arrays["weights"].sum(2, keepdims=True)
    return {name: torch.tensor(array, dtype=dtype) for name, array in arrays.items()}, copied, target, lengths.tolist()


def by_symbol(arrays, copied, lengths, b, u):
    """Return log p of each symbol of a step by the oracle."""
    own = arrays["weights"][b, u, : lengths[b]]
    return oracle.copying(arrays["logits"][b, u], arrays["gate"][b, u], own, copied[b, : lengths[b]].tolist())


def check_mixture(function, dtype=torch.float64):
    """Compare log p of every symbol and every gradient with the oracle."""
    tensors, copied, target, lengths = problem(dtype)
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    found = function(*leaves.values(), copied)
    arrays = {name: tensor.detach().double().numpy() for name, tensor in tensors.items()}
    total, rng = 0, np.random.default_rng(8)
    factors = rng.normal(size=found.shape)
    for b, u in np.ndindex(target.shape):
        wanted = by_symbol(arrays, copied, lengths, b, u)
        for y in range(found.shape[2]):
            if y not in wanted:
                assert found[b, u, y] == -torch.inf, f"log p of {y} in pair {b}: wanted -inf, got {found[b, u, y]}"
                continue
            assert_close(found[b, u, y], np.array(wanted[y]), f"log p of {y} in pair {b}", dtype)
            total = total + factors[b, u, y] * found[b, u, y]

    def of(values):
        sums = 0
        for b, u in np.ndindex(target.shape):
            for y, log_p in by_symbol(values, copied, lengths, b, u).items():
                sums = sums + factors[b, u, y] * log_p
        return sums

    compare_gradients(total, of, leaves, arrays, lengths, dtype)
    [last] = function(*(leaf[:1, 1] for leaf in leaves.values()), copied[:1])  # one step, as a search calls it
    torch.testing.assert_close(last, function(*(leaf[:1] for leaf in leaves.values()), copied[:1])[0, 1])


def check_loss(function, smoothing, dtype=torch.float64):
    """Compare the loss and every gradient with the oracle."""
    tensors, copied, target, lengths = problem(dtype)
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    arrays = {name: tensor.detach().double().numpy() for name, tensor in tensors.items()}

    def of(values):
        total = 0
        for b, u in np.ndindex(target.shape):
            if target[b, u] != PAD:
                total = total - (1 - smoothing) * by_symbol(values, copied, lengths, b, u)[int(target[b, u])]
                total = total - smoothing * oracle.log_softmax(values["logits"][b, u]).mean()
        return total

    found = function(*leaves.values(), copied, target, smoothing)
    assert_close(found[None], np.array([of(arrays)]), "loss", dtype)
    compare_gradients(found, of, leaves, arrays, lengths, dtype)


def compare_gradients(total, of, leaves, arrays, lengths, dtype):
    """Compare the gradient of every number with the oracle's; the weights of padding have none that matters."""
    found = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values()), materialize_grads=True), strict=True))
    wanted = oracle.gradients(of, arrays)
    for b, length in enumerate(lengths):
        found["weights"][b, :, length:] = 0
    for name, gradient in found.items():
        assert_close(gradient, wanted[name], f"gradient of {name}", dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_mixture_equals_the_oracle(dtype):
    check_mixture(mixture, dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_loss_equals_the_oracle(smoothing, dtype):
    check_loss(copy_loss_sum, smoothing, dtype)


@pytest.mark.parametrize("change", WRONG_MIXTURES, ids=lambda change: change.name)
def test_a_wrong_mixture_is_rejected(change):
    with rejected_by_comparison(rf"^{change.seen_in}"):
        check_mixture(change_text(mixture, change.right, change.wrong))


@pytest.mark.parametrize("change", WRONG_LOSSES, ids=lambda change: change.name)
def test_a_wrong_loss_is_rejected(change):
    with rejected_by_comparison(rf"^{change.seen_in}"):
        check_loss(change_text(copy_loss_sum, change.right, change.wrong), 0.3)


@pytest.mark.parametrize("change", WRONG_SUMS, ids=lambda change: change.name)
def test_a_wrong_sum_is_rejected(change, monkeypatch):
    monkeypatch.setattr(copying, "_log_sum", change_text(copying._log_sum, change.right, change.wrong))
    with rejected_by_comparison(rf"^{change.seen_in}"):
        check_loss(copy_loss_sum, 0.3)


def test_the_loss_of_an_id_that_occurs_nowhere_in_its_source_is_infinite():
    tensors, copied, target, _ = problem()
    assert copy_loss_sum(*tensors.values(), copied, target, 0.0).isfinite()
    assert copy_loss_sum(*tensors.values(), copied, target.where(target != 8, 9), 0.0) == torch.inf


@pytest.mark.parametrize("gate", [-200.0, 200.0])
def test_a_saturated_gate_and_weights_of_zero_leave_finite_gradients(gate):
    """The first symbol has no weight, the second one all of it; probabilities of e^-200 are 0 in float32."""
    copied, target = torch.tensor([[4, 6, 7, PAD]]), torch.tensor([[4, 6, 7, 5, EOS, PAD]])
    weights = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(1, 6, 4).clone().requires_grad_()
    logits = torch.tensor([90.0, 0, -90, 0, 0, -90]).expand(1, 6, V).clone().requires_grad_()
    gates = torch.full((1, 6), gate, requires_grad=True)
    for found in (
        copy_loss_sum(logits, gates, weights, copied, target, 0.1),
        mixture(logits, gates, weights, copied).nan_to_num(neginf=0).sum(),
    ):
        assert found.isfinite()
        for gradient in torch.autograd.grad(found, [logits, gates, weights]):
            assert gradient.isfinite().all()
    log_p = mixture(logits, gates, weights, copied)[0, 0].detach().double().exp()
    assert float(log_p.sum()) == pytest.approx(1, abs=1e-5)
    assert float(log_p[6]) == pytest.approx(0 if gate > 0 else 1, abs=1e-5)


def make(cell="lstm", attention="additive", dtype=torch.float64, seed=0, **settings):
    """Return a model that copies with random parameters, and its config."""
    peephole = "none" if cell == "gru" else "full"
    sizes = {"hidden_size": 4, "encoder_size": 4, "embedding_size": 3, "attention_heads": 2, "location_width": 3}
    config = ModelConfig(output="copy", cell=cell, peephole=peephole, attention=attention, **sizes | settings)
    model = build_seq2seq(config, 7, V).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return model, config


def oracle_of(config, weights, masks=None):
    names = ("cell", "context", "attention", "encoder_layers", "decoder_layers", "bidirectional", "attention_heads")
    names += ("input_feeding",)
    own = {name: getattr(config, name) for name in names}
    return ModelOracle(weights, **own, output="copy", masks=masks or {})


def check_model(model, config, dtype=torch.float64, **settings):
    """Compare log p, the loss with coverage, and its derivatives along a random direction in each parameter."""
    source, lengths, target = padded_copies()
    weights = weights_of(model)
    wanted = [oracle_of(config, weights).log_prob(*pair) for pair in PAIRS]
    target_lengths = torch.tensor([len(target) for _, target in PAIRS])
    assert_close(model.log_prob(source, lengths, target, target_lengths), np.array(wanted), "log p(Y | X)", dtype)
    loss = model.loss_sum(source, lengths, target, coverage_weight=0.7, **settings)

    def total(values):
        own = oracle_of(config, values)
        return sum(0.7 * own.coverage_loss(*pair) - own.log_prob(*pair) for pair in PAIRS)

    assert_close(loss[None], np.array([total(weights)]), "loss", dtype)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    check_gradients(total, weights, gradients, dtype, key=("loss of copying with coverage", config))


ATTENTIONS = ("additive", "dot", "general", "location", "coverage", "multihead")


@pytest.mark.parametrize(("cell", "attention"), [*(("lstm", kind) for kind in ATTENTIONS), ("gru", "additive")])
def test_models_equal_the_oracle(cell, attention):
    check_model(*make(cell, attention, decoder_layers=2))


@pytest.mark.parametrize("setting", engine.instruction_sets())
@pytest.mark.parametrize("attention", TRAINING_KINDS["attention"][1:])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_models_whose_decoder_the_engine_trains_equal_the_oracle(setting, attention, dtype, monkeypatch):
    """The engine returns the weights of all steps, and continues their gradients."""
    model, config = make(attention=attention, dtype=dtype, decoder_layers=2, seed=5)
    monkeypatch.setattr("peephole.nn.decoder.DecoderRecurrence.__call__", lambda *_: pytest.fail("not by the engine"))
    with use_engine(setting):
        check_model(model, config, dtype)


def test_single_precision_equals_the_oracle():
    check_model(*make(attention="coverage", dtype=torch.float32), torch.float32)


@pytest.mark.parametrize("sampling", [0.0, 1e-12])
def test_single_steps_and_sampled_ones_equal_all_steps(sampling):
    """Compare log p under dropout with the oracle, and steps of a search with all steps at once."""
    model, config = make(attention="coverage", decoder_layers=2)
    source, lengths, target = padded_copies()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(PAIRS)), rate=0.4)
    T, U = source.shape[1], target.shape[1]
    sizes = {
        "source embedding": (T, 3),
        "target embedding": (U, 3),
        "readout": (U, 4),
        "between decoder layers 1": (U, 4),
    }
    masks = {site: noise.mask(site, *size).double().numpy() for site, size in sizes.items()}
    got = model(source, lengths, target, noise=noise, sampling_probability=sampling).detach()
    for b, (own, wanted) in enumerate(PAIRS):
        reference = oracle_of(config, weights_of(model), {site: mask[b] for site, mask in masks.items()})
        for t, row in enumerate(reference.decode(own, [BOS, *wanted[:-1]])[0]):
            for y, log_p in row.items():
                assert float(got[b, t, y]) == pytest.approx(float(log_p), abs=1e-10)
    settings = {"noise": noise, "sampling_probability": sampling, "label_smoothing": 0.1, "coverage_weight": 0.3}
    forced = model.loss_sum(source, lengths, target, noise=noise, label_smoothing=0.1, coverage_weight=0.3)
    torch.testing.assert_close(model.loss_sum(source, lengths, target, **settings), forced)
    all_at_once, state = model(source, lengths, target), model.start(source, lengths)
    for t, previous in enumerate([torch.full((len(PAIRS),), BOS), *target.unbind(1)[:-1]]):
        logits, state, _ = model.step(previous, state)
        torch.testing.assert_close(logits, all_at_once[:, t], rtol=0, atol=1e-12)


def test_results_of_a_pair_do_not_depend_on_its_batch():
    model, _ = make(attention="coverage")
    source, lengths, target = padded_copies()
    together = model(source, lengths, target)
    for b, pair in enumerate(PAIRS):
        own, own_lengths, own_target = padded_copies([pair])
        alone = model(own, own_lengths, own_target)[0, : len(pair[1])]
        torch.testing.assert_close(alone, together[b, : len(pair[1]), : alone.shape[1]], rtol=0, atol=1e-12)
        assert (together[b, :, alone.shape[1] :] == -torch.inf).all()


def test_gradients_in_mixed_precision_are_close_to_single_precision():
    model, _ = make(attention="coverage", dtype=torch.float32)
    gradients = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = model.loss_sum(*padded_copies(), label_smoothing=0.1)
        assert loss.dtype == torch.float32
        loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert (gradients[1] - gradients[0]).norm() <= 0.02 * gradients[0].norm()
