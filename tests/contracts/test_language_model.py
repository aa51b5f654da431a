"""Tests that a language model, the decoder without a source, equals its equations, in engine and search, too."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from peephole import engine
from peephole.config import Config, ModelConfig, SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.errors import PeepholeError
from peephole.nn import Seq2Seq, Seq2SeqStepper, build_seq2seq, schema
from peephole.nn.noise import Noise
from peephole.nn.schema import Architecture
from peephole.search.torch import DefinitionSearch
from peephole.storage.model_file import ModelFile, encode_model
from peephole.storage.quantization import dequantize, quantize
from peephole.symbols import EOS, CharacterSymbols
from rejection import rejected_by_comparison

from . import oracle
from .checks import assert_close
from .model_oracle import BOS, ModelOracle
from .network_checks import TARGET_SYMBOLS, check_gradients, padded, weights_of
from .search_cases import (
    ROUNDING,
    SEARCHES,
    SHAPES,
    TARGET,
    assert_same,
    compared_sources,
    make_config,
    make_network,
    make_sources,
    pack,
)
from .test_engine_constraints import BEAM, CONSTRAINED, make_phrases

TARGETS = [[4, EOS], [5, 4, 3, 5, EOS], [3, 3, EOS]]
KINDS: list[dict[str, object]] = [
    {},
    {"peephole": "diagonal", "decoder_layers": 2},
    {"peephole": "none"},
    {"cell": "gru", "peephole": "none", "decoder_layers": 3},
    {"residual": True, "layer_norm": True, "zoneout_hidden": 0.2, "zoneout_cell": 0.3, "decoder_layers": 3},
    {"cell": "gru", "peephole": "none", "residual": True, "zoneout_hidden": 0.4, "decoder_layers": 2},
    {"input_feeding": True, "residual": True, "decoder_layers": 2},
]
needs_engine = pytest.mark.skipif(not engine.available(), reason="the engine was not built")


class LanguageOracle(ModelOracle):
    """Computes log p(Y) one symbol at a time: (14) without a context, from states of 0."""

    def decode(self, source, fed):
        embedded = self.drop("target embedding", self.weights["decoder.embedding.weight"][list(fed)])
        size = self.weights["decoder.readout.bias"].shape[0]
        parts = 2 if self.cell == "lstm" else 1
        states = [(np.zeros(size),) * parts for _ in range(self.decoder_layers)]
        rows, fed = [], np.zeros(size)
        for t, y in enumerate(embedded):
            x = np.concatenate([y, fed]) if self.input_feeding else y
            for layer, state in enumerate(states):
                below = x
                if layer:
                    x = self.drop(f"between decoder layers {layer}", x, t)
                weights = self.cell_weights(f"decoder.layers.{layer}")
                states[layer] = oracle.recurrent_step(x, state, weights, self.shares(f"decoder {layer}", t))
                x = states[layer][0] + below if self.residual and layer else states[layer][0]
            fed = self.drop("readout", np.tanh(self.linear("decoder.readout", np.concatenate([x, y]))), t)
            rows.append(oracle.log_softmax(self.linear("decoder.output", fed)))
        return np.array(rows), []


def make(kind: dict[str, object], dtype: torch.dtype = torch.float64) -> tuple[Seq2Seq, ModelConfig]:
    config = ModelConfig(input="none", hidden_size=4, embedding_size=3, **kind)  # type: ignore[arg-type]
    model = build_seq2seq(config, 6, TARGET_SYMBOLS).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return model, config


def oracle_of(config: ModelConfig, weights, masks=None) -> LanguageOracle:
    names = ("cell", "context", "attention", "encoder_layers", "decoder_layers", "bidirectional", "attention_heads")
    values = {name: getattr(config, name) for name in (*names, "residual", "input_feeding")}
    zoneout = (config.zoneout_hidden, config.zoneout_cell)
    return LanguageOracle(weights, **values, zoneout=zoneout, masks=masks or {})


def check(model, config: ModelConfig) -> None:
    """Compare log p(Y), and every gradient, with the oracle; the sources are of different lengths and mean nothing."""
    weights, rng = weights_of(model), np.random.default_rng(4)
    target, lengths = padded(TARGETS, torch.Generator().manual_seed(2))
    source, source_lengths = padded([[4], [5, 5, 4], [4, 4]], torch.Generator().manual_seed(3))
    log_probs = model.log_prob(source, source_lengths, target, lengths)
    wanted = [oracle_of(config, weights).log_prob([], own) for own in TARGETS]
    assert_close(log_probs, np.array(wanted), "log p(Y)", torch.float64)
    factors = rng.normal(size=len(TARGETS))

    def total(values):
        own = oracle_of(config, values)
        return sum(factor * own.log_prob([], target) for factor, target in zip(factors, TARGETS, strict=True))

    (log_probs * torch.from_numpy(factors)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    check_gradients(total, weights, gradients, key=("sum of log p without a source", config))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_language_model_computes_its_equations(kind) -> None:
    model, config = make(kind)
    check(model, config)
    specs = schema.tensors(Architecture.of(config), 6, TARGET_SYMBOLS)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == {
        name: spec.shape for name, spec in specs.items()
    }
    assert list(model.state_dict()) == list(specs)
    assert model.kinds() == Architecture.of(config).kinds()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_steps_and_dropout_equal_the_oracle(kind) -> None:
    model, config = make(kind)
    target, lengths = padded(TARGETS)
    target = torch.where(torch.arange(target.shape[1]) < lengths[:, None], target, 0)
    nothing = torch.full((3, 1), EOS), torch.ones(3, dtype=torch.long)
    stepper = Seq2SeqStepper(model)
    state, previous = stepper.start(*nothing), torch.full((3,), BOS)
    rows = [oracle_of(config, weights_of(model)).decode([], [BOS, *own[:-1]])[0] for own in TARGETS]
    for t in range(5):
        log_probs, state, attention = stepper.step(state, previous)
        assert attention is None
        for b, own in enumerate(TARGETS):
            if t < len(own):
                assert_close(log_probs[b], rows[b][t], f"log p of step {t}", torch.float64)
        previous = target[:, t]
    noise = Noise(seed=1, step=1, examples=torch.arange(3), rate=0.4)
    sizes = {"target embedding": 3, "readout": 4}
    sizes |= {f"between decoder layers {n}": 4 for n in range(1, config.decoder_layers)}
    masks = {site: noise.mask(site, target.shape[1], size).double().numpy() for site, size in sizes.items()}
    for part, rate in (("h", config.zoneout_hidden), ("c", config.zoneout_cell)):
        for layer in range(config.decoder_layers if config.zoneout_hidden else 0):
            site = f"zoneout decoder {layer} {part}"
            masks[site] = noise.chosen(site, target.shape[1], 4, rate).double().numpy()
    dropped = model(*nothing, target, noise=noise).log_softmax(-1)
    for b, own in enumerate(TARGETS):
        reference = oracle_of(config, weights_of(model), {site: mask[b] for site, mask in masks.items()})
        wanted, _ = reference.decode([], [BOS, *own[:-1]])
        assert_close(dropped[b, : len(own)], wanted, "log p with dropout", torch.float64)


def _ones(decoder, batch):
    state = type(decoder).start_alone(decoder, batch)
    return state._replace(layers=tuple(type(layer)(*(part + 1 for part in layer)) for layer in state.layers))


WRONG = {
    "begins with states of 1": lambda model: setattr(model.decoder, "start_alone", lambda b: _ones(model.decoder, b)),
    "dropped peepholes": lambda model: setattr(model.decoder.layers[0], "weight_peephole", None),
    "no readout of the embedding": lambda model: model.decoder.readout.weight.data[:, 4:].zero_(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_language_models_are_rejected(wrong: str) -> None:
    model, config = make({})
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    WRONG[wrong](model)
    target, lengths = padded(TARGETS)
    with rejected_by_comparison("log p"):
        got = model.log_prob(target[:, :1], torch.ones_like(lengths), target, lengths)
        right = oracle_of(config, {name: value.numpy() for name, value in weights.items()})
        assert_close(got, np.array([right.log_prob([], own) for own in TARGETS]), "log p(Y)", torch.float64)


def make_language_model(seed: int, **kind: object) -> tuple[Config, Seq2Seq]:
    config = make_config(input="none", **kind)
    torch.manual_seed(seed)
    network = build_seq2seq(config.model, len(TARGET), len(TARGET)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            _ = weight.mul_(2) if weight.dim() == 2 else weight.normal_()
    return config, network


def pack_language_model(config: Config, network: Seq2Seq, instruction_set: str | None = None, stored="float32"):
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return PackedModel(encode_model(ModelFile(tensors, config, TARGET, TARGET, stored)), instruction_set)


@needs_engine
@pytest.mark.parametrize("instruction_set", engine.instruction_sets())
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_engine_predicts_with_language_models(kind, instruction_set: str) -> None:
    config, network = make_language_model(3, **kind)
    packed, definition = (
        PackedSearch([pack_language_model(config, network, instruction_set)]),
        DefinitionSearch([network]),
    )
    sources, rng = [[EOS]] * 9, random.Random(1)
    prefixes = [[rng.randrange(3, len(TARGET)) for _ in range(rng.choice([0, 0, 1, 4]))] for _ in sources]
    for search in SEARCHES.values():
        wanted = definition.find(sources, [9] * 9, search, prefixes=prefixes, examples=range(9))
        assert_same(packed.find(sources, [9] * 9, search, prefixes=prefixes, examples=range(9)), wanted)
    targets = [[rng.randrange(3, len(TARGET)) for _ in range(rng.choice([0, 1, 4, 11]))] for _ in sources]
    forced = [[hypothesis] for hypothesis in definition.force(sources, targets, SearchConfig())]
    assert_same([[hypothesis] for hypothesis in packed.force(sources, targets, SearchConfig())], forced)


@needs_engine
@pytest.mark.parametrize("stored", ROUNDING)
def test_quantized_language_models_are_close_to_the_definition(stored) -> None:
    for kind in KINDS:
        config = make_config(input="none", **kind)
        torch.manual_seed(2)
        network = build_seq2seq(config.model, len(TARGET), len(TARGET)).eval()
        packed = PackedSearch([pack_language_model(config, network, stored=stored)])
        weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        rounded = dequantize(quantize(weights, stored, schema.tensors(Architecture.of(config.model), 13, 13)))
        network.load_state_dict({name: torch.from_numpy(weight) for name, weight in rounded.items()})
        targets = [[4, 5, 9, 3, 12, 7, 7]]
        [wanted] = DefinitionSearch([network]).force([[EOS]], targets, SearchConfig())
        [got] = packed.force([[EOS]], targets, SearchConfig())
        assert got.symbol_log_probs == pytest.approx(wanted.symbol_log_probs, abs=ROUNDING[stored])


@needs_engine
@pytest.mark.parametrize("shape", ["lstm full attention additive", "gru none mean dot"])
def test_searches_guided_by_a_language_model_equal_the_definition(shape: str) -> None:
    config = make_config(**SHAPES[shape])
    network = make_network(config, seed=5)
    language = make_language_model(6, decoder_layers=2)
    for weight in (0.4, 2.0):
        packed = PackedSearch([pack(config, network)], [(pack_language_model(*language), weight)])
        definition = DefinitionSearch([network], [(language[1], weight)])
        alone = PackedSearch([pack(config, network)])
        sources, longest = compared_sources()
        chosen = SEARCHES | {"two groups": CONSTRAINED["two groups"], "bigrams": CONSTRAINED["no bigram twice"]}
        for search in chosen.values():
            found = packed.find(sources, longest, search, examples=range(9))
            assert_same(found, definition.find(sources, longest, search, examples=range(9)))
            if search != SEARCHES["wider than the vocabulary"]:
                assert found != alone.find(sources, longest, search, examples=range(9))
        phrases, longer = make_phrases(9, 1), [length + 9 for length in longest]
        wanted = definition.find(sources, longer, BEAM, phrases=phrases)
        assert_same(packed.find(sources, longer, BEAM, phrases=phrases), wanted)


@needs_engine
def test_an_ensemble_guided_by_two_language_models_equals_the_definition() -> None:
    configs = [make_config(), make_config(cell="gru", peephole="none")]
    networks = [make_network(config, seed) for seed, config in enumerate(configs)]
    languages = [make_language_model(8), make_language_model(9, peephole="none")]
    packed = PackedSearch(
        [pack(config, network) for config, network in zip(configs, networks, strict=True)],
        [(pack_language_model(*language), weight) for language, weight in zip(languages, (0.5, 1.5), strict=True)],
    )
    definition = DefinitionSearch(networks, [(languages[0][1], 0.5), (languages[1][1], 1.5)])
    sources, longest = compared_sources()
    for search in (SEARCHES["beam"], SEARCHES["samples"]):
        found = packed.find(sources, longest, search, examples=range(9))
        assert_same(found, definition.find(sources, longest, search, examples=range(9)))


@needs_engine
def test_guided_results_have_the_same_bits_in_any_batch_on_any_number_of_threads() -> None:
    config = make_config()
    searching = PackedSearch(
        [pack(config, make_network(config, seed=9))], [(pack_language_model(*make_language_model(3)), 0.7)]
    )
    sources, rng = make_sources(40, seed=10), random.Random(11)
    for name in ("beam", "samples"):
        search = replace(SEARCHES[name], threads=1)
        alone = [
            searching.find([source], [len(source) + 4], search, examples=[example])[0]
            for example, source in enumerate(sources)
        ]
        for _ in range(5):
            chosen = rng.sample(range(40), rng.randint(1, 30))
            batch = [sources[index] for index in chosen]
            search = replace(search, threads=rng.choice([1, 2, 5]), batch_size=rng.choice([1, 3, 8, 64]))
            found = searching.find(batch, [len(source) + 4 for source in batch], search, examples=chosen)
            assert found == [alone[index] for index in chosen]


@needs_engine
def test_wrong_guides_are_refused() -> None:
    config = make_config()
    model, language = pack(config, make_network(config, seed=1)), make_language_model(2)
    others = CharacterSymbols(list("IHGFEDCBA"), "NFC")
    tensors = {name: tensor.numpy() for name, tensor in language[1].state_dict().items()}
    foreign = PackedModel(encode_model(ModelFile(tensors, language[0], others, others)))
    for guide, weight, message in (
        (model, 0.5, "guides: wanted language models, got another model"),
        (foreign, 0.5, "guides: wanted the target symbols of the models, got others"),
        (pack_language_model(*language), 0.0, "guide_weights: wanted numbers above 0 and up to 1e9"),
    ):
        with pytest.raises(PeepholeError, match=f"^search: {message}$"):
            PackedSearch([model], [(guide, weight)]).find([[4, 5]], [5], SearchConfig())
