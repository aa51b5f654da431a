"""Tests of `peephole quantize`: file sizes, rounding error and loss of accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from models.make import STORED, pronounce, toy_words
from peephole.model import load
from peephole.storage.model_file import load_model

from .conftest import Peephole

WORDS = toy_words(60, seed=9)


def test_a_quantized_model_is_written_beside_the_old_one(peephole: Peephole, toy_file: Path) -> None:
    (peephole.folder / "toy.safetensors").write_bytes(toy_file.read_bytes())
    before = load_model(toy_file)
    for to, stored in (("int8", "int8"), ("bf16", "bfloat16")):
        done = peephole("quantize", "toy.safetensors", "--to", to).succeeded()
        path = peephole.folder / f"toy.{to}.safetensors"
        after = load_model(path)
        assert after.stored == stored
        assert done.lines[0] == f"toy.safetensors: {toy_file.stat().st_size:,} bytes"
        assert done.lines[1].startswith(f"toy.{to}.safetensors: {path.stat().st_size:,} bytes, ")
        worst = max(
            (np.abs(after.tensors[name] - tensor) / np.abs(tensor).max(-1, keepdims=True)).max()
            for name, tensor in before.tensors.items()
        )
        assert done.lines[2].startswith(f"largest rounding error: {100 * worst:.2f} % of")
        assert 0 < worst < 0.004


def test_the_loss_is_measured(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("pairs.tsv", "".join(f"{word}\t{pronounce(word)}\n" for word in WORDS))
    done = peephole(
        "quantize", toy_file, "--to", "int8", "--out", "small.safetensors", "--evaluate", "pairs.tsv", "--json"
    )
    result = json.loads(done.succeeded().out)
    assert result["bytes_after"] == (peephole.folder / "small.safetensors").stat().st_size < result["bytes_before"]
    texts = [
        [best.text for [best] in load(path).predict(WORDS)]
        for path in (toy_file, peephole.folder / "small.safetensors")
    ]
    loss = result["evaluation"]
    assert loss["num_sources"] == len(WORDS)
    assert loss["num_different"] == sum(old != new for old, new in zip(*texts, strict=True))
    for index, when in enumerate(("before", "after")):
        right = sum(text == pronounce(word) for word, text in zip(WORDS, texts[index], strict=True))
        assert loss["exact_match"][when] == 100 * right / len(WORDS)
        assert (loss["symbol_error_rate"][when] == 0) == (right == len(WORDS))


def test_wrong_files_are_refused(peephole: Peephole, toy_file: Path) -> None:
    int8 = STORED["2"][0]
    peephole("quantize", int8, "--to", "bf16", "--out", "x.safetensors").failed(
        f"{int8}: wanted a model with float32 weights, got one with int8"
    )
    peephole("quantize", "none.safetensors", "--to", "int8").failed("none.safetensors: no such file")
    (peephole.folder / "toy.safetensors").write_bytes(toy_file.read_bytes())
    peephole("quantize", "toy.safetensors", "--to", "int8", "--out", "./toy.safetensors").failed(
        "./toy.safetensors: wanted another file to write than the model's own"
    )
    assert (peephole.folder / "toy.safetensors").read_bytes() == toy_file.read_bytes()
    assert peephole("quantize", "toy.safetensors", "--to", "int4").code == 2


def test_empty_name_and_directory_are_rejected(peephole: Peephole) -> None:
    peephole("quantize", "", "--to", "int8").failed("wanted the name of a model file, got an empty one")
    peephole("quantize", ".", "--to", "int8").failed(".: wanted a model file, got a directory")


def test_missing_evaluation_file_leaves_no_output(peephole: Peephole, toy_file: Path) -> None:
    peephole("quantize", toy_file, "--to", "int8", "--out", "q", "--evaluate", "no.tsv").failed("no.tsv: no such file")
    assert not (peephole.folder / "q").exists()
    peephole("quantize", toy_file, "--to", "int8", "--out", "no/q").failed("no/q: no such folder: no")
    peephole.write("pairs.tsv", "ab\tK\n")
    done = peephole("evaluate", toy_file, "pairs.tsv", "--calibrate", "no/q")
    done.failed("no/q: no such folder: no")
