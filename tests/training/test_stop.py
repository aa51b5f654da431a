"""Tests, in separate processes, trainings that receive a stop signal or run out of disk space."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest

from peephole.storage.model_file import read_tensors
from peephole.training.stop import catch_stop_signals

from .test_kill_and_resume import position, step
from .toy import TINY, set_options, write_pairs

SETTINGS = {**TINY, "steps": 60, "evaluations": 6, "average_last": 6, "dev_pairs": 4, "checkpoint_seconds": 0}


@pytest.fixture(scope="module")
def uninterrupted(launcher, tmp_path_factory):
    """Return the content of the model file of an uninterrupted training."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_pairs(folder / "train.tsv")
    code, output = launcher.run(*command(), cwd=folder)
    assert code == 0, output
    return (folder / "m.safetensors").read_bytes()


def command(**settings):
    return ["train", "train.tsv", "--out", "m.safetensors", *set_options(**{**SETTINGS, **settings})]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["Ctrl-C", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_after_the_step_and_prints_the_command_to_resume(launcher, tmp_path, uninterrupted, number):
    write_pairs(tmp_path / "train.tsv")
    child = launcher.start(*command(), cwd=tmp_path)
    assert child.wait_for(lambda: step(tmp_path) >= 5), child.wait()
    child.send(number)
    code, output = child.wait()
    assert code == 128 + number, output
    stopped = position(tmp_path)
    assert 5 <= stopped["step"] < 60
    assert not stopped["finished"]
    last = r"peephole: stopped and saved at step (\d+); resume with: peephole (.*)"
    found = re.fullmatch(last, output.splitlines()[-1])
    assert found, output
    assert int(found[1]) == stopped["step"]
    code, output = launcher.run(*shlex.split(found[2]), cwd=tmp_path)
    assert code == 0, output
    assert (tmp_path / "m.safetensors").read_bytes() == uninterrupted


def test_a_training_whose_pipe_of_messages_is_closed_saves_and_ends(launcher, tmp_path, uninterrupted):
    write_pairs(tmp_path / "train.tsv")
    arguments = [sys.executable, "-m", "peephole", *command(checkpoint_seconds=1000)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert b"training pairs" in process.stderr.readline()
        process.stderr.close()
        assert process.wait() == 128 + signal.SIGPIPE
    assert 1 <= position(tmp_path)["step"] < 60
    code, output = launcher.run("train", "--resume", "m.run", cwd=tmp_path)
    assert code == 0, output
    assert "resuming from step" in output
    (tmp_path / "whole.safetensors").write_bytes(uninterrupted)
    tensors, wanted = (read_tensors(tmp_path / f"{name}.safetensors")[0] for name in ("m", "whole"))
    assert all((tensors[name] == wanted[name]).all() for name in wanted)


def test_ctrl_c_during_an_evaluation_stops_at_once_and_leaves_it_due(launcher, tmp_path):
    """The evaluation would take minutes; test_loop.py tests that the resumed run ends in the same bits."""
    write_pairs(tmp_path / "train.tsv", number=4000)
    settings = {"dev_fraction": 0.5, "dev_pairs": 2000, "evaluations": 60, "max_length_extra": 10_000}
    child = launcher.start(*command(**settings), cwd=tmp_path)
    assert child.wait_for(lambda: (tmp_path / "m.run/log.jsonl").exists()), child.wait()
    time.sleep(0.5)
    child.send(signal.SIGINT)
    sent = time.monotonic()
    code, output = child.wait()
    assert time.monotonic() - sent < 20  # on a machine with other work
    assert code == 130, output
    assert "stopped and saved at step 1;" in output
    assert position(tmp_path)["evaluation_due"]
    assert position(tmp_path)["evaluations"] == 0


def test_repeated_ctrl_c_prints_no_traceback(launcher, tmp_path):
    """Send SIGINT until the process has ended, including the shutdown of Python."""
    write_pairs(tmp_path / "train.tsv")
    child = launcher.start(*command(steps=100_000), cwd=tmp_path)
    assert child.wait_for(lambda: step(tmp_path) >= 5), child.wait()
    while child.poll() is None:
        child.send(signal.SIGINT)
        time.sleep(0.05)
    code, output = child.wait()
    assert code == 130, output
    assert "Traceback" not in output


def test_the_command_to_resume_is_quoted(launcher, tmp_path):
    write_pairs(tmp_path / "train.tsv")
    arguments = ["my model.safetensors" if a == "m.safetensors" else a for a in command()]
    child = launcher.start(*arguments, cwd=tmp_path)
    assert child.wait_for((tmp_path / "my model.run/checkpoint/checkpoint.safetensors").exists), child.wait()
    child.send(signal.SIGTERM)
    _, output = child.wait()
    assert output.endswith("resume with: peephole train --resume 'my model.run'\n")


def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_resumes(launcher, tmp_path, uninterrupted):
    """Limit the size of files so that a checkpoint with the weights of two evaluations exceeds it."""
    write_pairs(tmp_path / "train.tsv")
    code, output = launcher.run(*command(), cwd=tmp_path, largest_file=200_000)
    assert code == 1
    path = "m.run/checkpoint/checkpoint.safetensors"
    assert output.splitlines()[-1] == f"peephole: {path}: cannot be written: File too large"
    assert "Traceback" not in output
    saved = step(tmp_path)
    assert 0 < saved < 60
    left = {file.name for file in (tmp_path / "m.run/checkpoint").iterdir()}
    assert left == {"checkpoint.safetensors", "previous.safetensors"}
    code, output = launcher.run("train", "--resume", "m.run", cwd=tmp_path)
    assert code == 0, output
    assert f"resuming from step {saved}" in output
    assert (tmp_path / "m.safetensors").read_bytes() == uninterrupted


def test_a_disk_too_full_for_the_prepared_data_is_an_error(launcher, tmp_path):
    write_pairs(tmp_path / "train.tsv")
    code, output = launcher.run(*command(), cwd=tmp_path, largest_file=4_000)
    files = [f"m.run/data/{side}.{part}.npy" for side in ("source", "target") for part in ("values", "offsets")]
    assert (code, output) == (1, f"peephole: {', '.join(files)}: cannot be written: File too large\n")
    assert not (tmp_path / "m.run").exists()
    code, output = launcher.run(*command(steps=2), cwd=tmp_path)
    assert code == 0, output


def test_a_training_keeps_a_budget_of_seconds(launcher, tmp_path):
    """Use the real clock; test_loop.py tests budgets in detail with a simulated one."""
    write_pairs(tmp_path / "train.tsv")
    minutes = ["--minutes", "0.05"]
    options = set_options(**{**TINY, "evaluations": 3})
    started = time.monotonic()
    code, output = launcher.run("train", "train.tsv", "--out", "m.safetensors", *options, *minutes, cwd=tmp_path)
    seconds = time.monotonic() - started
    assert code == 0, output
    trained = position(tmp_path)["seconds"]
    assert 3.0 <= trained < 3.0 + 3.0
    assert seconds < trained + 30  # start and end of the process


def test_a_stop_signal_is_recorded_and_the_old_handlers_are_restored():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("old"))
    try:
        old = signal.getsignal(signal.SIGTERM)
        with catch_stop_signals() as request:
            assert request.signal_number is None
            signal.raise_signal(signal.SIGTERM)
            assert request.signal_number == signal.SIGTERM
            assert seen == []
            signal.raise_signal(signal.SIGTERM)
            assert seen == ["old"]
        assert signal.getsignal(signal.SIGTERM) is old
        with catch_stop_signals() as request:
            pass
        assert request.signal_number is None
        assert signal.getsignal(signal.SIGTERM) is old
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_no_handler_is_installed():
    found = []

    def work():
        with catch_stop_signals() as request:
            found.append(request.signal_number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


def test_an_ignored_signal_stays_ignored():
    """Shells start the background jobs of scripts with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with catch_stop_signals() as request:
            signal.raise_signal(signal.SIGINT)
            assert request.signal_number is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch):
    """`getsignal` returns None for a handler of a program that embeds Python, which Python could not put back."""
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with catch_stop_signals():
            pass
    finally:
        assert signal.signal(signal.SIGTERM, handler) is signal.SIG_DFL
