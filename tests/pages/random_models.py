"""Models of random weights whose symbols are hard to show."""

from __future__ import annotations

from typing import Any

import torch

from peephole.config import Config
from peephole.model import Model
from peephole.nn import build_seq2seq
from peephole.symbols import CharacterSymbols, FrameSymbols, Symbols, WhitespaceSymbols

LETTERS = [*"abc<>&\"'/=() imgscriptlonerax1한글😀مرحبا"]
WORDS = [
    "<script>window.hacked=1</script>",
    "</script>",
    "<b>bold</b>",
    "&amp;",
    '"x"',
    "안녕",
    "مرحبا",
    "👩‍👩‍👧",
    "ok",
]


def random_model(*, source: Symbols | None = None, seed: int = 0, **settings: Any) -> Model:
    """Return a model of random weights; settings are those of `ModelConfig`."""
    shape = {"hidden_size": 8, "embedding_size": 6} | settings
    values: dict[str, Any] = {f"model.{name}": value for name, value in shape.items()}
    values |= {"search.max_length_factor": 0, "search.max_length_extra": 8}  # untrained models rarely end
    source = source or CharacterSymbols(list(dict.fromkeys(LETTERS)), "none")
    if isinstance(source, FrameSymbols):
        values |= {"frames.kind": source.kind, "model.input": "frames", "model.input_size": source.size}
    config = Config().with_values(values)
    target = WhitespaceSymbols(WORDS, "none")
    network = build_seq2seq(config.model, len(source), len(target), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and "embedding" in name:
                weight.mul_(3)
    return Model(config, source, target, [network])
