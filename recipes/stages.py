"""Run the stages of a recipe: train systems by the command line, predict, and keep what each stage wrote.

Every stage writes a file at its end, and a stage whose file exists is skipped; so the command of a recipe can be
stopped and given again.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from fetch import run
from run_options import budget_settings, recipe_parser, results_folder

from peephole import load
from peephole.data import Corpus
from peephole.errors import install_hint
from peephole.storage.model_file import read_tensors


class Search(NamedTuple):
    """Hold the name of a search in tables and its options, those of `Model.predict`."""

    name: str
    options: Mapping[str, Any]


GREEDY = Search("greedy", {"beam_size": 1})
BEAM = Search("beam 5", {"beam_size": 5})


@dataclass(frozen=True)
class System:
    """A row of the table: a kind of model, trained once for each seed.

    Args:
        name: begins the names of its files.
        title: its name in tables.
        settings: KEY=VALUE, besides the recipe's config.toml.
        seeds: trainings, with the seeds 1, 2, ….
        train_file: its training file, in the folder of the data.
        searches: its rows.
    """

    name: str
    title: str
    settings: Sequence[str] = ()
    seeds: int = 1
    train_file: str = "train.tsv"
    searches: Sequence[Search] = (GREEDY, BEAM)


class TestSet(NamedTuple):
    """Hold each source once, with all its references."""

    sources: list[str]
    references: list[list[str]]

    def part(self, indices: Sequence[int]) -> "TestSet":
        """Return the chosen sources."""
        return TestSet([self.sources[i] for i in indices], [self.references[i] for i in indices])


def read_test(path: Path, *, files: bool = False) -> TestSet:
    """Read a file of pairs that prepare.py wrote.

    Args:
        path: the file.
        files: whether the sources are names of files, relative to the folder of this one.

    Raises:
        SystemExit: there is no such file.
    """
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; run prepare.py first")
    grouped: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        source, target = line.split("\t")
        grouped.setdefault(str(path.parent / source) if files else source, []).append(target)
    return TestSet(list(grouped), list(grouped.values()))


def run_logged(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Run a program and append its output to a file; pass Ctrl-C and SIGTERM on, so that it can save.

    Returns:
        The most memory that the program held, in bytes.

    Raises:
        SystemExit: it failed, or a signal came.
    """
    print(f"{' '.join(command)}\n    output in {log}", flush=True)
    with open(log, "a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | dict(environment or {}))
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            code, memory = _wait(process)
        except KeyboardInterrupt:  # the terminal has sent the signal to the program, too
            code, memory = _wait(process)
            code = code or 128 + signal.SIGINT
        finally:
            signal.signal(signal.SIGTERM, before)
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise SystemExit(f"{log}: ended with exit code {code}: {lines[-1] if lines else ''}")
    return memory


def _wait(process: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """Wait for a program and return its exit code and its peak of memory in bytes.

    On Linux the peak that the system returns at the end begins with the memory of the program that started it, which is
    this one; so it is read while the program runs.
    """
    peak = 0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        peak = _peak(process.pid) or peak
        time.sleep(0.1)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, peak or usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _peak(pid: int) -> int:
    """Return the most bytes of memory that a running program has had, or 0 if the system does not tell it."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text() if status.exists() else "", re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def model_path(results: Path, system: System, seed: int) -> Path:
    """Return the model file of a training."""
    return results / f"{system.name}.{seed}.safetensors"


def train(system: System, seed: int, data: Path, results: Path, config: Path, settings: Sequence[str]) -> None:
    """Train a model or resume its training, and write its facts; a finished one is skipped.

    Args:
        system: what to train.
        seed: of the training.
        data: folder of the training file and dev.tsv.
        results: folder to write.
        config: the recipe's TOML file.
        settings: KEY=VALUE, of all systems.
    """
    model = model_path(results, system, seed)
    facts, run = model.with_suffix(".json"), model.with_suffix(".run")
    if facts.is_file():
        return
    command = [sys.executable, "-m", "peephole", "train"]
    if run.exists():
        command += ["--resume", str(run)]
    else:
        command += [str(data / system.train_file), "--dev", str(data / "dev.tsv"), "--out", str(model)]
        assignments = (*settings, *system.settings, f"train.seed={seed}")
        command += ["--config", str(config), *(word for one in assignments for word in ("--set", one))]
    memory = run_logged(command, model.with_suffix(".log"))
    write_text(facts, json.dumps(training_facts(model) | {"memory": memory}, indent=1) + "\n")


def training_facts(model: Path) -> dict[str, float]:
    """Return size and speed of a finished training; its log has the speed for every 50 updates."""
    run = model.with_suffix(".run")
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    speeds = [entry["symbols_per_second"] for entry in map(json.loads, lines) if "symbols_per_second" in entry]
    weights, _ = read_tensors(model)
    _, metadata = read_tensors(run / "checkpoint" / "checkpoint.safetensors")
    position = json.loads(metadata["position"])
    return {
        "weights": sum(tensor.size for tensor in weights.values()),
        "minutes": position["seconds"] / 60,
        "updates": position["step"],
        "passes": position["epoch"] + position["symbols"] / Corpus.open(run / "data").num_target_symbols,
        "symbols_per_second": median(speeds) if speeds else 0.0,  # of updates only, without evaluations and checkpoints
    }


def predictions_path(results: Path, system: System, seed: int, search: Search, part: str = "test") -> Path:
    """Return the file of predictions, one a line, in the order of the sources."""
    return results / f"{system.name}.{seed}.{search.name.replace(' ', '')}.{part}.txt"


def predict(models: Sequence[Path], sources: Sequence[str], path: Path, options: Mapping[str, Any]) -> None:
    """Write the best prediction of a model, or of several together, for each source; a finished file is skipped."""
    if path.is_file():
        return
    print(f"{path}: {len(sources):,} predictions", flush=True)
    found = load(*models).predict(sources, nbest=1, attention=False, **options)
    write_text(path, "".join(f"{predictions[0].text}\n" for predictions in found))


def read_predictions(path: Path) -> list[str]:
    """Return the predictions of a file."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: the old file or the whole new one."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def check_packages(*packages: str) -> None:
    """End the program if a package is missing that a recipe needs after hours of training.

    Raises:
        SystemExit: it names the first one and how it is installed.
    """
    for package in packages:
        if find_spec(package) is None:
            raise SystemExit(f"this recipe needs {package}: {install_hint(package)}")


def run_systems(
    systems: Sequence[System],
    tests: Mapping[str, Sequence[str]],
    config: Path,
    *,
    data: Path,
    minutes: float,
    threads: int,
    steps: int | None = None,
    seeds: int | None = None,
    settings: Sequence[str] = (),
) -> Path:
    """Train all systems with all their seeds, one after the other, and predict; finished stages are skipped.

    Args:
        systems: rows of the table.
        tests: name of a test file, for the names of the files of predictions → its sources.
        config: the recipe's TOML file.
        data: folder of the training files and dev.tsv.
        minutes: of each training.
        threads: of training and prediction.
        steps: updates of each training, in place of minutes.
        seeds: most trainings of a system; None: as many as it has seeds.
        settings: KEY=VALUE, of all trainings, besides the recipe's config.toml.

    Returns:
        The folder of the results: that of the data, then one named after the minutes or steps.
    """
    results = results_folder(data, minutes, steps)
    settings = (*budget_settings(minutes, steps), f"train.threads={threads}", *settings)
    most = max(system.seeds for system in systems)
    for seed in range(1, min(most, seeds or most) + 1):  # the first seed of all systems first
        for system in systems:
            if seed > system.seeds:
                continue
            train(system, seed, data, results, config, settings)
            for search in system.searches:
                for part, sources in tests.items():
                    path = predictions_path(results, system, seed, search, part)
                    predict([model_path(results, system, seed)], sources, path, {"threads": threads, **search.options})
    return results


def prepare_data(recipe: Path, data: Path, wanted: str = "test.tsv") -> None:
    """Run a recipe's prepare.py, unless a file that it writes at its end is there.

    Args:
        recipe: the folder of the recipe.
        data: the folder to write.
        wanted: the file.
    """
    if not (data / wanted).is_file():
        print(run([sys.executable, str(recipe / "prepare.py"), "--out", str(data)]))


def parse_with_folder(parser: argparse.ArgumentParser, recipe: Path, published: str) -> argparse.Namespace:
    """Parse the arguments of a recipe of published data, and run its prepare.py unless the data are there.

    Args:
        parser: of `recipe_parser`; gets the argument `folder`.
        recipe: the folder of the recipe.
        published: what the user's folder holds, such as "lines".
    """
    parser.add_argument("folder", nargs="?", help=f"folder of the published {published}")
    arguments = parser.parse_args()
    if not (arguments.data / "test.tsv").is_file():
        if arguments.folder is None:
            parser.error(f"wanted the folder of the published {published}; see prepare.py --help")
        print(run([sys.executable, str(recipe / "prepare.py"), arguments.folder, "--out", str(arguments.data)]))
    return arguments


def run_recipe(
    recipe: Path,
    description: str | None,
    systems: Sequence[System],
    report: Callable[[Path, Path], str],
    *,
    data: Path,
    minutes: float,
    packages: Sequence[str] = (),
) -> None:
    """Do what a recipe of texts does: run the stages that are not finished, and print the tables.

    Args:
        recipe: its folder, with prepare.py and config.toml.
        description: the docstring of its run.py.
        systems: rows of the table.
        report: returns the tables, of a folder of data and one of results.
        data: the usual folder of the data.
        minutes: of each training, unless --minutes says otherwise.
        packages: what its metrics import.
    """
    arguments = recipe_parser(description, data, minutes).parse_args()
    check_packages(*packages)
    prepare_data(recipe, arguments.data)
    results = run_systems(
        systems,
        {"test": read_test(arguments.data / "test.tsv").sources},
        recipe / "config.toml",
        data=arguments.data,
        minutes=arguments.minutes,
        threads=arguments.threads,
        steps=arguments.steps,
        seeds=arguments.seeds,
    )
    publish(results, report(arguments.data, results))


def train_language_model(model: Path, train_file: Path, dev_file: Path, minutes: float, threads: int) -> Path:
    """Train a language model on the targets of a training file, with a model's symbols, or resume its training.

    Args:
        model: whose symbols it has; also of other models with the same training file and settings of symbols.
        train_file: pairs.
        dev_file: pairs; their targets select its weights.
        minutes: of training.
        threads: of training.

    Returns:
        Its file, in the folder of the model; a finished one is not trained again.
    """
    found = model.with_name("language.safetensors")
    run = found.with_suffix(".run")
    if run.exists():
        command = ["--resume", str(run)]
    else:
        targets = [found.with_name(f"language.{path.stem}.txt") for path in (train_file, dev_file)]
        for path, pairs in zip(targets, (train_file, dev_file), strict=True):
            lines = pairs.read_text(encoding="utf-8").splitlines()
            write_text(path, "".join(f"{line.split(chr(9))[1]}\n" for line in lines))
        command = [str(targets[0]), "--dev", str(targets[1]), "--out", str(found)]
        settings = ("model.input=none", f"symbols.of={model}", f"train.minutes={minutes:g}", f"train.threads={threads}")
        command += [word for one in settings for word in ("--set", one)]
    run_logged([sys.executable, "-m", "peephole", "train", *command], found.with_suffix(".log"))
    return found


def guided(system: System, language_model: Path) -> System:
    """Return a system whose only search is also scored by a language model."""
    options = {"beam_size": 10, "language_model": str(language_model), "language_model_weight": 0.3}
    return replace(system, searches=(Search("beam 10, LM", options),))


def publish(results: Path, text: str) -> None:
    """Write the tables to report.md in the folder of the results, and print them."""
    write_text(results / "report.md", text)
    print(text)
