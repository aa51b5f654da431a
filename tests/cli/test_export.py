"""Tests of `peephole export`: the ONNX files it writes and its error messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.storage.model_file import read_tensors, write_tensors

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
    for arguments, message in (([], "Missing option '--to'"), (["--to", "torch"], "'torch' is not 'onnx'")):
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
