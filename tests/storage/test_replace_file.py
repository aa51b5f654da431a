"""Tests that files are written whole or not at all, and replace only regular files."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from peephole.errors import RunError
from peephole.storage.replace_file import check_replaceable, remove, remove_temporary_files, replace_file, replace_files


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("old", [{}, {"m": b"old"}], ids=["new", "replaced"])
def test_file_is_renamed_after_it_is_complete(tmp_path: Path, old: dict[str, bytes]) -> None:
    for name, text in old.items():
        (tmp_path / name).write_bytes(text)
    with replace_file(tmp_path / "m") as file:
        file.write(b"new")
        file.flush()
        assert content(tmp_path) == {**old, f".m.{os.getpid()}.part": b"new"}
    assert content(tmp_path) == {"m": b"new"}


def write_halfway(paths: list[Path], error: BaseException) -> None:
    with replace_files(paths) as files:
        for file in files:
            file.write(b"new")
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_error_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(RunError if isinstance(error, OSError) else type(error)):
        write_halfway([tmp_path / "a", tmp_path / "b"], error)
    assert content(tmp_path) == {"a": b"old"}


def test_no_file_is_renamed_before_all_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []

    def full(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as caught, replace_files([tmp_path / "a", tmp_path / "b"]):
        pass
    assert str(caught.value) == f"{tmp_path / 'a'}, {tmp_path / 'b'}: cannot be written: No space left on device"
    assert content(tmp_path) == {}


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.parametrize("link", [False, True], ids=["itself", "link"])
@pytest.mark.parametrize("make", [make_folder, make_pipe, make_socket, make_device], ids=lambda make: make.__name__[5:])
def test_only_files_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make, link: bool) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    make(Path("thing"))
    before = os.stat("thing")
    if link:
        os.symlink("thing", "link")
    path = "link" if link else "thing"
    with pytest.raises(RunError) as caught, replace_file(path):
        raise AssertionError("never opened")
    got = f"a {make.__name__[5:]}"
    assert str(caught.value) == f"{path}: cannot be written: wanted a file or nothing there, got {got}"
    assert os.stat("thing").st_mode == before.st_mode
    assert os.stat("thing").st_ino == before.st_ino
    assert len(list(tmp_path.iterdir())) == 1 + link


@pytest.mark.parametrize("exists", [True, False], ids=["to a file", "to nothing"])
def test_link_is_kept(tmp_path: Path, exists: bool) -> None:
    large_disk = tmp_path / "large disk"
    large_disk.mkdir()
    if exists:
        (large_disk / "m").write_bytes(b"old")
    (tmp_path / "m").symlink_to(large_disk / "m")
    check_replaceable(tmp_path / "m")
    with replace_file(tmp_path / "m") as file:
        file.write(b"new")
        assert not list(tmp_path.glob(".*"))
    assert (tmp_path / "m").is_symlink()
    assert content(large_disk) == {"m": b"new"}


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "run" / "data").mkdir(parents=True)
    left = [tmp_path / ".m[1].7.part", tmp_path / "run" / ".log.8.part", tmp_path / "run" / "data" / ".pairs.9.part"]
    others = [tmp_path / "m[1]", tmp_path / ".m1.7.part", tmp_path / "run" / "log", tmp_path / "run" / "part"]
    for path in (*left, *others):
        path.touch()
    remove_temporary_files(tmp_path / "m[1]")
    remove_temporary_files(tmp_path / "run")
    remove_temporary_files(tmp_path / "missing" / "m")
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("links", [True, False], ids=["two names", "one name"])
def test_the_older_file_gets_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Not all file systems give a file two names."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: os.stat(tmp_path / "no"))
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "older").symlink_to("precious")
    for number in range(4):
        with replace_file(tmp_path / "m", keep=tmp_path / "older") as file:
            file.write(b"%d" % number)
        older = {"older": b"%d" % (number - 1)} if number else {"older": b"precious"}
        assert content(tmp_path) == {"precious": b"precious", "m": b"%d" % number, **older}


def test_the_older_file_keeps_its_name_until_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between both renamings leaves one file with both names; the next writing leaves no third one."""
    replace = os.replace

    def kill(source: Path, target: Path) -> None:
        if target == tmp_path / "m":
            raise KeyboardInterrupt
        replace(source, target)

    (tmp_path / "m").write_bytes(b"1")
    (tmp_path / "older").write_bytes(b"0")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt), replace_file(tmp_path / "m", keep=tmp_path / "older"):
            pass
    assert content(tmp_path) == {"m": b"1", "older": b"1"}
    with replace_file(tmp_path / "m", keep=tmp_path / "older") as file:
        file.write(b"2")
    assert content(tmp_path) == {"m": b"2", "older": b"1"}


def test_an_error_leaves_the_older_file_its_name(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"old")
    with pytest.raises(ValueError, match="no"), replace_file(tmp_path / "m", keep=tmp_path / "older"):
        raise ValueError("no")
    assert content(tmp_path) == {"m": b"old"}


def temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def test_a_temporary_file_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    temporary(tmp_path / "m").symlink_to("precious")
    temporary(tmp_path / "dangling").symlink_to("nothing")
    os.link(tmp_path / "precious", temporary(tmp_path / "twice"))
    for name in ("m", "dangling", "twice"):
        with replace_file(tmp_path / name) as file:
            file.write(b"new")
    assert content(tmp_path) == {"precious": b"precious", "m": b"new", "dangling": b"new", "twice": b"new"}


def test_a_link_planted_after_the_check_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    temporary(tmp_path / "m").symlink_to("precious")
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(RunError, match="m: cannot be written: File exists"), replace_file(tmp_path / "m"):
        raise AssertionError("never opened")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_folder_with_the_name_of_a_temporary_file_is_one_line(tmp_path: Path) -> None:
    temporary(tmp_path / "m").mkdir()
    with pytest.raises(RunError, match="m: cannot be written: File exists"), replace_file(tmp_path / "m"):
        raise AssertionError("never opened")


def test_threads_that_write_the_same_file_write_different_temporary_files(tmp_path: Path) -> None:
    opened = threading.Barrier(2)

    def write(text: bytes) -> None:
        with replace_file(tmp_path / "m") as file:
            file.write(text[:1])
            file.flush()
            opened.wait(60)
            file.write(text[1:])

    threads = [threading.Thread(target=write, args=(text,)) for text in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(tmp_path) in ({"m": b"one"}, {"m": b"two"})


def test_removing_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").symlink_to(tmp_path / "precious")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "file").touch()
    for name in ("folder", "link", "file", "nothing"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious" / "file").exists()


def test_a_name_that_is_too_long_for_its_temporary_file(tmp_path: Path) -> None:
    """Check that the name is refused before training starts, not at the first write."""
    path = tmp_path / ("m" * 250)
    with pytest.raises(RunError) as caught:
        check_replaceable(path)
    assert str(caught.value) == f"{path}: cannot be written: File name too long"
