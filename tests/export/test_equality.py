"""Tests of the exported graphs in ONNX Runtime against the definition: states, distributions, search results."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.make import pronounce, toy_words
from peephole.export import cells as cells_module
from peephole.export import recurrent, seq2seq
from peephole.export.stepper import OnnxState, OnnxStepper
from peephole.nn import Seq2SeqStepper, use_engine
from peephole.nn.cells import LSTMState
from peephole.nn.ctc_stepper import CTCStepper
from peephole.nn.decoder_state import DecoderState, Memory
from peephole.search import Guide, Stepper, beam_search, force, greedy_search, sample
from peephole.search.torch import pad
from rejection import rejected_by_comparison

from .random_models import (
    ATTENTIONS,
    CELLS,
    CONTEXTS,
    SHAPES,
    STACKS,
    TARGET_SYMBOLS,
    TOLERANCE,
    definition,
    model_config,
    padded,
    random_sources,
    steppers,
    write_model,
)

ALL_SETTINGS = [
    {"cell": cell, "peephole": peephole, **settings} for cell, peephole in CELLS for settings in [*CONTEXTS, *SHAPES]
]
ALL_SETTINGS += ATTENTIONS + STACKS
configs = pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()))
cells = pytest.mark.parametrize(("cell", "peephole"), CELLS)


@pytest.fixture(autouse=True)
def definition_only() -> Iterator[None]:
    with use_engine("off"):
        yield


def compare(graphs: OnnxStepper, wanted: Seq2SeqStepper, source: Tensor, lengths: Tensor) -> float:
    """Check states, distributions and attention of some steps; return the largest difference."""
    generator = torch.Generator().manual_seed(5)
    ours, theirs = graphs.start(source, lengths), wanted.start(source, lengths)
    largest = compare_states(ours, theirs.decoder)
    for rows in (None, [0, 0, 2, 1], [1, 3, 3], [2, 0, 1, 1, 2]):
        if rows is not None:
            ours, theirs = (s.reorder(state, torch.tensor(rows)) for s, state in ((graphs, ours), (wanted, theirs)))
        previous = torch.randint(0, TARGET_SYMBOLS, (len(ours.source_index),), generator=generator)
        log_probs, ours, alphas = graphs.step(ours, previous)
        wanted_log_probs, theirs, wanted_alphas = wanted.step(theirs, previous)
        largest = max(largest, close(log_probs, wanted_log_probs), compare_states(ours, theirs.decoder))
        assert (alphas is None) == (wanted_alphas is None)
        if alphas is not None and wanted_alphas is not None:
            largest = max(largest, close(alphas, wanted_alphas))
            assert torch.equal(alphas == 0, wanted_alphas == 0)  # exactly 0 past each length
    return largest


def compare_states(ours: OnnxState, theirs: DecoderState) -> float:
    layers = [part for layer in theirs.layers for part in (layer if isinstance(layer, LSTMState) else (layer,))]
    carried = [*layers, *theirs.attention, *([] if theirs.readout is None else [theirs.readout])]
    largest = max(close(*parts) for parts in zip(ours.carried, carried, strict=True))
    if not isinstance(theirs.source, Memory):
        return max(largest, close(ours.source[0], theirs.source))
    memory, *keys, lengths = ours.source
    assert torch.equal(lengths, theirs.source.valid.sum(1))
    for part, name in zip([memory, *keys], ("outputs", "keys"), strict=False):
        largest = max(largest, close(part, getattr(theirs.source, name)))
    return largest


def close(got: Tensor, wanted: Tensor) -> float:
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    difference = float((got - wanted).abs().max())
    assert difference <= TOLERANCE
    return difference


@configs
def test_every_step_equals_the_definition(tmp_path: Path, settings: dict[str, Any]) -> None:
    source, lengths = padded([[4, 6, 5], [5], [6, 4, 4, 3, 8, 7, 7], [7, 8]])
    compare(*steppers(write_model(tmp_path / "m.safetensors", model_config(**settings))), source, lengths)


FRAMES: list[dict[str, Any]] = [
    {"input": "frames"},
    {"input": "frames", "frame_stack": 3, "encoder_layers": 3, "encoder_pyramid": 1},
    {"input": "frames", "frame_stack": 2, "context": "mean", "peephole": "none"},
    {"input": "convolution", "convolution_layers": 1, "convolution_channels": 4},
    {
        "input": "convolution",
        "input_planes": 2,
        "convolution_channels": 3,
        "attention": "general",
        "bidirectional": False,
    },
    {"input": "convolution", "convolution_layers": 3, "encoder_layers": 2, "encoder_pyramid": 1, "cell": "gru"},
    {"input": "symbols", "encoder_layers": 3, "encoder_pyramid": 2, "attention": "dot", "peephole": "diagonal"},
]


@pytest.mark.parametrize("settings", FRAMES, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()))
def test_frames_and_pyramids_equal_the_definition(tmp_path: Path, settings: dict[str, Any]) -> None:
    if settings.get("cell") == "gru":
        settings = settings | {"peephole": "none"}
    config = model_config(**{"input_size": 6} | settings)
    graphs, wanted = steppers(write_model(tmp_path / "m.safetensors", config))
    lengths = torch.tensor([14, 1, 9, 6])
    source = torch.randint(3, 9, (4, 15), generator=torch.Generator().manual_seed(9))
    if settings["input"] != "symbols":
        source = torch.randn(4, 15, 6, generator=torch.Generator().manual_seed(9))
        source[torch.arange(15) >= lengths[:, None]] = 99
    compare(graphs, wanted, source, lengths)
    assert torch.equal(graphs.places(lengths), wanted.places(lengths))


def found_ids(stepper: Stepper[Any], sources: list[list[int]], more: int = 1) -> list[list[tuple[int, ...]]]:
    batch = padded(sources, more)
    most = torch.full((len(sources),), 12)
    found = beam_search(stepper, *batch, beam_size=4, nbest=3, max_lengths=most)
    return [[hypothesis.ids for hypothesis in nbest] for nbest in found]


@configs
def test_beam_search_finds_the_same_hypotheses(tmp_path: Path, settings: dict[str, Any]) -> None:
    graphs, wanted = steppers(write_model(tmp_path / "m.safetensors", model_config(**settings)))
    sources = random_sources(40, longest=9)
    assert found_ids(graphs, sources) == found_ids(wanted, sources)


@cells
def test_results_do_not_depend_on_padding_and_batch(tmp_path: Path, cell: str, peephole: str) -> None:
    config = model_config(cell, peephole, encoder_layers=2, decoder_layers=2)
    graphs, _ = steppers(write_model(tmp_path / "m.safetensors", config))
    sources = random_sources(20, longest=9)
    together = found_ids(graphs, sources)
    assert found_ids(graphs, sources, more=7) == together
    assert found_ids(graphs, sources[::-1])[::-1] == together
    assert [found_ids(graphs, [source])[0] for source in sources] == together
    most = torch.full((20,), 12)
    targets = [nbest[0] for nbest in together]
    scores = [h.log_prob for h in force(graphs, *padded(sources), targets)]
    alone = [force(graphs, *padded([s], more=3), [t])[0].log_prob for s, t in zip(sources, targets, strict=True)]
    assert alone == pytest.approx(scores, abs=TOLERANCE)
    assert [h.ids for h in greedy_search(graphs, *padded(sources), max_lengths=most)] == [
        greedy_search(graphs, *padded([source]), max_lengths=most[:1])[0].ids for source in sources
    ]


@pytest.fixture(scope="module")
def toys(toy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxStepper, Seq2SeqStepper]:
    """Return steppers of the stored, trained model: exported and by definition."""
    from peephole.export import export_onnx

    folder = tmp_path_factory.mktemp("toy") / "toy.onnx"
    export_onnx(toy_file, folder)
    return OnnxStepper(folder, threads=1), definition(toy_file)


def test_every_search_runs_unchanged_on_a_trained_model(toys: tuple[OnnxStepper, Seq2SeqStepper]) -> None:
    graphs = toys[0]
    words = toy_words(200, seed=2)
    source, lengths = pad([graphs.source_symbols.encode(word) for word in words])
    batch, most = (source, lengths), 3 * lengths + 20
    targets = [graphs.target_symbols.encode(pronounce(word)) for word in words]
    searches = [
        lambda stepper: [
            h for nbest in beam_search(stepper, *batch, beam_size=5, nbest=3, max_lengths=most) for h in nbest
        ],
        functools.partial(greedy_search, source=source, source_lengths=lengths, max_lengths=most),
        lambda stepper: [
            h for drawn in sample(stepper, *batch, max_lengths=most, num_samples=2, seed=7) for h in drawn
        ],
        functools.partial(force, source=source, source_lengths=lengths, targets=targets),
    ]
    for search in searches:
        found, wanted = (search(stepper) for stepper in toys)
        assert len(found) >= len(words)
        assert [h.ids for h in found] == [h.ids for h in wanted]
        assert [h.log_prob for h in found] == pytest.approx([h.log_prob for h in wanted], abs=TOLERANCE)
        for h, w in zip(found, wanted, strict=True):
            assert abs(h.attention - w.attention).max(initial=0) <= TOLERANCE
    best = greedy_search(graphs, *batch, max_lengths=most)
    right = sum(graphs.target_symbols.decode(h.ids) == pronounce(word) for h, word in zip(best, words, strict=True))
    assert right >= 190


def test_reorder_copies_sources_only_when_they_change(toys: tuple[OnnxStepper, Seq2SeqStepper]) -> None:
    graphs = toys[0]
    source, lengths = pad([[4, 5, 6], [5]])
    state = graphs.reorder(graphs.start(source, lengths), torch.tensor([0, 0, 1, 1]))
    _, state, _ = graphs.step(state, torch.tensor([4, 5, 6, 7]))
    kept = graphs.reorder(state, torch.tensor([1, 0, 3, 3]))
    assert [part.data_ptr() for part in kept.source] == [part.data_ptr() for part in state.source]
    assert torch.equal(kept.carried[0], state.carried[0][[1, 0, 3, 3]])
    moved = graphs.reorder(state, torch.tensor([1, 2, 3, 3]))
    assert torch.equal(moved.source[0], state.source[0][[1, 2, 3, 3]])
    assert moved.source_index.tolist() == [0, 1, 1, 1]


# Wrong graphs: the replaced attribute, its replacement, and settings of a model that reveals the error


def without_reverse(original: Any) -> Any:
    return lambda *arguments, reverse: original(*arguments, reverse=False)


def without_zoneout(original: Any) -> Any:
    return lambda graph, new, before, share: new


def of_the_new_state(original: Any) -> Any:
    return lambda graph, new, before, share: original(graph, before, new, share)


def with_a_bias_inside(original: Any) -> Any:
    def wrong(graph: Any, z: str, name: str, gain: Any, bias: Any) -> str:
        return str(original(graph, graph.op("Add", z, graph.constant(f"{name}.inside", bias)), name, gain, 0 * bias))

    return wrong


def unmasked(original: Any) -> Any:
    return lambda graph, lengths, padded: original(graph, graph.op("Add", lengths, graph.ints(99)), padded)


def without_uniform_weights(original: Any) -> Any:
    return original | {"location": original["location"]._replace(first_state=original["coverage"].first_state)}


WRONG = {
    "gates of the LSTM": (recurrent, "LSTM_GATES", (0, 1, 2, 3), {"peephole": "none"}),
    "o and f swapped": (recurrent, "LSTM_GATES", (0, 1, 3, 2), {"peephole": "diagonal"}),
    "peepholes": (recurrent, "PEEPHOLES", (0, 1, 2), {"peephole": "diagonal"}),
    "gates of the GRU": (recurrent, "GRU_GATES", (0, 1, 2), {"cell": "gru", "peephole": "none"}),
    "direction": (cells_module, "scan", without_reverse, {"peephole": "full"}),
    "bias before the norm": (cells_module, "_normalize", with_a_bias_inside, {"peephole": "none", "layer_norm": True}),
    "no zoneout": (cells_module, "_keep_share", without_zoneout, {"peephole": "none", "zoneout_hidden": 0.3}),
    "shares swapped": (cells_module, "_keep_share", of_the_new_state, {"peephole": "diagonal", "zoneout_cell": 0.3}),
    "length": (seq2seq.Graph, "valid", unmasked, {"peephole": "full"}),
    "attention to padding": (seq2seq.Graph, "valid", unmasked, {"peephole": "none"}),
    "first weights of 0": (seq2seq, "ATTENTIONS", without_uniform_weights, {"attention": "location"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_graph_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    owner, attribute, wrong, settings = WRONG[name]
    monkeypatch.setattr(owner, attribute, wrong(getattr(owner, attribute)) if callable(wrong) else wrong)
    with rejected_by_comparison():
        test_every_step_equals_the_definition(tmp_path, settings)


CTC: list[dict[str, Any]] = [
    {"encoder_size": 4},
    {"input": "frames", "frame_stack": 2, "input_size": 5, "encoder_layers": 2, "encoder_pyramid": 1},
    {"context": "mean", "encoder_layers": 2, "encoder_pyramid": 1},
]


@pytest.mark.parametrize("settings", CTC, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()))
def test_the_joint_search_over_graphs_finds_the_targets_of_the_definition(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    graphs, wanted = steppers(write_model(tmp_path / "m.safetensors", model_config(ctc=True, **settings)))
    lengths = torch.tensor([14, 1, 9, 6])
    source = torch.randint(3, 9, (4, 14), generator=torch.Generator().manual_seed(9))
    if "input" in settings:
        source = torch.randn(4, 14, 5, generator=torch.Generator().manual_seed(9))
    compare(graphs, wanted, source, lengths)
    found, steps = graphs.ctc_log_probs(source, lengths)
    expected, expected_steps = wanted.model.ctc_log_probs(source, lengths)
    assert torch.equal(steps, expected_steps)
    close(found.float(), expected.detach())
    how: dict[str, Any] = {"beam_size": 4, "nbest": 4, "max_lengths": torch.full((4,), 6)}
    results = [
        beam_search(stepper, source, lengths, guides=[Guide(CTCStepper(model), 0.4, interpolates=True)], **how)
        for stepper, model in ((graphs, graphs), (wanted, wanted.model))
    ]
    assert [[h.ids for h in one] for one in results[0]] == [[h.ids for h in one] for one in results[1]]
    alone = beam_search(graphs, source, lengths, **how)
    assert [[h.ids for h in one] for one in alone] != [[h.ids for h in one] for one in results[0]]
