"""Count the texts of one side of a file of pairs, in bounded memory."""

from __future__ import annotations

import heapq
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peephole.data.lookalikes import alike, is_control, name_of
from peephole.errors import plural, shorten

EXAMPLES = 5  # of each finding
MOST_SYMBOLS = 1_000_000  # different symbols whose occurrences are counted
LEAST_SPREAD = 0.35  # of the logarithms of lengths: less than 2.9 times the usual length is never far from it
Split = Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class Finding:
    """Something about a file of pairs that a person may want to change, or not.

    Attributes:
        kind: its name, such as "duplicates".
        count: how often it occurs.
        is_estimate: the count is that of a sample, scaled to the whole file.
        message: a sentence with the count.
        examples: some of the places, one line each.
    """

    kind: str
    count: int
    is_estimate: bool
    message: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Lengths:
    """How long texts, sounds, images or tables are.

    Attributes:
        unit: what is counted.
        shortest, median, longest: of all.
        usual: 99 of 100 are not longer than this.
        total: all together.
    """

    unit: str
    shortest: float
    median: float
    usual: float
    longest: float
    total: float

    @classmethod
    def of(cls, counts: Mapping[int, int], unit: str, size: float = 1) -> Lengths:
        """Return the lengths of a histogram, each times a size."""
        shortest, median, usual, longest = (quantile(counts, share) * size for share in (0, 0.5, 0.99, 1))
        total = sum(length * count for length, count in counts.items()) * size
        return cls(unit, shortest, median, usual, longest, total)


def quantile(counts: Mapping[int, int], share: float) -> int:
    """Return the smallest value that at least a share of all values does not exceed.

    >>> quantile({1: 2, 5: 2}, 0.5), quantile({1: 2, 5: 2}, 0.51)
    (1, 5)
    """
    wanted, seen = share * sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    raise ValueError("wanted at least one value, got none")


def fences(counts: Mapping[int, int], scale: Callable[[int], float]) -> tuple[float, float]:
    """Return the ends beyond which values are far from the others: three times the middle half's width from it.

    Source: Tukey 1977, Exploratory Data Analysis, the outer fences.

    Args:
        counts: how often each value occurs.
        scale: the values' scale, on which the distance is measured.
    """
    low, high = (scale(quantile(counts, share)) for share in (0.25, 0.75))
    margin = 3 * max(high - low, LEAST_SPREAD)
    return low - margin, high + margin


class SideScan:
    """Counts the texts of one side.

    Args:
        side: "source" or "target".
        split: cuts a text into the symbols that training would take.
        is_known: whether a symbol is in the table learned from the training file; None for the training file itself.
    """

    def __init__(self, side: str, split: Split, is_known: Callable[[str], bool] | None = None) -> None:
        self.side, self._split, self._is_known = side, split, is_known
        self.lengths: Counter[int] = Counter()
        self._longest: list[tuple[int, int]] = []
        self._characters: Counter[str] = Counter()
        self._symbols: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._first_symbols: dict[str, int] = {}
        self._marked: dict[str, list[int]] = {"decomposed": [], "outer spaces": []}
        self._counted: Counter[str] = Counter()

    def add_raw(self, text: str, line: int) -> None:
        """Count a text as the file has it."""
        if text != text.strip():
            self._mark("outer spaces", line)

    def add(self, text: str, line: int) -> None:
        """Count a text as it is read."""
        self.lengths[len(text)] += 1
        keep_largest(self._longest, (len(text), -line))
        self._characters.update(text)
        for character in set(text).difference(self._first):
            self._first[character] = line
        if len(self._symbols) < MOST_SYMBOLS:
            symbols = list(self._split(text))
            self._symbols.update(symbols)
            for symbol in set(symbols).difference(self._first_symbols):
                self._first_symbols[symbol] = line
        if not unicodedata.is_normalized("NFC", text):
            self._mark("decomposed", line)

    def _mark(self, kind: str, line: int) -> None:
        self._counted[kind] += 1
        if len(self._marked[kind]) < EXAMPLES:
            self._marked[kind].append(line)

    def findings(self, where: Callable[[int], str]) -> Iterator[Finding]:
        """Yield what was found; `where` is a function from a line to a text that shows it."""
        side = self.side
        far = fences(self.lengths, lambda length: math.log(length))[1]
        count = sum(count for length, count in self.lengths.items() if math.log(length) > far)
        if count:
            longest = [(length, -line) for length, line in sorted(self._longest, reverse=True)]
            yield Finding(
                f"long {side}s",
                count,
                False,
                f"{plural(count, side)} far longer than the others: more than {math.floor(math.exp(far))} characters, "
                f"where half have at most {quantile(self.lengths, 0.5)}",
                tuple(f"{length} characters, {where(line)}" for length, line in longest if math.log(length) > far),
            )
        yield from self._symbol_findings()
        groups = alike(self._characters)
        if groups:
            yield Finding(
                f"{side} characters that look alike",
                len(groups),
                False,
                f"{plural(len(groups), 'group')} of {side} characters that look alike: each is a symbol of its own",
                tuple(" and ".join(f"{name_of(c)} ({self._places(c)})" for c in group) for group in groups[:EXAMPLES]),
            )
        controls = sorted(filter(is_control, self._characters))
        if controls:
            yield Finding(
                f"{side} control characters",
                sum(self._characters[c] for c in controls),
                False,
                f"{plural(len(controls), f'{side} character')} that cannot be seen, or that stand for unreadable ones",
                tuple(f"{name_of(c)}, {self._places(c)}" for c in controls[:EXAMPLES]),
            )
        for kind, message in (
            ("decomposed", "not in the normal form NFC; training reads them in that of symbols.normalize"),
            ("outer spaces", "with spaces before or after the text; they are not read"),
        ):
            if self._counted[kind]:
                yield Finding(
                    f"{side}s: {kind}",
                    self._counted[kind],
                    False,
                    f"{plural(self._counted[kind], side)} {message}",
                    tuple(map(where, self._marked[kind])),
                )

    def _places(self, character: str) -> str:
        """Return how often a character occurs, and its first line."""
        return f"{plural(self._characters[character], 'time')}, line {self._first[character]}"

    def _symbol_findings(self) -> Iterator[Finding]:
        """Yield the symbols that occur once, or of a dev or test file those that training does not see."""
        side, limit = self.side, "" if len(self._symbols) < MOST_SYMBOLS else f" (of the first {MOST_SYMBOLS:,})"
        if self._is_known is None:
            kind, found = "rare", [symbol for symbol, number in self._symbols.items() if number == 1]
            message = f"occur{'s' * (len(found) == 1)} once{limit}: too seldom to learn"
        else:
            kind, found = "unknown", [symbol for symbol in self._symbols if not self._is_known(symbol)]
            message = f"{'is' if len(found) == 1 else 'are'} not among those of the training file{limit}"
        if found:
            yield Finding(
                f"{kind} {side} symbols",
                len(found),
                False,
                f"{plural(len(found), f'{side} symbol')} of {len(self._symbols):,} {message}",
                tuple(f"{_shown(symbol)}, line {self._first_symbols[symbol]}" for symbol in found[:EXAMPLES]),
            )

    def lines(self) -> set[int]:
        """Return the lines whose texts `findings` may show."""
        return {-line for _, line in self._longest}.union(*self._marked.values())


def keep_largest(heap: list[Any], item: Any) -> None:
    """Add an item to a heap that keeps the `EXAMPLES` largest ones."""
    if len(heap) < EXAMPLES:
        heapq.heappush(heap, item)
    elif item > heap[0]:
        heapq.heapreplace(heap, item)


def _shown(symbol: str) -> str:
    return name_of(symbol) if len(symbol) == 1 else repr(shorten(symbol, 40))
