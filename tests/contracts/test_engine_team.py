"""Tests of the threads that share the work within the steps of one source."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from peephole import engine
from peephole.engine.packed import PackedSearch

from .search_cases import SEARCHES, SOURCE, make_config, make_network, pack
from .test_engine_model_file import ENGINE

compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

LARGE = {"hidden_size": 120, "embedding_size": 30}  # the smallest products are worth another thread, too
SHAPES = {
    "full": {},
    "none, two layers": {"peephole": "none", "encoder_layers": 2, "decoder_layers": 2},
    "gru, one direction": {"cell": "gru", "peephole": "none", "bidirectional": False},
    "general": {"attention": "general"},
    "location": {"attention": "location"},
    "multihead": {"attention": "multihead", "attention_heads": 4, "peephole": "none"},
    "last": {"context": "last"},
    "residual": {"encoder_layers": 3, "residual": True},
}
CASES = [(name, "full") for name in engine.instruction_sets()]
CASES += [(name, shape) for name in engine.instruction_sets()[:1] for shape in SHAPES if shape != "full"]


@pytest.mark.parametrize(("instruction_set", "shape"), CASES)
@pytest.mark.parametrize("stored", ["float32", "int8"])
def test_a_long_source_has_the_same_bits_on_any_number_of_threads(
    instruction_set: str, shape: str, stored: str
) -> None:
    config = make_config(**LARGE | SHAPES[shape])
    searching = PackedSearch([pack(config, make_network(config, seed=3), instruction_set, stored)])
    rng = random.Random(2)
    for length, name in ((201, "greedy"), (90, "beam"), (7, "beam")):
        source = [rng.randrange(4, len(SOURCE)) for _ in range(length)]
        wanted = searching.find([source], [15], replace(SEARCHES[name], threads=1))[0]
        for threads in (2, 3, 8):
            found = searching.find([source], [15], replace(SEARCHES[name], threads=threads))[0]
            assert found == wanted
            for one, other in zip(found, wanted, strict=True):
                if other.attention is not None:
                    np.testing.assert_array_equal(one.attention, other.attention)


def test_a_few_long_sources_have_the_same_bits_on_more_threads() -> None:
    """With more threads than sources, each source's thread is helped by some of the others."""
    config = make_config(**LARGE)
    searching = PackedSearch([pack(config, make_network(config, seed=4))])
    rng = random.Random(5)
    sources = [[rng.randrange(4, len(SOURCE)) for _ in range(length)] for length in (80, 150, 3)]
    wanted = searching.find(sources, [12] * 3, replace(SEARCHES["beam"], threads=1))
    for threads in (2, 4, 7):
        assert searching.find(sources, [12] * 3, replace(SEARCHES["beam"], threads=threads)) == wanted


@pytest.mark.skipif(compiler is None, reason="no compiler")
def test_every_part_runs_once_under_thread_sanitizer(tmp_path: Path) -> None:
    program = tmp_path / "share_work"
    command = [compiler, "-std=c++17", "-O1", "-g1", "-fsanitize=thread", "-Wall", "-Wextra", "-Wno-psabi", "-pthread"]
    command += ["-I", ENGINE / "include", "-I", ENGINE / "src"]
    sources = [ENGINE / "tests/share_work.cpp", ENGINE / "src/runtime/team.cpp"]
    subprocess.run([*map(str, [*command, *sources, "-o", program])], check=True, capture_output=True)
    done = subprocess.run([program, "2000"], check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert int(done.stdout.split()[2]) > 0, "no helper has ever run a part"
