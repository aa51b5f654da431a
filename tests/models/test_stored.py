"""Tests that models saved by earlier versions load and give the same predictions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import peephole
from models.make import EXPECTED, HERE, MODEL, STORED, pronounce, toy_words
from peephole import engine
from peephole.model import UnknownSymbolWarning
from peephole.storage.header import FORMAT_VERSION
from peephole.storage.model_file import load_model, read_tensors

TOLERANCE = 1e-5  # on log-probabilities
# The engine multiplies int8 and bfloat16 with inputs rounded likewise; the definition does not round them.
ENGINE_TOLERANCE = {"float32": TOLERANCE, "int8": 0.12, "bfloat16": 0.01}
ALL = [path for paths in STORED.values() for path in paths]


def test_there_is_a_model_of_every_format_version() -> None:
    assert set(STORED) == set(map(str, range(1, FORMAT_VERSION + 1)))
    assert set(HERE.glob("*.safetensors")) == set(ALL)
    for version, paths in STORED.items():
        assert {read_tensors(path)[1]["format_version"] for path in paths} == {version}
    formats = ["float32", "int8", "bfloat16"]
    assert [load_model(path).stored for path in ALL] == [*formats, *formats]


def test_models_of_all_versions_hold_the_same_weights() -> None:
    """Equal weights give equal predictions; files of versions 1 and 2 do not record the library versions."""
    older = {model.stored: model for model in map(load_model, STORED["1"] + STORED["2"])}
    for path in STORED["3"]:
        model = load_model(path)
        before = older.pop(model.stored)
        assert (model.config, model.made, before.made) == (before.config, {}, {})
        assert model.tensors.keys() == before.tensors.keys()
        for name, tensor in before.tensors.items():
            np.testing.assert_array_equal(model.tensors[name], tensor, strict=True)
    assert older == {}


@pytest.mark.parametrize("engine", ["auto", "off"])
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_predictions_and_scores_equal_the_stored_ones(path: Path, engine: str) -> None:
    stored = load_model(path).stored
    expected = json.loads(EXPECTED[stored].read_text(encoding="utf-8"))
    model = peephole.load(path)
    model.config = model.config.with_values({"search.engine": engine})
    tolerance = ENGINE_TOLERANCE[stored] if engine == "auto" else TOLERANCE
    num_kept = 3 if tolerance == TOLERANCE else 1  # rounding may swap hypotheses of nearly equal probability
    assert len(expected["predict"]) == 8
    with pytest.warns(UnknownSymbolWarning):
        found = model.predict(list(expected["predict"]), nbest=3)
    for all_predictions, wanted in zip(found, expected["predict"].values(), strict=True):
        predictions, kept = all_predictions[:num_kept], wanted[:num_kept]
        assert [p.text for p in predictions] == [p["text"] for p in kept]
        assert [p.log_prob for p in predictions] == pytest.approx([p["log_prob"] for p in kept], abs=tolerance)
    sources, targets, scores = zip(*expected["score"], strict=True)
    with pytest.warns(UnknownSymbolWarning):
        assert model.score(sources, targets) == pytest.approx(scores, abs=tolerance)


def test_stored_model_predicts_unseen_words() -> None:
    words = toy_words(200, seed=2)  # most of them not among the training words
    found = peephole.load(MODEL).predict(words)
    assert sum(best.text == pronounce(word) for word, [best] in zip(words, found, strict=True)) >= 190


MEMORY = """
import sys
from pathlib import Path
from peephole.engine.packed import PackedModel

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

PackedModel(sys.argv[1])
before = pages()
for _ in range(300):
    PackedModel(sys.argv[1])
dropped = pages() - before
kept = [PackedModel(sys.argv[1]) for _ in range(300)]
print(dropped, pages() - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists() or not engine.available(), reason="needs Linux and the engine"
)
def test_memory_of_a_packed_model_is_freed() -> None:
    """Measure in a new process, whose heap has no free blocks from earlier allocations."""
    command = [sys.executable, "-c", MEMORY, str(MODEL)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    dropped, kept = map(int, done.stdout.split())
    assert kept > 10 * max(dropped, 100)
