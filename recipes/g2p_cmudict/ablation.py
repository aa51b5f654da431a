"""Compare peephole forms, cells, attentions and directions: seven models, ten minutes of training each.

    python recipes/g2p_cmudict/ablation.py                  seven variants, three seeds: four hours on one core
    python recipes/g2p_cmudict/ablation.py --jobs 2         two trainings at a time, each on one core
    python recipes/g2p_cmudict/ablation.py --minutes 0.2 --seeds 1    a short trial

Run prepare.py first. All variants start with embeddings of standard deviation 1. A variant's ten minutes are converted
to a number of updates: each variant is timed for a few seconds, in turns with the others, and then trains for the
updates that fit into ten minutes. So other work on the machine does not shorten its training, and its learning rate
falls to zero at the end. All files are written below recipes/g2p_cmudict/data/ablation: the timings, and in 10-minutes
models, logs, predictions and report.md.

After Ctrl-C or a kill, the same command continues and skips finished models.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import numpy as np

from peephole import load
from peephole.evaluation.bootstrap import interval, resample
from peephole.evaluation.evaluate import measure
from peephole.evaluation.metrics import METRICS, FloatArray
from peephole.storage.model_file import read_tensors
from peephole.symbols import WhitespaceSymbols

IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Settings = dict[str, str | int]  # as `--set` takes them
Test = dict[str, list[str]]  # word → its pronunciations


class Variant(NamedTuple):
    """Describe a row of the table: its title, and the settings that differ from config.toml."""

    title: str
    settings: Settings


HERE = Path(__file__).parent
DATA = HERE / "data"
BASELINE = "full"  # the recipe's configuration: LSTM with full peepholes, additive attention, both directions
VARIANTS: dict[str, Variant] = {
    BASELINE: Variant("the recipe: full peepholes, additive attention, both directions", {}),
    "diagonal": Variant("diagonal peepholes", {"model.peephole": "diagonal"}),
    "none": Variant("no peepholes", {"model.peephole": "none"}),
    "gru": Variant("GRU", {"model.cell": "gru", "model.peephole": "none"}),
    "dot": Variant("dot attention", {"model.attention": "dot"}),
    "general": Variant("general attention", {"model.attention": "general"}),
    "forwards": Variant("encoder in one direction", {"model.bidirectional": "false"}),
}
SHORT: Settings = {"model.embedding_std": 1}  # the recipe's longer training starts with smaller embeddings
TIMED_UPDATES = 100  # the log has a line for every 50
TIMED_ROUNDS = 3


class Trainings:
    """Run `peephole train` in separate processes, and stop them on an early exit."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, out: Path, settings: Settings) -> None:
        """Train a model or resume its training; resuming a finished training takes a few seconds.

        Raises:
            SystemExit: the training failed, or `stop` was called.
        """
        folder, log = out.with_suffix(".run"), out.with_suffix(".log")
        command = [sys.executable, "-m", "peephole", "train"]
        if folder.exists():
            command += ["--resume", str(folder)]
        else:
            command += [str(DATA / "train.tsv"), "--dev", str(DATA / "dev.tsv"), "--out", str(out)]
            command += ["--config", str(HERE / "config.toml")]
            command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        if self._stopped:
            raise SystemExit(f"{out}: not begun")
        with open(log, "a", encoding="utf-8") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
            self._running.add(process)
            if self._stopped:  # `stop` was called in between
                process.terminate()
            code = process.wait()
            self._running.discard(process)
        if code:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise SystemExit(f"{log}: ended with exit code {code}: {lines[-1] if lines else ''}")

    def stop(self) -> None:
        """Send all trainings the signal to save and exit."""
        self._stopped = True
        for process in list(self._running):
            process.terminate()


def measure_updates(ablation: Path, trainings: Trainings, jobs: int) -> dict[str, float]:
    """Return the seconds of an update of each variant: the median over turns, with `jobs` trainings at a time."""
    path = ablation / "seconds.json"
    if not path.is_file():
        folder = ablation / "timing"
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [
            (folder / f"{name}-{turn}.safetensors", variant.settings)
            for turn in range(TIMED_ROUNDS)
            for name, variant in VARIANTS.items()
        ]
        timing: Settings = {
            "train.epochs": "none",
            "train.steps": TIMED_UPDATES,
            "train.evaluations": 1,
            "train.dev_pairs": 10,
        }
        in_turns([partial(trainings.run, out, SHORT | settings | timing) for out, settings in wanted], trainings, jobs)
        seconds = {
            variant: median(
                seconds for turn in range(TIMED_ROUNDS) for seconds in update_seconds(folder / f"{variant}-{turn}.run")
            )
            for variant in VARIANTS
        }
        write_text(path, json.dumps(seconds, indent=1) + "\n")
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return found


def update_seconds(run: Path) -> list[float]:
    """Return the mean seconds of an update between each two consecutive lines of a training's log."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [entry for entry in map(json.loads, lines) if "seconds" in entry and "loss" in entry]
    return [(b["seconds"] - a["seconds"]) / (b["step"] - a["step"]) for a, b in pairwise(entries)]


def in_turns(tasks: Iterable[Callable[[], None]], trainings: Trainings, jobs: int) -> None:
    """Run all tasks in the given order, `jobs` at a time; if one fails, stop the trainings of the others."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            trainings.stop()
            raise


def train_and_predict(trainings: Trainings, model: Path, settings: Settings, words: Sequence[str]) -> None:
    """Train a model and write its best pronunciation of each word with beam 5; skip finished steps."""
    path = predictions_path(model)
    if not path.is_file():
        trainings.run(model, settings)
        found = load(model).predict(list(words), beam_size=5, nbest=1, threads=1)
        write_text(path, "".join(f"{predictions[0].text}\n" for predictions in found))
    print(f"{path}: done", flush=True)


def predictions_path(model: Path) -> Path:
    """Return the path of a model's predictions, one a line; the file exists once the model is finished."""
    return model.with_suffix(".txt")


def read_test(path: Path) -> Test:
    """Read the words of a file of prepare.py with all their pronunciations."""
    words: Test = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, phones = line.split("\t")
        words.setdefault(word, []).append(phones)
    return words


def resampled_means(tables: Sequence[FloatArray], metric: str, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return a metric's mean over a variant's seeds: the measured one, and in resamples of words and of seeds.

    Args:
        tables: statistics of each of the variant's models on the same words, (words, columns).
        metric: a key of `peephole.evaluation.metrics.METRICS`.
        seed: of the draws of the seeds; the draws of words are the same for all variants.

    Returns:
        Scores () and (resamples,).

    Source: two-level bootstrap, Davison and Hinkley 1997, Bootstrap Methods and Their Application, section 3.8. Means
        of n values drawn with replacement vary by (n - 1) / n too little; with the few seeds there are that is much,
        so the deviations are widened by the square root of n / (n - 1).
    """
    score, n = METRICS[metric].score, len(tables)
    measured = np.array([score(table.sum(axis=0, keepdims=True))[0] for table in tables])
    by_words = np.stack([score(sums) for sums in resample(tables, seed=1)])  # (seeds, resamples)
    centre = by_words.mean(axis=0)
    if n == 1:
        return measured.mean(), centre
    drawn = np.random.default_rng(seed).integers(n, size=by_words.shape)
    means = np.take_along_axis(by_words, drawn, axis=0).mean(axis=0)
    return measured.mean(), centre + np.sqrt(n / (n - 1)) * (means - centre)


def wer_by_length(tables: Sequence[FloatArray], lengths: IntArray) -> dict[str, float]:
    """Return the mean WER of a variant's models on each quarter of the words, from the shortest to the longest.

    Args:
        tables: statistics of exact matches of each model on the same words, (words, columns).
        lengths: letters of each word.

    Returns:
        Span of letters, as `"8 to 9"` → WER in %.
    """
    found = {}
    before = 0
    for last in np.unique(np.quantile(lengths, [0.25, 0.5, 0.75, 1], method="inverted_cdf")):
        chosen = (lengths > before) & (lengths <= last)
        right = [METRICS["exact_match"].score(table[chosen].sum(axis=0, keepdims=True))[0] for table in tables]
        found[f"{before + 1} to {last}" if last > before + 1 else str(last)] = 100 - mean(right)
        before = int(last)
    return found


def report(results: Path, test: Test, seeds: Sequence[int], seconds: dict[str, float]) -> None:
    """Print the tables of all variants and write them to report.md."""
    lengths = np.array([len(word) for word in test])
    by_length: list[list[str]] = []
    references, symbols = list(test.values()), WhitespaceSymbols([], "NFC")
    heading = ["", "million weights", "ms an update", "updates", "PER", "WER of each seed", "WER", "minus the recipe's"]
    rows, baseline = [heading, ["---"] * len(heading)], None
    for number, (variant, (title, _)) in enumerate(VARIANTS.items()):
        models = [results / f"{variant}-{seed}.safetensors" for seed in seeds]
        texts = [predictions_path(model).read_text(encoding="utf-8").split("\n")[:-1] for model in models]
        rows_of = [measure(text, references, symbols, ["exact_match", "symbol_error_rate"]) for text in texts]
        exact, errors = ([found[name] for found in rows_of] for name in ("exact_match", "symbol_error_rate"))
        wer = [100 - METRICS["exact_match"].score(table.sum(axis=0, keepdims=True))[0] for table in exact]
        per, _ = resampled_means(errors, "symbol_error_rate", number)
        right, resampled = resampled_means(exact, "exact_match", number)
        low, high = interval(100 - resampled)
        if baseline is None:
            baseline, difference = (right, resampled), ""
        else:
            low_difference, high_difference = interval(baseline[1] - resampled)
            difference = f"{baseline[0] - right:+.2f} [{low_difference:+.2f}, {high_difference:+.2f}]"
        shares = wer_by_length(exact, lengths)
        if not by_length:
            by_length = [["WER of words of", *(f"{span} letters" for span in shares)], ["---"] * (len(shares) + 1)]
        by_length.append([title, *(f"{share:.1f}" for share in shares.values())])
        weights, _ = read_tensors(models[0])
        rows.append(
            [
                title,
                f"{sum(tensor.size for tensor in weights.values()) / 1e6:.2f}",
                f"{1000 * seconds[variant]:.0f}",
                f"{read_steps(models[0]):,}",
                f"{per:.2f}",
                " ".join(f"{value:.2f}" for value in wer),
                f"{mean(wer):.2f} [{low:.2f}, {high:.2f}]",
                difference,
            ]
        )
    text = "\n".join("".join(f"| {' | '.join(row)} |\n" for row in table) for table in (rows, by_length))
    write_text(results / "report.md", text)
    print(f"{text}\n{results / 'report.md'}")


def read_steps(model: Path) -> int:
    """Return the number of updates of a finished training."""
    _, metadata = read_tensors(model.with_suffix(".run") / "checkpoint" / "checkpoint.safetensors")
    return int(json.loads(metadata["position"])["step"])


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: the old file or the whole new one."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def main() -> None:
    """Run the trainings that are not finished and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of training for each model (default: 10)")
    parser.add_argument("--seeds", type=int, default=3, help="models of each variant (default: 3)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each on one core (default: 1)")
    arguments = parser.parse_args()

    missing = [name for name in ("train.tsv", "dev.tsv", "test.tsv") if not (DATA / name).is_file()]
    if missing:
        raise SystemExit(f"{DATA}: no {', '.join(missing)}; run prepare.py first")
    ablation = DATA / "ablation"
    results = ablation / f"{arguments.minutes:g}-minutes"
    results.mkdir(parents=True, exist_ok=True)
    seeds = range(1, arguments.seeds + 1)
    trainings = Trainings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    seconds = measure_updates(ablation, trainings, arguments.jobs)
    steps = {variant: max(1, round(60 * arguments.minutes / seconds[variant])) for variant in VARIANTS}
    test = read_test(DATA / "test.tsv")
    tasks = []
    for seed in seeds:
        for variant, (_, settings) in VARIANTS.items():
            budget = {
                "train.seed": seed,
                "train.epochs": "none",
                "train.steps": steps[variant],
                "train.evaluations": 10,
            }
            out = results / f"{variant}-{seed}.safetensors"
            tasks.append(partial(train_and_predict, trainings, out, SHORT | settings | budget, list(test)))
    in_turns(tasks, trainings, arguments.jobs)
    report(results, test, seeds, seconds)


if __name__ == "__main__":
    main()
