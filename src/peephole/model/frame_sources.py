"""Read sources of sound, images or numbers for a model: files, or arrays of frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peephole.errors import ArgumentError, shorten
from peephole.symbols import FrameSymbols

if TYPE_CHECKING:
    from peephole.data.frames import Frames


def read_frame_source(how: FrameSymbols, source: Any, longest: int) -> tuple[Frames, int, tuple[str, ...]]:
    """Return the frames of a source that the model reads, its length, and the conversions that reading it needed.

    The length of a file with more frames than are read is given as one more than these.

    Args:
        how: how the model reads sources.
        source: a file's name, or an array (T, F); an empty name is a source without frames.
        longest: the most frames that are read.

    Raises:
        DataError: the file cannot be read, or has no frames of the right size.
        ArgumentError: the source is neither, or an array of another shape.
    """
    import numpy as np

    from peephole.data.frames import check_frames, read_frames

    if isinstance(source, str) and not source:
        return check_frames("sources", np.zeros((0, how.size)), how), 0, ()
    if isinstance(source, (str, os.PathLike)):
        frames, is_longer, changes = read_frames(os.fspath(source), how, longest)
        return frames, len(frames) + is_longer, tuple(changes)
    array = np.asarray(source)
    if array.ndim != 2:
        raise ArgumentError(f"sources: wanted frames (T, {how.size}), got shape {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ArgumentError(f"sources: wanted frames of numbers, got an array of {array.dtype}")
    return check_frames("sources", array[:longest], how), len(array), ()


def check_frame_sources(how: FrameSymbols, given: Sequence[Any]) -> list[Any]:
    """Return sources, each the name of a file or an array of numbers.

    Raises:
        ArgumentError: one is something else.
    """
    for index, source in enumerate(given):
        if not isinstance(source, (str, os.PathLike)) and not hasattr(source, "__array__"):
            wanted = f"names of files of {how.kind}, or arrays of frames"
            raise ArgumentError(f"sources: wanted {wanted}, got {shorten(repr(source))} at index {index}")
    return list(given)
