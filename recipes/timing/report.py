"""The tables of the timing experiments, from finished runs.

A run that has not solved its task counts with all of its updates: means of updates are means within the budget. Shares
have exact (Clopper-Pearson) 95 % intervals, means and differences bootstrap intervals over runs. Networks of different
kinds are paired by task and seed, which gives them the same streams; p of shares is McNemar's exact one, p of updates
that of approximate randomisation.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import comb
from statistics import mean
from typing import NamedTuple

import numpy as np
from network import Settings
from tasks import Task

from peephole.evaluation.bootstrap import interval, resample, swap
from peephole.evaluation.significance import SWAPS, mcnemar_p, swaps_p

Network = tuple[str, int]  # form of the peepholes, cells
GROUPS = {"spike distances": ("msd",), "timed spikes": ("gts",), "periodic functions": ("cos", "tri", "rect")}


class Run(NamedTuple):
    """A finished run."""

    settings: Settings
    updates_needed: int | None  # None: not solved
    seconds: float  # of processor time

    @property
    def network(self) -> Network:
        """Return the kind of network."""
        return self.settings.form, self.settings.cells

    @property
    def updates(self) -> int:
        """Return the updates needed, or all of the budget."""
        return self.settings.updates if self.updates_needed is None else self.updates_needed

    def describe(self) -> str:
        """Return one line about the run."""
        of = self.settings
        result = "not solved" if self.updates_needed is None else f"solved after {self.updates_needed:,} updates"
        return f"{of.task}, {name(self.network)}, rate {of.learning_rate}, seed {of.seed}: {result}"


def name(network: Network) -> str:
    """Return the name of a kind of network in tables.

    >>> name(("none", 1)), name(("full", 4))
    ('none, 1 cell', 'full, 4 cells')
    """
    form, cells = network
    return f"{form}, {cells} cell{'s' if cells > 1 else ''}"


def best_rates(sweep: Iterable[Run]) -> dict[Network, float]:
    """Return each network's learning rate with the most runs solved; on a tie, with the fewest updates."""
    by_rate = grouped(sweep, lambda run: (run.network, run.settings.learning_rate))
    return dict(sorted(by_rate, key=lambda key: merit(by_rate[key])))  # the last rate of each network stays


def merit(runs: Sequence[Run]) -> tuple[int, int]:
    """Return the number of runs solved and minus their updates: larger is better."""
    return sum(run.updates_needed is not None for run in runs), -sum(run.updates for run in runs)


def grouped(runs: Iterable[Run], key: Callable[[Run], tuple]) -> dict[tuple, list[Run]]:
    """Return the runs by a key, in the order of their first appearance."""
    groups = defaultdict(list)
    for run in runs:
        groups[key(run)].append(run)
    return dict(groups)


def share_interval(solved: int, total: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper and Pearson 1934).

    >>> [round(bound, 4) for bound in share_interval(8, 10)], share_interval(10, 10)[1]
    ([0.4439, 0.9748], 1.0)
    """

    def at_least(count: int, share: float) -> float:
        return sum(comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(count, total + 1))

    def bisect(is_above: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if is_above(middle) else (middle, high)
        return low

    low = bisect(lambda share: at_least(solved, share) > 0.025) if solved else 0.0
    high = bisect(lambda share: at_least(solved + 1, share) > 0.975) if solved < total else 1.0
    return low, high


def mean_interval(values: Sequence[int]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean."""
    (sums,) = resample([np.array(values, dtype=float)[:, None]], seed=1)
    return interval(sums[:, 0] / len(values))


def results_table(runs: Iterable[Run]) -> str:
    """Return the shares solved and the updates needed, one line for each task and network."""
    rows = ["| task | peepholes | solved | share, % | updates |", "|---|---|---|---|---|"]
    for (task, network), group in grouped(runs, lambda run: (run.settings.task, run.network)).items():
        solved = sum(run.updates_needed is not None for run in group)
        low, high = share_interval(solved, len(group))
        first, last = mean_interval([run.updates for run in group])
        rows.append(
            f"| {task} | {name(network)} | {solved} of {len(group)} | [{100 * low:.0f}, {100 * high:.0f}] |"
            f" {mean(run.updates for run in group):,.0f} [{first:,.0f}, {last:,.0f}] |"
        )
    return "\n".join(rows)


def difference_row(title: str, a: Mapping[tuple[Task, int], Run], b: Mapping[tuple[Task, int], Run]) -> str:
    """Return the line that compares network a with b on the same tasks and seeds."""
    only_a = sum(a[key].updates_needed is not None and b[key].updates_needed is None for key in a)
    only_b = sum(b[key].updates_needed is not None and a[key].updates_needed is None for key in a)
    tables = [np.array([[runs[key].updates] for key in a], dtype=float) for runs in (a, b)]
    drawn = [sums[:, 0] / len(a) for sums in resample(tables, seed=1)]
    swapped = [sums[0][:, 0] / len(a) for sums in swap(tables[:1], tables[1:], swaps=SWAPS, seed=1)]
    gain = tables[0].mean() - tables[1].mean()
    low, high = interval(drawn[0] - drawn[1])
    return (
        f"| {title} | {len(a)} | {only_a} | {only_b} | {mcnemar_p(only_a, only_b):.3f} |"
        f" {gain:+,.0f} [{low:+,.0f}, {high:+,.0f}] | {swaps_p(swapped[0] - swapped[1], gain):.4f} |"
    )


def differences_table(runs: Iterable[Run]) -> str:
    """Return the comparisons of networks of the same number of cells on each group of tasks."""
    rows = [
        "| | pairs | only the first solves | only the second | p | updates, first minus second | p |",
        "|---|---|---|---|---|---|---|",
    ]
    by_network = grouped(runs, lambda run: run.network)
    pairs = [(("diagonal", 1), ("none", 1))]
    pairs += [((a, 4), (b, 4)) for a, b in (("diagonal", "none"), ("full", "none"), ("full", "diagonal"))]
    for group, kinds in GROUPS.items():
        for first, second in pairs:
            a, b = (
                {
                    (run.settings.task, run.settings.seed): run
                    for run in by_network[network]
                    if run.settings.task.kind in kinds
                }
                for network in (first, second)
            )
            rows.append(difference_row(f"{group}: {name(first)} against {second[0]}", a, b))
    return "\n".join(rows)


def sweep_table(sweep: Iterable[Run]) -> str:
    """Return the sweep of learning rates: runs solved and mean updates, one line for each network."""
    by_rate = grouped(sweep, lambda run: (run.network, run.settings.learning_rate))
    rates = sorted({rate for _, rate in by_rate})
    best = best_rates(run for group in by_rate.values() for run in group)
    rows = [f"| peepholes | {' | '.join(f'rate {rate}' for rate in rates)} |", f"|{'---|' * (len(rates) + 1)}"]
    for network in dict.fromkeys(network for network, _ in by_rate):
        cells = []
        for rate in rates:
            group = by_rate[network, rate]
            text = f"{merit(group)[0]} of {len(group)}, {mean(run.updates for run in group):,.0f}"
            cells.append(f"**{text}**" if rate == best[network] else text)
        rows.append(f"| {name(network)} | {' | '.join(cells)} |")
    return "\n".join(rows)


def report(sweep: Sequence[Run], runs: Sequence[Run]) -> str:
    """Return all tables in Markdown."""
    seconds = sum(run.seconds for run in [*sweep, *runs])
    return (
        "\n\n".join(
            [
                results_table(runs),
                differences_table(runs),
                sweep_table(sweep),
                f"{len(sweep) + len(runs):,} runs, {seconds / 60:,.0f} minutes of processor time",
            ]
        )
        + "\n"
    )
