"""Tests of the C example: it is compiled, run as a process and compared with `peephole predict`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export.random_models import model_config, write_model
from peephole import engine

ROOT = Path(__file__).parents[2]
compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(compiler is None or not engine.available(), reason="needs a C compiler and the engine")
LINES = ["abc", "", "cab", "a😀b", "xyz", "abcabcabc" * 20, "é", "a b"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, library = tmp_path_factory.mktemp("c"), engine.library_path()
    assert compiler is not None
    assert library is not None
    flags = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "engine" / "include"]
    link = [library, f"-Wl,-rpath,{library.parent}", "-o", folder / "predict"]
    command = [compiler, *flags, ROOT / "examples" / "c" / "predict.c", *link]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return folder / "predict"


def predict(program: Path, model: Path, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, model], input=text, capture_output=True, text=True, check=False, encoding="utf-8")


def test_predictions_equal_those_of_python(program: Path, toy_file: Path) -> None:
    text = "".join(f"{line}\n" for line in LINES)
    done = predict(program, toy_file, text)
    assert (done.returncode, done.stderr) == (0, "")
    command = [sys.executable, "-m", "peephole", "predict", str(toy_file)]
    wanted = subprocess.run(command, input=text, capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.splitlines() == wanted.stdout.splitlines()
    assert len(set(done.stdout.splitlines())) > 4


def test_windows_line_ends(program: Path, toy_file: Path) -> None:
    assert predict(program, toy_file, "abc\r\n").stdout == predict(program, toy_file, "abc").stdout


def test_a_damaged_model(program: Path, toy_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(toy_file.read_bytes()[:-1])
    done = predict(program, path, "abc\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"predict: {path}: ")
    assert done.stderr.count("\n") == 1
    assert predict(program, tmp_path / "none", "").stderr == f"predict: {tmp_path / 'none'}: cannot be opened\n"


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"input": "frames", "input_size": 6}, "one that reads frames"),
        ({"output": "copy"}, "one that copies"),
    ],
)
def test_a_model_that_the_example_cannot_read_for(
    program: Path, tmp_path: Path, settings: dict[str, object], got: str
) -> None:
    path = write_model(tmp_path / "m.safetensors", model_config(**settings))
    done = predict(program, path, "stone\n")
    wanted = f"predict: {path}: wanted a model that reads text and does not copy, got {got}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", wanted)
