"""Make the recipe's tables and picture from stored predictions, without a model.

    python recipes/translate_debian/report.py recipes/translate_debian/data/en-it/60-minutes

run.py and opennmt.py call it at their end. Called directly, it covers the systems that have run so far.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from stages import System, TestSet, publish, read_test
from tables import Cell, difference, facts_table, rows_of, score, scores_table, table

from peephole.evaluation.metrics import METRICS

SYSTEMS = (
    System("attention", "attention", ("model.context=attention",), seeds=3),
    System("fixed", "fixed context", ("model.context=last",)),
    # with one table of subwords, so that a word that is copied is split as in the target
    System("copying", "copying", ("model.output=copy", "symbols.shared=true"), seeds=3),
)
OPENNMT = System("opennmt", "OpenNMT-py 3.5.1")
COMPARED = (("attention", "fixed context"), ("copying", "attention"), ("attention", OPENNMT.title))  # titles
SCORES = ("bleu", "chrf")
BUCKETS = ((3, 5), (6, 9), (10, 14), (15, 19), (20, 26), (27, 40))  # words of the English sentence, both included

Rows = Mapping[str, Sequence[Sequence[str]]]  # title and search → the predictions of each seed


def differences_table(test: TestSet, rows: Rows) -> str:
    """Return the differences between systems, for each search that both have run."""
    lines = []
    for ours, theirs in COMPARED:
        for search in ("greedy", "beam 5"):
            one, other = (rows.get(f"{title}, {search}") for title in (ours, theirs))
            if one and other:
                cells = [difference(test, metric, one, other) for metric in SCORES]
                signed = [f"{cell.value:+.2f} [{cell.low:+.2f}, {cell.high:+.2f}]" for cell in cells]
                lines.append([f"{ours} minus {theirs}, {search}", *signed])
    return table(["difference", *(METRICS[metric].label for metric in SCORES)], lines) if lines else ""


def by_length(test: TestSet, rows: Rows) -> dict[str, list[dict[str, Cell]]]:
    """Return for each system its scores on the sentences of each of `BUCKETS`, with beam 5."""
    lengths = [len(source.split()) for source in test.sources]
    found: dict[str, list[dict[str, Cell]]] = {}
    for name, predictions in rows.items():
        title, search = name.rsplit(", ", 1)
        if search != "beam 5":
            continue
        found[title] = []
        for low, high in BUCKETS:
            indices = [i for i, length in enumerate(lengths) if low <= length <= high]
            picked = [[texts[i] for i in indices] for texts in predictions]
            found[title].append(score(test.part(indices), picked, SCORES))
    return found


def lengths_table(test: TestSet, found: Mapping[str, Sequence[Mapping[str, Cell]]]) -> str:
    """Return the scores by length as a table."""
    lengths = [len(source.split()) for source in test.sources]
    lines = []
    for number, (low, high) in enumerate(BUCKETS):
        size = sum(low <= length <= high for length in lengths)
        cells = [str(found[title][number][metric]) for metric in SCORES for title in found]
        lines.append([f"{low}-{high}", f"{size:,}", *cells])
    headings = [f"{METRICS[metric].label}: {title}" for metric in SCORES for title in found]
    return table(["English words", "sentences", *headings], lines)


def draw_lengths(found: Mapping[str, Sequence[Mapping[str, Cell]]], path: Path) -> None:
    """Draw the scores by length, a panel for each metric, with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(SCORES), figsize=(9, 3.6))
    for axis, metric in zip(axes, SCORES, strict=True):
        for shift, (title, parts) in enumerate(found.items()):
            measured = [part[metric] for part in parts]
            values = [cell.value for cell in measured]
            below = [cell.value - cell.low for cell in measured]
            above = [cell.high - cell.value for cell in measured]
            places = [place + 0.06 * shift for place in range(len(BUCKETS))]
            axis.errorbar(places, values, yerr=[below, above], marker="o", capsize=3, label=title)
        axis.set_xticks(range(len(BUCKETS)), [f"{low}-{high}" for low, high in BUCKETS])
        axis.set_xlabel("words of the English sentence")
        axis.set_ylabel(METRICS[metric].label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def report(results: Path, test_file: Path) -> None:
    """Print all tables, write them to report.md, and draw by_length.png."""
    test = read_test(test_file)
    systems = (*SYSTEMS, OPENNMT)
    rows = rows_of(results, systems)
    if not rows:
        raise SystemExit(f"{results}: no predictions there; run run.py first")
    found = by_length(test, rows)
    parts = [
        scores_table(test, {**rows, "the English sentence, copied": [test.sources]}, SCORES),
        facts_table(results, systems),
        differences_table(test, rows),
        lengths_table(test, found),
    ]
    publish(results, "\n".join(part for part in parts if part))
    draw_lengths(found, results / "by_length.png")
    print(f"{results / 'report.md'}, {results / 'by_length.png'}")


def main() -> None:
    """Print the tables of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder that run.py wrote, in that of test.tsv")
    results = parser.parse_args().results
    report(results, results.parent / "test.tsv")


if __name__ == "__main__":
    main()
