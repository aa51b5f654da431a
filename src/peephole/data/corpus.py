"""Store encoded pairs in a memory-mapped Arrow file, so that memory does not bound the size of a corpus.

Building and reading take the same memory for any number of pairs.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from peephole.data.read import Pair, Report
from peephole.storage.replace_file import replace_file
from peephole.symbols import Symbols

FILE_NAME = "pairs.arrow"
ROWS = 1 << 13  # pairs in a record batch of the file; only the last has fewer
MOST_RESIDENT = 1 << 28  # bytes of the file that may be resident in this process
READ_AROUND = 1 << 16  # bytes that the system maps around each address read

_LIST = pa.large_list(pa.int32())
_SCHEMA = pa.schema([("source", _LIST), ("target", _LIST)])


class _Ragged(NamedTuple):
    """One column of a record batch, as views of the mapped file: row r is values[offsets[r]:offsets[r + 1]]."""

    offsets: NDArray[np.int64]
    values: NDArray[np.int32]


class Corpus:
    """Pairs as ids, without BOS and EOS, read from a folder that `build` wrote.

    >>> import tempfile
    >>> from peephole.symbols import CharacterSymbols
    >>> letters, folder = CharacterSymbols(["a", "b"], "NFC"), tempfile.mkdtemp()
    >>> pairs = [Pair("ab", "b", 1), Pair("b", "ba", 2)]
    >>> corpus = Corpus.build(pairs, letters, letters, folder, max_length=10, report=Report("train.tsv"))
    >>> sources, targets = corpus.pairs([1, 0])
    >>> [ids.tolist() for ids in sources], corpus.num_target_symbols
    ([[5], [4, 5]], 5)
    """

    def __init__(self, mapped: mmap.mmap) -> None:
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
        self._mapped = mapped
        self._sources: list[_Ragged] = []
        self._targets: list[_Ragged] = []
        self._size = 0
        for i in range(reader.num_record_batches):
            records = reader.get_batch(i)
            self._sources.append(_views(records.column(0)))
            self._targets.append(_views(records.column(1)))
            self._size += records.num_rows
        self._num_target_symbols = self._size + sum(int(column.offsets[-1]) for column in self._targets)
        self._resident = 0  # bytes, at most
        self._release_pages(2 * reader.num_record_batches)

    @classmethod
    def open(cls, folder: str | Path) -> Corpus:
        """Map a corpus that `build` wrote into this folder."""
        with open(Path(folder) / FILE_NAME, "rb") as file:
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

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
    ) -> Corpus:
        """Encode pairs into a folder; if this is interrupted, the folder keeps its previous corpus.

        Pairs with more than `max_length` symbols on a side are left out and counted in the report.
        """
        sources, targets = _Column(), _Column()
        with replace_file(Path(folder) / FILE_NAME) as file, pa.ipc.new_file(file, _SCHEMA) as writer:
            for source, target, line in pairs:
                source_ids, target_ids = source_symbols.encode(source), target_symbols.encode(target)
                if len(source_ids) > max_length or len(target_ids) > max_length:
                    report.leave_out(f"longer than {max_length} symbols", line)
                    continue
                sources.append(source_ids)
                targets.append(target_ids)
                if len(sources) == ROWS:
                    writer.write_batch(pa.record_batch([sources.take(), targets.take()], schema=_SCHEMA))
            if len(sources):
                writer.write_batch(pa.record_batch([sources.take(), targets.take()], schema=_SCHEMA))
        return cls.open(folder)

    def __len__(self) -> int:
        return self._size

    @property
    def num_target_symbols(self) -> int:
        """Return the number of target symbols, one EOS a pair included."""
        return self._num_target_symbols

    def source_lengths(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of source symbols of each of these pairs."""
        return self._lengths(self._sources, indices)

    def target_lengths(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of target symbols, without EOS, of each of these pairs."""
        return self._lengths(self._targets, indices)

    def pairs(self, indices: NDArray[np.int64] | list[int]) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
        """Return the source ids and the target ids (without EOS) of each of these pairs."""
        sources: list[NDArray[np.int32]] = []
        targets: list[NDArray[np.int32]] = []
        for index in np.asarray(indices, dtype=np.int64).tolist():
            record, row = divmod(index, ROWS)
            for rows, column in ((sources, self._sources[record]), (targets, self._targets[record])):
                rows.append(column.values[column.offsets[row] : column.offsets[row + 1]].copy())
        self._release_pages(4 * len(sources))
        return sources, targets

    def _lengths(self, columns: list[_Ragged], indices: NDArray[np.int64]) -> NDArray[np.int64]:
        record, row = np.divmod(np.asarray(indices, dtype=np.int64), ROWS)
        lengths = np.empty(len(record), dtype=np.int64)
        by_record = np.argsort(record, kind="stable")
        records, starts = np.unique(record[by_record], return_index=True)
        for number, selected in zip(records.tolist(), np.split(by_record, starts[1:]), strict=False):
            offsets, rows = columns[number].offsets, row[selected]
            lengths[selected] = offsets[rows + 1] - offsets[rows]
        self._release_pages(len(lengths))
        return lengths

    def _release_pages(self, num_reads: int) -> None:
        """Release the resident pages of a large file after a number of reads, to bound resident memory.

        The system caches the pages while memory is free. Reading one again takes 10 µs, which a small file avoids.
        """
        self._resident += num_reads * READ_AROUND
        if min(self._resident, len(self._mapped)) > MOST_RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)
            self._resident = 0


def _views(column: pa.LargeListArray) -> _Ragged:
    return _Ragged(column.offsets.to_numpy(), column.values.to_numpy())


class _Column:
    """Rows of ids that become one column of a record batch."""

    def __init__(self) -> None:
        self._offsets, self._values = array("q", [0]), array("i")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def append(self, ids: list[int]) -> None:
        self._values.fromlist(ids)
        self._offsets.append(len(self._values))

    def take(self) -> pa.LargeListArray:
        """Return the rows as an Arrow array and clear them."""
        offsets, values = np.frombuffer(self._offsets, np.int64), np.frombuffer(self._values, np.int32)
        taken = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
        self._offsets, self._values = array("q", [0]), array("i")
        return taken
