"""Find truncated files of sound, which libsndfile reads as far as they go, without an error.

WAV, AIFF and AU files begin with the number of bytes of sound. FLAC needs no such check, since its reader refuses a
part of a file. Not found: MP3, Ogg and Opus files that end too early.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Literal

UNKNOWN = 0x7FFF0000
"""From this size on, and for 0, the number of bytes was not known when the header of a stream was written."""
SLACK = 64  # bytes; some programs count the header, too

_CHUNKED: dict[bytes, tuple[Literal["little", "big"], bytes]] = {
    b"RIFF": ("little", b"data"),
    b"RF64": ("little", b"data"),
    b"RIFX": ("big", b"data"),
    b"FORM": ("big", b"SSND"),
}
"""The first four bytes of a file of chunks → the order of the bytes of a number, and the name of the chunk of sound."""
_ORDERS: dict[bytes, Literal["little", "big"]] = {b".snd": "big", b"dns.": "little"}


def check_is_whole(path: str | Path) -> None:
    """Raise ValueError if a file has fewer bytes of sound than its header says.

    Args:
        path: a file of sound; other formats than WAV, AIFF and AU are not checked.
    """
    with open(path, "rb") as file:
        wanted = _bytes_of_sound(file)
        found = os.fstat(file.fileno()).st_size - file.tell()
    if wanted is not None and found + SLACK < wanted:
        raise ValueError(f"cut off: wanted {wanted:,} bytes of sound, as its header says, got {found:,}")


def _bytes_of_sound(file: BinaryIO) -> int | None:
    """Return the bytes of sound by the header, before which the file is left; None if they are unknown."""
    kind = file.read(4)
    if kind in _ORDERS:
        start, size = (int.from_bytes(file.read(4), _ORDERS[kind]) for _ in range(2))
        file.seek(start)
        return _known(size)
    if kind not in _CHUNKED:
        return None
    order, wanted = _CHUNKED[kind]
    file.seek(12)
    long_size = None  # of 64 bits
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], order)
        if head[:4] == wanted:
            return long_size or _known(size)
        start = file.tell()
        if head[:4] == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], order)
        file.seek(start + size + size % 2)
    return None


def _known(size: int) -> int | None:
    return size if 0 < size < UNKNOWN else None
