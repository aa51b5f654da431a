"""How good is a model after a number of minutes from a cold start?

    python benchmarks/time_to_quality.py --minutes 1 2 5 10
    python benchmarks/time_to_quality.py --phonetisaurus phon/bin/phonetisaurus --yoyodyne yoyo/bin/yoyodyne \
        --onmt-python onmt/bin/python
    python benchmarks/time_to_quality.py --data recipes/hanja/data --source-sep '' --target-sep ''

Each system gets two files of pairs and trains by its own command, one system at a time on all threads; the test words
are then predicted and scored by one program. README.md beside this file describes the systems. Files are written below
build/time_to_quality; finished trainings are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from peephole.data.cmudict import write_cmudict
from peephole.evaluation.bootstrap import interval, resample
from peephole.evaluation.evaluate import measure
from peephole.evaluation.metrics import METRICS
from peephole.symbols import CharacterSymbols

FOLDER = Path("build") / "time_to_quality"
METRIC = "exact_match"


class Task(NamedTuple):
    """Hold the files of a task and how its texts are split."""

    data: Path  # with train.tsv, dev.tsv and test.tsv
    source_sep: str  # between symbols; "": each character is one
    target_sep: str
    threads: int
    settings: Sequence[str]  # of peephole, KEY=VALUE

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """Return the pairs of a file."""
        lines = (self.data / name).read_text(encoding="utf-8").splitlines()
        return [(source, target) for source, target in (line.split("\t") for line in lines)]

    @staticmethod
    def symbols(text: str, separator: str) -> list[str]:
        """Return the symbols of a text."""
        return text.split(separator) if separator else list(text)


Train = Callable[[Task, Path, float, int, Sequence[str]], list[str]]
"""Trains in a folder for a number of minutes with a seed, and returns a prediction for each source."""


def run(command: Sequence[str], folder: Path, threads: int, stdin: str | None = None) -> str:
    """Run a program, its messages in log.txt of the folder; return its output.

    Raises:
        SystemExit: it failed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        done = subprocess.run(
            command, input=stdin, stdout=subprocess.PIPE, stderr=log, env=environment, check=False, encoding="utf-8"
        )
    if done.returncode:
        raise SystemExit(f"{folder / 'log.txt'}: {' '.join(map(str, command[:3]))} … failed")
    return done.stdout


def train_peephole(task: Task, folder: Path, minutes: float, seed: int, sources: Sequence[str]) -> list[str]:
    """Train by `peephole train` and predict with beam 5."""
    model = folder / "model.safetensors"
    command = [sys.executable, "-m", "peephole"]
    settings = [f"train.minutes={minutes}", f"train.seed={seed}", f"train.threads={task.threads}", *task.settings]
    train = [str(task.data / "train.tsv"), "--dev", str(task.data / "dev.tsv"), "--out", str(model), "--overwrite"]
    run([*command, "train", *train, *(word for one in settings for word in ("--set", one))], folder, task.threads)
    predict = [*command, "predict", str(model), "--threads", str(task.threads)]
    return run(predict, folder, task.threads, "".join(f"{source}\n" for source in sources)).splitlines()


def train_phonetisaurus(
    program: str, task: Task, folder: Path, minutes: float, seed: int, sources: Sequence[str]
) -> list[str]:
    """Train a joint n-gram model by the command of PyPI's package `phonetisaurus`; it takes the time that it takes."""
    del minutes, seed
    lexicon = folder / "lexicon.txt"
    lexicon.write_text("".join(f"{word} {phones}\n" for word, phones in task.pairs("train.tsv")), encoding="utf-8")
    run([program, "train", "--model", str(folder / "model.fst"), str(lexicon)], folder, task.threads)
    lines = run([program, "predict", "--model", str(folder / "model.fst"), *sources], folder, task.threads).splitlines()
    found = dict(line.split(" ", 1) for line in lines if " " in line)
    return [found.get(word, "") for word in sources]


YOYODYNE = """
seed_everything: {seed}
trainer:
  accelerator: cpu
  gradient_clip_val: 5.0
  max_epochs: 1000
  max_time: 00:{hours:02d}:{minutes:02d}:{seconds:02d}
  num_sanity_val_steps: 0
  enable_progress_bar: false
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args:
      save_dir: {folder}
data:
  model_dir: {folder}
  train: {folder}/train.tsv
  val: {folder}/dev.tsv
  source_sep: "{source_sep}"
  target_sep: "{target_sep}"
  batch_size: 64
checkpoint:
  filename: model
  mode: max
  monitor: val_accuracy
  save_last: true
model:
  class_path: yoyodyne.models.SoftAttentionLSTMModel
  init_args:
    source_encoder:
      class_path: yoyodyne.models.modules.LSTMEncoder
      init_args:
        layers: 1
        hidden_size: 128
        embedding_size: 128
        dropout: 0.2
    embedding_size: 128
    decoder_hidden_size: 256
    decoder_layers: 1
    decoder_dropout: 0.2
    label_smoothing: 0.1
    optimizer:
      class_path: yoyodyne.optimizers.Adam
      init_args:
        lr: 0.001
prediction:
  path: {folder}/predicted.tsv
"""


def train_yoyodyne(
    program: str, task: Task, folder: Path, minutes: float, seed: int, sources: Sequence[str]
) -> list[str]:
    """Train yoyodyne's SoftAttentionLSTMModel of our size by its command, and predict with its greedy search."""
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text((task.data / name).read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test.tsv").write_text("".join(f"{source}\n" for source in sources), encoding="utf-8")
    total = round(60 * minutes)
    times = {"hours": total // 3600, "minutes": total // 60 % 60, "seconds": total % 60}
    config = folder / "config.yaml"
    text = YOYODYNE.format(
        seed=seed, folder=folder.resolve(), source_sep=task.source_sep, target_sep=task.target_sep, **times
    )
    config.write_text(text, encoding="utf-8")
    run([program, "fit", "--config", str(config)], folder, task.threads)
    [checkpoint] = folder.rglob("last.ckpt")
    predict = [program, "predict", "--config", str(config), "--ckpt_path", str(checkpoint)]
    data = ["--data.predict", str(folder / "test.tsv"), "--data.target_col", "0"]
    data += ["--data.train", "null", "--data.val", "null"]  # else it makes the symbol tables anew, without targets
    run([*predict, *data], folder, task.threads)
    return (folder / "predicted.tsv").read_text(encoding="utf-8").splitlines()


OPENNMT_WORKER = Path(__file__).parents[1] / "recipes" / "translate_debian" / "opennmt_worker.py"
OPENNMT_TASK = {
    "hidden_size": 256,
    "embedding_size": 128,
    "dropout": 0.2,
    "label_smoothing": 0.1,
    "batch_symbols": 600,  # about 64 words
    "warmup": 0.02,
    "average_decay": 0.002,
    "learning_rate": 0.001,
}


def train_opennmt(
    python: str, task: Task, folder: Path, minutes: float, seed: int, sources: Sequence[str]
) -> list[str]:
    """Train OpenNMT-py's attention LSTM of our size by its own trainer, and predict with beam 5 by its own program."""
    pairs = task.pairs("train.tsv")
    sides = {
        "src": [task.symbols(source, task.source_sep) for source, _ in pairs],
        "tgt": [task.symbols(target, task.target_sep) for _, target in pairs],
    }
    for side, texts in sides.items():
        (folder / f"train.{side}").write_text("".join(f"{' '.join(text)}\n" for text in texts), encoding="utf-8")
    test = folder / "test.src"
    test.write_text("".join(f"{' '.join(task.symbols(text, task.source_sep))}\n" for text in sources), encoding="utf-8")
    settings = OPENNMT_TASK | {
        "source_symbols": sorted({symbol for text in sides["src"] for symbol in text}),
        "target_symbols": sorted({symbol for text in sides["tgt"] for symbol in text}),
        "pairs": len(pairs),
        "minutes": minutes,
        "seed": seed,
    }
    (folder / "task.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    threads = ["--threads", str(task.threads)]
    run([python, str(OPENNMT_WORKER), str(folder), str(folder / "facts.json"), *threads], folder, task.threads)
    out = folder / "predicted.txt"
    predict = [python, "-m", "onmt.bin.translate", "-model", str(folder / "model.pt"), "-src", str(test)]
    predict += ["-output", str(out), "-beam_size", "5", "-batch_size", "64", "-length_penalty", "avg"]
    run(predict, folder, task.threads)
    return [task.target_sep.join(line.split(" ")) for line in out.read_text(encoding="utf-8").splitlines()]


class Cell(NamedTuple):
    """Hold the errors of a system after some minutes."""

    errors: list[float]  # per cent of the test words, of each seed
    low: float  # 95 % bootstrap interval over words of the mean over seeds
    high: float
    seconds: float  # of the command that trains and that which predicts, median over seeds

    def __str__(self) -> str:
        """Return the cell of a table."""
        mean = sum(self.errors) / len(self.errors)
        seeds = f" ({min(self.errors):.1f}-{max(self.errors):.1f})" if len(self.errors) > 1 else ""
        return f"{mean:.2f} [{self.low:.2f}, {self.high:.2f}]{seeds}, {self.seconds:.0f} s"


def errors_after(task: Task, folder: Path, train: Train, minutes: float, seeds: int) -> Cell:
    """Train with each seed, unless its result is there, and score the predictions of the test words."""
    references: dict[str, list[str]] = {}
    for source, target in task.pairs("test.tsv"):
        references.setdefault(source, []).append(target)
    tables, seconds = [], []
    for seed in range(1, seeds + 1):
        own = folder / f"seed-{seed}"
        result = own / "result.json"
        if not result.is_file():
            own.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            predictions = train(task, own, minutes, seed, list(references))
            found = {"seconds": time.monotonic() - started, "predictions": predictions}
            result.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        found = json.loads(result.read_text(encoding="utf-8"))
        symbols = CharacterSymbols([], "NFC")
        tables.append(measure(found["predictions"], list(references.values()), symbols, [METRIC])[METRIC])
        seconds.append(found["seconds"])
    scores = [100 - float(METRICS[METRIC].score(table.sum(axis=0, keepdims=True))[0]) for table in tables]
    means = sum(METRICS[METRIC].score(sums) for sums in resample(tables, seed=1)) / seeds
    low, high = interval(100 - means)
    return Cell(scores, low, high, median(seconds))


def main() -> None:
    """Train every system for every budget, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 5, 10], help="budgets of training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", type=Path, help="folder with train.tsv, dev.tsv, test.tsv (default: CMUdict)")
    parser.add_argument("--source-sep", default="", help="between source symbols (default: each character is one)")
    parser.add_argument("--target-sep", default=" ")
    parser.add_argument("--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help="of peephole")
    parser.add_argument("--name", default="peephole", help="of this row and its folder, to compare settings")
    parser.add_argument("--phonetisaurus", metavar="PROGRAM")
    parser.add_argument("--yoyodyne", metavar="PROGRAM")
    parser.add_argument("--onmt-python", dest="opennmt", metavar="PATH", help="Python of OpenNMT-py's environment")
    arguments = parser.parse_args()
    data = arguments.data or FOLDER / "cmudict"
    if arguments.data is None and not (data / "test.tsv").is_file():
        write_cmudict(data)
    task = Task(data, arguments.source_sep, arguments.target_sep, arguments.threads, arguments.settings)
    systems: dict[str, Train] = {arguments.name: train_peephole}
    peers = {"phonetisaurus": train_phonetisaurus, "yoyodyne": train_yoyodyne, "opennmt": train_opennmt}
    for name, train in peers.items():
        if program := getattr(arguments, name):
            systems[name] = lambda *given, program=program, train=train: train(program, *given)
    results = FOLDER / data.resolve().relative_to(Path.cwd()).as_posix().replace("/", "-")
    print(f"| minutes | {' | '.join(systems)} |\n|{'---|' * (1 + len(systems))}")
    for minutes in arguments.minutes:
        cells = []
        for name, train in systems.items():
            fixed = name == "phonetisaurus"  # the same result for every budget
            folder = results / name / ("any" if fixed else f"{minutes:g}-minutes")
            cells.append(str(errors_after(task, folder, train, minutes, 1 if fixed else arguments.seeds)))
        print(f"| {minutes:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
