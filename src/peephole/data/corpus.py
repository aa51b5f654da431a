"""Store encoded pairs in flat files, so that memory does not bound the size of a corpus.

Building and reading take the same memory for any number of pairs.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from peephole.data.columns import Column, ColumnWriter, Integers, Spans, file_names
from peephole.data.read import Pair, Report
from peephole.storage.replace_file import replace_files
from peephole.symbols import Symbols, encode_pair

FILE_NAMES = (*file_names("source"), *file_names("target"))

Rows = list[NDArray[Any]]


class Located(NamedTuple):
    """The positions of N pairs in the files of a corpus: without EOS on either side."""

    source: Spans
    target: Spans

    def take(self, rows: Integers) -> Located:
        """Return the positions of some of the pairs."""
        return Located(self.source.take(rows), self.target.take(rows))


class Corpus:
    """Pairs as ids, without BOS and EOS, or frames as sources, read from a folder that `build` wrote.

    >>> import tempfile
    >>> from peephole.symbols import CharacterSymbols
    >>> letters, folder = CharacterSymbols(["a", "b"], "NFC"), tempfile.mkdtemp()
    >>> pairs = [Pair("ab", "b", 1), Pair("b", "ba", 2)]
    >>> corpus = Corpus.build(pairs, letters, letters, folder, max_length=10, report=Report("train.tsv"))
    >>> sources, targets = corpus.pairs([1, 0])
    >>> [ids.tolist() for ids in sources], corpus.num_target_symbols
    ([[5], [4, 5]], 5)
    """

    def __init__(self, source: Column, target: Column) -> None:
        self._source, self._target = source, target

    @classmethod
    def open(cls, folder: str | Path) -> Corpus:
        """Open a corpus that `build` wrote into this folder."""
        return cls(Column(Path(folder), "source"), Column(Path(folder), "target"))

    @classmethod
    def build(
        cls,
        pairs: Iterable[Pair],
        source_symbols: Symbols,
        target_symbols: Symbols,
        folder: str | Path,
        *,
        max_length: int,
        report: Report,
        copying: bool = False,
    ) -> Corpus:
        """Encode pairs into a folder; if this is interrupted, the folder keeps its previous corpus.

        Pairs with more than `max_length` symbols on a side are left out and counted in the report. For a model that
        copies, each value of a source is two ids: the one read, and that of its copy.
        """

        def rows() -> Iterator[tuple[bytes, int, list[int]]]:
            for source, target, line in pairs:
                numbers: Any
                if copying:
                    ids, target_ids = encode_pair(source, target, source_symbols, target_symbols)
                    numbers = np.array(ids, np.int32)
                else:
                    numbers, target_ids = array("i", source_symbols.encode(source)), target_symbols.encode(target)
                if len(numbers) > max_length or len(target_ids) > max_length:
                    report.leave_out(f"longer than {max_length} symbols", line)
                    continue
                yield numbers.tobytes(), len(numbers), target_ids

        return cls.write(rows(), folder, np.int32, 2 if copying else None)

    @classmethod
    def write(
        cls,
        rows: Iterable[tuple[bytes, int, list[int]]],
        folder: str | Path,
        dtype: DTypeLike,
        width: int | None = None,
    ) -> Corpus:
        """Write pairs into a folder; if this is interrupted, the folder keeps its previous corpus.

        Args:
            rows: for each pair the numbers of its source as bytes, the length of the source, and the target ids.
            folder: where the files are written.
            dtype: number format of the sources.
            width: F, if a source is frames of F numbers; 2 for a model that copies; None for ids.
        """
        with replace_files([Path(folder) / name for name in FILE_NAMES]) as files:
            source_column = ColumnWriter(files[0], files[1], dtype, width)
            target_column = ColumnWriter(files[2], files[3], np.int32)
            for source, length, target_ids in rows:
                source_column.append(source, length)
                target_column.append(array("i", target_ids).tobytes(), len(target_ids))
            source_column.finish()
            target_column.finish()
        return cls.open(folder)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def num_source_symbols(self) -> int:
        """Return the number of source symbols, or frames."""
        return self._source.num_values

    @property
    def num_target_symbols(self) -> int:
        """Return the number of target symbols, one EOS a pair included."""
        return len(self) + self._target.num_values

    def num_ids(self, side: str) -> int:
        """Return the number of ids of a side, "source" or "target", without EOS."""
        return self._column(side).num_values

    def count_ids(self, side: str, symbol: int) -> int:
        """Return how often an id occurs on a side, "source" or "target"."""
        return self._column(side).count(symbol)

    def _column(self, side: str) -> Column:
        return {"source": self._source, "target": self._target}[side]

    def locate(self, indices: Integers) -> Located:
        """Return the positions of these pairs, which also hold the number of symbols of each side.

        Raises:
            RunError: a file has changed its size since it was opened, or cannot be read.
        """
        return Located(self._source.spans(indices), self._target.spans(indices))

    def read(self, located: Located) -> tuple[Rows, Rows]:
        """Return the source ids, or frames (T, F), and the target ids (without EOS) of located pairs.

        Raises:
            RunError: a file has been cut off, or cannot be read.
        """
        return self._source.rows(located.source), self._target.rows(located.target)

    def targets(self, spans: Spans) -> Rows:
        """Return the target ids (without EOS) of located pairs; errors as `read`."""
        return self._target.rows(spans)

    def pairs(self, indices: Integers | list[int]) -> tuple[Rows, Rows]:
        """Return the source ids and the target ids (without EOS) of each of these pairs; errors as `read`."""
        return self.read(self.locate(np.asarray(indices, dtype=np.int64)))
