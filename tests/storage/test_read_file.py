"""Tests that anything but a regular file is refused at once as a model, in one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import peephole
from peephole.engine.packed import PackedModel
from peephole.errors import ModelFileError
from peephole.export import export_onnx
from peephole.storage.header import read_header
from peephole.storage.model_file import load_model, read_tensors

READERS: dict[str, Callable[[Path], object]] = {
    "load": peephole.load,
    "evaluate": lambda path: peephole.evaluate(path, [("ab", "AH B")]),
    "quantize": lambda path: peephole.quantize(path, "int8"),
    "info": peephole.info,
    "export": export_onnx,
    "packed": PackedModel,
    "load_model": load_model,
    "read_header": read_header,
    "read_tensors": read_tensors,
}


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # the whole path may be too long


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "wanted a model file, got a pipe"),
    "directory": (Path.mkdir, "wanted a model file, got a directory"),
    "socket": (make_socket, "wanted a model file, got a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "wanted a model file, got a device"),
    "empty": (Path.touch, "not a whole safetensors file: it is empty"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "missing": (lambda path: None, "no such file"),
    "circle": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused(kind: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = KINDS[kind]
    make(Path("m.safetensors"))
    before = sorted(os.listdir())
    with pytest.raises(ModelFileError) as caught:
        READERS[reader](Path("m.safetensors"))
    assert str(caught.value) == f"m.safetensors: {message}"
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("name", ["m.safetensors/x", "a\0b", "n" * 300])
def test_a_name_that_no_file_can_have_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.safetensors").touch()
    with pytest.raises(ModelFileError) as caught:
        peephole.load(name)
    assert str(caught.value) in (f"{name}: no such file", f"{name!r}: no such file", f"{name}: File name too long")


def test_a_pipe_that_takes_the_place_of_a_file_does_not_block(toy_file: Path, tmp_path: Path) -> None:
    """Simulate a file that is replaced between the check of its kind and its opening."""
    path = tmp_path / "m.safetensors"
    os.mkfifo(path)
    program = """
import os, sys
from peephole.storage import read_file

real, calls = os.stat, []

class Os:
    def __getattr__(self, name):
        return getattr(os, name)

    def stat(self, path):
        return real(sys.argv[2])

read_file.os = Os()
try:
    with read_file.open_file(sys.argv[1]):
        pass
except Exception as error:
    print(type(error).__name__, error)
"""
    command = [sys.executable, "-c", program, path, toy_file]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"ModelFileError {path}: wanted a model file, got a pipe\n"


def test_a_large_file_of_another_program_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    size = 1 << 40  # 1 TiB of zeros, which take no room on the disk
    for content, message in (
        (b"", "not a whole safetensors file: its header would have 0 bytes"),
        (
            json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode(),
            "wanted a model saved by peephole, got another program's safetensors file",
        ),
    ):
        path.write_bytes(len(content).to_bytes(8, "little") + content)
        os.truncate(path, 8 + len(content) + size)
        with pytest.raises(ModelFileError) as caught:
            peephole.load(path)
        assert str(caught.value) == f"{path}: {message}"
