"""Tests the lock of a run: it excludes processes and threads, ends with its holder, and leaves no file."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from peephole.errors import RunError
from peephole.training.lock import hold, lock_files

REPOSITORY = Path(__file__).parents[2]

# Starts a process that has the lock's code without PyTorch, in a tenth of the time.
START = f"""
import importlib.util, os, sys, time
sys.path.insert(0, {str(REPOSITORY / "src")!r})
spec = importlib.util.spec_from_file_location("lock", {str(REPOSITORY / "src/peephole/training/lock.py")!r})
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
from pathlib import Path
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    """Start a Python process in a folder; each line that it prints can be read at once."""
    command = [sys.executable, "-u", "-c", START + code]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stdin=subprocess.PIPE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def locks(out: str = "m.safetensors") -> list[Path]:
    return lock_files(out, Path(out).with_suffix(".run"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def refused(out: str = "m.safetensors") -> str:
    """Return the message of a lock that cannot be had."""
    with pytest.raises(RunError) as caught, hold(locks(out), "m.run"):
        raise AssertionError("held twice")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_lock_is_a_file_beside_the_run_while_it_is_held(folder: Path) -> None:
    with hold(locks(), "m.run"):
        assert names(folder) == {".m.run.lock"}
    assert names(folder) == set()


def test_another_process_is_refused_with_the_id_of_the_holder(folder: Path) -> None:
    holder = start("with lock.hold([Path('.m.run.lock')], 'm.run'): print('held'); sys.stdin.read()", folder)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert refused() == f"m.run: another process (pid {holder.pid}) is training this run"
    holder.communicate("")
    with hold(locks(), "m.run"):
        pass
    assert names(folder) == set()


def test_another_thread_is_refused() -> None:
    messages = []
    with hold(locks(), "m.run"):
        thread = threading.Thread(target=lambda: messages.append(refused()))
        thread.start()
        thread.join()
    assert messages == ["m.run: another thread is training this run"]


def test_a_killed_holder_leaves_a_file_that_is_no_lock(folder: Path) -> None:
    """A process that the holder forked, and that lives on, does not hold the lock either."""
    code = """
with lock.hold([Path('.m.run.lock')], 'm.run'):
    child = os.fork()
    if not child:
        os.write(1, f'{os.getpid()}\\n'.encode())
        os.close(1)
        time.sleep(600)
    time.sleep(600)
"""
    holder = start(code, folder)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())  # from the child, whose work after the fork is done
    assert f"(pid {holder.pid})" in refused()
    holder.kill()
    holder.wait()
    try:
        assert names(folder) == {".m.run.lock"}
        with hold(locks(), "m.run"):
            assert Path(".m.run.lock").read_text().startswith(f"{os.getpid()} ")
        assert names(folder) == set()
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()
        assert holder.stdin is not None
        holder.stdin.close()


def test_a_fork_of_the_holder_does_not_release_the_lock(folder: Path) -> None:
    code = """
with lock.hold([Path('.m.run.lock')], 'm.run'):
    child = os.fork()
    if child:
        print('the fork ended with', os.waitpid(child, 0)[1])
        sys.stdin.read()
"""
    holder = start(code, folder)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "the fork ended with 0\n"
    assert names(folder) == {".m.run.lock"}
    assert f"(pid {holder.pid})" in refused()
    holder.communicate("")
    assert names(folder) == set()


def test_an_error_releases_the_lock(folder: Path) -> None:
    with pytest.raises(KeyError), hold(locks(), "m.run"):
        raise KeyError
    assert names(folder) == set()


def test_every_spelling_of_a_run_has_the_same_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a/b").mkdir(parents=True)
    (folder / "disk").mkdir()
    (folder / "link").symlink_to("a")
    (folder / "a/m.run").symlink_to("../disk/real.run")
    spellings = ["a/m.safetensors", "a/b/../m.safetensors", "link/m.safetensors", f"{folder}/a/m.safetensors"]
    assert all(locks(spelling) == locks("a/m.safetensors") for spelling in spellings)
    monkeypatch.chdir(folder / "a")
    assert (
        locks("./m.safetensors") == locks("m.safetensors") == [folder / "a/.m.run.lock", folder / "disk/.real.run.lock"]
    )


@pytest.mark.parametrize("target", ["b.safetensors", "blob-7f3a"])
def test_two_runs_that_write_one_model_exclude_each_other(folder: Path, target: str) -> None:
    for name in ("a", "c"):
        (folder / f"{name}.safetensors").symlink_to(target)
    with hold(locks("a.safetensors"), "a.run"):
        refused("c.safetensors")
        if target == "b.safetensors":
            refused("b.safetensors")
        with hold(locks("d.safetensors"), "d.run"):
            pass
    assert names(folder) == {"a.safetensors", "c.safetensors"}


def test_a_file_that_its_holder_removed_before_it_was_locked_is_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking, the holder releases the lock, and a third process locks a new file."""
    lock, others = fcntl.flock, []

    def flock(descriptor: int, operation: int) -> None:
        if not others:
            Path(".m.run.lock").unlink()
            others.append(os.open(".m.run.lock", os.O_RDWR | os.O_CREAT))
            os.write(others[0], b"77 " + os.uname().nodename.encode())
            lock(others[0], fcntl.LOCK_EX)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert refused() == "m.run: another process (pid 77) is training this run"
    os.close(others[0])


def test_of_many_processes_one_at_a_time_holds_the_lock(folder: Path) -> None:
    code = """
count, end = 0, time.monotonic() + 0.3
while time.monotonic() < end:
    try:
        with lock.hold([Path('.m.run.lock')], 'm.run'):
            os.close(os.open('inside', os.O_CREAT | os.O_EXCL))
            os.unlink('inside')
            count += 1
    except lock.RunError:
        pass
print(count)
"""
    counts = [process.communicate()[0] for process in [start(code, folder) for _ in range(4)]]
    assert all(count and int(count) > 0 for count in counts), counts
    assert names(folder) == set()


def make_link(path: Path) -> None:
    path.symlink_to("precious")


def make_second_name(path: Path) -> None:
    os.link("precious", path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [make_link, make_second_name, make_folder, make_pipe], ids=lambda make: make.__name__)
def test_a_file_that_is_not_a_lock_is_neither_written_nor_removed(folder: Path, make) -> None:
    (folder / "precious").write_text("precious")
    make(folder / ".m.run.lock")
    assert refused().startswith(f"{folder}/.m.run.lock: ")
    assert names(folder) == {"precious", ".m.run.lock"}
    assert (folder / "precious").read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_one_line() -> None:
    assert refused("no/m.safetensors").endswith("no/.m.run.lock: cannot be written: No such file or directory")


def test_a_file_system_without_locks_is_no_obstacle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(locks(), "m.run"), hold(locks(), "m.run"):
        pass
    assert names(folder) <= {".m.run.lock"}


def test_a_holder_on_another_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, hold(locks(), "m.run"):
        patch.setattr("platform.node", lambda: "elsewhere")
        here = os.uname().nodename
        assert refused() == f"m.run: another process (pid {os.getpid()} on {here}) is training this run"
