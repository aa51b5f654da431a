"""Write the files of an export, all of them or none."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from peephole.errors import RunError
from peephole.storage.replace_file import replace_files


def write_files(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files, named with their contents; older ones are replaced only after all were written to disk.

    Raises:
        RunError: they cannot be written; older files are unchanged.
    """
    files = {folder / name: content for name, content in contents.items()}
    made = not folder.exists()
    try:
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder}: cannot be written: wanted a folder or nothing there, got a file")
        folder.mkdir(exist_ok=True)
        with replace_files(list(files)) as opened:
            for file, content in zip(opened, files.values(), strict=True):
                file.write(content)
    except (OSError, RunError) as error:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, RunError):
            raise
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return list(files)
