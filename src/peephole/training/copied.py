"""A model that a run needs from its beginning to its end, copied into the run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from peephole.data.stamp import file_digest
from peephole.errors import RunError
from peephole.storage.replace_file import replace_file


@dataclass(frozen=True)
class CopiedModel:
    """A model file, as run.json stores it."""

    model: str  # name of its file
    digest: str  # SHA-256 of its content

    def copy(self, path: Path) -> None:
        """Copy the model to a file.

        Raises:
            RunError: its file has changed since its digest was computed.
            OSError: it cannot be read, or the copy cannot be written.
        """
        with replace_file(path) as file:
            file.write(Path(self.model).read_bytes())
        if file_digest(path) != self.digest:
            raise RunError(f"{self.model}: has changed while it was read")

    def checked(self, path: Path) -> Path:
        """Return the copy's path.

        Raises:
            RunError: the copy is missing or damaged.
        """
        try:
            damaged = file_digest(path) != self.digest
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror or error}; the run began with it") from error
        if damaged:
            raise RunError(f"{path}: damaged: wanted the copy of {self.model} with which the run began")
        return path
