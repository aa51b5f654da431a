"""Store rows of unequal length in two flat `.npy` files, and read some of the rows without mapping the files.

NAME.values.npy holds the values of all rows, one row after the other; NAME.offsets.npy holds the position at which
each row begins, and the end of the last one. `numpy.load` reads both. Writing and reading take the same memory for any
number of rows. A mapped file that another program cuts off would end the process that reads it; here it is a RunError.
"""

from __future__ import annotations

import os
import threading
import weakref
from array import array
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from peephole.errors import RunError

HEADER_BYTES = 128  # reserved at the start of a file; the number of values is known only at the end
OFFSETS_BUFFERED = 1 << 12
VALUES_READ = 1 << 20  # together, when all are counted
OFFSETS_READ = 1 << 12  # together: one read serves all rows of a window that are near each other
# NumPy reads a header by `ast.literal_eval`, which can fail in two threads at once (CPython, gh-106905)
_one_header_at_a_time = threading.Lock()

Integers = NDArray[np.int64]


class Spans(NamedTuple):
    """The positions of N rows in the values of a column.

    Attributes:
        starts: (N,), the position of each row's first value.
        lengths: (N,), the number of its values.
    """

    starts: Integers
    lengths: Integers

    def take(self, rows: Integers) -> Spans:
        """Return the spans of some of the rows."""
        return Spans(self.starts[rows], self.lengths[rows])


def file_names(name: str) -> tuple[str, str]:
    """Return the names of the files of a column: values, offsets.

    >>> file_names("source")
    ('source.values.npy', 'source.offsets.npy')
    """
    return f"{name}.values.npy", f"{name}.offsets.npy"


class ColumnWriter:
    """Write rows one by one to two files opened for writing.

    Args:
        values: the file for the values.
        offsets: the file for the offsets.
        dtype: number format of the values.
        width: F, if each value is a vector of F numbers; None if it is a single number.
    """

    def __init__(self, values: BinaryIO, offsets: BinaryIO, dtype: DTypeLike, width: int | None = None) -> None:
        self._values, self._offsets = values, offsets
        self._dtype, self._width = np.dtype(dtype), width
        self._num_rows = self._num_values = 0
        self._buffer = array("q", [0])
        for file in (values, offsets):
            file.write(bytes(HEADER_BYTES))

    def append(self, values: bytes, length: int) -> None:
        """Write a row of `length` values, given as the bytes of its numbers."""
        self._values.write(values)
        self._num_rows += 1
        self._num_values += length
        self._buffer.append(self._num_values)
        if len(self._buffer) == OFFSETS_BUFFERED:
            self._flush()

    def finish(self) -> None:
        """Write what is buffered, and the headers."""
        self._flush()
        shape = (self._num_values,) if self._width is None else (self._num_values, self._width)
        _write_header(self._values, self._dtype, shape)
        _write_header(self._offsets, np.dtype(np.int64), (self._num_rows + 1,))

    def _flush(self) -> None:
        self._offsets.write(self._buffer)
        self._buffer = array("q")


class Column:
    """Rows of unequal length, read from the files that a `ColumnWriter` wrote.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> values, offsets = file_names("source")
    >>> with open(folder / values, "wb") as first, open(folder / offsets, "wb") as second:
    ...     writer = ColumnWriter(first, second, np.int32)
    ...     for row in ([5, 6], [7], [8, 9]):
    ...         writer.append(np.array(row, np.int32).tobytes(), len(row))
    ...     writer.finish()
    >>> column = Column(folder, "source")
    >>> [row.tolist() for row in column.rows(column.spans(np.array([2, 0])))], len(column), column.num_values
    ([[8, 9], [5, 6]], 3, 5)
    """

    def __init__(self, folder: Path, name: str) -> None:
        values, offsets = file_names(name)
        self._values, self._offsets = _ArrayFile(folder / values), _ArrayFile(folder / offsets)

    def __len__(self) -> int:
        return self._offsets.length - 1

    @property
    def num_values(self) -> int:
        """Return the number of values of all rows together."""
        return self._values.length

    def spans(self, indices: Integers) -> Spans:
        """Return the spans of the rows of these indices.

        Raises:
            RunError: a file has changed its size since it was opened, or cannot be read.
        """
        for file in (self._values, self._offsets):
            file.check_size()
        starts, lengths = np.empty_like(indices), np.empty_like(indices)
        by_index = np.argsort(indices)
        blocks = indices[by_index] // OFFSETS_READ
        cuts = np.flatnonzero(np.diff(blocks)) + 1
        for part in np.split(by_index, cuts) if len(indices) else []:
            rows = indices[part]
            first = int(rows[0]) // OFFSETS_READ * OFFSETS_READ
            offsets = self._offsets.read([first], [min(OFFSETS_READ, len(self) - first) + 1])
            rows -= first
            starts[part] = offsets[rows]
            lengths[part] = offsets[rows + 1] - offsets[rows]
        return Spans(starts, lengths)

    def count(self, number: int) -> int:
        """Return how many values are a number; of values that are several numbers, (F,), how many begin with it.

        Raises:
            RunError: the file has been cut off, or cannot be read.
        """
        found = 0
        for start in range(0, self.num_values, VALUES_READ):
            values = self._values.read([start], [min(VALUES_READ, self.num_values - start)])
            found += int(np.count_nonzero((values if values.ndim == 1 else values[:, 0]) == number))
        return found

    def rows(self, spans: Spans) -> list[NDArray[Any]]:
        """Return the values of each of these rows, (T,) or (T, F); they may not be written to.

        Raises:
            RunError: the file has been cut off, or cannot be read.
        """
        values = self._values.read(spans.starts.tolist(), spans.lengths.tolist())
        ends = np.cumsum(spans.lengths)
        return [values[i:j] for i, j in zip((ends - spans.lengths).tolist(), ends.tolist(), strict=True)]


class _ArrayFile:
    """An open `.npy` file; parts of it are read at any position."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            with _one_header_at_a_time:
                shape, _, self._dtype = np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
        self.length, self._inner = shape[0], shape[1:]
        self._item_bytes = self._dtype.itemsize * int(np.prod(self._inner, dtype=np.int64))
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def __copy__(self) -> _ArrayFile:
        return self  # a copy's number of the open file would outlive it

    def __deepcopy__(self, memo: object) -> _ArrayFile:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self._path} is an open file of this process and cannot be pickled; open its folder again")

    def check_size(self) -> None:
        """Raise a RunError if the file is not as long as its header says."""
        wanted, got = self._start + self.length * self._item_bytes, os.fstat(self._descriptor).st_size
        if got != wanted:
            raise RunError(f"{self._path}: has changed while it was used: wanted {wanted} bytes, got {got}")

    def read(self, starts: list[int], lengths: list[int]) -> NDArray[Any]:
        """Return the values of some parts of the file, one part after the other."""
        descriptor, first, size = self._descriptor, self._start, self._item_bytes
        try:
            # Not preadv into one array, which takes half as long again for short rows
            parts = [os.pread(descriptor, n * size, first + i * size) for i, n in zip(starts, lengths, strict=True)]
        except OSError as error:
            raise RunError(f"{self._path}: cannot be read: {error.strerror or error}") from error
        data = b"".join(parts)
        if len(data) != size * sum(lengths):
            self.check_size()
            raise RunError(f"{self._path}: has changed while it was used: wanted {size * sum(lengths)} bytes there")
        return np.frombuffer(data, self._dtype).reshape(-1, *self._inner)


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write the header of the format's version 1.0 into the bytes reserved for it; the file is left at its end."""
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}).encode()
    start = np.lib.format.magic(1, 0) + (HEADER_BYTES - 10).to_bytes(2, "little")
    file.seek(0)
    file.write(start + text.ljust(HEADER_BYTES - len(start) - 1) + b"\n")
    file.seek(0, os.SEEK_END)
