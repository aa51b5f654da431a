"""Tests that loading executes nothing, and that a model file is always whole."""

from __future__ import annotations

import ast
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import peephole
from peephole.errors import RunError
from peephole.model import load
from peephole.storage.model_file import load_model, save_model

from .model_file_checks import (
    assert_refused,
    assert_same,
    example,
)

EXECUTING = ("compile", "exec", "pickle.", "marshal.", "os.", "subprocess.", "socket.", "import", "code.")
EXECUTING += ("ctypes.dlopen", "ctypes.dlsym", "ctypes.call_function")
_events: list[str] | None = None


def _record_event(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is not None:
        _events.append(event)


def test_loading_executes_nothing(toy_file: Path) -> None:
    global _events
    load(toy_file)  # imports all modules that loading needs
    sys.addaudithook(_record_event)
    _events = []
    try:
        load(toy_file)
        found = _events
        _events = []
        pickle.loads(pickle.dumps(Path("x")))
        seen = _events
    finally:
        _events = None
    assert [event for event in found if event.startswith(EXECUTING)] == []
    assert "pickle.find_class" in seen  # the audit hook records events


def test_no_module_can_unpickle() -> None:
    for path in Path(peephole.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & set(names), path
            assert called not in {"eval", "exec", "torch.load", "torch.save", "np.load"}, path


class CreatesFolder:
    """A class whose unpickling creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_pickle_named_safetensors_is_not_loaded(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "m.safetensors"
    path.write_bytes(pickle.dumps(CreatesFolder(trace)))
    assert_refused(path, load=load)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # unpickling would have created the folder


# Replacing


def child(program: str, *arguments: object) -> list[str]:
    """Return the command of a process that runs a program with the functions to load and save models imported."""
    begin = "import resource, sys\nfrom peephole.storage.model_file import load_model, save_model\n"
    return [sys.executable, "-c", begin + program, *map(str, arguments)]


def assert_folder_holds(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_full_disk_leaves_the_old_file(toy_file: Path, tmp_path: Path) -> None:
    program = """
new, path, size = load_model(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for limit in (0, 4, size // 2, size - 1, size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    before = open(path, "rb").read()
    try:
        save_model(path, new)
        print("saved")
    except Exception as error:
        print(type(error).__name__, error, open(path, "rb").read() == before)
"""
    path = tmp_path / "m.safetensors"
    save_model(path, load_model(toy_file))
    size = path.stat().st_size  # differs from the stored file's size: newer versions write more settings
    save_model(path, example())
    command = child(program, toy_file, path, size)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    failed = f"RunError {path}: cannot be written: File too large True\n"
    assert done.stdout == failed * 4 + "saved\n"
    assert_same(load_model(path), load_model(toy_file))
    assert_folder_holds(tmp_path, path.name)


def test_file_is_whole_for_readers_and_after_kills(toy_file: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "m.safetensors", tmp_path / "other.safetensors"
    models = {len(model.tensors): model for model in (load_model(toy_file), example())}
    save_model(path, example())
    save_model(other, example())
    program = """
models = [load_model(name) for name in sys.argv[2:]]
print("go", flush=True)
while True:
    for model in models:
        save_model(sys.argv[1], model)
"""
    for _ in range(3):
        with subprocess.Popen(child(program, path, toy_file, other), stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"go\n"
            seen, started = set(), time.monotonic()
            try:
                while (
                    len(seen) < 2 or time.monotonic() < started + 0.1
                ):  # the writer replaces the file during these reads
                    assert time.monotonic() < started + 300
                    seen.add(len(load_model(path).tensors))
            finally:
                writer.send_signal(signal.SIGKILL)
        left = load_model(path)
        assert_same(left, models[len(left.tensors)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/m.safetensors", "No such file or directory"),
        ("folder", "wanted a file or nothing there, got a folder"),
        ("m" * 300, "File name too long"),
    ],
)
def test_unwritable_path_is_reported_in_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError) as caught:
        save_model(tmp_path / name, example())
    assert str(caught.value) == f"{tmp_path / name}: cannot be written: {message}"
    assert_folder_holds(tmp_path, "folder")
    assert_folder_holds(tmp_path / "folder")
