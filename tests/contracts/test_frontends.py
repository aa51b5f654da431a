"""Tests frames as input, through a matrix or convolutions, and pyramids of encoder layers, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import ModelConfig
from peephole.errors import ConfigError, ShapeError
from peephole.nn import GRU, LSTM, Noise, build_seq2seq, use_engine
from rejection import rejected_by_comparison

from . import wrong_frontends
from .changes import change_text
from .checks import assert_close
from .model_oracle import BOS, ModelOracle
from .network_checks import EOS, TARGET_SYMBOLS, check_gradients
from .wrong_frontends import RightFrontend

F = 5
INPUTS = {
    "frames": {"input": "frames"},
    "three frames joined": {"input": "frames", "frame_stack": 3},
    "convolution": {"input": "convolution", "convolution_layers": 1, "convolution_channels": 2},
    "two convolutions": {"input": "convolution", "convolution_layers": 2, "convolution_channels": 3},
}
PYRAMIDS = {"flat": (1, 0), "one join": (2, 1), "one join of three": (3, 1), "two joins": (3, 2)}
TARGETS = [[4, EOS], [5, 4, 3, 5, EOS], [3, 3, EOS], [EOS], [4, 4, EOS]]
LENGTHS = (7, 5, 18, 1, 2)  # in no order; with a remainder and without for every number of joined steps
FIELDS = (
    "cell",
    "context",
    "attention",
    "encoder_layers",
    "decoder_layers",
    "bidirectional",
    "input",
    "frame_stack",
    "encoder_pyramid",
)


@pytest.fixture(params=["off", *engine.instruction_sets()[:1]], autouse=True, scope="module")
def implementation(request):
    """Run every test of this file with the definition, and with the engine where it has the operators."""
    with use_engine(request.param):
        yield request.param


def make(dtype=torch.float64, **settings):
    """Return a model with random weights, statistics of frames among them, and its settings."""
    config = ModelConfig(hidden_size=4, encoder_size=2, embedding_size=3, input_size=F, **settings)
    model = build_seq2seq(config, 0, TARGET_SYMBOLS).to(dtype)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(0.7 * torch.randn(tensor.shape, generator=generator))
    return model, config


def sources():
    rng = np.random.default_rng(8)
    return [rng.normal(size=(length, F)).astype(np.float32).astype(float) for length in LENGTHS]


def batch(dtype=torch.float64, padding=np.nan):
    """Return a padded batch; beyond each source's frames it holds `padding`."""
    frames = torch.full((len(LENGTHS), max(LENGTHS) + 2, F), padding, dtype=dtype)
    target = torch.full((len(TARGETS), 5), 3)
    for row, (source, ids) in enumerate(zip(sources(), TARGETS, strict=True)):
        frames[row, : len(source)] = torch.from_numpy(source)
        target[row, : len(ids)] = torch.tensor(ids)
    return frames, torch.tensor(LENGTHS), target, torch.tensor([len(ids) for ids in TARGETS])


def oracle_of(config, weights, masks=None):
    return ModelOracle(weights, **{name: getattr(config, name) for name in FIELDS}, masks=masks or {})


def check(model, config, dtype=torch.float64):
    """Compare log p(Y | X), and its derivatives by every weight and every frame."""
    weights = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    frames, *others = batch(dtype)
    frames.requires_grad_()
    log_probs = model.log_prob(frames, *others)
    want = [oracle_of(config, weights).log_prob(*pair) for pair in zip(sources(), TARGETS, strict=True)]
    assert_close(log_probs, np.array(want), "log p(Y | X)", dtype)

    rng = np.random.default_rng(4)
    factors = rng.normal(size=len(TARGETS))

    def total(values):
        own = oracle_of(config, values)
        inputs = [values[f"source {row}"] for row in range(len(LENGTHS))]
        return sum(f * own.log_prob(*pair) for f, pair in zip(factors, zip(inputs, TARGETS, strict=True), strict=True))

    (log_probs * torch.from_numpy(factors).to(dtype)).sum().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    found |= {f"source {row}": frames.grad[row, :length] for row, length in enumerate(LENGTHS)}
    arrays = weights | {f"source {row}": source for row, source in enumerate(sources())}
    check_gradients(total, arrays, found, dtype)
    for row, length in enumerate(LENGTHS):
        assert not frames.grad[row, length:].any()  # nothing depends on the padding


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("pyramid", PYRAMIDS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_inputs_and_pyramids_equal_the_oracle(kind, pyramid, cell):
    layers, joins = PYRAMIDS[pyramid]
    peephole = "full" if cell == "lstm" else "none"
    check(*make(**INPUTS[kind], cell=cell, peephole=peephole, encoder_layers=layers, encoder_pyramid=joins))


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("context", ["last", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_fixed_contexts_of_frames_equal_the_oracle(kind, context, bidirectional):
    settings = {"context": context, "bidirectional": bidirectional, "encoder_layers": 2, "encoder_pyramid": 1}
    check(*make(**INPUTS[kind], **settings))


@pytest.mark.parametrize("kind", INPUTS)
def test_single_precision_equals_the_oracle(kind):
    """Use the mean as context: over two or three steps the gradients of an attention cancel, and with them digits."""
    settings = {"context": "mean", "encoder_layers": 2, "encoder_pyramid": 1}
    check(*make(torch.float32, **INPUTS[kind], **settings), torch.float32)


@pytest.mark.parametrize("kind", INPUTS)
def test_dropout_has_the_sites_of_the_oracle(kind):
    model, config = make(**INPUTS[kind], encoder_layers=2, encoder_pyramid=1)
    frames, lengths, target, _ = batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(len(TARGETS)), rate=0.4)
    sizes = {"source embedding": 3, "between layers 1": 2, "target embedding": 3, "readout": 4}
    masks = {site: noise.mask(site, 20, size).double().numpy() for site, size in sizes.items()}
    got = model(frames, lengths, target, noise=noise).log_softmax(-1)
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    for row, (source, ids) in enumerate(zip(sources(), TARGETS, strict=True)):
        reference = oracle_of(config, weights, {site: mask[row] for site, mask in masks.items()})
        rows, _ = reference.decode(source, [BOS, *ids[:-1]])
        assert_close(got[row, : len(rows)], rows, "log p", torch.float64)


def test_statistics_of_frames_are_constants_that_training_leaves_alone():
    model, _ = make(input="frames")
    model.frontend.set_statistics(torch.arange(5.0), torch.tensor([2.0, 0.0, 4.0, 0.5, 1.0]))
    assert model.frontend.mean.tolist() == [0, 1, 2, 3, 4]
    assert model.frontend.scale.tolist() == [0.5, 1, 0.25, 2, 1]
    assert not {"frontend.mean", "frontend.scale"} & dict(model.named_parameters()).keys()


@pytest.mark.parametrize("kind", ["three frames joined", "two convolutions"])
def test_right_frontend_is_accepted(kind):
    model, config = make(**INPUTS[kind], encoder_layers=2, encoder_pyramid=1)
    RightFrontend(config.input).put_into(model)
    check(model, config)


@pytest.mark.parametrize("change", wrong_frontends.WRONG, ids=lambda change: change.name)
def test_wrong_frontend_is_rejected(change):
    changed = change_text(getattr(wrong_frontends, change.function), change.right, change.wrong)
    model, config = make(**INPUTS[change.input], encoder_layers=2, encoder_pyramid=1)
    RightFrontend(config.input, **{change.function: changed}).put_into(model)
    with rejected_by_comparison(rf"^{change.seen_in}"):
        check(model, config)


@pytest.mark.parametrize("module", [LSTM, GRU])
def test_a_pyramid_needs_layers_to_stand_on(module):
    with pytest.raises(ShapeError, match="pyramid: wanted fewer than the 2 layers, got 2"):
        module(3, 4, num_layers=2, pyramid=2)


@pytest.mark.parametrize("kind", ["frames", "convolution"])
def test_the_size_of_a_frame_must_be_known(kind):
    with pytest.raises(ConfigError, match="input_size: wanted the numbers in a frame"):
        build_seq2seq(ModelConfig(input=kind), 0, 5)
