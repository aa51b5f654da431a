"""Check the files of sound, images or numbers that the sources of a manifest name."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from peephole.config import Config
from peephole.data.files import named_file
from peephole.data.frames import STEP_SECONDS, read_frames
from peephole.data.manifest import frame_symbols
from peephole.data.read import Pair
from peephole.data.side_scan import EXAMPLES, Finding, Lengths, keep_largest
from peephole.errors import DataError, plural

UNITS = {"sound": "seconds", "image": "points of width", "numbers": "rows"}
READ_AHEAD = 16  # files


class SourceFiles:
    """Reads the file of each pair, several at a time, and counts lengths, missing and damaged files.

    Args:
        manifest: the file that names them.
        config: all settings, with what the files hold.
    """

    def __init__(self, manifest: str, config: Config) -> None:
        self._manifest, self._config, self._how = manifest, config, frame_symbols(config)
        self.lengths: Counter[int] = Counter()
        self._longest: list[tuple[int, int, str]] = []
        self._problems: dict[str, list[str]] = {"missing": [], "damaged": [], "too long": [], "changed": []}
        self._counts: Counter[str] = Counter()
        self._pending: deque[tuple[Pair, Future[Any]]] = deque()
        self._executor = ThreadPoolExecutor()

    def add(self, pair: Pair) -> None:
        """Read the file of a pair."""
        path = named_file(pair.source, self._manifest)
        if not os.path.isfile(path):
            self._note("missing", pair, "no such file")
            return
        self._pending.append(
            (pair, self._executor.submit(read_frames, path, self._how, self._config.frames.max_frames))
        )
        if len(self._pending) >= READ_AHEAD:
            self._take()

    def finish(self) -> None:
        """Wait for the files that are still being read."""
        while self._pending:
            self._take()
        self._executor.shutdown()

    def _take(self) -> None:
        pair, future = self._pending.popleft()
        try:
            frames, is_longer, changes = future.result()
        except DataError as error:
            path = named_file(pair.source, self._manifest)
            self._note("damaged", pair, str(error).removeprefix(str(Path(path))).removeprefix(path).lstrip(":, "))
            return
        if is_longer:
            self._note("too long", pair, f"more than {self._config.frames.max_frames} frames")
        for change in changes:
            self._note("changed", pair, change)
        self.lengths[len(frames)] += 1
        keep_largest(self._longest, (len(frames), -pair.line, pair.source))

    def _note(self, kind: str, pair: Pair, reason: str) -> None:
        self._counts[kind] += 1
        if len(self._problems[kind]) < EXAMPLES:
            self._problems[kind].append(f"line {pair.line}: {pair.source}: {reason}")

    def measured(self) -> Lengths:
        """Return the lengths of the files that can be read."""
        return Lengths.of(self.lengths, UNITS[self._how.kind], STEP_SECONDS if self._how.kind == "sound" else 1)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found."""
        messages = {
            "missing": "missing",
            "damaged": "damaged, empty, or of another kind",
            "too long": "longer than frames.max_frames; training leaves them out",
            "changed": "changed when they are read",
        }
        for kind, message in messages.items():
            if self._counts[kind]:
                verb = "is" if self._counts[kind] == 1 else "are"
                text = f"{plural(self._counts[kind], 'file')} {verb} {message}"
                yield Finding(f"{kind} files", self._counts[kind], False, text, tuple(self._problems[kind]))
