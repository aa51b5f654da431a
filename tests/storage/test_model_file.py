"""Tests that a saved model is loaded unchanged, with its settings."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

import peephole
from peephole.model import load
from peephole.storage.header import read_header
from peephole.storage.model_file import load_model, read_tensors, save_model, write_tensors
from peephole.symbols import learn_symbols

from .model_file_checks import (
    NAME,
    NEW_MODEL,
    SETTINGS,
    assert_refused,
    assert_same,
    both_formats,
    example,
    rewrite,
    rewrite_settings,
)


def test_saved_model_is_loaded_unchanged(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", example())
    assert_same(load_model(tmp_path / "m.safetensors"), example())
    assert_same(load_model(str(tmp_path / "m.safetensors")), example())


@pytest.mark.parametrize("kind", ["characters", "whitespace", "bpe", "unigram"])
def test_every_symbol_table_is_restored(kind: str, tmp_path: Path) -> None:
    texts = ["the cat sat on the mat", "한국 the cats 👩‍👧", "a mat"]
    table = learn_symbols(kind, texts, vocabulary_size=40, min_count=1, normalize="NFC")
    save_model(tmp_path / "m.safetensors", example(source=table))
    loaded = load_model(tmp_path / "m.safetensors").source_symbols
    for text in [*texts, "never ßeen"]:
        assert loaded.encode(text) == table.encode(text)
        assert loaded.decode(loaded.encode(text)) == table.decode(table.encode(text))


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    for number in range(4):
        save_model(tmp_path / f"{number}.safetensors", example())
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_any_safetensors_program_reads_the_file(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", example())
    tensors = safetensors.numpy.load((tmp_path / "m.safetensors").read_bytes())
    np.testing.assert_array_equal(tensors[NAME], example().tensors[NAME])
    with safe_open(tmp_path / "m.safetensors", framework="np") as file:
        assert file.metadata()["format_version"] == "3"
        assert json.loads(file.metadata()["architecture"])["hidden_size"] == 12


def test_tensors_of_other_types_and_layouts_survive(tmp_path: Path) -> None:
    tensors = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3).T,  # not contiguous
        "scalar": np.array(3.5, np.float64),
        "counts": np.arange(4),
        "flags": np.array([True, False]),
        "nothing": np.zeros((0, 4), np.float32),
    }
    write_tensors(tmp_path / "t.safetensors", tensors, {"what": "test"})
    got, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata["what"] == "test"
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(got[name], tensor, strict=True)


def test_versions_of_the_libraries_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, example())
    assert load_model(path).made == {"peephole": peephole.__version__}
    rewrite(path, made=json.dumps({"peephole": "0.0.1", "torch": 3, "other": "9"}))
    model = load_model(path)
    assert read_header(path).notes == (f"{path}: made: wanted a version of 'torch', got 3",)
    assert model.made == {"peephole": "0.0.1", "other": "9"}
    save_model(path, model)
    assert load_model(path).made == model.made


@both_formats
@pytest.mark.parametrize(
    ("section", "values", "note"),
    [
        ("train", {"foo": 1}, "unknown key train.foo is ignored"),
        (
            "train",
            {"schedule": "wsd"},
            r"train.schedule: wanted cosine\|linear\|constant, got 'wsd'; the default is used",
        ),
        ("search", {"beam_size": 0}, "search.beam_size: wanted a number from 1 to 1000000, got 0; the default is used"),
        ("search", {"nbest": 9, "beam_size": 2}, "search.nbest: wanted at most .* the defaults of search are used"),
        ("serve", {"port": 80}, "unknown section serve is ignored"),
        ("data", [1], r"data: wanted a table of keys, got \[1\]; the defaults are used"),
        ("train", {"a\nb": 1}, r"unknown key train.'a\\nb' is ignored"),
    ],
)
def test_unknown_and_invalid_settings_are_reported(
    stored: Path, section: str, values: Any, note: str, tmp_path: Path
) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree[section] = {**tree.get(section, {}), **values} if isinstance(values, dict) else values

    path = tmp_path / "m.safetensors"
    whole = rewrite_settings(path, stored, change)
    model = load(path)
    assert whole.notes == ()
    [line] = model.notes
    assert re.fullmatch(f"{re.escape(str(path))}: {SETTINGS[stored]}: {note}", line)
    assert model.predict(["abc"])[0][0].text == whole.predict(["abc"])[0][0].text
    other = {name: value for name, value in model.config.to_dict().items() if name != section}
    assert other == {name: value for name, value in whole.config.to_dict().items() if name != section}


@both_formats
def test_valid_settings_are_kept_beside_invalid_ones(stored: Path, tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["train"] |= {"steps": 77, "foo": 1, "schedule": "wsd"}
        tree["search"] = {"nbest": 9, "beam_size": 10, "threads": "many"}

    path = tmp_path / "m.safetensors"
    rewrite_settings(path, stored, change)
    model = load(path, stored)
    assert len(model.notes) == 3
    assert (model.config.train.steps, model.config.train.schedule) == (77, "cosine")
    assert (model.config.search.nbest, model.config.search.beam_size, model.config.search.threads) == (9, 10, None)


@pytest.mark.parametrize("key", ["foo", "hidden_size"])
def test_unknown_setting_of_section_model_is_reported(key: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    whole = rewrite_settings(path, NEW_MODEL, lambda tree: tree["model"].update({key: 3, "dropout": 0.25}))
    model = load(path)
    assert model.notes == (f"{path}: settings: unknown key model.{key} is ignored",)
    assert model.config == whole.config.with_values({"dropout": 0.25})


@pytest.mark.parametrize("key", ["foo", "train"])
def test_an_unknown_key_of_the_architecture_is_refused(key: str, toy_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    rewrite_settings(path, toy_file, lambda tree: tree["model"].update({key: 1}))
    assert_refused(path, f"metadata: config, model: unknown key '{key}'", load)
    path.write_bytes(NEW_MODEL.read_bytes())
    rewrite(path, architecture=json.dumps(load_model(path).architecture.to_dict() | {key: 1}))
    assert_refused(path, f"metadata: architecture: unknown key '{key}'", load)


@pytest.mark.parametrize("key", ["cell", "peephole", "context", "attention", "input", "output"])
def test_an_unknown_kind_is_refused_by_name(key: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(NEW_MODEL.read_bytes())
    rewrite(path, architecture=json.dumps(load_model(path).architecture.to_dict() | {key: "made-up"}))
    for read in (load, load_model):
        assert_refused(path, rf"metadata: architecture\.{key}: wanted .*, got 'made-up'$", read)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "phones", "normalize": "NFC", "symbols": []}, "unknown kind 'phones'"),
        ({"kind": "characters", "normalize": "NFD", "symbols": []}, "normalisation 'NFD'"),
        ({"kind": "characters", "normalize": "NFC", "symbols": "abc"}, "wanted a list of symbols, got str"),
        ({"kind": "characters", "normalize": "NFC", "symbols": ["a", 1]}, "wanted a list of symbols"),
        ({"kind": "characters", "normalize": "NFC"}, "wanted a list of symbols, got NoneType"),
        ({"kind": "whitespace", "normalize": "NFC", "symbols": ["a", "a"]}, "wanted each symbol once, got 'a' twice"),
        ({"kind": "bpe", "normalize": "NFC", "segmenter": "{}"}, "cannot read the bpe segmenter"),
        ({"kind": "unigram", "normalize": "NFC"}, "cannot read the unigram segmenter"),
    ],
)
def test_damaged_symbol_tables(table: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, example())
    rewrite(path, target_symbols=json.dumps(table))
    assert_refused(path, f"metadata: symbol table: .*{message}")


def test_checksum_detects_a_damaged_tensor(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, example())
    with open(path, "r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"\x55")
    assert_refused(path, "damaged: wanted checksum [0-9a-f]{8}, got [0-9a-f]{8}$")


def test_a_file_without_checksum_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, example())
    tensors, metadata = read_tensors(path)
    del metadata["checksum"]
    path.write_bytes(safetensors.numpy.save(tensors, metadata))
    assert_same(load_model(path), example())
