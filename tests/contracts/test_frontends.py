"""Tests frames as input, through a matrix or convolutions, and pyramids of encoder layers, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import Config, ModelConfig, SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.errors import ConfigError, PeepholeError, ShapeError
from peephole.nn import GRU, LSTM, Noise, build_seq2seq, use_engine
from peephole.search.torch import DefinitionSearch
from peephole.storage.model_file import ModelFile, encode_model
from peephole.symbols import CharacterSymbols
from rejection import rejected_by_comparison

from . import wrong_frontends
from .changes import change_text
from .checks import assert_close
from .model_oracle import BOS, ModelOracle
from .network_checks import EOS, TARGET_SYMBOLS, check_gradients, computed_once
from .wrong_frontends import RightFrontend

F = 6
INPUTS = {
    "frames": {"input": "frames"},
    "three frames joined": {"input": "frames", "frame_stack": 3},
    "convolution": {"input": "convolution", "convolution_layers": 1, "convolution_channels": 2},
    "two convolutions of three planes": {
        "input": "convolution",
        "input_planes": 3,
        "convolution_layers": 2,
        "convolution_channels": 3,
    },
    "two convolutions": {"input": "convolution", "convolution_layers": 2, "convolution_channels": 3},
}
PYRAMIDS = {"flat": (1, 0), "one join": (2, 1), "one join of three": (3, 1), "two joins": (3, 2)}
TARGETS = [[4, EOS], [5, 4, 3, 5, EOS], [3, 3, EOS], [EOS], [4, 4, EOS]]
LENGTHS = (7, 5, 18, 1, 2)  # in no order; with a remainder and without for every number of joined steps
FIELDS = (
    "cell",
    "context",
    "attention",
    "attention_heads",
    "encoder_layers",
    "decoder_layers",
    "bidirectional",
    "input",
    "frame_stack",
    "input_planes",
    "encoder_pyramid",
    "residual",
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
    reference, pairs = oracle_of(config, weights), list(zip(sources(), TARGETS, strict=True))
    want = computed_once(
        ("log p of frames", config), weights, lambda: np.array([reference.log_prob(*pair) for pair in pairs])
    )
    assert_close(log_probs, want, "log p(Y | X)", dtype)

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
    check_gradients(total, arrays, found, dtype, key=("sum of log p of frames", config))
    for row, length in enumerate(LENGTHS):
        assert not frames.grad[row, length:].any()  # nothing depends on the padding


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("layers", "joins"), [(2, 1), (3, 1), (4, 2)])
def test_residual_layers_above_a_pyramid_equal_the_oracle(layers, joins, cell):
    settings = {"cell": cell, "peephole": "none", "encoder_layers": layers, "encoder_pyramid": joins, "residual": True}
    check(*make(**INPUTS["frames"], **settings))


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
    model.frontend.set_statistics(torch.arange(6.0), torch.tensor([2.0, 0.0, 4.0, 0.5, 1.0, 1.0]))
    assert model.frontend.mean.tolist() == [0, 1, 2, 3, 4, 5]
    assert model.frontend.scale.tolist() == [0.5, 1, 0.25, 2, 1, 1]
    assert not {"frontend.mean", "frontend.scale"} & dict(model.named_parameters()).keys()


@pytest.mark.parametrize("kind", ["three frames joined", "two convolutions", "two convolutions of three planes"])
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


SEARCHED = [
    {"input": "frames", "frame_stack": 3, "encoder_layers": 3, "encoder_pyramid": 1},
    {"input": "convolution", "convolution_layers": 1, "convolution_channels": 5, "encoder_layers": 1},
    {"input": "convolution", "convolution_layers": 3, "convolution_channels": 17, "encoder_layers": 2},
    {"input": "convolution", "input_planes": 2, "convolution_layers": 2, "convolution_channels": 9},
    {"input": "convolution", "input_planes": 3, "convolution_layers": 1, "convolution_channels": 2},
    {
        "input": "frames",
        "cell": "gru",
        "peephole": "none",
        "context": "last",
        "encoder_layers": 3,
        "encoder_pyramid": 2,
    },
]


def packed(model, config, instruction_set):
    """Return the engine's search over a model with its weights, and that of the definition."""
    symbols = CharacterSymbols(["a", "b"], "NFC")
    file = ModelFile(
        {n: t.float().numpy() for n, t in model.state_dict().items()}, Config(model=config), symbols, symbols
    )
    return PackedSearch([PackedModel(encode_model(file), instruction_set)]), DefinitionSearch([model.float()])


@pytest.mark.parametrize(
    "settings", SEARCHED, ids=["stacked", "one convolution", "three convolutions", "two planes", "three planes", "gru"]
)
@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
def test_the_engine_predicts_from_frames_as_the_definition_does(settings, instruction_set):
    model, config = make(**settings)
    ours, definition = packed(model, config, instruction_set)
    frames = [source.astype(np.float32) for source in sources()]
    targets = [[i for i in ids if i != EOS] for ids in TARGETS]
    search = SearchConfig(threads=2, batch_size=3)
    for got, want in zip(ours.force(frames, targets, search), definition.force(frames, targets, search), strict=True):
        assert got.log_prob == pytest.approx(want.log_prob, rel=1e-5)
        if want.attention is not None:
            assert got.attention.shape == want.attention.shape
            np.testing.assert_allclose(got.attention, want.attention, atol=1e-5)
    longest = [12] * len(frames)
    for got, want in zip(ours.find(frames, longest, search), definition.find(frames, longest, search), strict=True):
        assert [h.ids for h in got] == [h.ids for h in want]
    # The same bits whatever stands beside a source, in any order and on any number of threads
    alone = [ours.force([f], [t], SearchConfig(threads=1)) for f, t in zip(frames, targets, strict=True)]
    assert [h.symbol_log_probs for [h] in alone] == [h.symbol_log_probs for h in ours.force(frames, targets, search)]


def test_the_engine_refuses_frames_of_another_size():
    ours, _ = packed(*make(input="frames"), None)
    with pytest.raises(PeepholeError, match=r"source 1: wanted frames of 6 numbers, got shape \(4, 5\)"):
        ours.force([np.zeros((2, 6), np.float32), np.zeros((4, 5), np.float32)], [[4], [4]], SearchConfig())
    with pytest.raises(PeepholeError, match="source 0: wanted at least 1 frames, got 0"):
        ours.force([np.zeros((0, 6), np.float32)], [[4]], SearchConfig())
