"""Write models of random weights; return their exported graphs and the PyTorch definition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peephole.config import Config, ModelConfig
from peephole.export import export_onnx
from peephole.export.stepper import OnnxStepper
from peephole.nn import Seq2SeqStepper, build_seq2seq
from peephole.search.torch import build_network
from peephole.storage.model_file import ModelFile, load_model, save_model
from peephole.symbols import CharacterSymbols, WhitespaceSymbols

TOLERANCE = 1e-5
SOURCE_SYMBOLS, TARGET_SYMBOLS = 9, 8

CELLS = [("lstm", "full"), ("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")]
CONTEXTS: list[dict[str, Any]] = [
    {"attention": "additive"},
    {"attention": "dot"},
    {"attention": "general"},
    {"context": "last"},
    {"context": "mean"},
]
SHAPES: list[dict[str, Any]] = [
    {"bidirectional": False},
    {"encoder_layers": 2},
    {"decoder_layers": 2, "bidirectional": False},
    {"encoder_size": 4},  # differs from the decoder's size, so a learned bridge is needed
    {"encoder_layers": 3, "decoder_layers": 2, "encoder_size": 10, "attention": "general"},
    {"decoder_layers": 3, "encoder_size": 3, "bidirectional": False},
    {"encoder_layers": 2, "decoder_layers": 2, "encoder_size": 4, "context": "last"},
    {"encoder_layers": 2, "encoder_size": 5, "bidirectional": False, "context": "mean"},
    {"hidden_size": 1, "bidirectional": False, "embedding_size": 1},  # full and diagonal peepholes have equal shapes
]
STACKS: list[dict[str, Any]] = [
    {"residual": True, "encoder_layers": 3, "decoder_layers": 3},
    {"residual": True, "encoder_layers": 3, "decoder_layers": 2, "encoder_size": 4, "cell": "gru", "peephole": "none"},
    {"residual": True, "encoder_layers": 2, "decoder_layers": 2, "peephole": "diagonal", "bidirectional": False},
    {"residual": True, "encoder_layers": 3, "encoder_pyramid": 1, "context": "mean", "peephole": "none"},
]
STACKS += [
    {"zoneout_hidden": 0.3, "zoneout_cell": 0.2, "peephole": form, "encoder_layers": 2, "decoder_layers": 2}
    for form in ("full", "diagonal", "none")
]
STACKS += [
    {"zoneout_hidden": 0.3, "cell": "gru", "peephole": "none", "residual": True, "decoder_layers": 2},
    *(
        {"layer_norm": True, "peephole": form, "encoder_layers": 2, "decoder_layers": 2, "encoder_size": 4}
        for form in ("full", "diagonal", "none")
    ),
    {"layer_norm": True, "cell": "gru", "peephole": "none", "decoder_layers": 2, "zoneout_hidden": 0.2},
    {"zoneout_cell": 0.5, "bidirectional": False, "hidden_size": 1, "peephole": "diagonal"},
]
STACKS += [
    {"input_feeding": True, "decoder_layers": 2, "encoder_size": 4},
    {"input_feeding": True, "cell": "gru", "peephole": "none", "context": "mean", "layer_norm": True},
    {"input_feeding": True, "attention": "coverage", "residual": True, "decoder_layers": 2, "zoneout_hidden": 0.2},
]
STACKS += [
    {"attention_symbol": True, "attention": kind, "attention_heads": 2, "input_feeding": kind == "location"}
    for kind in ("additive", "location", "coverage", "multihead")
]
STACKS += [{"ngram_rows": 20, "encoder_layers": 2}, {"ngram_rows": 1, "cell": "gru", "peephole": "none"}]
ATTENTIONS: list[dict[str, Any]] = [
    {"attention": "location", "location_width": 5, "location_channels": 3},
    {"attention": "location", "location_width": 1, "location_channels": 1, "encoder_size": 4},
    {"attention": "coverage", "decoder_layers": 2},
    {"attention": "coverage", "encoder_size": 4},
    {"attention": "multihead", "attention_heads": 3},
    {"attention": "multihead", "attention_heads": 2, "encoder_size": 10},
    {"attention": "multihead", "attention_heads": 1},
]
"""Settings of the kinds of attention that one cell suffices to compare."""


def model_config(cell: str = "lstm", peephole: str = "full", **settings: Any) -> ModelConfig:
    """Return the settings of a small model."""
    return ModelConfig(cell=cell, peephole=peephole, **{"hidden_size": 6, "embedding_size": 3, **settings})


def write_model(path: Path, config: ModelConfig, seed: int = 0) -> Path:
    """Write a model in which all parameters are random, biases and peepholes included."""
    generator = torch.Generator().manual_seed(seed)
    network = build_seq2seq(config, SOURCE_SYMBOLS, TARGET_SYMBOLS)
    tensors = {
        name: (0.7 * torch.randn(tensor.shape, generator=generator)).numpy()
        for name, tensor in network.state_dict().items()
    }
    source = CharacterSymbols([chr(ord("a") + i) for i in range(SOURCE_SYMBOLS - 4)], "NFC")
    target = WhitespaceSymbols([f"한{i}" for i in range(TARGET_SYMBOLS - 4)], "NFC")
    save_model(path, ModelFile(tensors, Config(model=config), source, target))
    return path


def steppers(path: Path) -> tuple[OnnxStepper, Seq2SeqStepper]:
    """Export a model file; return a stepper of its graphs and one of its definition."""
    graphs = OnnxStepper(export_onnx(path)[0].parent, threads=1)
    return graphs, definition(path)


def definition(path: Path) -> Seq2SeqStepper:
    """Return the stepper of a model file's network in `peephole.nn`."""
    return Seq2SeqStepper(build_network(load_model(path)))


def random_sources(count: int, longest: int, seed: int = 1) -> list[list[int]]:
    """Return sources of 1 to `longest` ordinary or unknown symbols."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(3, SOURCE_SYMBOLS, (length,), generator=generator).tolist() for length in lengths]


def padded(sources: Sequence[Sequence[int]], more: int = 1) -> tuple[Tensor, Tensor]:
    """Return sources padded with random ids to `more` columns than needed, and the lengths."""
    lengths = torch.tensor([len(source) for source in sources])
    ids = torch.randint(
        0, SOURCE_SYMBOLS, (len(sources), int(lengths.max()) + more), generator=torch.Generator().manual_seed(3)
    )
    for row, source in zip(ids, sources, strict=True):
        row[: len(source)] = torch.tensor(source)
    return ids, lengths
