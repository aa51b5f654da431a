"""Tests that damaged and contradicting model files are refused in one line that names them."""

from __future__ import annotations

import json
import pickle
import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import peephole
from models.make import HERE, MODEL
from peephole.config import TrainConfig
from peephole.errors import ModelFileError
from peephole.model import load
from peephole.storage.header import FORMAT_VERSION, read_header
from peephole.storage.model_file import load_model, read_tensors, save_model, write_tensors

from .model_file_checks import (
    NAME,
    assert_refused,
    assert_same,
    both_formats,
    example,
    rewrite,
)


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
            assert "\n" not in str(error)  # noqa: PT017  # likewise
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
