"""Compare traces of an implementation with the oracle: every array, the alternatives, and the tree of the search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from peephole.config import Config, ModelConfig, SearchConfig
from peephole.engine import trace
from peephole.engine.packed import PackedModel
from peephole.nn import Seq2Seq, build_seq2seq
from peephole.search.recorded import BeamTree, Fate, Recorded, TraceOptions
from peephole.storage.model_file import ModelFile, encode_model
from peephole.storage.quantization import Stored
from peephole.symbols import CharacterSymbols, FrameSymbols

from .model_oracle import BOS, ModelOracle
from .network_checks import weights_of
from .trace_oracle import EOS, TraceOracle, searched_by

SOURCE_SYMBOLS, TARGET_SYMBOLS = 7, 8
FRAME_SIZE = 3
SOURCE, TARGET = [4, 6, 3, 5, 4], [5, 7, 4, 4, 6]  # T and U are odd and different from every size


_WANTED: dict[str, Any] = {}  # what the oracle has found, for all implementations: (tree, {target: arrays and log p})


class Implementation(NamedTuple):
    """What makes traces of a network; both have the arguments of `peephole.search.torch_trace`."""

    trace_search: Callable[..., Recorded]
    trace_target: Callable[..., Recorded]
    tolerance: float


def pack(
    network: Seq2Seq, config: ModelConfig, instruction_set: str | None = None, stored: Stored = "float32"
) -> PackedModel:
    """Return a network's weights as the engine packs them."""
    tensors = {name: tensor.float().numpy() for name, tensor in network.state_dict().items()}
    return PackedModel(encode_model(ModelFile(tensors, Config(model=config), *tables(config), stored)), instruction_set)


def engine_traces(instruction_set: str) -> Implementation:
    """Return the engine's traces of networks that it packs."""

    def of(function: Callable[..., Recorded]) -> Callable[..., Recorded]:
        return lambda network, *given: function(pack(network, network.config, instruction_set), *given)

    return Implementation(of(trace.trace_search), of(trace.trace_target), 1e-5)


def tables(config: ModelConfig) -> tuple[Any, Any]:
    """Return symbol tables of the sizes of the networks, or how frames are read."""
    source, target = (
        CharacterSymbols([chr(ord("a") + i) for i in range(size - 4)], "NFC")
        for size in (SOURCE_SYMBOLS, TARGET_SYMBOLS)
    )
    return FrameSymbols("numbers", size=FRAME_SIZE) if config.input != "symbols" else source, target


def make(seed: int = 0, **settings: Any) -> tuple[Seq2Seq, ModelConfig]:
    """Return a network in float64 with random weights that float32 holds exactly, and its settings."""
    sizes = {"hidden_size": 5, "encoder_size": 6, "embedding_size": 4, "location_channels": 2, "location_width": 3}
    if settings.get("attention") == "multihead":
        sizes["hidden_size"] = 6
    config = ModelConfig(**{**sizes, "attention_heads": 3, **settings})
    network = build_seq2seq(config, SOURCE_SYMBOLS, TARGET_SYMBOLS).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(0.7 * torch.randn(tensor.shape, generator=generator))
    network.config = config
    return network, config


def oracle_of(network: Seq2Seq, config: ModelConfig) -> TraceOracle:
    names = ("cell", "context", "attention", "encoder_layers", "decoder_layers", "bidirectional", "attention_heads")
    names += ("residual", "input", "output", "frame_stack", "input_planes", "encoder_pyramid", "input_feeding")
    shape = {name: getattr(config, name) for name in names}
    return TraceOracle(ModelOracle(weights_of(network), **shape, zoneout=(config.zoneout_hidden, config.zoneout_cell)))


def source_of(config: ModelConfig) -> tuple[Any, Any]:
    """Return a source as the implementations and as the oracle read it."""
    if config.input != "symbols":
        frames = np.random.default_rng(3).normal(size=(11, FRAME_SIZE)).astype(np.float32)
        return frames, frames.astype(float)
    if config.output == "copy":  # among them a text of both tables, and one that occurs twice
        copied = [4, TARGET_SYMBOLS, 5, TARGET_SYMBOLS + 1, TARGET_SYMBOLS]
        return list(zip(SOURCE, copied, strict=True)), (SOURCE, copied)
    return SOURCE, SOURCE


def close(got: Any, wanted: Any, what: str, tolerance: float) -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, wanted {wanted.shape}"
    error = np.abs(got - wanted).max() if wanted.size else 0
    assert error <= tolerance * max(1, np.abs(wanted).max() if wanted.size else 1), f"{what}: off by {error:.2g}"


def check_target(made: Implementation, network: Seq2Seq, config: ModelConfig, bend: Any = None) -> None:
    """Compare the trace of a given target."""
    given, own = source_of(config)
    target = TARGET if config.output != "copy" else [5, TARGET_SYMBOLS + 1, 4, TARGET_SYMBOLS]
    wanted = oracle_of(network, config).run(own, [BOS, *target], bend)
    got = made.trace_target(network, given, target, TraceOptions(3, bend))
    assert got.beam is None
    assert got.symbols == (*target, EOS)
    check_path(got, *wanted, 3, made.tolerance)


def check_path(got: Recorded, arrays: Any, log_probs: Any, top: int, tolerance: float) -> None:
    """Compare every array, and log p, rank and alternatives of each step."""
    assert sorted(got.arrays) == sorted(arrays), "names of the arrays"
    for name, array in arrays.items():
        close(got.arrays[name], array, name, tolerance)
    for t, row in enumerate(log_probs):
        chosen = row[got.symbols[t]]
        close(got.log_probs[t], chosen, f"log p of step {t}", tolerance)
        assert got.ranks[t] == 1 + sum(log_p > chosen for log_p in row.values()), f"rank of step {t}"
        best = sorted(row, key=lambda y: -row[y])[:top]
        assert got.top_symbols[t].tolist() == best, f"alternatives of step {t}"
        close(got.top_log_probs[t], [row[y] for y in best], f"alternatives' log p of step {t}", tolerance)


def check_search(
    made: Implementation, network: Seq2Seq, config: ModelConfig, max_length: int = 6, bend: Any = None, **settings: Any
) -> dict[str, int]:
    """Compare the trace of a search, and return how many hypotheses had each fate."""
    given, own = source_of(config)
    prefix, top = settings.pop("prefix", ()), settings.pop("top", 4)
    key = repr((config, network.decoder.output.weight.sum().item(), max_length, bend, prefix, top, settings))
    if key not in _WANTED:
        given_to_oracle = {"groups" if name == "diverse_groups" else name: value for name, value in settings.items()}
        more: dict[str, Any] = {"max_length": max_length, "prefix": prefix, "top": top, **given_to_oracle}
        model = oracle_of(network, config)
        tree = searched_by(model, own, bend, **more).tree()
        paths = {path for (_, path), (*_, fate) in tree.items() if fate in ("RETURNED", "UNFINISHED")}
        _WANTED[key] = tree, {path: model.run(own, [BOS, *path[:-1]], bend) for path in paths}
    wanted, returned = _WANTED[key]
    config_of_search = SearchConfig(**{"ctc_weight": 0.0, **settings})
    got = made.trace_search(network, given, max_length, config_of_search, TraceOptions(top, bend, prefix))
    assert got.beam is not None
    check_tree(got.beam, wanted, made.tolerance)
    assert got.symbols in returned, "the target is returned"
    check_path(got, *returned[got.symbols], top, made.tolerance)
    counts: dict[str, int] = {}
    for *_, fate in wanted.values():
        counts[fate] = counts.get(fate, 0) + 1
    return counts


def check_tree(beam: BeamTree, wanted: Any, tolerance: float) -> None:
    """Compare each hypothesis that was considered."""
    found = {}
    for node in range(len(beam)):
        path = tuple(beam.path(node))
        assert beam.step[node] == len(path), f"step of {path}"
        assert beam.parent[node] < node, f"parent of {path}"
        key = (int(beam.group[node]), path)
        assert key not in found, f"{path} is there twice"
        found[key] = (beam.log_prob[node], beam.score[node], Fate(beam.fate[node]).name)
    assert sorted(found) == sorted(wanted), "the hypotheses considered"
    for key, (log_prob, score, fate) in wanted.items():
        close(found[key][0], log_prob, f"log p of {key}", tolerance)
        close(found[key][1], score, f"score of {key}", tolerance)
        assert found[key][2] == fate, f"fate of {key}: {found[key][2]}, wanted {fate}"
