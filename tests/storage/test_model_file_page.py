"""Tests that docs/model-file.md names every key of the architecture and every tensor, and no others."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from peephole.nn.schema import Architecture, tensors
from peephole.symbols.frames import FRAME_KINDS, FrameSymbols

PAGE = (Path(__file__).parents[2] / "docs" / "model-file.md").read_text(encoding="utf-8")
KEYS = PAGE.partition("`architecture` has these keys")[2].partition("A symbol table is")[0]
TABLES = PAGE.partition("A symbol table is")[2].partition("## Tensors")[0]
TENSORS = PAGE.partition("## Tensors")[2].partition("## Number formats")[0]

ARCHITECTURES = [
    {"layer_norm": True, "ngram_rows": 8, "attention_symbol": True, "encoder_size": 6},
    {"cell": "gru", "peephole": "none", "layer_norm": True, "encoder_size": 6, "attention": "coverage"},
    {"input": "convolution", "input_size": 6, "ctc": True, "attention": "location"},
    {"input": "frames", "input_size": 2, "output": "gaussian", "output_size": 1, "scaling": "constant"},
    {"output": "copy", "attention": "multihead"},
    {"attention": "general", "input_feeding": True},
    {"attention": "dot", "encoder_layers": 3, "encoder_pyramid": 2, "bidirectional": False},
    {"input": "none"},
]


def first_cells(table: str) -> list[list[str]]:
    """Return the names in backticks in the first column of a table's rows."""
    return [re.findall(r"`([\w.]+)`", cell) for cell in re.findall(r"^\|(.*?)\|", table, re.MULTILINE) if "`" in cell]


def tensor_patterns() -> dict[str, re.Pattern[str]]:
    """Return a pattern for each name in the table of tensors; l and d stand for numbers, `.x` changes the last part."""
    found = {}
    for names in first_cells(TENSORS):
        for given in names:
            name = names[0].rpartition(".")[0] + given if given.startswith(".") else given
            parts = (r"\d+" if part in ("l", "d") else re.escape(part) for part in name.split("."))
            found[name] = re.compile(r"\.".join(parts))
    return found


def all_tensors() -> set[str]:
    """Return the names of the tensors of all architectures."""
    found: set[str] = set()
    for settings in ARCHITECTURES:
        architecture = Architecture.from_dict({"hidden_size": 4, "embedding_size": 3} | settings)
        found |= set(tensors(architecture, 9, 7))
    return found


def test_the_page_names_every_key_of_the_architecture() -> None:
    assert {name for names in first_cells(KEYS) for name in names} == {field.name for field in fields(Architecture)}


def test_the_page_names_every_tensor_and_no_others() -> None:
    patterns, names = tensor_patterns(), all_tensors()
    assert len(names) > 60
    for name in names:
        # "and the others: as in the encoder"
        same = re.sub(r"^decoder\.layers\.(\d+)\.", r"encoder.recurrent.layers.\1.0.", name)
        assert any(pattern.fullmatch(other) for pattern in patterns.values() for other in (name, same)), name
    assert [name for name, pattern in patterns.items() if not any(map(pattern.fullmatch, names))] == []


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_the_page_names_every_key_of_frames(kind: str) -> None:
    [row] = re.findall(rf"`{kind}` has (.*?)(?:, `\w+` has|\. |$)", TABLES, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(FrameSymbols(kind, columns="a").to_json()) - {"kind", "normalize"}
