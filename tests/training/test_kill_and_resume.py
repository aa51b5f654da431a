"""Tests that a run killed with SIGKILL at any moment and resumed ends in the same bits as an uninterrupted one.

`pytest tests/training/test_kill_and_resume.py -s` prints where each kill hit.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest

from peephole.storage.model_file import read_tensors

from .processes import TIMEOUT, environment
from .toy import TINY, set_options, write_pairs

pytestmark = pytest.mark.slow

COMMON = {**TINY, "dropout": 0.3, "evaluations": 5}
RUNS = {
    # A checkpoint after every update; the last update is not a multiple of the logging interval.
    "steps": {
        "steps": 230,
        "decoder_layers": 2,
        "scheduled_sampling": "linear",
        "sampling_end": 0.5,
        "ema_decay": 0.99,
        "average_last": 3,
        "checkpoint_seconds": 0,
    },
    # A kill undoes several updates; the run ends in the middle of an epoch.
    "epochs": {
        "epochs": 13.3,
        "cell": "gru",
        "peephole": "none",
        "encoder_layers": 2,
        "context": "mean",
        "scheduled_sampling": "inverse_sigmoid",
        "ema_decay": 0,
        "dev_metric": "loss",
        "loss_mean": "pair",
        "average_last": 2,
        "checkpoint_seconds": 0.1,
    },
}
KILLS = 12  # random kills of each run
TIMES = ("seconds", "symbols_per_second")  # fields of a log line that differ between runs
SUMS = ("loss",)  # fields summed since the last line or, after a kill, since the checkpoint


def arguments(name):
    """Return the command line that starts a run."""
    return ["train", "train.tsv", "--out", "m.safetensors", *set_options(**COMMON, **RUNS[name])]


def position(folder):
    """Return the position in the checkpoint, read from its header, or None without a checkpoint."""
    try:
        with open(folder / "m.run/checkpoint/checkpoint.safetensors", "rb") as file:
            [size] = struct.unpack("<Q", file.read(8))
            return json.loads(json.loads(file.read(size))["__metadata__"]["position"])
    except FileNotFoundError:
        return None


def step(folder):
    return (position(folder) or {"step": 0})["step"]


def seconds_trained(folder):
    return (position(folder) or {"seconds": 0})["seconds"]


def log(folder):
    return [json.loads(line) for line in (folder / "m.run/log.jsonl").read_text().splitlines()]


def log_end(folder):
    """Return the last step in the log, which may be later than the checkpoint."""
    return max((entry["step"] for entry in log(folder)), default=0)


class UninterruptedRun:
    """Runs a training without interruption and measures its speed."""

    def __init__(self, launcher, folder, name):
        write_pairs(folder / "train.tsv")
        self.folder = folder
        child = launcher.start(*arguments(name), cwd=folder)
        started = time.monotonic()
        assert child.wait_for(lambda: step(folder) > 0), child.wait()
        first_checkpoint = time.monotonic()
        code, output = child.wait()
        assert code == 0, output
        self.steps = step(folder)
        self.seconds_to_start = first_checkpoint - started
        self.seconds_per_step = (time.monotonic() - first_checkpoint) / self.steps


@pytest.fixture(scope="module")
def uninterrupted(launcher, tmp_path_factory):
    """Return a function that makes the uninterrupted run of a name once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = UninterruptedRun(launcher, tmp_path_factory.mktemp(f"uninterrupted-{name}"), name)
        return made[name]

    return make


def resume_or_start(launcher, folder, name, **trap):
    """Resume the run, or start it when the kill came before its folder existed."""
    if (folder / "m.run/run.json").exists():
        return launcher.start("train", "--resume", "m.run", cwd=folder, **trap)
    return launcher.start(*arguments(name), "--overwrite", cwd=folder, **trap)


def assert_same(folder, uninterrupted):
    """Compare model, checkpoint, log and file names of two runs."""
    assert (folder / "m.safetensors").read_bytes() == (uninterrupted.folder / "m.safetensors").read_bytes()
    checkpoint = "m.run/checkpoint/checkpoint.safetensors"
    (got, _), (wanted, _) = (read_tensors(run / checkpoint) for run in (folder, uninterrupted.folder))
    assert got.keys() == wanted.keys()
    assert all(got[key].tobytes() == wanted[key].tobytes() for key in wanted)
    assert {**position(folder), "seconds": 0} == {**position(uninterrupted.folder), "seconds": 0}
    assert position(folder)["finished"]

    def comparable(run):
        return [{key: value for key, value in entry.items() if key not in TIMES + SUMS} for entry in log(run)]

    assert comparable(folder) == comparable(uninterrupted.folder)
    logged = [entry["step"] for entry in log(folder) if "loss" in entry]
    assert logged == [*range(50, uninterrupted.steps, 50), uninterrupted.steps]
    assert files(folder) == files(uninterrupted.folder)


def names(folder):
    return {path.name for path in folder.iterdir()}


def files(folder):
    """Return the files of a run without TensorBoard's event files, of which each process adds one."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name} - {"output"}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_at_random_moments_ends_in_the_same_bits(launcher, tmp_path, uninterrupted, name):
    """A run that a machine which has become faster finishes before all kills is compared, and another one is begun."""
    uninterrupted, rng = uninterrupted(name), random.Random(f"kills of {name}")
    print(f"\n{name}: {uninterrupted.steps} updates, {KILLS} random kills")
    folder, number = new_run(tmp_path / "run-1"), 1
    while number <= KILLS:
        child, before, seconds = resume_or_start(launcher, folder, name), step(folder), seconds_trained(folder)
        target = before
        if number % 3 == 1:  # during the start: data, checkpoint and log are read
            delay, since = rng.uniform(0, uninterrupted.seconds_to_start), "the start"
        else:
            left = uninterrupted.steps - before  # few where a busy machine delayed earlier kills
            target = before + rng.randint(1, max(1, left // (KILLS + 2 - number)))
            child.wait_for(lambda target=target, run=folder: step(run) >= target)
            delay, since = rng.uniform(0, 6 * uninterrupted.seconds_per_step), f"step {target} was saved"
        moment, latest = time.monotonic() + delay, target + 10  # sooner where the machine has become faster meanwhile
        child.wait_for(
            lambda moment=moment, latest=latest, run=folder: time.monotonic() >= moment or step(run) >= latest
        )
        child.send(signal.SIGKILL)
        code, output = child.wait()
        if code == 0:
            assert_same(folder, uninterrupted)
            assert len(list(tmp_path.iterdir())) < KILLS, "runs end before they can be killed"
            folder = new_run(tmp_path / f"run-{len(list(tmp_path.iterdir())) + 1}")
            continue
        assert code == -signal.SIGKILL, output
        assert seconds_trained(folder) > seconds or step(folder) == before
        print(f"  kill {number:2} hit {delay:.3f} s after {since}; {state_after_kill(folder)}")
        number += 1
    code, output = resume_or_start(launcher, folder, name).wait()
    assert code == 0, output
    assert_same(folder, uninterrupted)


def new_run(folder):
    """Make a folder with the data of a run."""
    folder.mkdir()
    write_pairs(folder / "train.tsv")
    return folder


def state_after_kill(folder):
    """Describe checkpoint, log and temporary files for the printed report."""
    saved = position(folder)
    if saved is None:
        return "no checkpoint yet"
    half = ", and a half-written file" if list(folder.rglob("*.part*")) else ""
    return f"step {saved['step']}, batch {saved['batch']} of epoch {saved['epoch']}, log to {log_end(folder)}{half}"


def test_a_run_killed_while_writing_files_ends_in_the_same_bits(launcher, tmp_path, uninterrupted):
    """Kill it when a file is half written, before the file is renamed into place, and right after."""
    uninterrupted, name = uninterrupted("steps"), "steps"
    write_pairs(tmp_path / "train.tsv")

    def kill(replaced, count, moment):
        child = resume_or_start(launcher, tmp_path, name, replaced=replaced, count=count, moment=moment)
        code, output = child.wait()
        assert code == -signal.SIGKILL, output  # killed by the trap
        print(f"  killed with {replaced} {moment}, time {count}; left: {state_after_kill(tmp_path)}")

    print()
    kill("m.run", 1, "before")
    assert not (tmp_path / "m.run").exists()
    kill("m.run", 1, "after")
    kill("source.values.npy", 1, "half written")
    kill("target.offsets.npy", 1, "before")
    kill("target.offsets.npy", 1, "after")
    kill("prepared.json", 1, "half written")
    kill("prepared.json", 1, "after")
    kill("checkpoint.safetensors", 1, "half written")
    assert position(tmp_path) is None
    kill("checkpoint.safetensors", 1, "before")
    assert position(tmp_path) is None
    kill("checkpoint.safetensors", 7, "after")
    assert step(tmp_path) == 7
    kill("checkpoint.safetensors", 5, "half written")
    kill("checkpoint.safetensors", 50, "before")
    assert step(tmp_path) == 7 + 4 + 49
    kill("log.jsonl", 1, "half written")
    kill("log.jsonl", 1, "before")
    kill("log.jsonl", 1, "after")
    kill("m.safetensors", 1, "half written")
    kill("m.safetensors", 1, "after")
    kill(
        "checkpoint.safetensors", uninterrupted.steps - step(tmp_path), "half written"
    )  # the last one, of the finished run
    assert not position(tmp_path)["finished"]
    kill("checkpoint.safetensors", 1, "after")
    assert position(tmp_path)["finished"]
    kill("m.safetensors", 1, "half written")
    kill("m.safetensors", 1, "before")
    code, output = resume_or_start(launcher, tmp_path, name).wait()
    assert code == 0, output
    assert_same(tmp_path, uninterrupted)


def test_the_command_killed_and_interrupted_ends_in_the_same_bits(launcher, tmp_path, uninterrupted):
    """Run `python -m peephole` as a user does: kill it, stop it with Ctrl-C, then finish it."""
    uninterrupted = uninterrupted("steps")
    write_pairs(tmp_path / "train.tsv")

    def start(*arguments):
        command = [sys.executable, "-m", "peephole", *arguments]
        return subprocess.Popen(command, cwd=tmp_path, env=environment(), text=True, stderr=subprocess.PIPE)

    def wait_for_step(process, wanted):
        deadline = time.monotonic() + TIMEOUT
        while step(tmp_path) < wanted:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)

    process = start(*arguments("steps"))
    wait_for_step(process, 20)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    process = start("train", "--resume", "m.run")
    wait_for_step(process, step(tmp_path) + 20)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + signal.SIGINT
    stopped = step(tmp_path)
    command = "peephole train --resume m.run"
    assert errors.splitlines()[-1] == f"peephole: stopped and saved at step {stopped}; resume with: {command}"
    code, output = launcher.run(*command.split()[1:], cwd=tmp_path)
    assert code == 0, output
    assert f"resuming from step {stopped}" in output
    assert_same(tmp_path, uninterrupted)


@pytest.mark.parametrize("replaced", [".m.run.old", "m.run"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_an_old_run_is_replaced(launcher, tmp_path, uninterrupted, replaced, moment):
    """After a kill of `--overwrite`, the complete old run is resumed, or the new run whose data are prepared."""
    uninterrupted = uninterrupted("steps")
    shutil.copytree(uninterrupted.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train.tsv").touch()
    start = [*arguments("steps"), "--set", "steps=3", "--overwrite"]
    code, output = launcher.run(*start, cwd=tmp_path, replaced=replaced, count=1, moment=moment)
    assert code == -signal.SIGKILL, output
    is_new = (replaced, moment) == ("m.run", "after")
    if (tmp_path / "m.run").exists():
        assert (tmp_path / "m.run/run.json").exists()
        assert step(tmp_path) == (0 if is_new else uninterrupted.steps)
        assert not is_new or (tmp_path / "m.run/data/prepared.json").exists()
    code, output = launcher.run("train", "--resume", "m.run", cwd=tmp_path)
    assert code == 0, output
    if is_new:
        assert step(tmp_path) == 3
    else:
        assert_same(tmp_path, uninterrupted)
    code, output = launcher.run(*start, cwd=tmp_path)
    assert code == 0, output
    assert step(tmp_path) == 3
    assert names(tmp_path) == {"m.run", "m.safetensors", "train.tsv", "output"}
