"""Tests that the engine's joint search of attention and CTC finds what the definition finds, for every search."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine.packed import PackedSearch
from peephole.nn import schema
from peephole.nn.ctc_stepper import CTCStepper
from peephole.nn.schema import Architecture
from peephole.search import force
from peephole.search.torch import DefinitionSearch, build_network, pad
from peephole.storage.model_file import ModelFile
from peephole.storage.quantization import dequantize, quantize

from . import search_cases
from .search_cases import SOURCE, TARGET, assert_same, make_config, make_network, make_sources, pack

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

SHAPES: dict[str, dict[str, object]] = {
    "plain": {},
    "gru, mean": {"cell": "gru", "peephole": "none", "context": "mean", "encoder_size": 26},
    "pyramid": {"encoder_layers": 2, "encoder_pyramid": 1, "attention": "location"},
}
SEARCHES = {name: search for name, search in search_cases.SEARCHES.items() if name != "truncated samples"}
WEIGHTS = (0.3, 1.0)


def make(seed=1, **shape):
    config = make_config(ctc=True, **shape)
    return config, make_network(config, seed)


def find(searching, sources, how, **more):
    return searching.find(sources, [len(s) + 4 for s in sources], how, examples=range(len(sources)), **more)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("shape", SHAPES)
def test_joint_search_equals_the_definition(shape, search, weight):
    config, network = make(**SHAPES[shape])
    how, sources = replace(SEARCHES[search], ctc_weight=weight), make_sources(6, seed=3)
    wanted = find(DefinitionSearch([network]), sources, how)
    for instruction_set in engine.instruction_sets():
        assert_same(find(PackedSearch([pack(config, network, instruction_set)]), sources, how), wanted)
    alone = find(DefinitionSearch([network]), sources, replace(how, ctc_weight=0.0))
    assert [[h.ids for h in found] for found in alone] != [[h.ids for h in found] for found in wanted]


def test_results_have_the_same_bits_for_any_batch_and_number_of_threads():
    config, network = make()
    searching, sources = PackedSearch([pack(config, network)]), make_sources(40, seed=4)
    for name in ("beam", "samples"):
        how = replace(SEARCHES[name], ctc_weight=0.3)
        wanted = find(searching, sources, how)
        for changed in ({"batch_size": 1}, {"batch_size": 7, "threads": 3}, {"threads": 1}):
            assert find(searching, sources, replace(how, **changed)) == wanted
        order = [*range(20, 40), *range(20)]
        if name == "beam":
            moved = find(searching, [sources[i] for i in order], how)
            assert [moved[order.index(i)] for i in range(40)] == wanted


def test_log_prob_is_that_of_attention():
    config, network = make()
    searching, sources = PackedSearch([pack(config, network)]), make_sources(12, seed=5)
    how = SearchConfig(beam_size=3, ctc_weight=0.5)
    found = [hypotheses[0] for hypotheses in find(searching, sources, how)]
    forced = searching.force(sources, [hypothesis.ids for hypothesis in found], how)
    assert [h.log_prob for h in found if h.finished] == [
        f.log_prob for h, f in zip(found, forced, strict=True) if h.finished
    ]


@pytest.mark.parametrize("ctc", [(True, True), (True, False), (False, True)])
def test_ensembles_average_the_outputs_that_there_are(ctc):
    configs = [make_config(ctc=has_ctc) for has_ctc in ctc]
    networks = [make_network(config, seed) for seed, config in enumerate(configs)]
    sources, how = make_sources(12, seed=6), SearchConfig(beam_size=4, nbest=3, ctc_weight=0.4)
    wanted = find(DefinitionSearch(networks), sources, how)
    packed = [pack(config, network) for config, network in zip(configs, networks, strict=True)]
    assert_same(find(PackedSearch(packed), sources, how), wanted)


@pytest.mark.parametrize("stored", ["bfloat16", "int8"])
def test_quantised_models_search_with_ctc(stored):
    """Compare with the definition over the rounded weights; sums of rounded numbers may swap close hypotheses."""
    config, network = make()
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    specs = schema.tensors(Architecture.of(config.model), len(SOURCE), len(TARGET))
    rounded = dequantize(quantize(tensors, stored, specs))
    definition = DefinitionSearch([build_network(ModelFile(rounded, config, SOURCE, TARGET))])
    sources, how = make_sources(30, seed=7), SearchConfig(beam_size=4, ctc_weight=0.3)
    wanted = find(definition, sources, how)
    found = find(PackedSearch([pack(config, network, stored=stored)]), sources, how)
    equal = sum(one[0].ids == other[0].ids for one, other in zip(found, wanted, strict=True))
    assert equal >= 27


def test_a_forced_prefix_without_a_path_is_continued():
    config, network = make()
    sources = [[4, 5], [6, 7, 8], [9]]
    prefixes = [[5, 5, 5], [4, 4, 6, 6], [7, 8]]
    how = SearchConfig(beam_size=4, nbest=3, ctc_weight=0.4)
    wanted = DefinitionSearch([network]).find(sources, [9] * 3, how, prefixes=prefixes)
    assert_same(PackedSearch([pack(config, network)]).find(sources, [9] * 3, how, prefixes=prefixes), wanted)
    assert all(list(h.ids[: len(p)]) == p for p, found in zip(prefixes, wanted, strict=True) for h in found)


def test_improbable_paths_do_not_vanish():
    """Force prefixes as improbable as e^-800, below the smallest double, and compare how they are continued."""
    config, network = make()
    with torch.no_grad():
        network.ctc.weight *= 8
    rng = random.Random(8)
    sources = [[rng.randrange(4, len(SOURCE)) for _ in range(length)] for length in (140, 150)]
    prefixes = [[4 + (2 * i + i // 3) % 9 for i in range(length)] for length in (130, 142)]
    assert all(h.log_prob < -800 for h in force(CTCStepper(network), *pad(sources), prefixes))
    how = SearchConfig(beam_size=4, nbest=4, ctc_weight=1.0)
    wanted, found = (
        searching.find(sources, [len(prefix) + 5 for prefix in prefixes], how, prefixes=prefixes)
        for searching in (DefinitionSearch([network]), PackedSearch([pack(config, network)]))
    )
    assert [[h.ids for h in one] for one in found] == [[h.ids for h in one] for one in wanted]
