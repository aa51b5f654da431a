"""Make a recipe's tables in Markdown: scores with intervals over seeds and sources, and facts of the trainings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from stages import Search, System, TestSet, model_path, predictions_path, read_predictions

from peephole.evaluation.bootstrap import interval, resample
from peephole.evaluation.evaluate import measure
from peephole.evaluation.metrics import METRICS, FloatArray
from peephole.symbols import CharacterSymbols, Symbols

# Edits count characters; texts are compared in NFC
CHARACTERS: Symbols = CharacterSymbols([], "NFC")
SEED = 1  # of the bootstrap


class Cell(NamedTuple):
    """Hold a score: the mean over the seeds, its interval over the sources, and the score of each seed."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]

    def __str__(self) -> str:
        """Return the cell of a table.

        >>> str(Cell(5.5, 5, 6.25, (5.5,))), str(Cell(5.5, 5, 6.25, (5.25, 5.75)))
        ('5.50 [5.00, 6.25]', '5.50 [5.00, 6.25] (5.25-5.75)')
        """
        spread = f" ({min(self.seeds):.2f}-{max(self.seeds):.2f})" if len(self.seeds) > 1 else ""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]{spread}"


def score(test: TestSet, predictions: Sequence[Sequence[str]], metrics: Sequence[str]) -> dict[str, Cell]:
    """Return the scores of a system that was trained with one or more seeds.

    The interval is the 95 % bootstrap interval over sources of the mean over seeds: each resample holds the same
    sources for all seeds. It does not cover other seeds.

    Args:
        test: sources and references.
        predictions: for each seed, one a source.
        metrics: keys of `peephole.evaluation.metrics.METRICS`.
    """
    statistics = [measure(texts, test.references, CHARACTERS, metrics) for texts in predictions]
    cells = {}
    for name in metrics:
        tables = [found[name] for found in statistics]
        seeds = tuple(total(name, table) for table in tables)
        cells[name] = Cell(fmean(seeds), *interval(resampled_mean(name, tables)), seeds)
    return cells


def total(name: str, table: FloatArray) -> float:
    """Return the score of all sources."""
    return float(METRICS[name].score(table.sum(axis=0, keepdims=True))[0])


def resampled_mean(name: str, tables: Sequence[FloatArray]) -> FloatArray:
    """Return for each resample of the sources the mean score over the seeds."""
    sums = resample(tables, seed=SEED)
    mean: FloatArray = sum(METRICS[name].score(one) for one in sums) / len(sums)
    return mean


def difference(test: TestSet, name: str, ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> Cell:
    """Return the difference in a metric of two systems' means over seeds, with its paired bootstrap interval.

    Args:
        test: sources and references.
        name: a key of `peephole.evaluation.metrics.METRICS`.
        ours: for each seed, one prediction a source.
        theirs: those that are subtracted.
    """
    tables = [[measure(texts, test.references, CHARACTERS, [name])[name] for texts in side] for side in (ours, theirs)]
    ends = [fmean(total(name, table) for table in side) for side in tables]
    sums = resample([*tables[0], *tables[1]], seed=SEED)
    scores = [METRICS[name].score(one) for one in sums]
    number = len(tables[0])
    low, high = interval(sum(scores[:number]) / number - sum(scores[number:]) / len(tables[1]))
    return Cell(ends[0] - ends[1], low, high, (ends[0] - ends[1],))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table.

    >>> print(table(["a", "b"], [["1", "2"]]), end="")
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def predictions_of(results: Path, system: System, search: Search, part: str = "test") -> list[list[str]]:
    """Return the predictions of each seed that has run."""
    paths = [predictions_path(results, system, seed, search, part) for seed in range(1, system.seeds + 1)]
    return [read_predictions(path) for path in paths if path.is_file()]


def scores_table(
    test: TestSet,
    rows: Mapping[str, Sequence[Sequence[str]]],
    metrics: Sequence[str],
    parts: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Return the table of scores.

    Args:
        test: sources and references.
        rows: name → for each seed, one prediction a source.
        metrics: columns, keys of `peephole.evaluation.metrics.METRICS`.
        parts: name → the sources of a part; None: all sources. Each metric has a column for each part.
    """
    parts = {"": range(len(test.sources))} if parts is None else parts
    heading = [f"{len(test.sources):,} test sources"]
    heading += [
        f"{METRICS[metric].label}{f', {part} ({len(chosen):,})' if part else ''}"
        for part, chosen in parts.items()
        for metric in metrics
    ]
    lines = []
    for name, predictions in rows.items():
        cells = [name]
        for chosen in parts.values():
            picked = [[texts[i] for i in chosen] for texts in predictions]
            cells += map(str, score(test.part(chosen), picked, metrics).values())
        lines.append(cells)
    return table(heading, lines)


def rows_of(results: Path, systems: Sequence[System], part: str = "test") -> dict[str, list[list[str]]]:
    """Return the predictions of all searches of all systems that have run: name of the row → seeds."""
    found = {}
    for system in systems:
        for search in system.searches:
            predictions = predictions_of(results, system, search, part)
            if predictions:
                found[f"{system.title}, {search.name}"] = predictions
    return found


def facts_table(results: Path, systems: Sequence[System]) -> str:
    """Return size, time and memory of the trainings that have run, means over the seeds."""
    rows = []
    for system in systems:
        paths = [model_path(results, system, seed).with_suffix(".json") for seed in range(1, system.seeds + 1)]
        facts = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
        if facts:
            mean = {name: fmean(one[name] for one in facts) for name in facts[0]}
            rows.append(
                [
                    system.title,
                    str(len(facts)),
                    f"{mean['weights'] / 1e6:.1f} million",
                    f"{mean['minutes']:.1f}",
                    f"{mean['updates']:,.0f}",
                    f"{mean['passes']:.2f}",
                    f"{mean['symbols_per_second']:,.0f}",
                    f"{mean['memory'] / 2**20:,.0f} MB",
                ]
            )
    heading = ["training", "seeds", "weights", "minutes", "updates", "passes", "target symbols/s", "peak memory"]
    return table(heading, rows)
