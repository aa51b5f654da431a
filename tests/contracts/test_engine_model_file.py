"""Tests the engine's reader of model files: it reads what Python writes, and refuses what Python refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.make import STORED
from peephole.config import Config
from peephole.errors import ModelFileError
from peephole.nn import build_seq2seq
from peephole.storage.model_file import ModelFile, encode_model, load_model, read_tensors, save_model, write_tensors
from peephole.storage.quantization import Stored
from peephole.symbols import CharacterSymbols, Symbols, WhitespaceSymbols, learn_symbols

from .pairwise import covering

ENGINE = Path(__file__).parents[2] / "engine"
SOURCES = ("architecture", "json", "model_file", "safetensors", "schema", "symbol_table")
compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(compiler is None, reason="issue 4: without a compiler there is no engine")

CHARACTERS = CharacterSymbols(["a", "한", "👩‍👧", "\n", "</s>"], "NFKC")
WORDS = WhitespaceSymbols(["b", "é"], "none")


def build(program: str, folder: Path) -> Path:
    """Compile one of the engine's test programs.

    In one piece, without optimisation and without sanitizers: compiling takes longer than what the programs do.
    test_sanitizers.py has the fuzzer, which reads whole and damaged model files with sanitizers.
    """
    sources = [ENGINE / "tests" / f"{program}.cpp", *(ENGINE / "src" / "file" / f"{name}.cpp" for name in SOURCES)]
    (folder / "all.cpp").write_text("".join(f'#include "{source}"\n' for source in sources))
    include = ["-I", ENGINE / "include", "-I", ENGINE / "src"]
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-O0", *include, folder / "all.cpp"]
    subprocess.run([*map(str, command), "-o", str(folder / program)], check=True, capture_output=True)
    return folder / program


@pytest.fixture(scope="session")
def show(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that prints the content of model files."""
    return build("show_model_file", tmp_path_factory.mktemp("show"))


def shown(program: Path, paths: list[Path]) -> list[list[str]]:
    """Return the lines that the program prints for each file."""
    done = subprocess.run([program, *paths], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return [part.split("\n")[1:-1] for part in done.stdout.split("\x1e")[1:]]


def model_file(settings: dict[str, Any], source: Symbols = CHARACTERS, target: Symbols = WORDS) -> ModelFile:
    config = Config.from_dict({"model": {"hidden_size": 4, "embedding_size": 3, **settings}})
    network = build_seq2seq(config.model, len(source), len(target))
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return ModelFile(tensors, config, source, target)


def names_of(table: Symbols) -> str:
    """Return the symbols of a table in hexadecimal, as the program prints them."""
    return " ".join(f"{name.encode().hex()}." for name in table.tokens(range(len(table))))


def expected(path: Path, model: ModelFile) -> list[str]:
    """Return the lines that the program must print, from the file's header and the model in Python."""
    m = model.config.model
    numbers = [
        m.cell == "gru",
        ["none", "diagonal", "full"].index(m.peephole),
        m.hidden_size,
        m.encoder_size or m.hidden_size,
        m.embedding_size,
        m.encoder_layers,
        m.decoder_layers,
        m.bidirectional,
        ["attention", "last", "mean"].index(m.context),
        ["additive", "dot", "general", "location", "coverage", "multihead"].index(m.attention),
        m.location_channels,
        m.location_width,
        m.attention_heads,
    ]
    lines = ["config " + " ".join(str(int(number)) for number in numbers)]
    for side, table in (("source", model.source_symbols), ("target", model.target_symbols)):
        lines.append(f"{side} {table.kind} {table.normalize} {names_of(table)}")
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    del header["__metadata__"]
    kinds = {"F32": "float32", "BF16": "bfloat16", "I8": "int8"}
    for name, entry in sorted(header.items()):
        first, last = entry["data_offsets"]
        lines.append(
            f"tensor {name} {kinds[entry['dtype']]} {tuple(entry['shape'])} at {start + first}, {last - first}"
        )
    return lines


def every_config() -> list[tuple[dict[str, Any], Stored]]:
    """Return settings and number formats of models, such that every three values of them occur."""
    cells = [("lstm", "full"), ("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")]
    contexts = [("attention", "additive"), ("attention", "dot"), ("attention", "general"), ("last", "dot")]
    contexts.append(("mean", "additive"))
    contexts += [("attention", kind) for kind in ("location", "coverage", "multihead")]
    layers = [(1, 1), (2, 3), (3, 1)]
    stored: list[Stored] = ["float32", "int8", "bfloat16"]
    return [
        (
            {
                "cell": cell,
                "peephole": peephole,
                "context": context,
                "attention": attention,
                "bidirectional": bidirectional,
                "encoder_size": None if attention == "dot" else encoder_size,  # it needs equal sizes
                "encoder_layers": encoder_layers,
                "decoder_layers": decoder_layers,
                "location_width": 5,
                "attention_heads": 2,
            },
            numbers,
        )
        for (
            (cell, peephole),
            (context, attention),
            bidirectional,
            encoder_size,
            (encoder_layers, decoder_layers),
            numbers,
        ) in covering(cells, contexts, (True, False), (6, None), layers, stored, strength=3)
    ]


def test_every_model_is_read(show: Path, tmp_path: Path) -> None:
    paths, wanted = [], []
    for number, (settings, stored) in enumerate(every_config()):
        model = replace(model_file(settings), stored=stored)
        paths.append(tmp_path / f"{number}.safetensors")
        save_model(paths[-1], model)
        wanted.append(expected(paths[-1], model))
    assert len(paths) > 90
    assert shown(show, paths) == wanted


def test_every_symbol_table_is_read(show: Path, tmp_path: Path) -> None:
    texts = ["the cat sat on the mat", "한국 the cats 👩‍👧", 'a "mat" \\ \t mat']
    for kind in ("characters", "whitespace", "bpe", "unigram"):
        table = learn_symbols(kind, texts, vocabulary_size=40, min_count=1, normalize="NFC")
        path = tmp_path / f"{kind}.safetensors"
        save_model(path, model_file({}, table, table))
        [lines] = shown(show, [path])
        assert lines[1:3] == [f"{side} {kind} NFC {names_of(table)}" for side in ("source", "target")]


def test_stored_models_are_read(show: Path) -> None:
    paths = [path for paths in STORED.values() for path in paths]
    assert shown(show, paths) == [expected(path, load_model(path)) for path in paths]


def test_missing_settings_have_default_values(show: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, model_file({"hidden_size": 256, "embedding_size": 128}))
    tensors, metadata = read_tensors(path)
    del metadata["checksum"]
    write_tensors(path, tensors, {**metadata, "architecture": "{}"})
    [lines] = shown(show, [path])
    assert lines[0] == "config 0 2 256 256 128 1 1 1 0 0 10 31 4"


def test_every_truncation_is_refused(show: Path, tmp_path: Path) -> None:
    whole = encode_model(model_file({}))
    paths = []
    for length in [*range(20), *range(20, len(whole), 97), len(whole) - 1, len(whole) + 1]:
        paths.append(tmp_path / f"{length}.safetensors")
        paths[-1].write_bytes((whole + b"\0")[:length])
    for [line] in shown(show, paths):
        assert line.startswith("error not a whole safetensors file: ")


def test_flipped_bits_of_tensors_are_detected(show: Path, tmp_path: Path) -> None:
    whole = encode_model(model_file({}))
    start = 8 + int.from_bytes(whole[:8], "little")
    paths = []
    for offset in range(start, len(whole), 13):
        paths.append(tmp_path / f"{offset}.safetensors")
        paths[-1].write_bytes(whole[:offset] + bytes([whole[offset] ^ 1 << offset % 8]) + whole[offset + 1 :])
    for [line] in shown(show, paths):
        assert line.startswith("error damaged: wanted checksum ")


HIDDEN = "decoder.layers.0.weight_hidden"


def to_format_1(tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    """Convert the content of a file from format 3 to format 1."""
    shape = json.loads(metadata.pop("architecture"))
    del shape["input"], shape["output"], metadata["settings"], metadata["made"]
    metadata |= {"format_version": "1", "config": json.dumps({"model": shape})}
    tensors["encoder.embedding.weight"] = tensors.pop("frontend.embedding.weight")


CHANGES = {
    "missing": (lambda t, m: t.pop(HIDDEN), f"tensor '{HIDDEN}': wanted float32 (16, 4), got no tensor"),
    "unknown": (
        lambda t, m: t.update(x=np.zeros(3, np.float32)),
        "tensor 'x': wanted no tensor, got float32 (3,)",
    ),
    "shape": (
        lambda t, m: t.update({HIDDEN: t[HIDDEN].T}),
        f"tensor '{HIDDEN}': wanted float32 (16, 4), got float32 (4, 16)",
    ),
    "number": (
        lambda t, m: t.update({HIDDEN: t[HIDDEN].astype(np.float16)}),
        f"tensor '{HIDDEN}': wanted F32, BF16 or I8, got 'F16'",
    ),
    "int8 in format 1": (
        lambda t, m: (to_format_1(t, m), t.update({HIDDEN: t[HIDDEN].astype(np.int8)})),
        f"tensor '{HIDDEN}': wanted float32 (16, 4), got int8 (16, 4)",
    ),
    "a name of format 1": (
        lambda t, m: t.update({"encoder.embedding.weight": t.pop("frontend.embedding.weight")}),
        "tensor 'frontend.embedding.weight': wanted float32 (9, 3), got no tensor",
    ),
    "a name of format 3": (
        lambda t, m: (to_format_1(t, m), t.update({"frontend.embedding.weight": t.pop("encoder.embedding.weight")})),
        "tensor 'encoder.embedding.weight': wanted float32 (9, 3), got no tensor",
    ),
    "program": (lambda t, m: m.pop("format"), "wanted a model saved by peephole, got another program's"),
    "version": (lambda t, m: m.update(format_version="4"), "wanted format version 3 or older, got '4'; a newer"),
    "no config": (
        lambda t, m: (to_format_1(t, m), m.pop("config")),
        "metadata: there is no config",
    ),
    "a GRU with peepholes": (
        lambda t, m: m.update(architecture='{"cell":"gru","peephole":"full"}'),
        "metadata: architecture.cell='gru' has no cell state",
    ),
    "no architecture": (lambda t, m: m.pop("architecture"), "metadata: there is no architecture"),
    "deep": (
        lambda t, m: m.update(architecture="[" * 100_000),
        "metadata: architecture: JSON, byte 64: wanted at most 64",
    ),
    "list": (
        lambda t, m: m.update(architecture="[]"),
        "metadata: architecture: wanted a JSON object, got a list",
    ),
    "rest": (
        lambda t, m: m.update(architecture="{} x"),
        "metadata: architecture: JSON, byte 3: wanted nothing after",
    ),
    "twice": (
        lambda t, m: m.update(architecture='{"a":1,"a":1}'),
        "metadata: architecture: JSON: wanted each name once",
    ),
    "surrogate": (
        lambda t, m: m.update(architecture='{"\\ud800":1}'),
        "metadata: architecture: JSON, byte 8: wanted a pair",
    ),
    "symbols": (
        lambda t, m: m.update(source_symbols='{"kind":"characters","normalize":"NFC","symbols":["a","a"]}'),
        "metadata: symbol table: wanted each symbol once, got 'a' twice",
    ),
    "kind": (
        lambda t, m: m.update(source_symbols='{"kind":"phones","normalize":"NFC","symbols":[]}'),
        "metadata: symbol table: unknown kind 'phones' or normalisation 'NFC'",
    ),
    "segmenter": (
        lambda t, m: m.update(source_symbols='{"kind":"bpe","normalize":"NFC","segmenter":"{}"}'),
        "metadata: symbol table: cannot read the bpe segmenter",
    ),
}
SETTINGS: dict[str, Any] = {
    "hidden_size": [0, -1, 65537, 1e300, 1.5, "x", True, None],
    "encoder_size": [0, 65538, 3, []],
    "encoder_layers": [0, 65, {}],
    "bidirectional": [1, "x"],
    "cell": ["gru", "rnn", 1],
    "attention": ["dott"],
    "unknown_key": [1],
}
ONLY_IN_FORMAT_3: dict[str, Any] = {
    "hidden_size": ["4"],
    "bidirectional": ["true"],
    "dropout": [0.1],
    "input": ["audio", 1],
    "output": ["audio", None],
}


def rewritten(path: Path, change: Any) -> Path:
    """Write a model file with a changed content and a correct checksum."""
    save_model(path, model_file({}))
    tensors, metadata = read_tensors(path)
    del metadata["checksum"]
    change(tensors, metadata)
    write_tensors(path, tensors, metadata)
    return path


@pytest.mark.parametrize("name", CHANGES)
def test_the_error_describes_the_damage(name: str, show: Path, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    [[line]] = shown(show, [rewritten(tmp_path / "m.safetensors", change)])
    assert line.startswith("error " + message)


@pytest.mark.parametrize("version", [1, 3])
def test_wrong_settings_are_refused_by_engine_and_python(version: int, show: Path, tmp_path: Path) -> None:
    keys, paths = [], []
    everything = [*SETTINGS.items(), *(ONLY_IN_FORMAT_3.items() if version == 3 else ())]
    for key, value in ((key, value) for key, values in everything for value in values):
        shape = {"hidden_size": 4, "embedding_size": 3, key: value}

        def change(tensors: dict[str, Any], metadata: dict[str, str], shape: dict[str, Any] = shape) -> None:
            if version == 1:
                to_format_1(tensors, metadata)
                metadata["config"] = json.dumps({"model": shape})
            else:
                metadata["architecture"] = json.dumps(shape)

        path = rewritten(tmp_path / f"{len(paths)}.safetensors", change)
        with pytest.raises(ModelFileError, match="metadata: ") as caught:
            load_model(path)
        assert key in str(caught.value)
        paths.append(path)
        keys.append(key)
    for key, [line] in zip(keys, shown(show, paths), strict=True):
        assert line.startswith("error metadata: ")
        assert key in line


@pytest.mark.parametrize("entry", ["settings", "made"])
@pytest.mark.parametrize("text", [None, "", "[]", '{"train": {"foo": 1}, "serve": 3}'])
def test_settings_of_training_are_ignored(entry: str, text: str | None, show: Path, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "m.safetensors", lambda t, m: m.pop(entry) if text is None else m.update({entry: text}))
    [lines] = shown(show, [path])
    assert lines[0].startswith("config ")
    assert load_model(path).architecture == model_file({}).architecture


def test_values_of_weights_are_not_checked(show: Path, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "m.safetensors", lambda t, m: t.update({HIDDEN: np.full((16, 4), np.nan, np.float32)}))
    [lines] = shown(show, [path])
    assert lines[0].startswith("config ")
    assert torch.isnan(torch.from_numpy(load_model(path).tensors[HIDDEN])).all()
