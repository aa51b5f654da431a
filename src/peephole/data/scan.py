"""Read a file of pairs once and count what a person would want to know before training on it, in bounded memory."""

from __future__ import annotations

import heapq
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from peephole.data.hash_sample import MOST_NUMBERS, HashSample
from peephole.data.read import Pair
from peephole.data.side_scan import EXAMPLES, Finding, SideScan, fences, keep_largest, quantile
from peephole.data.split import source_hash
from peephole.errors import plural, shorten

MOST_TARGETS = 100  # of one source that are compared


class PairScan:
    """Counts pairs: duplicates, sources with several targets, ratios of lengths, and the texts of both sides.

    Args:
        source: counts the sources; None: they are names of files, or there are none.
        target: counts the targets.
        most: numbers held for the comparison of pairs; beyond them counts are estimated from a sample.
    """

    def __init__(self, source: SideScan | None, target: SideScan, most: int = MOST_NUMBERS) -> None:
        self.source, self.target = source, target
        self.num_pairs = 0
        self.sources = HashSample(most)  # of each target: its hash, its first line, and how often the pair occurs
        self.folded = HashSample(most)  # the hashes of the sources that are equal but for case and spaces
        self._repeated: list[tuple[int, int]] = []
        self._ratios: Counter[int] = Counter()
        self._extremes: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])

    def add_raw(self, source: str, target: str, line: int) -> None:
        """Count the texts of a pair as the file has them."""
        if self.source is not None:
            self.source.add_raw(source, line)
        self.target.add_raw(target, line)

    def add(self, pair: Pair) -> None:
        """Count a pair as it is read."""
        source, target, line = pair
        self.num_pairs += 1
        self._compare(source, target, line)
        self.target.add(target, line)
        if self.source is not None:
            self.source.add(source, line)
            ratio = round(100 * math.log((len(target) + 1) / (len(source) + 1)))
            self._ratios[ratio] += 1
            keep_largest(self._extremes[0], (ratio, -line))
            keep_largest(self._extremes[1], (-ratio, -line))

    def _compare(self, source: str, target: str, line: int) -> None:
        """Compare a pair with those before it, if it is in the samples."""
        known = self.sources.numbers(source)
        if known is not None:
            hash_value = source_hash(target)
            if hash_value in known:
                place = known.index(hash_value)
                known[place + 2] += 1
                if len(self._repeated) < EXAMPLES:
                    self._repeated.append((line, known[place + 1]))
                return
            if len(known) < 3 * MOST_TARGETS:
                known += (hash_value, line, 1)
                self.sources.count_added(3)
        folded = self.folded.numbers(fold(source))
        if folded is not None and len(folded) < MOST_TARGETS and (hash_value := source_hash(source)) not in folded:
            folded.append(hash_value)
            self.folded.count_added(1)

    def lines(self) -> set[int]:
        """Return the lines whose texts `findings` may show."""
        found = {line for pair in self._repeated for line in pair}
        found |= {-line for side in self._extremes for _, line in side}
        found |= {line for lines in self._several() for line in lines[:EXAMPLES]}
        return found | self.target.lines() | (set() if self.source is None else self.source.lines())

    def _several(self) -> list[list[int]]:
        """Return the lines of the targets of some sources with several, the first in the file first."""
        several = (known[1::3] for known in self.sources.values.values() if len(known) > 3)
        return heapq.nsmallest(EXAMPLES, several)

    def findings(self, texts: Mapping[int, tuple[str, str]]) -> Iterator[Finding]:
        """Yield what was found.

        Args:
            texts: the source and the target of each of `lines`.
        """

        def where(line: int) -> str:
            return f"line {line}: {shown_pair(*texts[line])}"

        share, known = self.sources.share, self.sources.values.values()
        repeats = sum(count - 1 for numbers in known for count in numbers[2::3])
        if repeats:
            count, about = scaled(repeats, share)
            yield Finding(
                "duplicates",
                count,
                bool(about),
                f"{about}{plural(count, 'pair')} of {self.num_pairs:,} repeat{'s' * (count == 1)} an earlier one",
                tuple(
                    f"line {line} repeats line {first}: {shown_pair(*texts[line])}" for line, first in self._repeated
                ),
            )
        several = sum(len(numbers) > 3 for numbers in known)
        if several:
            count, about = scaled(several, share)
            yield Finding(
                "sources with several targets",
                count,
                bool(about),
                f"{about}{plural(count, 'source')} with several targets; training learns from all of them, and "
                "evaluation takes them as references",
                tuple(_shown_targets(lines, texts) for lines in self._several()),
            )
        yield from self._ratio_findings(where)
        if self.source is not None:
            yield from self.source.findings(where)
        yield from self.target.findings(where)

    def _ratio_findings(self, where: Callable[[int], str]) -> Iterator[Finding]:
        if not self._ratios:
            return
        low, high = fences(self._ratios, lambda ratio: ratio / 100)
        count = sum(count for ratio, count in self._ratios.items() if not low <= ratio / 100 <= high)
        if count:
            shown = [(ratio, -line) for ratio, line in sorted(self._extremes[0], reverse=True) if ratio / 100 > high]
            shown += [(-ratio, -line) for ratio, line in sorted(self._extremes[1], reverse=True) if -ratio / 100 < low]
            usual = math.exp(quantile(self._ratios, 0.5) / 100)
            yield Finding(
                "ratios of lengths",
                count,
                False,
                f"{plural(count, 'pair')} whose target is far longer or shorter than usual beside its source (usual: "
                f"{usual:.2g} times as long)",
                tuple(where(line) for _, line in shown[:EXAMPLES]),
            )


def fold(text: str) -> str:
    """Return a text without differences of case, of spaces and of Unicode's compatibility forms.

    >>> fold("New  YORK") == fold(" new york ")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def scaled(count: int, share: float) -> tuple[int, str]:
    """Return a count in a sample scaled to the whole, and "about " if it is an estimate.

    >>> scaled(3, 1.0), scaled(3, 0.25)
    ((3, ''), (12, 'about '))
    """
    return (count, "") if share == 1 else (round(count / share), "about ")


def shown_pair(source: str, target: str) -> str:
    """Return a pair as an example shows it."""
    return f"{shorten(source, 40)!r} → {shorten(target, 40)!r}"


def _shown_targets(lines: list[int], texts: Mapping[int, tuple[str, str]]) -> str:
    source = texts[lines[0]][0]
    targets = [f"{shorten(texts[line][1], 40)!r} (line {line})" for line in lines[:EXAMPLES]]
    more = f" and {len(lines) - EXAMPLES} more" if len(lines) > EXAMPLES else ""
    return f"{shorten(source, 40)!r} → {', '.join(targets)}{more}"
