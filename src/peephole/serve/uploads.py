"""Sources that are uploaded files: sound, images, numbers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from peephole.data.files import SUFFIXES
from peephole.errors import DataError
from peephole.model import Model
from peephole.model.frame_sources import read_frame_source
from peephole.serve.context import Context
from peephole.serve.refusal import RefusalError, without_folders
from peephole.serve.schema import parse
from peephole.symbols import FrameSymbols

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What pillow may read, whatever a file is called: for PostScript it would run Ghostscript."""
MOST_POINTS = 25_000_000  # of an image; decoding takes three bytes for each
NOT_UPLOADED = (".parquet",)  # some bytes of it may stand for gigabytes
_reader = ThreadPoolExecutor(1, "peephole-reader")
"""Decodes one file at a time, so that the memory of all uploads together is that of one."""


@dataclass(frozen=True)
class Upload:
    """The files of a request and its settings.

    Attributes:
        names: the files' names as the client gave them, without folders.
        contents: their bytes.
        settings: a `Requests.Settings`.
    """

    names: list[str]
    contents: Sequence[bytes]
    settings: Any

    async def frames(self, model: Model) -> list[Any]:
        """Return the frames of each file, as `peephole predict` reads them.

        Raises:
            RefusalError: 422, a file is not what the model reads.
        """
        loop = asyncio.get_running_loop()
        return [
            await loop.run_in_executor(_reader, _decode, model, name, content)
            for name, content in zip(self.names, self.contents, strict=True)
        ]


async def read_upload(request: Request, context: Context) -> Upload:
    """Read a multipart request.

    Raises:
        RefusalError: 413 for too many files, 422 for a malformed request or one without files.
    """
    most = context.limits.max_batch
    try:
        async with request.form(max_files=most + 1, max_fields=2, max_part_size=context.limits.max_body) as form:
            files = [value for value in form.getlist("file") if isinstance(value, UploadFile)]
            unknown = [name for name in form if name not in ("file", "settings")]
            settings = form.get("settings", "{}")
            contents = [await file.read() for file in files]
    except HTTPException as error:  # of the parser
        raise RefusalError(422, f"body: {error.detail}") from None
    if unknown:
        raise RefusalError(422, f"wanted the fields file and settings, got {unknown[0]!r}")
    if not files or not isinstance(settings, str):
        raise RefusalError(422, "wanted files in the field file and JSON in the field settings")
    if len(files) > most:
        raise RefusalError(413, f"file: wanted at most {most} files (max_batch)")
    names = [PurePosixPath(file.filename or "file").name for file in files]
    return Upload(names, contents, parse(context.requests.Settings, settings.encode()))


def _decode(model: Model, name: str, content: bytes) -> Any:
    how = model.source_symbols
    assert isinstance(how, FrameSymbols)
    suffix = PurePosixPath(name).suffix.lower()
    taken = [known for known, kind in SUFFIXES.items() if kind == how.kind and known not in NOT_UPLOADED]
    if suffix not in taken:
        wanted = ", ".join(taken)
        raise RefusalError(422, f"{name}: wanted a file of {how.kind} ({wanted})")
    with tempfile.TemporaryDirectory(prefix="peephole-") as folder:
        path = Path(folder, f"file{suffix}")
        path.write_bytes(content)
        if how.kind == "image":
            _check_image(path, name)
        try:
            return read_frame_source(how, path, model.config.frames.max_frames + 1)[0]
        except DataError as error:
            raise RefusalError(422, without_folders(str(error)).replace(path.name, name, 1)) from None


def _check_image(path: Path, name: str) -> None:
    """Check that a file is an image of one of the formats, and limit the points of all images.

    Raises:
        RefusalError: 422, it is something else.
    """
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = MOST_POINTS // 2  # Pillow refuses twice as many
    try:
        Image.open(path, formats=IMAGE_FORMATS).close()
    except UnidentifiedImageError:
        raise RefusalError(422, f"{name}: wanted an image, one of {', '.join(IMAGE_FORMATS)}") from None
    except Exception:  # pillow's others, such as too many points, which `read_frame_source` reports
        return
