"""Tests of an installation without PyTorch; .ci/run runs them in one, with the wheel installed.

They import no other test module and run in any installation. If PEEPHOLE_WITHOUT_TORCH is set, PyTorch must be
missing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import peephole
from peephole import engine
from peephole.model import UnknownSymbolWarning

MODELS = sorted((Path(__file__).parents[1] / "models").glob("*.safetensors"))
# Number format in the file name → file of the expected predictions, with its tolerance as in models/test_stored.py
EXPECTED = {"v1": "lstm_v1", "float32": "lstm_v1", "int8": "lstm_v2_int8", "bfloat16": "lstm_v2_bfloat16"}
TOLERANCE = {"lstm_v1": 1e-5, "lstm_v2_int8": 0.12, "lstm_v2_bfloat16": 0.01}
pytestmark = pytest.mark.skipif(not engine.available(), reason="without an engine prediction needs PyTorch")


def expected_name(path: Path) -> str:
    return EXPECTED[path.stem.rpartition("_")[2]]


def expected(path: Path) -> dict:
    return json.loads(path.with_name(f"{expected_name(path)}.json").read_text(encoding="utf-8"))


def run(*arguments: object, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "peephole", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=check, encoding="utf-8")


@pytest.mark.skipif("PEEPHOLE_WITHOUT_TORCH" not in os.environ, reason="PyTorch may be installed")
def test_pytorch_is_missing() -> None:
    assert importlib.util.find_spec("torch") is None
    assert importlib.util.find_spec("lightning_fabric") is None


def test_the_package_declares_its_types() -> None:
    assert (files("peephole") / "py.typed").is_file()


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_predictions_and_scores(path: Path) -> None:
    model, wanted = peephole.load(path), expected(path)
    with pytest.warns(UnknownSymbolWarning):
        found = model.predict(list(wanted["predict"]), nbest=3)
    for predictions, kept in zip(found, wanted["predict"].values(), strict=True):
        assert predictions[0].text == kept[0]["text"]
        assert predictions[0].log_prob == pytest.approx(kept[0]["log_prob"], abs=TOLERANCE[expected_name(path)])
        assert predictions[0].attention is not None
        assert predictions[0].attention.shape == (len(predictions[0].tokens), len(predictions[0].source_tokens))
    sources, targets, scores = zip(*wanted["score"], strict=True)
    with pytest.warns(UnknownSymbolWarning):
        assert model.score(sources, targets) == pytest.approx(scores, abs=TOLERANCE[expected_name(path)])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_predict_as_a_process(path: Path) -> None:
    wanted = expected(path)["predict"]
    done = run("predict", path, stdin="".join(f"{source}\n" for source in wanted))
    assert done.stdout.splitlines() == [best[0]["text"] for best in wanted.values()]


def test_samples_prefixes_and_ensembles() -> None:
    model = peephole.load(MODELS[0], MODELS[0])
    alone = peephole.load(MODELS[0])
    [found], [wanted] = (
        model.predict(["cab"], prefixes=["AH"], nbest=2),
        alone.predict(["cab"], prefixes=["AH"], nbest=2),
    )
    assert [p.text for p in found] == [p.text for p in wanted]
    assert all(p.tokens[0] == "AH" for p in found)
    assert found[0].log_prob == pytest.approx(wanted[0].log_prob, abs=1e-5)
    drawn = [model.predict(["abc"], temperature=2.0, nbest=9, seed=seed)[0] for seed in (1, 1, 2)]
    samples = [[p.text for p in predictions] for predictions in drawn]
    assert samples[0] == samples[1] != samples[2]


def test_evaluate_and_quantize(tmp_path: Path) -> None:
    pairs = [(source, best[0]["text"]) for source, best in expected(MODELS[0])["predict"].items() if best[0]["text"]]
    test = tmp_path / "test.tsv"
    test.write_text("".join(f"{source}\t{target}\n" for source, target in pairs if source), encoding="utf-8")
    done = run("evaluate", MODELS[0], test, "--json")
    assert json.loads(done.stdout)["scores"]["exact_match"]["value"] == 100
    out = tmp_path / "small.safetensors"
    run("quantize", MODELS[0], "--to", "int8", "--out", out)
    assert out.stat().st_size < MODELS[0].stat().st_size
    assert run("predict", out, stdin="abc\n").stdout == run("predict", MODELS[0], stdin="abc\n").stdout


def test_predicting_a_text_imports_neither_pytorch_nor_numpy() -> None:
    code = (
        "import peephole, sys; m = peephole.load(sys.argv[1]); print(m.predict(['abc'], attention=False)[0][0].text);"
    )
    code += "print({'torch', 'numpy', 'rich', 'tokenizers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, MODELS[0]], capture_output=True, text=True, check=True)
    assert done.stdout == "AH B K\nset()\n"


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
@pytest.mark.parametrize("verb", ["predict", "train"])
def test_missing_pytorch_is_named(verb: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("ab\tAH B\n" * 9, encoding="utf-8")
    given = (
        [MODELS[0], "--engine", "off"]
        if verb == "predict"
        else [tmp_path / "pairs.tsv", "--out", tmp_path / "m.safetensors"]
    )
    done = run(verb, *given, stdin="a\n", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(": pip install 'peephole[train]'\n")
    assert done.stderr.count("\n") == 1
