"""Read and write a model as one file: tensors, and metadata with architecture, symbol tables, settings and versions.

The container is safetensors: loading it executes no code. Metadata of format version 3, which is written:

    format            peephole
    format_version    3
    architecture      JSON of `Architecture.to_dict`; read strictly, since the tensors' names and shapes follow from it
    source_symbols    JSON of `Symbols.to_json`
    target_symbols    likewise
    settings          JSON of `Config.to_dict` without the architecture: invalid values are ignored, with a note
    made              JSON of the versions of the libraries that made the model, read likewise
    checksum          CRC-32 of all other contents

Versions 1 and 2 have one entry `config`, the JSON of `Config.to_dict`, instead of `architecture`, `settings` and
`made`, and older names of tensors (`peephole.storage.names`); version 1 stores float32 only. In the others matrices are
float32, bfloat16 or int8, see `peephole.storage.quantization`.

Files are replaced atomically: a reader finds the old file or the new one, whole, also if the machine stops or the disk
fills up in between.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from peephole import __version__
from peephole.config import Config
from peephole.errors import ModelFileError
from peephole.nn import schema
from peephole.nn.schema import Architecture, TensorSpec, making_of_settings
from peephole.storage.contents import check_tensors, stored_format
from peephole.storage.header import FORMAT_VERSION, Header, check_exists, check_format, parse_header
from peephole.storage.names import current_name, old_name
from peephole.storage.quantization import BFLOAT16, Stored, Tensors, dequantize, number_format, quantize
from peephole.storage.replace_file import replace_file
from peephole.symbols import Symbols

CHECKSUM = "checksum"  # key of the metadata


@dataclass(frozen=True)
class ModelFile:
    """The contents of a model file."""

    tensors: Tensors
    """All in float32, also where the file stores fewer bits."""
    config: Config
    source_symbols: Symbols
    target_symbols: Symbols
    stored: Stored = "float32"
    """Number format of the matrices in the file."""
    made: Mapping[str, str] = field(default_factory=lambda: {"peephole": __version__})
    """Versions of the libraries that made the model, by name."""
    notes: tuple[str, ...] = ()
    """Information in the file that was read and is not used, one line each; not written."""

    @property
    def architecture(self) -> Architecture:
        """Return the architecture that the config describes."""
        return Architecture.of(self.config.model)


def save_model(path: str | Path, model: ModelFile) -> None:
    """Write a model file, replacing an older one atomically.

    Raises:
        RunError: the file cannot be written (no such folder, disk full, …); an older file is unchanged.
        ModelFileError: the tensors are not those of the model's architecture, or a weight cannot be stored in the
            number format; see `quantize`.
    """
    write_tensors(path, _stored_tensors(model), _metadata(model))


def encode_model(model: ModelFile) -> bytes:
    """Return the bytes of a model file; errors as in `save_model`."""
    return b"".join(_encode_with_checksum(_stored_tensors(model), _metadata(model)))


def _stored_tensors(model: ModelFile) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors in the number formats of the file."""
    specs = _specs(model)
    check_tensors(model.tensors, specs, "float32")
    return quantize(model.tensors, model.stored, specs)


def _specs(model: ModelFile | Header) -> dict[str, TensorSpec]:
    """Return names, shapes and roles of the model's tensors."""
    return schema.tensors(model.architecture, len(model.source_symbols), len(model.target_symbols))


def _metadata(model: ModelFile) -> dict[str, str]:
    settings = model.config.to_dict()
    settings["model"] = {key: settings["model"][key] for key in making_of_settings()}
    return {
        "format": "peephole",
        "format_version": str(FORMAT_VERSION),
        "architecture": json.dumps(model.architecture.to_dict()),
        "source_symbols": json.dumps(model.source_symbols.to_json(), ensure_ascii=False),
        "target_symbols": json.dumps(model.target_symbols.to_json(), ensure_ascii=False),
        "settings": json.dumps(settings),
        "made": json.dumps(dict(model.made)),
    }


def load_model(path: str | Path) -> ModelFile:
    """Read a model file.

    Raises:
        ModelFileError: the file is missing, is not a peephole model, is damaged, or is of a newer format; or it does
            not hold exactly the tensors of its architecture.
    """
    with _open(path) as file:
        version = check_format(path, file.metadata() or {})  # before the tensors are read
        found = _read_tensors(path, file)
        header = parse_header(path, file.metadata() or {})
    stored = stored_format(found) if version >= 2 else "float32"
    specs = _specs(header)
    if version < 3:
        specs = {old_name(name): spec for name, spec in specs.items()}
    try:
        check_tensors(found, specs, stored)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    whole = dequantize(found)
    if version < 3:
        whole = {current_name(name): tensor for name, tensor in whole.items()}
    tables = (header.source_symbols, header.target_symbols)
    return ModelFile(whole, header.config, *tables, stored, header.made, header.notes)


def write_tensors(path: str | Path, tensors: Tensors, metadata: Mapping[str, str], keep: Path | None = None) -> None:
    """Write a safetensors file, whole or not at all, and keep an older one under another name; see `replace_file`.

    The same tensors and metadata give the same bytes.

    Raises:
        RunError: it cannot be written; an older file of that name is unchanged.
    """
    with replace_file(path, keep) as file:
        file.writelines(_encode_with_checksum(tensors, metadata))


def read_tensors(path: str | Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read a safetensors file: its tensors and its metadata.

    Raises:
        ModelFileError: the file is missing, truncated, damaged, or not a safetensors file.
    """
    with _open(path) as file:
        return _read_tensors(path, file), file.metadata() or {}


@contextlib.contextmanager
def _open(path: str | Path) -> Iterator[Any]:
    """Open a safetensors file; errors of reading, also in the body, are raised as ModelFileError."""
    check_exists(path)
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path}: not a whole safetensors file: {error}") from error


def _read_tensors(path: str | Path, file: Any) -> dict[str, npt.NDArray[Any]]:
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name in file.keys():  # noqa: SIM118  # file is not a mapping
        try:
            bfloat16 = file.get_slice(name).get_dtype() == "BF16"
            tensors[name] = _read_bfloat16(path, name) if bfloat16 else file.get_tensor(name)
        except (TypeError, AttributeError) as error:
            raise ModelFileError(f"{path}, tensor {name}: its number format is not one of NumPy's: {error}") from error
    metadata = dict(file.metadata() or {})
    stored = metadata.pop(CHECKSUM, None)  # files of other programs may have none
    if stored is not None and stored != _checksum(tensors, metadata):
        raise ModelFileError(f"{path}: damaged: wanted checksum {stored}, got {_checksum(tensors, metadata)}")
    return tensors


def _read_bfloat16(path: str | Path, name: str) -> npt.NDArray[Any]:
    """Read a bfloat16 tensor, which safetensors cannot convert to NumPy, from a file that safetensors has checked."""
    with open(path, "rb") as file:
        end = 8 + int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(end - 8))[name]
        first, last = entry["data_offsets"]
        file.seek(end + first)
        return np.frombuffer(file.read(last - first), BFLOAT16).reshape(entry["shape"])


def _encode_with_checksum(tensors: Tensors, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    whole = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    return _encode(whole, {**metadata, CHECKSUM: _checksum(whole, metadata)})


def _encode(tensors: Tensors, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """Return the parts of a safetensors file: size of the header, header, tensors.

    The safetensors library writes metadata in the order of a hash table; here they are sorted. It has no bfloat16 for
    NumPy, so such tensors pass through it as other numbers of 16 bits.
    """
    plain = {name: tensor.view("<u2") if tensor.dtype == BFLOAT16 else tensor for name, tensor in tensors.items()}
    raw = save(plain, dict(metadata))
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    for name, tensor in tensors.items():
        if tensor.dtype == BFLOAT16:
            header[name]["dtype"] = "BF16"
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return [len(text).to_bytes(8, "little"), text, memoryview(raw)[end:]]


def _checksum(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    """Return the CRC-32 of all tensors and metadata, in the order of their names."""
    crc = 0
    for name, text in sorted(metadata.items()):
        crc = zlib.crc32(f"{name}={text}".encode(), crc)
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name}:{number_format(tensor)}{tensor.shape}".encode(), crc)
        crc = zlib.crc32(tensor.tobytes(), crc)
    return f"{crc:08x}"
