"""Tests that whatever a kill interrupts, the run that is left ends in the same bits as an uninterrupted one.

Kills hit the preparation of data, the writing of checkpoints, evaluations on dev, the replacement of a run, and one of
four processes that compete for a run. After each kill a copy of what is left is resumed to its end and compared.

`PEEPHOLE_KILLS=100 pytest tests/training/test_kills.py -s` makes 100 kills and prints a table.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import time

import pytest

from peephole.data.corpus import FILE_NAMES

from .test_kill_and_resume import assert_same, names, step
from .toy import TINY, set_options, write_pairs

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("PEEPHOLE_KILLS", "10"))
COMMON = {**TINY, "steps": 40, "evaluations": 4, "dev_pairs": 4, "dropout": 0.3, "average_last": 2}
RUNS = {  # by their seed: either replaces the other
    1: {**COMMON, "train.seed": 1, "checkpoint_seconds": 0},
    2: {**COMMON, "train.seed": 2, "checkpoint_seconds": 0, "peephole": "diagonal", "dev_fraction": 0.2},
}
DATA_FILES = [*FILE_NAMES, "prepared.json"]


def arguments(seed):
    return ["train", "train.tsv", "--out", "m.safetensors", *set_options(**RUNS[seed])]


class Uninterrupted:
    """Holds an uninterrupted run for `assert_same`."""

    def __init__(self, launcher, folder, seed):
        write_pairs(folder / "train.tsv")
        self.folder, started = folder, time.monotonic()
        code, output = launcher.run(*arguments(seed), cwd=folder)
        assert code == 0, output
        self.steps, self.seconds = step(folder), time.monotonic() - started


@pytest.fixture(scope="module")
def uninterrupted(launcher, tmp_path_factory):
    return {seed: Uninterrupted(launcher, tmp_path_factory.mktemp(f"seed-{seed}"), seed) for seed in RUNS}


def seed_of(folder):
    """Return the seed of the run in a folder, also between two names; None if there is no run."""
    found = [path for path in (folder / "m.run/run.json", folder / ".m.run.old/run.json") if path.exists()]
    return json.loads(found[0].read_text())["config"]["train"]["seed"] if found else None


class Killer:
    """Starts and kills trainings in one folder; each method makes one kill and describes it."""

    def __init__(self, launcher, folder, uninterrupted):
        self.launcher, self.folder, self.uninterrupted = launcher, folder, uninterrupted
        self.rng = random.Random("kills")

    def run_until_killed(self, *command, **trap):
        code, output = self.launcher.run(*command, cwd=self.folder, **trap)
        assert code == -signal.SIGKILL, output

    def resume(self):
        """Return the command that goes on with the run, after starting a new one if the last one is finished."""
        seed = seed_of(self.folder)
        if seed is None or step(self.folder) >= self.uninterrupted[seed].steps - 10:
            shutil.rmtree(self.folder / "m.run", ignore_errors=True)
            (self.folder / "m.safetensors").unlink(missing_ok=True)
            self.run_until_killed(*arguments(1), replaced="checkpoint.safetensors", count=3, moment="after")
        return ["train", "--resume", "m.run"]

    def preparing_data(self):
        """Kill the first training of a run, or one that replaces a run, while it prepares its data."""
        name, moment = self.rng.choice(DATA_FILES), self.rng.choice(["half written", "before", "after"])
        seed = self.rng.choice([1, 2])
        self.run_until_killed(*arguments(seed), "--overwrite", replaced=name, count=1, moment=moment)
        return f"{name} {moment}"

    def writing_a_checkpoint(self):
        command, moment = self.resume(), self.rng.choice(["half written", "before", "after"])
        name = self.rng.choice(["checkpoint.safetensors", "checkpoint.safetensors", "previous.safetensors"])
        left = self.uninterrupted[seed_of(self.folder)].steps - step(self.folder)
        count = self.rng.randint(1, min(8, left))
        moment = "after" if name == "previous.safetensors" and moment == "half written" else moment
        self.run_until_killed(*command, replaced=name, count=count, moment=moment)
        return f"{name} {moment}, time {count}"

    def evaluating_on_dev(self):
        self.run_until_killed(*self.resume(), evaluation=1)
        return "between predictions and loss"

    def replacing_a_run(self):
        name, moment = self.rng.choice([".m.run.old", "m.run"]), self.rng.choice(["before", "after"])
        self.resume()
        seed = 3 - seed_of(self.folder)
        self.run_until_killed(*arguments(seed), "--overwrite", replaced=name, count=1, moment=moment)
        return f"{name} {moment}"

    def at_a_random_moment(self):
        command = self.rng.choice([self.resume(), [*arguments(self.rng.choice([1, 2])), "--overwrite"]])
        child = self.launcher.start(*command, cwd=self.folder)
        time.sleep(self.rng.uniform(0, 0.8) * self.uninterrupted[1].seconds)
        child.send(signal.SIGKILL)
        code, output = child.wait()
        assert code in (0, -signal.SIGKILL), output
        return f"{'resumed' if '--resume' in command else 'replacing'}{', too late' if code == 0 else ''}"

    def one_of_four_competitors(self):
        """Start four processes; kill the one that trains at a random moment, and then those that took its place."""
        command = self.resume()
        commands = [command, command, [*arguments(1), "--overwrite"], [*arguments(2), "--overwrite"]]
        self.rng.shuffle(commands)
        children = [
            self.launcher.start(*command, cwd=self.folder, output=f"{self.folder}.{number}")
            for number, command in enumerate(commands)
        ]
        if self.rng.random() < 0.7:  # else they are killed while they start
            children[0].wait_for(lambda: any(child.poll() is not None for child in children))
        time.sleep(self.rng.uniform(0, 0.5) * self.uninterrupted[1].seconds)
        ended = {signal.SIGKILL: 0, "refused": 0, "finished": 0}
        for child in children:
            child.send(signal.SIGKILL)
            code, output = child.wait()
            if code == 1:
                assert output.endswith((") is training this run\n", "replaced this run; repeat the command\n")), output
            ended[{0: "finished", 1: "refused"}.get(code, -code)] += 1
        assert ended[signal.SIGKILL] + ended["finished"] > 0
        return f"{ended[signal.SIGKILL]} killed, {ended['refused']} refused, {ended['finished']} finished"


METHODS = [
    Killer.preparing_data,
    Killer.writing_a_checkpoint,
    Killer.evaluating_on_dev,
    Killer.replacing_a_run,
    Killer.at_a_random_moment,
    Killer.one_of_four_competitors,
]


def test_what_a_kill_leaves_ends_in_the_same_bits(launcher, tmp_path, uninterrupted):
    folder, copy = tmp_path / "folder", tmp_path / "copy"
    folder.mkdir()
    write_pairs(folder / "train.tsv")
    killer = Killer(launcher, folder, uninterrupted)
    print(f"\n| {'kill':>4} | {'during':23} | {'hit':44} | {'left':20} | {'resumed':25} |")
    for number, method in zip(range(1, KILLS + 1), itertools.cycle(METHODS)):
        before = seed_of(folder)
        hit, seed = method(killer), seed_of(folder)
        left, end = "no run", "nothing to resume"
        if seed is not None:
            left = f"seed {seed}, step {step(folder)}"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("output"))
            code, output = launcher.run("train", "--resume", "m.run", cwd=copy)
            assert code == 0, output
            assert_same(copy, uninterrupted[seed])
            assert names(copy) == {"train.tsv", "m.run", "m.safetensors", "output"}
            end = f"the bits of seed {seed}"
        assert seed is not None or before is None, hit  # a run that existed is not lost
        during = method.__name__.replace("_", " ")
        print(f"| {number:4} | {during:23} | {hit:44} | {left:20} | {end:25} |", flush=True)
