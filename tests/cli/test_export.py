"""Tests of `peephole export`: the files it writes and its error messages."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from peephole.config import Config, ModelConfig
from peephole.nn import build_seq2seq
from peephole.storage.model_file import ModelFile, load_model, read_tensors, save_model, write_tensors
from peephole.symbols import FrameSymbols

from .conftest import Peephole


def test_export_lists_the_files_it_wrote(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("toy.safetensors", toy_file.read_bytes())
    done = peephole("export", "toy.safetensors", "--to", "onnx").succeeded()
    sizes = [(peephole.folder / "toy.onnx" / f"{name}.onnx").stat().st_size for name in ("encoder", "decoder_step")]
    assert done.out == ""
    assert done.err == (
        f"peephole: wrote toy.onnx/encoder.onnx, {sizes[0] / 1e6:.2f} MB\n"
        f"peephole: wrote toy.onnx/decoder_step.onnx, {sizes[1] / 1e6:.2f} MB\n"
    )
    assert min(sizes) > 9000
    done = peephole("export", "toy.safetensors", "--to", "onnx", "--out", "else").succeeded()
    assert "peephole: wrote else/encoder.onnx" in done.err


def test_unknown_settings_of_a_model_file_are_printed(peephole: Peephole, toy_file: Path) -> None:
    tensors, metadata = read_tensors(toy_file)
    del metadata["checksum"]
    config = json.loads(metadata["config"])
    config["train"]["moon_phase"] = 3
    write_tensors(peephole.folder / "toy.safetensors", tensors, metadata | {"config": json.dumps(config)})
    done = peephole("export", "toy.safetensors", "--to", "onnx").succeeded()
    assert done.err.startswith(
        "peephole: toy.safetensors: config: unknown key train.moon_phase is ignored\npeephole: wrote toy.onnx/"
    )


def test_export_rejects_files_that_are_not_models(peephole: Peephole, toy_file: Path) -> None:
    peephole("export", "m.safetensors", "--to", "onnx").failed("m.safetensors: no such file")
    peephole.write("text", "no model")
    done = peephole("export", "text", "--to", "onnx")
    assert done.err.startswith("peephole: text: not a whole safetensors file: ")
    assert (done.code, done.err.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("no/such/folder", "No such file or directory"),
        ("file", "wanted a folder or nothing there, got a file"),
        ("/proc/out", "No such file or directory"),
    ],
)
def test_unwritable_output_folder(peephole: Peephole, toy_file: Path, out: str, reason: str) -> None:
    peephole.write("file", "mine")
    peephole("export", toy_file, "--to", "onnx", "--out", out).failed(f"{out}: cannot be written: {reason}")
    assert (peephole.folder / "file").read_text() == "mine"


def test_wrong_usage(peephole: Peephole, toy_file: Path) -> None:
    for arguments, message in (
        ([], "Missing option '--to'"),
        (["--to", "torch"], "'torch' is not one of 'onnx', 'web'"),
    ):
        done = peephole("export", toy_file, *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err


@pytest.mark.parametrize("package", ["onnx"])
def test_missing_onnx_is_named(toy_file: Path, package: str) -> None:
    hide = f"import sys\nsys.modules[{package!r}] = None\nfrom peephole.cli import main\nmain(sys.argv[1:])\n"
    command = [sys.executable, "-c", hide, "export", str(toy_file), "--to", "onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "peephole: this needs onnx: pip install 'peephole[onnx]'\n"


def test_the_web_folder_has_what_a_browser_needs(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("My <toy>.safetensors", toy_file.read_bytes())
    done = peephole("export", "My <toy>.safetensors", "--to", "web").succeeded()
    folder = peephole.folder / "My <toy>.web"
    names = {path.name for path in folder.iterdir()}
    assert done.out == ""
    assert done.err.splitlines() == [
        f"peephole: wrote My <toy>.web/{path.name}, {path.stat().st_size / 1e6:.2f} MB"
        for path in sorted(folder.iterdir(), key=lambda path: done.err.index(f"/{path.name},"))
    ]
    assert names >= {"index.html", "peephole.js", "peephole.d.ts", "simd.wasm", "plain.wasm", "embedded.js"}
    assert (folder / "model.safetensors").read_bytes() == toy_file.read_bytes()
    assert "<h1>My &lt;toy&gt;</h1>" in (folder / "index.html").read_text()
    package = json.loads((folder / "package.json").read_text())
    assert package["name"] == "peephole-my-toy"
    assert {package["main"], package["types"]} <= names


def test_the_web_folder_of_an_ensemble_has_all_models(peephole: Peephole, toy_file: Path) -> None:
    done = peephole("export", f"{toy_file},{toy_file}", "--to", "web", "-o", "two").succeeded()
    assert done.err.endswith("wrote two/model-2.safetensors, 0.02 MB\n")
    page = (peephole.folder / "two/index.html").read_text()
    assert 'data-models="model.safetensors model-2.safetensors"' in page


def test_a_model_that_cannot_run_in_a_browser_is_refused_by_name(peephole: Peephole) -> None:
    settings = {"input": "frames", "input_size": 1, "output": "gaussian", "output_size": 1, "hidden_size": 4}
    config = Config(model=ModelConfig(**settings))
    numbers = FrameSymbols("numbers", size=1)
    network = build_seq2seq(config.model, len(numbers), len(numbers))
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    save_model(peephole.folder / "series.safetensors", ModelFile(tensors, config, numbers, numbers))
    done = peephole("export", "series.safetensors", "--to", "web")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "series.safetensors: wanted a model that predicts symbols for --to web, got one of series" in done.err
    assert not (peephole.folder / "series.web").exists()
    peephole("export", "m.safetensors", "--to", "web").failed("m.safetensors: no such file")


def test_unwritable_web_folder(peephole: Peephole, toy_file: Path) -> None:
    peephole.write("file", "mine")
    reason = "wanted a folder or nothing there, got a file"
    peephole("export", toy_file, "--to", "web", "-o", "file").failed(f"file: cannot be written: {reason}")
    assert (peephole.folder / "file").read_text() == "mine"


def test_the_browser_does_not_calibrate_which_is_printed(peephole: Peephole, toy_file: Path) -> None:
    file = load_model(toy_file)
    calibrated = replace(file, config=file.config.with_values({"search.calibration": 1.5}))
    save_model(peephole.folder / "m.safetensors", calibrated)
    done = peephole("export", "m.safetensors", "--to", "web").succeeded()
    note = "peephole: m.safetensors: the browser shows probabilities without search.calibration\n"
    assert done.err.startswith(note)
    assert note not in peephole("export", "m.safetensors", "--to", "onnx").succeeded().err
