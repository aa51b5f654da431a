"""Run the whole recipe: download the data, train two models, translate the test sentences, score.

    python recipes/translate_debian/run.py                     60 minutes for each of the two models
    python recipes/translate_debian/run.py --minutes 2         a short trial

The two models differ in the decoder's context: attention, or the encoder's last state (`model.context = last`), as in
the first sequence-to-sequence models. All files are written below recipes/translate_debian/data/en-it/60-minutes (the
names follow language and minutes): models, logs of the trainings, predictions, report.md and by_length.png.

After Ctrl-C or a kill, the same command continues the training and skips finished stages. To start again, remove the
folder.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median

from report import SEARCHES, predictions_path, read_test, report

from peephole import load
from peephole.data import Corpus
from peephole.storage.model_file import read_tensors

HERE = Path(__file__).parent
DATA = HERE / "data"
FILES = ("train.tsv", "dev.tsv", "test.tsv")
CONTEXTS = {"attention": "attention", "fixed": "last"}  # system → model.context


def run_logged(command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
    """Run a program and append its output to a file; pass Ctrl-C and SIGTERM on, so that it can save.

    Raises:
        SystemExit: it failed, or a signal came.
    """
    print(f"{' '.join(command)}\n    output in {log}", flush=True)
    with open(log, "a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | (environment or {}))
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the terminal has sent the signal to the program, too
            code = process.wait() or 128 + signal.SIGINT
        finally:
            signal.signal(signal.SIGTERM, before)
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise SystemExit(f"{log}: ended with exit code {code}: {lines[-1] if lines else ''}")


def train(data: Path, results: Path, system: str, assignments: list[str]) -> None:
    """Train a model or resume its training; resuming a finished training takes a few seconds."""
    folder = results / f"{system}.run"
    command = [sys.executable, "-m", "peephole", "train"]
    if folder.exists():
        command += ["--resume", str(folder)]
    else:
        command += [
            str(data / "train.tsv"),
            "--dev",
            str(data / "dev.tsv"),
            "--out",
            str(results / f"{system}.safetensors"),
        ]
        command += ["--config", str(HERE / "config.toml"), "--set", f"model.context={CONTEXTS[system]}"]
        command += [word for assignment in assignments for word in ("--set", assignment)]
    run_logged(command, results / f"{system}.log")


def write_facts(results: Path, system: str) -> None:
    """Write size and speed of a finished training; its log has the speed for every 50 updates."""
    run = results / f"{system}.run"
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    speeds = [entry["symbols_per_second"] for entry in map(json.loads, lines) if "symbols_per_second" in entry]
    weights, _ = read_tensors(results / f"{system}.safetensors")
    _, metadata = read_tensors(run / "checkpoint" / "checkpoint.safetensors")
    position = json.loads(metadata["position"])
    facts = {
        "weights": sum(tensor.size for tensor in weights.values()),
        "minutes": position["seconds"] / 60,
        "updates": position["step"],
        "passes": position["epoch"] + position["symbols"] / Corpus.open(run / "data").num_target_symbols,
        "symbols_per_second": median(speeds),  # of updates only, without evaluations and checkpoints
    }
    write_text(results / f"{system}.json", json.dumps(facts, indent=1) + "\n")


def translate(model: Path, sources: list[str], path: Path, beam_size: int, threads: int) -> None:
    """Write a model's best translation of each source, one a line."""
    found = load(model).predict(sources, beam_size=beam_size, nbest=1, threads=threads)
    write_text(path, "".join(f"{predictions[0].text}\n" for predictions in found))


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: the old file or the whole new one."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def shared_options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that run.py and opennmt.py share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="it", metavar="LANGUAGE", help="language to translate to (default: it)")
    parser.add_argument("--minutes", type=float, default=60, help="of training, for each system (default: 60)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each system (default: all cores)")
    return parser


def main() -> None:
    """Run the stages that are not finished."""
    parser = shared_options(__doc__)
    parser.add_argument("--set", dest="assignments", metavar="KEY=VALUE", action="append", default=[], help="a setting")
    arguments = parser.parse_args()

    data = DATA / f"en-{arguments.to}"
    results = data / f"{arguments.minutes:g}-minutes"
    results.mkdir(parents=True, exist_ok=True)
    if not all((data / name).is_file() for name in FILES):
        command = [sys.executable, str(HERE / "prepare.py"), "--to", arguments.to, "--out", str(data)]
        run_logged(command, data / "prepare.log")
    test = read_test(data / "test.tsv")
    settings = [f"train.minutes={arguments.minutes}", f"train.threads={arguments.threads}", *arguments.assignments]
    for system in CONTEXTS:
        if not (results / f"{system}.json").is_file():
            train(data, results, system, settings)
            write_facts(results, system)
        for search, beam_size in SEARCHES.items():
            path = predictions_path(results, system, search)
            if not path.is_file():
                print(f"{path}: {len(test.sources):,} sentences, {search}", flush=True)
                translate(results / f"{system}.safetensors", test.sources, path, beam_size, arguments.threads)
    report(results, data / "test.tsv")


if __name__ == "__main__":
    main()
