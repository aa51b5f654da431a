"""Make the recipe's tables and picture from stored predictions, without a model.

    python recipes/translate_debian/report.py recipes/translate_debian/data/en-it

run.py and opennmt.py call it at their end. Called directly, it covers the systems that have run so far.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from peephole.evaluation import Score, compare, evaluate_predictions
from peephole.symbols import Symbols, WhitespaceSymbols

SYSTEMS = {
    "attention": "peephole, attention",
    "fixed": "peephole, fixed context",
    "copying": "peephole, copying",
    "opennmt": "OpenNMT-py 3.5.1",
}
SEARCHES = {"greedy": 1, "beam 5": 5}  # name → beam size
METRICS = ("bleu", "chrf")
BUCKETS = ((3, 5), (6, 9), (10, 14), (15, 19), (20, 26), (27, 40))  # words of the English sentence, both included

# BLEU and chrF compare texts; only the Unicode normal form of these symbols matters
TEXT: Symbols = WhitespaceSymbols([], "NFC")


class TestSet(NamedTuple):
    """Hold each English sentence once, with all its translations."""

    sources: list[str]
    references: list[list[str]]

    def part(self, indices: Sequence[int]) -> "TestSet":
        """Return the chosen sentences."""
        return TestSet([self.sources[i] for i in indices], [self.references[i] for i in indices])


def read_test(path: Path) -> TestSet:
    """Read a file of prepare.py."""
    grouped: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        english, translated = line.split("\t")
        grouped.setdefault(english, []).append(translated)
    return TestSet(list(grouped), list(grouped.values()))


def predictions_path(results: Path, system: str, search: str) -> Path:
    """Return the file of a system's predictions, one a line, in the order of `read_test`."""
    return results / f"{system}.{search.replace(' ', '')}.txt"


def read_predictions(results: Path, system: str, search: str) -> list[str] | None:
    """Return a system's predictions, or None if it has not run."""
    path = predictions_path(results, system, search)
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else None


def scores(test: TestSet, predictions: Sequence[str]) -> dict[str, Score]:
    """Return BLEU and chrF of predictions."""
    return evaluate_predictions(test.sources, predictions, test.references, TEXT, METRICS, num_worst=0).scores


def cell(score: Score) -> str:
    """Return a score as text for a table.

    >>> cell(Score(41.234, 40.6, 41.9, "points", "higher", "BLEU", ""))
    '41.23 [40.60, 41.90]'
    """
    return f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def scores_table(results: Path, test: TestSet) -> str:
    """Return BLEU and chrF of every system that has run, and of copying the source."""
    rows = []
    signatures: dict[str, str] = {}
    for system, title in SYSTEMS.items():
        for search in SEARCHES:
            predictions = read_predictions(results, system, search)
            if predictions is not None:
                found = scores(test, predictions)
                signatures = {name: score.signature for name, score in found.items()}
                rows.append([f"{title}, {search}", *map(cell, found.values())])
    rows.append(["the English sentence, copied", *map(cell, scores(test, test.sources).values())])
    settings = "".join(f"{name}: {signature}\n" for name, signature in signatures.items())
    return table([f"on {len(test.sources):,} test sentences", "BLEU", "chrF"], rows) + "\n" + settings


def facts_table(results: Path) -> str:
    """Return size and speed of every system that has run."""
    rows = []
    for system, title in SYSTEMS.items():
        path = results / f"{system}.json"
        if path.is_file():
            facts = json.loads(path.read_text(encoding="utf-8"))
            rows.append(
                [
                    title,
                    f"{facts['weights'] / 1e6:.1f} million",
                    f"{facts['minutes']:.1f}",
                    f"{facts['updates']:,}",
                    f"{facts['passes']:.2f}",
                    f"{facts['symbols_per_second']:,.0f}",
                    f"{facts['memory'] / 2**20:,.0f} MB",
                ]
            )
    heading = ["training", "weights", "minutes", "updates", "passes over the data", "target symbols/s", "peak memory"]
    return table(heading, rows)


def differences_table(results: Path, test: TestSet, system: str, baseline: str) -> str:
    """Return the difference between two systems, for each search that both have run."""
    rows = []
    for search in SEARCHES:
        ours, theirs = (read_predictions(results, name, search) for name in (system, baseline))
        if ours is None or theirs is None:
            continue
        found = compare(test.sources, theirs, ours, test.references, TEXT, METRICS)
        for difference in found.differences.values():
            rows.append(
                [
                    f"{search}, {difference.label}",
                    f"{difference.difference:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]",
                    f"{difference.p_bootstrap:.4f}",
                    f"{difference.p_swaps:.4f}",
                ]
            )
    if not rows:
        return ""
    heading = f"{SYSTEMS[system]} minus {SYSTEMS[baseline]}"
    return table([heading, "difference", "p, paired bootstrap", "p, approximate randomisation"], rows)


def by_length(results: Path, test: TestSet, search: str = "beam 5") -> dict[str, list[dict[str, Score]]]:
    """Return for each system that has run its scores on the sentences of each of `BUCKETS`."""
    lengths = [len(source.split()) for source in test.sources]
    found: dict[str, list[dict[str, Score]]] = {}
    for system in SYSTEMS:
        predictions = read_predictions(results, system, search)
        if predictions is None:
            continue
        found[system] = []
        for low, high in BUCKETS:
            indices = [i for i, length in enumerate(lengths) if low <= length <= high]
            found[system].append(scores(test.part(indices), [predictions[i] for i in indices]))
    return found


def lengths_table(test: TestSet, found: dict[str, list[dict[str, Score]]]) -> str:
    """Return the scores by length as a table."""
    lengths = [len(source.split()) for source in test.sources]
    rows = []
    for number, (low, high) in enumerate(BUCKETS):
        size = sum(low <= length <= high for length in lengths)
        cells = [cell(found[system][number][metric]) for metric in METRICS for system in found]
        rows.append([f"{low}-{high}", f"{size:,}", *cells])
    headings = [f"{metric}: {SYSTEMS[system]}" for metric in ("BLEU", "chrF") for system in found]
    return table(["English words", "sentences", *headings], rows)


def draw_lengths(found: dict[str, list[dict[str, Score]]], path: Path) -> None:
    """Draw the scores by length, a panel for each metric, with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(METRICS), figsize=(9, 3.6))
    for axis, metric in zip(axes, METRICS, strict=True):
        for shift, (system, parts) in enumerate(found.items()):
            measured = [part[metric] for part in parts]
            values = [score.value for score in measured]
            below = [score.value - score.low for score in measured]
            above = [score.high - score.value for score in measured]
            places = [place + 0.06 * shift for place in range(len(BUCKETS))]
            axis.errorbar(places, values, yerr=[below, above], marker="o", capsize=3, label=SYSTEMS[system])
        axis.set_xticks(range(len(BUCKETS)), [f"{low}-{high}" for low, high in BUCKETS])
        axis.set_xlabel("words of the English sentence")
        axis.set_ylabel(measured[0].label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def report(results: Path, test_file: Path) -> None:
    """Print all tables, write them to report.md, and draw by_length.png."""
    test = read_test(test_file)
    found = by_length(results, test)
    parts = [
        scores_table(results, test),
        facts_table(results),
        differences_table(results, test, "attention", "fixed"),
        differences_table(results, test, "copying", "attention"),
        differences_table(results, test, "attention", "opennmt"),
        lengths_table(test, found),
    ]
    text = "\n".join(part for part in parts if part)
    (results / "report.md").write_text(text, encoding="utf-8")
    draw_lengths(found, results / "by_length.png")
    print(text)
    print(f"{results / 'report.md'}, {results / 'by_length.png'}")


def main() -> None:
    """Print the tables of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of test.tsv")
    parser.add_argument("--minutes", type=float, default=60, help="the results of trainings of so many minutes")
    arguments = parser.parse_args()
    results = arguments.data / f"{arguments.minutes:g}-minutes"
    if not results.is_dir():
        raise SystemExit(f"{results}: no such folder; run run.py first")
    report(results, arguments.data / "test.tsv")


if __name__ == "__main__":
    main()
