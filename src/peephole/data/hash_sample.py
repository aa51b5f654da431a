"""A sample of keys in bounded memory: those with the lowest hashes, with all their occurrences."""

from __future__ import annotations

from collections.abc import Iterator

from peephole.data.split import HASHES, source_hash

MOST_NUMBERS = 500_000  # held by a sample; some 75 MB


class HashSample:
    """Lists of numbers by key, for the keys whose hashes lie below a bound that falls as numbers are added.

    Whether a key is in the sample does not depend on the order of the keys, so samples of two files hold the same of
    the keys that both have. Keys are stored as their 64-bit hashes: two different ones in a full sample are taken for
    equal with a probability below 10⁻⁷.

    Args:
        most: numbers that are held.

    >>> sample = HashSample(most=2)
    >>> for number, key in enumerate("abcd"):
    ...     numbers = sample.numbers(key)
    ...     if numbers is not None:
    ...         numbers.append(number)
    ...         sample.count_added(1)
    >>> len(sample.values) <= 2, sample.share < 1
    (True, True)
    """

    def __init__(self, most: int = MOST_NUMBERS) -> None:
        self.values: dict[int, list[int]] = {}
        self._most, self._held, self._bound = most, 0, HASHES

    @property
    def share(self) -> float:
        """The share of all keys that is in the sample; 1: all are."""
        return self._bound / HASHES

    def numbers(self, key: str) -> list[int] | None:
        """Return the list of a key, to which the caller may add; None for a key that is not sampled."""
        hash_value = source_hash(key)
        return None if hash_value >= self._bound else self.values.setdefault(hash_value, [])

    def count_added(self, count: int) -> None:
        """Take note of added numbers; if there are too many now, keep half of the keys."""
        self._held += count
        while self._held > self._most:
            self._bound //= 2
            self.values = {key: numbers for key, numbers in self.values.items() if key < self._bound}
            self._held = sum(map(len, self.values.values()))

    def common(self, other: HashSample) -> Iterator[tuple[list[int], list[int]]]:
        """Yield both lists of each key that both samples have; `common_share` of all keys is compared."""
        bound = min(self._bound, other._bound)
        for key, numbers in self.values.items():
            if key < bound and key in other.values:
                yield numbers, other.values[key]

    def common_share(self, other: HashSample) -> float:
        """Return the share of all keys that both samples have."""
        return min(self._bound, other._bound) / HASHES
