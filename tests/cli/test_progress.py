"""Tests that steps without output of their own show progress on a terminal, and on nothing else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from models.make import pronounce, toy_words

from .conftest import ENVIRONMENT

ROWS = "".join(f"{word}\t{pronounce(word)}\n" for word in toy_words(1100, seed=4))


def run_on_terminal(folder: Path, *arguments: object) -> tuple[bytes, str]:
    """Return the output of a command, and what it writes to a terminal as stderr."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "peephole", *map(str, arguments)]
    environment = os.environ | ENVIRONMENT | {"TERM": "xterm"}
    out = folder / "out"
    with (
        out.open("wb") as file,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=slave) as process,
    ):
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 65536):
                shown += part
        except OSError:  # the terminal was closed
            pass
    os.close(master)
    assert process.returncode == 0, shown
    return out.read_bytes(), shown.decode()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["predict", "TOY", "rows.tsv", "--beam-size", "1"], "1,100 lines"),
        (["score", "TOY", "rows.tsv"], "1,100 lines"),
        (["evaluate", "TOY", "rows.tsv", "--beam-size", "1", "--json"], "reading rows.tsv"),
        (["train", "rows.tsv", "--dry-run"], "reading rows.tsv"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_progress_is_shown_on_a_terminal_only(toy_file: Path, tmp_path: Path, arguments: list[str], text: str) -> None:
    (tmp_path / "rows.tsv").write_text(ROWS, encoding="utf-8")
    arguments = [str(toy_file) if word == "TOY" else word for word in arguments]
    out, shown = run_on_terminal(tmp_path, *arguments)
    assert text in shown
    command = [sys.executable, "-m", "peephole", *arguments]
    plain = subprocess.run(command, cwd=tmp_path, env=os.environ | ENVIRONMENT, capture_output=True, check=True)
    assert text not in plain.stderr.decode()
    if arguments[0] != "train":  # the time of an epoch is measured
        assert plain.stdout == out
