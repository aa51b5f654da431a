"""Makes, compares, damages and rewrites model files for tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.make import HERE, MODEL
from peephole.config import Config
from peephole.errors import ModelFileError
from peephole.model import Model, load
from peephole.nn import schema
from peephole.nn.schema import Architecture
from peephole.storage.model_file import ModelFile, load_model, read_tensors, write_tensors
from peephole.symbols import CharacterSymbols, Symbols, WhitespaceSymbols

NEW_MODEL = HERE / "lstm_v3_float32.safetensors"
NAME = "decoder.layers.0.weight_hidden"


def example(source: Symbols | None = None) -> ModelFile:
    """Return a model of random weights, with 10 tensors more than the stored model."""
    config = Config().with_values(
        {
            "hidden_size": 12,
            "embedding_size": 5,
            "encoder_layers": 2,
            "encoder_size": 6,
            "minutes": 1.5,
            "data.source": '한 "quoted"',
            "normalize": "none",
        }
    )
    source = source or CharacterSymbols(["a", "한", "👩‍👧", "</s>", "\n"], "NFC")
    target = WhitespaceSymbols(["AH", "é"], "NFKC")
    rng = np.random.default_rng(0)
    specs = schema.tensors(Architecture.of(config.model), len(source), len(target))
    tensors = {name: rng.normal(size=spec.shape).astype(np.float32) for name, spec in specs.items()}
    return ModelFile(tensors, config, source, target)


def assert_same(got: ModelFile, wanted: ModelFile) -> None:
    assert got.config == wanted.config
    assert got.source_symbols.to_json() == wanted.source_symbols.to_json()
    assert got.target_symbols.to_json() == wanted.target_symbols.to_json()
    assert got.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        np.testing.assert_array_equal(got.tensors[name], tensor, strict=True)


def assert_refused(path: Path, message: str = "", load: Callable[[Path], Any] = load_model) -> str:
    """Check that loading fails with one line that names the file first; return it."""
    with pytest.raises(ModelFileError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.count(str(path)) == 1
    assert "\n" not in text
    assert re.search(message, text), text
    return text


def rewrite(path: Path, tensors: dict[str, Any] | None = None, **metadata: str | None) -> None:
    """Change entries of a model file and update its checksum."""
    old_tensors, old = read_tensors(path)
    del old["checksum"]
    changed = {key: value for key, value in (old | metadata).items() if value is not None}
    write_tensors(path, old_tensors if tensors is None else tensors, changed)


SETTINGS = {MODEL: "config", NEW_MODEL: "settings"}
"""A stored model of an old and of the newest format version → the metadata key of its settings."""
both_formats = pytest.mark.parametrize("stored", SETTINGS, ids=SETTINGS.values())


def rewrite_settings(path: Path, stored: Path, change: Callable[[dict[str, Any]], object]) -> Model:
    """Copy a stored model and change its settings; return the unchanged model."""
    path.write_bytes(stored.read_bytes())
    tree = json.loads(read_tensors(path)[1][SETTINGS[stored]])
    change(tree)
    rewrite(path, **{SETTINGS[stored]: json.dumps(tree)})
    return load(stored)
