"""Tests the engine under AddressSanitizer and UBSan: every C function, damaged models and invalid requests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch

from models.make import STORED
from peephole.config import Config
from peephole.nn import build_seq2seq
from peephole.storage.model_file import ModelFile, save_model
from peephole.symbols import CharacterSymbols

ROOT = Path(__file__).parents[2]
compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler is None or shutil.which("cmake") is None, reason="no compiler or no CMake"),
]
SYMBOLS = CharacterSymbols(["a", "한", "👩‍👧"], "NFC")
SHAPES = [
    {},
    {"peephole": "diagonal", "bidirectional": False, "attention": "dot"},
    {"cell": "gru", "peephole": "none", "attention": "general", "decoder_layers": 2},
    {"context": "mean", "encoder_size": 4, "encoder_layers": 2},
    {"attention": "location", "location_width": 5, "location_channels": 2},
    {"attention": "coverage", "cell": "gru", "peephole": "none"},
    {"attention": "multihead", "attention_heads": 2, "encoder_size": 4, "peephole": "none"},
    {"output": "copy", "attention": "coverage"},
    {"ctc": True, "input_feeding": True, "ngram_rows": 4, "attention_symbol": True},
]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library and the fuzzer with sanitizers; return their folder."""
    folder = tmp_path_factory.mktemp("build")
    configure = ["cmake", "-S", str(ROOT / "engine"), "-B", str(folder), "-DPEEPHOLE_SANITIZE=ON"]
    subprocess.run([*configure, "-DCMAKE_BUILD_TYPE=Debug"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(folder), "--parallel"], check=True, capture_output=True)
    return folder


def test_all_functions_access_only_their_arrays(build: Path) -> None:
    """Call the C ABI in a child process on arrays of exactly the required size."""
    assert compiler is not None
    found = subprocess.run([compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaks
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PEEPHOLE_LIBRARY": str(build / "libpeephole.so"),
    }
    walk = [sys.executable, "-m", "tests.contracts.walk_engine"]
    done = subprocess.run(walk, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "calls without an error" in done.stdout


def test_damaged_models_and_random_requests(build: Path, tmp_path: Path) -> None:
    """Run the fuzzer briefly, with leak detection; engine/README.md has the command for a longer run."""
    done = subprocess.run(
        [build / "fuzz_models", "10000", "1", *write_seeds(tmp_path), *chain(*STORED.values())],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    num_accepted = int(done.stdout.split()[2])
    assert 1000 < num_accepted < 9000  # some damaged files still open and some do not


def write_seeds(folder: Path) -> list[Path]:
    """Write small models of many kinds in the newest format; tests/models holds those of older formats."""
    seeds = []
    for number, settings in enumerate(SHAPES):
        config = Config().with_values({"hidden_size": 2, "embedding_size": 1, **settings}, "test")
        torch.manual_seed(number)
        network = build_seq2seq(config.model, len(SYMBOLS), len(SYMBOLS))
        tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        model = ModelFile(tensors, config, SYMBOLS, SYMBOLS)
        for stored in ("float32", "int8", "bfloat16"):
            seeds.append(folder / f"{number}.{stored}.safetensors")
            save_model(seeds[-1], replace(model, stored=stored))
    return seeds
