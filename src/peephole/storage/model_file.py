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

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from peephole import __version__
from peephole.config import Config
from peephole.errors import ModelFileError
from peephole.nn import schema
from peephole.nn.schema import Architecture, TensorSpec, making_of_settings
from peephole.storage.contents import check_tensors, stored_format
from peephole.storage.header import (
    FORMAT_VERSION,
    Header,
    check_format,
    metadata_of,
    parse_header,
    read_content,
)
from peephole.storage.names import current_name, old_name
from peephole.storage.quantization import BFLOAT16, Stored, Tensors, dequantize, number_format, quantize
from peephole.storage.read_file import open_file
from peephole.storage.replace_file import replace_file
from peephole.symbols import Symbols

CHECKSUM = "checksum"  # key of the metadata
NUMBER_FORMATS = {
    "BOOL": np.dtype(bool),
    "BF16": BFLOAT16,  # which NumPy lacks
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
"""The number format of each `dtype` in a safetensors file."""


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
    made: Mapping[str, Any] = field(default_factory=lambda: {"peephole": __version__})
    """Versions of the libraries that made the model, by name, and the table `training`."""
    notes: tuple[str, ...] = ()
    """Information in the file that was read and is not used, one line each; not written."""
    format_version: int = FORMAT_VERSION
    """The format of the file that was read; the newest is written."""

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
    return decode_model(path, read_content(path))


def decode_model(path: str | Path, content: bytes) -> ModelFile:
    """Return a model from the content of its file; `path` names it in messages, errors as in `load_model`."""
    metadata = metadata_of(path, content)
    version = check_format(path, metadata)  # before the tensors are read
    found = _decode_tensors(path, content, metadata)
    header = parse_header(path, metadata)
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
    return ModelFile(whole, header.config, *tables, stored, header.made, header.notes, version)


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
    with open_file(path) as file:
        content = file.read()
    metadata = metadata_of(path, content)
    return _decode_tensors(path, content, metadata), metadata


def _decode_tensors(path: str | Path, content: bytes, metadata: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors in the content of a safetensors file, and check its checksum."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]  # its stub has no types
    except SafetensorError as error:
        raise ModelFileError(f"{path}: not a whole safetensors file: {error}") from error
    for name, entry in entries:
        kind = entry["dtype"]
        if kind not in NUMBER_FORMATS:
            raise ModelFileError(f"{path}, tensor {name}: its number format is not one of NumPy's: {kind}")
        tensors[name] = np.frombuffer(entry["data"], NUMBER_FORMATS[kind]).reshape(entry["shape"])
    stored = metadata.get(CHECKSUM)  # files of other programs may have none
    if stored is not None:
        got = _checksum(tensors, {key: text for key, text in metadata.items() if key != CHECKSUM})
        if stored != got:
            raise ModelFileError(f"{path}: damaged: wanted checksum {stored}, got {got}")
    return tensors


def _encode_with_checksum(tensors: Tensors, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    whole = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    return _encode(whole, {**metadata, CHECKSUM: _checksum(whole, metadata)})


def _encode(tensors: Tensors, metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """Return the parts of a safetensors file: size of the header, header, tensors, which are not copied.

    The safetensors library decides the order of the tensors. It would write metadata in the order of a hash table; here
    they are sorted. It has no bfloat16 for NumPy, so such tensors are other numbers of 16 bits for it.
    """
    kinds = {name: "<u2" if tensor.dtype == BFLOAT16 else tensor.dtype for name, tensor in tensors.items()}
    raw = save({name: np.zeros(1, kind) for name, kind in kinds.items()}, dict(metadata))
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    header["__metadata__"] = dict(sorted(metadata.items()))
    order = sorted(tensors, key=lambda name: header[name]["data_offsets"])
    end = 0
    for name in order:
        tensor, entry = tensors[name], header[name]
        entry["dtype"] = "BF16" if tensor.dtype == BFLOAT16 else entry["dtype"]
        entry["shape"], entry["data_offsets"] = list(tensor.shape), [end, end + tensor.nbytes]
        end += tensor.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return [len(text).to_bytes(8, "little"), text, *(_bytes_of(tensors[name]) for name in order)]


def _bytes_of(tensor: npt.NDArray[Any]) -> memoryview:
    """Return the memory of a tensor whose numbers lie one after the other."""
    return tensor.reshape(-1).view(np.uint8).data


def _checksum(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    """Return the CRC-32 of all tensors and metadata, in the order of their names."""
    crc = 0
    for name, text in sorted(metadata.items()):
        crc = zlib.crc32(f"{name}={text}".encode(), crc)
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name}:{number_format(tensor)}{tensor.shape}".encode(), crc)
        crc = zlib.crc32(_bytes_of(tensor), crc)
    return f"{crc:08x}"
