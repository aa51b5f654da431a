"""Write the files of an export, all of them or none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from peephole.errors import RunError
from peephole.storage.outputs import check_output
from peephole.storage.replace_file import replace_files


def write_files(folder: Path, contents: Mapping[str, bytes], models: Iterable[str | Path]) -> list[Path]:
    """Write files, named with their contents; older ones are replaced only after all were written to disk.

    Args:
        folder: where to write them.
        contents: name → content of each file.
        models: the files that are exported, which must not be replaced.

    Raises:
        ConfigError: a file would replace one of `models`.
        RunError: they cannot be written; older files are unchanged.
    """
    files = {folder / name: content for name, content in contents.items()}
    read = [("the model's own", model) for model in models]
    for path in files:
        check_output(path, "file", read)
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
