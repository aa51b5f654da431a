"""Tests that traces equal the oracle: every array of every kind of network, and the tree of every kind of search."""

from __future__ import annotations

from typing import Any

import pytest

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine.packed import PackedSearch
from peephole.engine.trace import trace_search, trace_target
from peephole.nn import use_engine
from peephole.search import torch_trace
from peephole.search.recorded import TraceOptions
from rejection import rejected_by_comparison

from .changes import change_text
from .trace_checks import FRAME_SIZE, Implementation, check_search, check_target, engine_traces, make, pack, source_of
from .wrong_traces import CORRUPTIONS, WRONG, WRONG_BENDS, Wrong

DEFINITION = Implementation(torch_trace.trace_search, torch_trace.trace_target, 1e-10)
IMPLEMENTATIONS = {"definition": DEFINITION} | {name: engine_traces(name) for name in engine.instruction_sets()}
CELLS = [("lstm", "full"), ("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")]
DEEP = {"encoder_layers": 3, "decoder_layers": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    **{f"{cell} {form}": {"cell": cell, "peephole": form, **DEEP} for cell, form in CELLS},
    **{f"{kind} attention": {"attention": kind} for kind in ("general", "location", "coverage", "multihead")},
    "dot attention": {"attention": "dot", "encoder_size": 4, "hidden_size": 4},
    "last context": {"context": "last", "encoder_layers": 2, "peephole": "diagonal"},
    "mean context": {"context": "mean", "cell": "gru", "peephole": "none"},
    "one direction": {"bidirectional": False, "encoder_size": 5, "decoder_layers": 3},
    "residual": {"residual": True, **DEEP},
    "residual pyramid": {"residual": True, "encoder_pyramid": 1, **DEEP, "bidirectional": False},
    "zoneout": {"zoneout_hidden": 0.3, "zoneout_cell": 0.2, "decoder_layers": 2},
    "zoneout gru": {"zoneout_hidden": 0.3, "cell": "gru", "peephole": "none"},
    **{
        f"norm {form}": {"layer_norm": True, "peephole": form, "encoder_size": 14, **DEEP}
        for form in ("full", "diagonal", "none")
    },
    "norm gru": {"layer_norm": True, "cell": "gru", "peephole": "none", "zoneout_hidden": 0.2},
    "norm zoneout": {"layer_norm": True, "zoneout_cell": 0.4, "zoneout_hidden": 0.1},
    "one unit": {"hidden_size": 1, "encoder_size": 2, "embedding_size": 1},
    "two units": {"hidden_size": 2, "encoder_size": 4},
    "feeding": {"input_feeding": True, "decoder_layers": 2},
    "feeding residual": {"input_feeding": True, "residual": True, "cell": "gru", "peephole": "none", **DEEP},
    "symbol read": {"attention_symbol": True, "decoder_layers": 2},
    "symbol read multihead": {"attention_symbol": True, "attention": "multihead", "output": "copy"},
    "copy": {"output": "copy"},
    "copy feeding": {"output": "copy", "input_feeding": True, "attention": "coverage"},
    "copy multihead": {"output": "copy", "attention": "multihead", "residual": True, "decoder_layers": 2},
    "ctc": {"ctc": True},
    "frames": {"input": "frames", "input_size": FRAME_SIZE, "frame_stack": 2, "encoder_pyramid": 1, **DEEP},
    "convolution": {"input": "convolution", "input_size": FRAME_SIZE, "ctc": True, "attention": "location"},
}
networks = pytest.mark.parametrize("name", NETWORKS)
implementations = pytest.mark.parametrize("made", IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)


@pytest.fixture(autouse=True)
def definition_only():
    with use_engine("off"):
        yield


@networks
@implementations
def test_the_trace_of_a_given_target_equals_the_oracle(made: Implementation, name: str) -> None:
    check_target(made, *make(**NETWORKS[name]))


@networks
@implementations
def test_the_trace_of_a_search_equals_the_oracle(made: Implementation, name: str) -> None:
    check_search(made, *make(seed=1, **NETWORKS[name]), beam_size=3, nbest=2)


def check_bend(made: Implementation, attention: str) -> None:
    size = {"hidden_size": 6} if attention == "dot" else {}
    network = make(attention=attention, peephole="diagonal", decoder_layers=2, **size)
    weights = [1.0, 0.0, 5.0, 2.0, 0.0]
    bend = (2, [weight / sum(weights) for weight in weights])
    check_target(made, *network, bend)
    check_search(made, *network, beam_size=2, bend=bend, prefix=[5, 4])


@pytest.mark.parametrize("attention", ["additive", "dot", "general", "location", "coverage", "multihead"])
@implementations
def test_bent_attention_equals_the_oracle(made: Implementation, attention: str) -> None:
    check_bend(made, attention)


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam_size": 1},
    "wide": {"beam_size": 20, "nbest": 7, "max_length": 4},
    "length penalty": {"beam_size": 4, "nbest": 3, "length_penalty": 1.0},
    "length reward": {"beam_size": 4, "nbest": 2, "length_reward": 0.7},
    "least length": {"beam_size": 3, "nbest": 3, "min_length": 3},
    "no bigram twice": {"beam_size": 3, "no_repeat_ngram": 2, "max_length": 9, "min_length": 8},
    "prefix": {"beam_size": 3, "nbest": 2, "prefix": [5, 3, 4]},
    "cut": {"beam_size": 3, "nbest": 2, "max_length": 2, "min_length": 2},
    "groups": {"beam_size": 6, "nbest": 6, "diverse_groups": 3, "diversity": 0.5},
    "alike groups": {"beam_size": 4, "nbest": 2, "diverse_groups": 2, "diversity": 0.0},
    "all alternatives": {"beam_size": 2, "top": 100},
}


@pytest.mark.parametrize("search", SEARCHES)
@implementations
def test_the_tree_of_a_search_equals_the_oracle(made: Implementation, search: str) -> None:
    for seed in range(3):
        check_search(made, *make(seed=10 + seed), **SEARCHES[search])


@implementations
def test_the_scores_of_a_search_with_ctc_equal_the_oracle(made: Implementation) -> None:
    for seed in range(2):
        check_search(made, *make(seed=20 + seed, ctc=True), beam_size=3, nbest=2, ctc_weight=0.4, max_length=4)


def test_the_searches_above_have_every_fate() -> None:
    fates: set[str] = set()
    for settings in SEARCHES.values():
        fates |= set(check_search(DEFINITION, *make(seed=10), **settings))
    assert fates == {
        *("EXPANDED", "RETURNED", "BEATEN", "DUPLICATE", "OUTSIDE_BEAM", "HOPELESS", "LENGTH_LIMIT", "UNFINISHED"),
        *("UNPREDICTABLE", "OTHER_PREFIX", "TOO_SHORT", "REPEATED_NGRAM"),
    }


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "int8"])
def test_the_engines_traces_have_the_bits_of_its_predictions(stored: Any) -> None:
    search = SearchConfig(beam_size=4, nbest=2, ctc_weight=0.3, length_penalty=0.5)
    for settings in NETWORKS.values():
        network, config = make(seed=3, **settings)
        packed, source = pack(network, config, stored=stored), source_of(config)[0]
        [[best, *_]] = PackedSearch([packed]).find([source], [9], search)
        traced = trace_search(packed, source, 9, search, TraceOptions(top=2))
        assert traced.symbols[: len(best.ids)] == best.ids
        assert traced.log_probs.tolist() == list(best.symbol_log_probs)
        if best.attention is not None:
            assert traced.arrays["attention"][: len(best.ids)].tobytes() == best.attention.tobytes()
        forced = trace_target(packed, source, best.ids, TraceOptions(top=2))
        for name, array in forced.arrays.items():
            rows = min(len(array), len(traced.arrays[name]))  # the given target has </s>
            assert array[:rows].tobytes() == traced.arrays[name][:rows].tobytes(), name


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_trace_is_rejected(wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = change_text(wrong.function, wrong.right, wrong.wrong)
    monkeypatch.setattr(wrong.where, wrong.function.__name__, changed)
    with rejected_by_comparison(wrong.seen_in):
        if wrong.search is None:
            check_target(DEFINITION, *make(**NETWORKS[wrong.network]))
        for seed in range(3) if wrong.search else ():
            check_search(DEFINITION, *make(seed=10 + seed), **SEARCHES[wrong.search])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupted_traces_of_the_engine_are_rejected(name: str) -> None:
    """The engine's code cannot be changed here, so its results are."""
    right, (change, seen_in) = engine_traces(engine.instruction_sets()[0]), CORRUPTIONS[name]
    changed = Implementation(
        lambda *given: change(right.trace_search(*given)),
        lambda *given: change(right.trace_target(*given)),
        right.tolerance,
    )
    with rejected_by_comparison(seen_in):
        check_search(changed, *make(seed=10, **NETWORKS["lstm full"]), beam_size=3, nbest=2)


@pytest.mark.parametrize("wrong", WRONG_BENDS, ids=lambda wrong: wrong.name)
def test_wrongly_bent_attention_is_rejected(wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = change_text(wrong.function, wrong.right, wrong.wrong)
    for where in wrong.where:
        monkeypatch.setattr(where, wrong.function.__name__, changed)
    with rejected_by_comparison():
        check_bend(DEFINITION, wrong.network)
