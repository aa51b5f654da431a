"""Tests of model files: round trips, damage, replacement on disk, and loading without executing code."""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

import peephole
from models.make import HERE, MODEL
from peephole.config import Config, TrainConfig
from peephole.errors import ModelFileError, RunError
from peephole.model import Model, load
from peephole.nn import schema
from peephole.nn.schema import Architecture
from peephole.storage.header import FORMAT_VERSION, read_header
from peephole.storage.model_file import ModelFile, load_model, read_tensors, save_model, write_tensors
from peephole.symbols import CharacterSymbols, Symbols, WhitespaceSymbols, learn_symbols

NEW_MODEL = HERE / "lstm_v3_float32.safetensors"


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


# Damage


def test_every_truncation_is_refused(toy_file: Path, tmp_path: Path) -> None:
    whole = toy_file.read_bytes()
    rng = random.Random(1)
    lengths = {*range(20), *(rng.randrange(len(whole)) for _ in range(60)), len(whole) - 1, len(whole) - 8}
    for length in sorted(lengths):
        path = tmp_path / f"{length}.safetensors"
        path.write_bytes(whole[:length])
        assert_refused(path, "not a whole safetensors file")
    (tmp_path / "long.safetensors").write_bytes(whole + b"\0")
    assert_refused(tmp_path / "long.safetensors", "not a whole safetensors file")


def test_every_flipped_bit_is_refused_or_harmless(toy_file: Path, tmp_path: Path) -> None:
    whole = toy_file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = random.Random(2)
    positions = [
        *range(8),
        *(rng.randrange(8, header) for _ in range(120)),
        *(rng.randrange(header, len(whole)) for _ in range(60)),
    ]
    path, wanted, harmless = tmp_path / "m.safetensors", load_model(toy_file), 0
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = load_model(path)
        except ModelFileError as error:
            assert str(error).startswith(str(path))  # noqa: PT017  # both outcomes are correct
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert position < header  # the checksum detects every flip in the weights
            assert_same(loaded, wanted)
            harmless += 1
    assert harmless < 5  # such as a space that became a tab


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole safetensors file"),
        (b"hello, I am a text\n" * 10, "not a whole safetensors file"),
        ((2**60).to_bytes(8, "little") + b"{}", "not a whole safetensors file"),
        ((2).to_bytes(8, "little") + b"[]", "not a whole safetensors file"),
        (pickle.dumps({"weights": [1, 2, 3]}), "not a whole safetensors file"),
        (b"PK\x03\x04" + b"\0" * 100, "not a whole safetensors file"),  # the start of a file by torch.save
        ((2).to_bytes(8, "little") + b"{}", "another program's"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert_refused(path, message)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    assert_refused(tmp_path / "no.safetensors", "no such file$")
    assert_refused(tmp_path, "wanted a model file, got a directory$")


def test_another_programs_tensors_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)  # a number format NumPy lacks
    assert_refused(path, "wanted a model saved by peephole, got another program's safetensors file$")


@pytest.mark.parametrize("version", ["4", "10", "99999", "9" * 5000])
def test_newer_format_version_is_refused(version: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_tensors(path, {}, {"format": "peephole", "format_version": version})
    got = re.escape(f"'{version}'" if len(version) < 80 else f"'{'9' * 78}…")
    hint = "; a newer peephole reads it"
    for read in (load_model, load):
        assert_refused(path, f": wanted format version {FORMAT_VERSION} or older, got {got}{hint}$", read)


@pytest.mark.parametrize("version", ["", "x", "-1", "0", "1.0", "3.0", "03", "٣", "3 ", "4\n"])
def test_what_is_no_format_version_is_refused(version: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_tensors(path, {}, {"format": "peephole", "format_version": version})
    for read in (load_model, load):
        assert_refused(path, f": wanted format version 1, 2 or 3, got {re.escape(repr(version))}$", read)


def rewrite(path: Path, tensors: dict[str, Any] | None = None, **metadata: str | None) -> None:
    """Change entries of a model file and update its checksum."""
    old_tensors, old = read_tensors(path)
    del old["checksum"]
    changed = {key: value for key, value in (old | metadata).items() if value is not None}
    write_tensors(path, old_tensors if tensors is None else tensors, changed)


DAMAGED_JSON = [
    (None, "there is no "),
    ("", "Expecting value"),
    ("{", "Expecting property name"),
    ("[]", "wanted a JSON object, got list"),
    ("null", "wanted a JSON object, got NoneType"),
    ("[" * 100_000, "recursion"),
    ("9" * 5000, "digits"),
]


@pytest.mark.parametrize("entry", ["architecture", "config", "source_symbols", "target_symbols"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        *DAMAGED_JSON,
        (
            '{"kind": "characters", "model": []}',
            "architecture: unknown key 'kind'|config, model: wanted a table of keys, got |unknown kind|normalisation",
        ),
    ],
)
def test_damaged_metadata(entry: str, text: str | None, message: str, toy_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    if entry == "config":
        path.write_bytes(toy_file.read_bytes())
    else:
        save_model(path, example())
    rewrite(path, **{entry: text})
    assert_refused(path, f"metadata: .*({message})")


@pytest.mark.parametrize("entry", ["settings", "made"])
@pytest.mark.parametrize(("text", "message"), DAMAGED_JSON)
def test_damaged_optional_metadata_is_reported(entry: str, text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, example())
    rewrite(path, **{entry: text})
    model, header = load_model(path), read_header(path)
    [note] = header.notes
    assert re.fullmatch(f"{re.escape(str(path))}: {entry}: .*{message}.*; it is ignored", note)
    assert model.architecture == example().architecture
    assert (model.config.train, model.made) == (
        (TrainConfig(), {"peephole": peephole.__version__}) if entry == "settings" else (example().config.train, {})
    )


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


# Tensors and architecture


NAME = "decoder.layers.0.weight_hidden"


@both_formats
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop(NAME),
            r"tensor 'decoder.layers.0.weight_hidden': wanted float32 \(48, 12\), got no tensor$",
        ),
        (
            lambda t: t.update(extra=np.zeros(3, np.float32)),
            r"tensor 'extra': wanted no tensor, got float32 \(3,\)$",
        ),
        (lambda t: t.update({NAME: t[NAME].T}), r"wanted float32 \(48, 12\), got float32 \(12, 48\)$"),
        (lambda t: t.update({NAME: t[NAME].astype(np.float16)}), "wanted F32, BF16 or I8, got 'F16'$"),
        (lambda t: t.clear(), "wanted float32 .*, got no tensor$"),
    ],
)
def test_tensors_that_contradict_the_architecture(
    stored: Path, change: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(stored.read_bytes())
    tensors, _ = read_tensors(path)
    change(tensors)
    rewrite(path, tensors)
    assert_refused(path, message, load)
    assert_refused(path, message.replace("wanted F32, BF16 or I8, got 'F16'", r"wanted float32 .*, got float16 .*"))


@both_formats
def test_name_of_the_embedding_depends_on_the_format_version(stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(stored.read_bytes())
    tensors, _ = read_tensors(path)
    names = ["encoder.embedding.weight", "frontend.embedding.weight"]
    wanted, other = names if stored == MODEL else names[::-1]
    tensors[other] = tensors.pop(wanted)
    rewrite(path, tensors)
    for read in (load, load_model):
        assert_refused(path, rf"tensor '{wanted}': wanted float32 \(\d+, 6\), got no tensor$", read)


@pytest.mark.parametrize("number_format", ["int8", "bfloat16"])
def test_a_matrix_in_another_number_format(number_format: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((HERE / f"lstm_v3_{number_format}.safetensors").read_bytes())
    tensors, _ = read_tensors(path)
    tensors[NAME] = np.zeros((48, 12), np.float32)
    rewrite(path, tensors)
    for read in (load, load_model):
        assert_refused(path, rf"tensor '{NAME}': wanted {number_format} \(48, 12\), got float32 \(48, 12\)$", read)


def test_a_number_format_that_numpy_lacks(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    metadata = {"format": "peephole", "format_version": "1"}
    header = json.dumps({"__metadata__": metadata, "x": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"\0" * 8)
    assert_refused(path, "tensor x: its number format is not one of NumPy's")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 4096, "embedding_size": 4096}, r"wanted float32 \(4096,\), got float32 \(12,\)"),
        ({"encoder_layers": 64, "decoder_layers": 64, "hidden_size": 1024}, "got "),
        ({"hidden_size": 65536, "encoder_size": 65536, "embedding_size": 65536}, r"wanted float32 \(65536,\)"),
        ({"hidden_size": 10**9}, "metadata: config, model.hidden_size: wanted a number from 1 to 65536"),
        ({"embedding_size": 10**12}, "metadata: config, model.embedding_size: wanted"),
        ({"encoder_size": 10**9}, "metadata: config, model.encoder_size: wanted"),
        ({"encoder_layers": 10**6}, "metadata: config, model.encoder_layers: wanted a number from 1 to 64"),
        ({"decoder_layers": 10**6}, "metadata: config, model.decoder_layers: wanted"),
    ],
)
@both_formats
def test_absurd_sizes_are_refused_at_once(settings: dict[str, int], message: str, stored: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(stored.read_bytes())
    if stored == MODEL:
        config = load_model(path).config.to_dict()
        config["model"].update(settings)
        rewrite(path, config=json.dumps(config))
    else:
        sizes = {"encoder_size": settings.get("hidden_size", 12)} | settings
        rewrite(path, architecture=json.dumps(load_model(path).architecture.to_dict() | sizes))
        message = message.replace("config, model", "architecture")
    started = time.process_time()
    assert_refused(path, message, load)
    assert_refused(path, message)
    assert time.process_time() - started < 2  # building the first of them takes a minute and a gigabyte


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop(NAME),
            r"^tensor 'decoder.layers.0.weight_hidden': wanted float32 \(48, 12\), got no tensor$",
        ),
        (
            lambda t: t.update(extra=np.zeros(3, np.float32)),
            r"^tensor 'extra': wanted no tensor, got float32 \(3,\)$",
        ),
        (lambda t: t.update({NAME: t[NAME].astype(np.float64)}), r"wanted float32 \(48, 12\), got float64 \(48, 12\)$"),
    ],
)
def test_tensors_that_contradict_the_architecture_are_not_saved(
    change: Callable[[Any], object], message: str, stored: Any, tmp_path: Path
) -> None:
    model = example()
    tensors = dict(model.tensors)
    change(tensors)
    with pytest.raises(ModelFileError, match=message):
        save_model(tmp_path / "m.safetensors", replace(model, tensors=tensors, stored=stored))
    assert list(tmp_path.iterdir()) == []


# No code is executed


EXECUTING = ("compile", "exec", "pickle.", "marshal.", "os.", "subprocess.", "socket.", "import", "code.")
EXECUTING += ("ctypes.dlopen", "ctypes.dlsym", "ctypes.call_function")
_events: list[str] | None = None


def _record_event(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is not None:
        _events.append(event)


def test_loading_executes_nothing(toy_file: Path) -> None:
    global _events
    load(toy_file)  # imports all modules that loading needs
    sys.addaudithook(_record_event)
    _events = []
    try:
        load(toy_file)
        found = _events
        _events = []
        pickle.loads(pickle.dumps(Path("x")))
        seen = _events
    finally:
        _events = None
    assert [event for event in found if event.startswith(EXECUTING)] == []
    assert "pickle.find_class" in seen  # the audit hook records events


def test_no_module_can_unpickle() -> None:
    for path in Path(peephole.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & set(names), path
            assert called not in {"eval", "exec", "torch.load", "torch.save", "np.load"}, path


class CreatesFolder:
    """A class whose unpickling creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickle_named_safetensors_is_not_loaded(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "m.safetensors"
    path.write_bytes(pickle.dumps(CreatesFolder(trace)))
    assert_refused(path, load=load)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # unpickling would have created the folder


# Replacing


def child(program: str, *arguments: object) -> list[str]:
    """Return the command of a process that runs a program with the functions to load and save models imported."""
    begin = "import resource, sys\nfrom peephole.storage.model_file import load_model, save_model\n"
    return [sys.executable, "-c", begin + program, *map(str, arguments)]


def assert_folder_holds(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_full_disk_leaves_the_old_file(toy_file: Path, tmp_path: Path) -> None:
    program = """
new, path, size = load_model(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for limit in (0, 4, size // 2, size - 1, size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    before = open(path, "rb").read()
    try:
        save_model(path, new)
        print("saved")
    except Exception as error:
        print(type(error).__name__, error, open(path, "rb").read() == before)
"""
    path = tmp_path / "m.safetensors"
    save_model(path, load_model(toy_file))
    size = path.stat().st_size  # differs from the stored file's size: newer versions write more settings
    save_model(path, example())
    command = child(program, toy_file, path, size)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    failed = f"RunError {path}: cannot be written: File too large True\n"
    assert done.stdout == failed * 4 + "saved\n"
    assert_same(load_model(path), load_model(toy_file))
    assert_folder_holds(tmp_path, path.name)


def test_file_is_whole_for_readers_and_after_kills(toy_file: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "m.safetensors", tmp_path / "other.safetensors"
    models = {len(model.tensors): model for model in (load_model(toy_file), example())}
    save_model(path, example())
    save_model(other, example())
    program = """
models = [load_model(name) for name in sys.argv[2:]]
print("go", flush=True)
while True:
    for model in models:
        save_model(sys.argv[1], model)
"""
    for _ in range(3):
        with subprocess.Popen(child(program, path, toy_file, other), stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"go\n"
            seen, started = set(), time.monotonic()
            try:
                while (
                    len(seen) < 2 or time.monotonic() < started + 0.1
                ):  # the writer replaces the file during these reads
                    assert time.monotonic() < started + 300
                    seen.add(len(load_model(path).tensors))
            finally:
                writer.send_signal(signal.SIGKILL)
        left = load_model(path)
        assert_same(left, models[len(left.tensors)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/m.safetensors", "No such file or directory"),
        ("folder", "wanted a file or nothing there, got a folder"),
        ("m" * 300, "File name too long"),
    ],
)
def test_unwritable_path_is_reported_in_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError) as caught:
        save_model(tmp_path / name, example())
    assert str(caught.value) == f"{tmp_path / name}: cannot be written: {message}"
    assert_folder_holds(tmp_path, "folder")
    assert_folder_holds(tmp_path / "folder")
