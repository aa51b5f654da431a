"""A run killed with SIGKILL at any moment and resumed ends in the same bits as one never killed.

`pytest tests/training/test_kill_and_resume.py -s` shows where each kill hit.
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

from .processes import PATIENCE, environment
from .toy import TINY, set_options, write_pairs

pytestmark = pytest.mark.slow

COMMON = {**TINY, "dropout": 0.3, "evaluations": 5}
RUNS = {
    # A checkpoint after every update. The last update is not one of those that are logged anyway.
    "steps": {
        "steps": 230,
        "decoder_layers": 2,
        "scheduled_sampling": "linear",
        "sampling_end": 0.5,
        "ema_decay": 0.99,
        "average_last": 3,
        "checkpoint_seconds": 0,
    },
    # A kill undoes several updates, and there is no whole number of batches, nor of epochs.
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
KILLS = 12  # random ones for each run
TIMES = ("seconds", "symbols_per_second")  # of a log line: these differ
SUMS = ("loss",)  # over the updates since the last line or, after a kill, since the checkpoint


def arguments(name):
    return ["train", "train.tsv", "--out", "m.safetensors", *set_options(**COMMON, **RUNS[name])]


def position(folder):
    """Return where the checkpoint stands, read from its header alone; None if there is no checkpoint."""
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
    """Return the last step that the log names, which may be one that the checkpoint does not know."""
    return max((entry["step"] for entry in log(folder)), default=0)


class Whole:
    """A run that is never killed, and how fast it was."""

    def __init__(self, launcher, folder, name):
        write_pairs(folder / "train.tsv")
        self.folder = folder
        child = launcher.start(*arguments(name), cwd=folder)
        started = time.monotonic()
        assert child.wait_for(lambda: step(folder) > 0), child.wait()
        at_work = time.monotonic()
        code, output = child.wait()
        assert code == 0, output
        self.steps = step(folder)
        self.seconds_to_start = at_work - started
        self.seconds_per_step = (time.monotonic() - at_work) / self.steps


@pytest.fixture(scope="module")
def whole(launcher, tmp_path_factory):
    """Return the whole run of a name, made once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = Whole(launcher, tmp_path_factory.mktemp(f"whole-{name}"), name)
        return made[name]

    return make


def go_on(launcher, folder, name, **trap):
    """Resume the run or, where the kill came before there was one, start it."""
    if (folder / "m.run/run.json").exists():
        return launcher.start("train", "--resume", "m.run", cwd=folder, **trap)
    return launcher.start(*arguments(name), "--overwrite", cwd=folder, **trap)


def assert_same(folder, whole):
    """Compare all that a run leaves behind."""
    assert (folder / "m.safetensors").read_bytes() == (whole.folder / "m.safetensors").read_bytes()
    checkpoint = "m.run/checkpoint/checkpoint.safetensors"
    (got, _), (wanted, _) = (read_tensors(run / checkpoint) for run in (folder, whole.folder))
    assert got.keys() == wanted.keys()
    assert all(got[key].tobytes() == wanted[key].tobytes() for key in wanted)
    assert {**position(folder), "seconds": 0} == {**position(whole.folder), "seconds": 0}
    assert position(folder)["finished"]

    def comparable(run):
        return [{key: value for key, value in entry.items() if key not in TIMES + SUMS} for entry in log(run)]

    assert comparable(folder) == comparable(whole.folder)
    logged = [entry["step"] for entry in log(folder) if "loss" in entry]
    assert logged == [*range(50, whole.steps, 50), whole.steps]
    assert files(folder) == files(whole.folder)


def files(folder):
    """Return all files of a run; each sitting adds one for TensorBoard, of another name."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name} - {"output"}


@pytest.mark.parametrize("name", RUNS)
def test_random_kills(launcher, tmp_path, whole, name):
    whole, rng = whole(name), random.Random(f"kills of {name}")
    write_pairs(tmp_path / "train.tsv")
    print(f"\n{name}: {whole.steps} updates, {KILLS} random kills")
    for number in range(1, KILLS + 1):
        child, before, seconds = go_on(launcher, tmp_path, name), step(tmp_path), seconds_trained(tmp_path)
        if number % 3 == 1:  # while it starts: prepares or reads the data, loads the checkpoint, cuts the log
            delay, since = rng.uniform(0, whole.seconds_to_start), "the start"
        else:
            target = before + rng.randint(1, (whole.steps - before) // (KILLS + 2 - number))
            assert child.wait_for(lambda target=target: step(tmp_path) >= target), child.wait()
            delay, since = rng.uniform(0, 6 * whole.seconds_per_step), f"step {target} was saved"
        time.sleep(delay)
        child.send(signal.SIGKILL)
        assert child.wait()[0] == -signal.SIGKILL
        assert seconds_trained(tmp_path) > seconds or step(tmp_path) == before
        print(f"  kill {number:2} hit {delay:.3f} s after {since}; {what_is_left(tmp_path)}")
    code, output = go_on(launcher, tmp_path, name).wait()
    assert code == 0, output
    assert_same(tmp_path, whole)


def what_is_left(folder):
    saved = position(folder)
    if saved is None:
        return "no checkpoint yet"
    half = ", and a half-written file" if list(folder.rglob("*.part*")) else ""
    return f"step {saved['step']}, batch {saved['batch']} of epoch {saved['epoch']}, log to {log_end(folder)}{half}"


def test_kills_in_the_middle_of_writing(launcher, tmp_path, whole):
    """What is put in place by a rename is caught half written, whole but not in place, and just in place."""
    whole, name = whole("steps"), "steps"
    write_pairs(tmp_path / "train.tsv")

    def kill(replaced, count, moment):
        child = go_on(launcher, tmp_path, name, replaced=replaced, count=count, moment=moment)
        code, output = child.wait()
        assert code == -signal.SIGKILL, output  # the trap was sprung
        print(f"  killed with {replaced} {moment}, time {count}; left: {what_is_left(tmp_path)}")

    print()
    kill("m.run", 1, "before")
    assert not (tmp_path / "m.run").exists()
    kill("m.run", 1, "after")
    kill("pairs.arrow", 1, "half written")
    kill("pairs.arrow", 1, "after")
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
    kill("checkpoint.safetensors", whole.steps - step(tmp_path), "half written")  # the last one, of the finished run
    assert not position(tmp_path)["finished"]
    kill("checkpoint.safetensors", 1, "after")
    assert position(tmp_path)["finished"]
    kill("m.safetensors", 1, "half written")
    kill("m.safetensors", 1, "before")
    code, output = go_on(launcher, tmp_path, name).wait()
    assert code == 0, output
    assert_same(tmp_path, whole)


def test_the_command_itself(launcher, tmp_path, whole):
    """The same with `python -m peephole`, as a user starts it: killed, stopped by Ctrl-C, then finished."""
    whole = whole("steps")
    write_pairs(tmp_path / "train.tsv")

    def start(*arguments):
        command = [sys.executable, "-m", "peephole", *arguments]
        return subprocess.Popen(command, cwd=tmp_path, env=environment(), text=True, stderr=subprocess.PIPE)

    def wait_for_step(process, wanted):
        deadline = time.monotonic() + PATIENCE
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
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGINT
    stopped = step(tmp_path)
    command = "peephole train --resume m.run"
    assert errors.splitlines()[-1] == f"peephole: stopped and saved at step {stopped}; resume with: {command}"
    code, output = launcher.run(*command.split()[1:], cwd=tmp_path)
    assert code == 0, output
    assert f"resuming from step {stopped}" in output
    assert_same(tmp_path, whole)


@pytest.mark.parametrize("replaced", [".m.run.old", "m.run"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_an_old_run_makes_room(launcher, tmp_path, whole, replaced, moment):
    """`--overwrite` killed: the old run or the new one is there, whole, or a trace of neither."""
    whole = whole("steps")
    shutil.copytree(whole.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train.tsv").touch()
    start = [*arguments("steps"), "--set", "steps=3", "--overwrite"]
    code, output = launcher.run(*start, cwd=tmp_path, replaced=replaced, count=1, moment=moment)
    assert code == -signal.SIGKILL, output
    if (tmp_path / "m.run").exists():
        assert (tmp_path / "m.run/run.json").exists()
        assert step(tmp_path) == (whole.steps if moment == "before" else 0)
    code, output = launcher.run(*start, cwd=tmp_path)
    assert code == 0, output
    assert step(tmp_path) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"m.run", "m.safetensors", "train.tsv", "output"}
