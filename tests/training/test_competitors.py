"""Tests processes that compete for one run: one trains it, the others end at once with one line, nothing is lost."""

from __future__ import annotations

import shutil
import signal
import time

import pytest

from .processes import TIMEOUT
from .test_kill_and_resume import names, position, step
from .test_two_processes import start_two
from .toy import TINY, set_options, write_pairs

pytestmark = pytest.mark.slow

SETTINGS = {**TINY, "steps": 40, "evaluations": 4, "dev_pairs": 4, "dropout": 0.3, "checkpoint_seconds": 0}
FILES = {"train.tsv", "m.run", "m.safetensors"}


def command(**settings):
    return ["train", "train.tsv", "--out", "m.safetensors", *set_options(**{**SETTINGS, **settings})]


@pytest.fixture(scope="module")
def finished(launcher, tmp_path_factory):
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    write_pairs(folder / "train.tsv")
    code, output = launcher.run(*command(), cwd=folder)
    assert code == 0, output
    return folder


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start_together(launcher, folder, *commands):
    """Start processes that write to output0, output1, … beside their folder."""
    return [
        launcher.start(*arguments, cwd=folder, output=f"{folder}.output{number}")
        for number, arguments in enumerate(commands)
    ]


def wait_for_winner(children):
    """Wait until one process is left, and check that it trains and what the others print; return it."""
    deadline = time.monotonic() + TIMEOUT
    while len(alive := [child for child in children if child.poll() is None]) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    [winner] = alive
    for child in children:
        if child is not winner:
            code, output = child.wait()
            assert (code, output) == (1, f"peephole: m.run: another process (pid {winner.pid}) is training this run\n")
    return winner


def test_of_three_replacements_at_once_one_wins(launcher, finished, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("output"))
    endless = [*command(steps=1_000_000), "--overwrite"]
    winner = wait_for_winner(start_together(launcher, folder, endless, endless, endless))
    assert winner.wait_for(lambda: step(folder) > 0 and not position(folder)["finished"]), winner.wait()
    winner.send(signal.SIGTERM)
    code, output = winner.wait()
    assert code == 128 + signal.SIGTERM, output
    assert names(folder) == FILES
    code, output = launcher.run(*command(), "--overwrite", cwd=folder, output=f"{folder}.output")
    assert code == 0, output
    assert names(folder) == FILES
    assert (folder / "m.safetensors").read_bytes() == (finished / "m.safetensors").read_bytes()


def test_a_winner_that_fails_loses_nothing(launcher, finished, tmp_path):
    """Each of three replacements has data with a bad line: the old run stays as it is."""
    folder = tmp_path / "folder"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("output"))
    (folder / "bad.tsv").write_text((folder / "train.tsv").read_text() + "three\tcolumns\there\n")
    before = content(folder)
    bad = ["train", "bad.tsv", "--out", "m.safetensors", "--overwrite"]
    for child in start_together(launcher, folder, bad, bad, bad):
        code, output = child.wait()
        assert code == 1
        assert "bad.tsv, line 301: expected 2 columns" in output or "is training this run" in output
        assert output.count("\n") == 1
    assert content(folder) == before


def test_of_two_first_trainings_at_once_one_wins(launcher, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write_pairs(folder / "train.tsv")
    winner = wait_for_winner(start_together(launcher, folder, *[command(steps=1_000_000)] * 2))
    assert winner.wait_for(lambda: step(folder) > 0), winner.wait()
    winner.send(signal.SIGKILL)
    winner.wait()
    assert names(folder) - {".m.run.lock", ".m.safetensors.lock"} <= FILES
    code, output = launcher.run(*command(), cwd=folder, output=f"{folder}.output")
    assert code == 1
    assert "m.run: exists already; `peephole train --resume m.run` resumes it" in output
    assert names(folder) <= FILES


def test_a_running_run_is_neither_resumed_nor_replaced(launcher, finished, tmp_path):
    """The running process is stopped meanwhile, so that it cannot end first; one of the others is two processes."""
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy2(finished / "train.tsv", folder)
    (tmp_path / "link").symlink_to(folder)
    running = launcher.start(*command(), cwd=folder, output=f"{folder}.output")
    assert running.wait_for(lambda: step(folder) >= 5), running.wait()
    running.send(signal.SIGSTOP)
    before = content(folder)
    resume, linked = ["train", "--resume", "m.run"], f"{tmp_path}/link/m"
    others = start_together(
        launcher, folder, resume, command(), [*command(steps=3), "--overwrite"], ["train", "--resume", f"{linked}.run"]
    )
    others += start_two(launcher, tmp_path, "train", "--resume", "folder/m.run")
    for run, child in zip(["m.run"] * 3 + [f"{linked}.run", *["folder/m.run"] * 2], others, strict=True):
        code, output = child.wait()
        line = f"peephole: {run}: another process (pid {running.pid}) is training this run"
        assert (code, output.splitlines()[-1]) == (1, line)
    assert content(folder) == before
    running.send(signal.SIGCONT)
    code, output = running.wait()
    assert code == 0, output
    assert (folder / "m.safetensors").read_bytes() == (finished / "m.safetensors").read_bytes()
    assert names(folder) == FILES
