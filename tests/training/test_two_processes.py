"""Tests that `torchrun --nproc-per-node 2` trains the same model as one process with the same global batch."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from peephole.data import Corpus, batches
from peephole.storage.model_file import read_tensors

from .processes import TIMEOUT, environment
from .test_kill_and_resume import position, step
from .toy import TINY, set_options, words

pytestmark = pytest.mark.slow

STEPS = 60
SETTINGS = {
    "train.engine": "off",  # PyTorch, as in several processes: one would train on the engine alone
    **TINY,
    "batch_symbols": 40,
    "steps": STEPS,
    "dropout": 0.3,
    "scheduled_sampling": "linear",
    "ema_decay": 0.9,
    "evaluations": 3,
    "average_last": 2,
    "checkpoint_seconds": 0,
}
CHECKPOINT = "m.run/checkpoint/checkpoint.safetensors"


def command(**settings):
    return ["train", "train.tsv", "--out", "m.safetensors", *set_options(**{**SETTINGS, **settings})]


def write_data(folder):
    """Write words, two of them so long that they form batches of one pair, without a row for the second process."""
    chosen = [*words(60), "abcdefgh" * 6, "hgfedcba" * 7]
    (folder / "train.tsv").write_text("".join(f"{word}\t{word[::-1].upper()}\n" for word in chosen))


def start_two(launcher, folder, *arguments, **trap):
    """Start two processes with the environment of torchrun, but without its slow imports."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1, "MASTER_PORT": port}
    shared |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
    return [
        launcher.start(
            *arguments,
            cwd=folder,
            output=f"output{rank}",
            variables={name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()},
            **trap,
        )
        for rank in range(2)
    ]


def run_two(launcher, folder, *arguments):
    """Run two processes to their successful end; return their exit codes and outputs."""
    ends = [child.wait() for child in start_two(launcher, folder, *arguments)]
    assert [code for code, _ in ends] == [0, 0], ends
    return ends


@pytest.fixture(scope="module")
def one_and_two(launcher, tmp_path_factory):
    """Return a function that trains in a precision by one process and by two, once, and returns both folders."""
    made = {}

    def make(precision, **settings):
        key = (precision, *settings.items())
        if key not in made:
            one, two = (tmp_path_factory.mktemp(f"{processes}-{precision}") for processes in ("one", "two"))
            for folder in (one, two):
                write_data(folder)
            arguments = command(precision=precision, **settings)
            code, output = launcher.run(*arguments, cwd=one)
            assert code == 0, output
            run_two(launcher, two, *arguments)
            made[key] = one, two
        return made[key]

    return make


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-5), ("64-true", 1e-13)])
def test_two_processes_train_the_model_of_one_process(one_and_two, precision, tolerance):
    """Train with dropout and scheduled sampling; some batches have one pair, so one process has no row.

    The noise is a hash of the example, and the divisor belongs to the global batch, so in exact arithmetic the weights
    are equal. Only the order of additions differs: first the rows of each process, then the sums of the processes. The
    rounding difference measured after 60 updates is 4e-7 in float32 and 4e-16 in float64; an error in the computation
    would have the same size in both.
    """
    one, two = one_and_two(precision)
    sizes = [
        len(batch.examples)
        for epoch in range(position(one)["epoch"] + 1)
        for batch in batches(Corpus.open(one / "m.run/data"), seed=1, epoch=epoch, batch_symbols=40)
    ]
    assert 1 in sizes
    assert any(size % 2 for size in sizes if size > 1)  # the processes get unequal numbers of rows
    (got, _), (wanted, _) = (read_tensors(folder / CHECKPOINT) for folder in (two, one))
    assert got.keys() == wanted.keys()
    for name in wanted:
        assert abs(got[name] - wanted[name]).max() <= tolerance, name
    assert any((got[name] != wanted[name]).any() for name in wanted)  # the work was indeed divided
    positions = [position(folder) | {"seconds": 0, "best_value": 0} for folder in (two, one)]
    assert positions[0] == positions[1]
    lines = [[json.loads(line) for line in (f / "m.run/log.jsonl").read_text().splitlines()] for f in (two, one)]
    assert len(lines[0]) == len(lines[1])
    for ours, theirs in zip(*lines, strict=True):
        assert ours["step"] == theirs["step"]
        if "dev" in theirs:
            assert ours["dev"] == pytest.approx(theirs["dev"], rel=1e-5)
        else:
            numbers = [[line[name] for name in ("loss", "learning_rate", "gradient_norm")] for line in (ours, theirs)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)


def test_only_the_first_process_prints_and_logs(one_and_two):
    _, two = one_and_two("32-true")
    first, second = ((two / f"output{rank}").read_text() for rank in range(2))
    assert "training pairs" in first
    assert "dev loss" in first
    assert [line for line in second.splitlines() if not line.startswith("Initializing distributed")] == []
    assert len(list((two / "m.run/tensorboard").iterdir())) == 1


def test_torchrun_stops_saves_and_resumes(one_and_two, tmp_path):
    """Send SIGTERM to torchrun, which forwards it; the resumed training ends in the same bits."""
    _, uninterrupted = one_and_two("32-true")
    write_data(tmp_path)

    def torchrun(*arguments):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.Popen(
            [*launch, "-m", "peephole", *arguments],
            cwd=tmp_path,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )

    process = torchrun(*command())
    deadline = time.monotonic() + 2 * TIMEOUT
    while step(tmp_path) < 5:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    saved = position(tmp_path)
    assert 5 <= saved["step"] < STEPS
    line = f"peephole: stopped and saved at step {saved['step']}; resume with: peephole train --resume m.run"
    assert line in errors.splitlines()
    process = torchrun("train", "--resume", "m.run")
    _, errors = process.communicate(timeout=2 * TIMEOUT)
    assert process.returncode == 0, errors
    assert (tmp_path / "m.safetensors").read_bytes() == (uninterrupted / "m.safetensors").read_bytes()


def test_two_processes_read_each_of_their_pairs_twice(one_and_two):
    """With the consistency loss weights differ by rounding alone: see the test above."""
    one, two = one_and_two("64-true", consistency_loss=0.5)
    (got, _), (wanted, _), (without, _) = (
        read_tensors(folder / CHECKPOINT) for folder in (two, one, one_and_two("64-true")[0])
    )
    for name in wanted:
        assert abs(got[name] - wanted[name]).max() <= 1e-13, name
    assert any(abs(got[name] - without[name]).max() > 1e-3 for name in wanted)  # it changes the weights


@pytest.mark.parametrize("mistake", ["missing file", "bad line", "run exists", "no run", "data changed", "full disk"])
def test_a_user_error_ends_both_processes_with_the_same_line(one_and_two, launcher, tmp_path, mistake):
    write_data(tmp_path)
    arguments, line = command(), "train.tsv: no such file"
    if mistake == "missing file":
        (tmp_path / "train.tsv").unlink()
    elif mistake == "bad line":
        (tmp_path / "train.tsv").write_text("a\tb\nc\n")
        line = "train.tsv, line 2: expected 2 columns, found 1: 'c'"
    elif mistake == "run exists":
        (tmp_path / "m.run").mkdir()
        (tmp_path / "m.run/run.json").write_text("{}")
        line = "m.run: exists already; `peephole train --resume m.run` resumes it, "
    elif mistake == "no run":
        arguments, line = ["train", "--resume", "m.run"], "m.run: no such folder"
    elif mistake == "data changed":
        children = start_two(launcher, tmp_path, *command(steps=10_000))
        assert children[0].wait_for(lambda: step(tmp_path) > 0)
        for child in children:
            child.send(signal.SIGKILL)
            child.wait()
        (tmp_path / "train.tsv").write_text("a\tB\nb\tC\nc\tD\n")
        arguments = ["train", "--resume", "m.run"]
        line = f"{tmp_path}/train.tsv: has changed since the run in m.run began"
    else:
        line = f"{CHECKPOINT}: cannot be written: File too large"
    limit = {"largest_file": 100_000} if mistake == "full disk" else {}
    ends = [child.wait() for child in start_two(launcher, tmp_path, *arguments, **limit)]
    for code, output in ends:
        assert code == 1, output
        assert output.splitlines()[-1].startswith(f"peephole: {line}")
        assert "Traceback" not in output


def test_two_processes_resume_a_run_without_prepared_data(launcher, one_and_two, tmp_path):
    """Resume a run killed before its data were prepared: one process prepares them while the other waits."""
    _, uninterrupted = one_and_two("32-true")
    write_data(tmp_path)
    code, _ = launcher.run(*command(), cwd=tmp_path, replaced="prepared.json", count=1, moment="before")
    assert code == -signal.SIGKILL
    run_two(launcher, tmp_path, "train", "--resume", "m.run")
    assert (tmp_path / "m.safetensors").read_bytes() == (uninterrupted / "m.safetensors").read_bytes()


TWO_TRAININGS = """
import peephole

for name in ("a", "b"):
    peephole.train("train.tsv", out=f"{name}.safetensors", minutes=None, steps=3, hidden_size=8)
"""


def test_two_successive_trainings_in_the_same_processes_give_equal_models(tmp_path):
    write_data(tmp_path)
    (tmp_path / "two.py").write_text(TWO_TRAININGS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "two.py"]
    done = subprocess.run(
        launch, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=2 * TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
