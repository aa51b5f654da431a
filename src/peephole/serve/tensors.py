"""Tensors of the Open Inference Protocol: texts as BYTES, in JSON or in the binary extension."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from peephole.errors import describe_value
from peephole.serve.refusal import RefusalError

HEADER_LENGTH = "inference-header-content-length"
"""The header with the bytes of JSON before the binary parts of a body."""
MOST_DIMENSIONS = 8
MOST_TENSORS = 16
LONGEST_NAME = 100  # characters: an error repeats the name


@dataclass(frozen=True)
class InferRequest:
    """A request for inference.

    Attributes:
        id: of the request; None if it has none.
        parameters: settings.
        texts: the texts of each input by its name.
        outputs: requested outputs and whether each is binary; empty for all.
        binary: whether outputs are binary that do not say so.
    """

    id: str | None
    parameters: Mapping[str, Any]
    texts: Mapping[str, list[str]]
    outputs: Mapping[str, bool]
    binary: bool


def read_infer_request(body: bytes, header_length: str | None, most: int) -> InferRequest:
    """Read a body.

    Args:
        body: JSON, followed by binary parts.
        header_length: the bytes of JSON; None: all.
        most: texts of an input.

    Raises:
        RefusalError: 422, it is malformed; 413, an input has too many texts.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and int(header_length) <= length):
            raise RefusalError(422, f"{HEADER_LENGTH}: wanted a number up to {length}, got {header_length!r}")
        length = int(header_length)
    try:
        tree = json.loads(body[:length].decode("utf-8"))
    except (ValueError, RecursionError):
        raise RefusalError(422, "body: wanted JSON") from None
    tree = _table("body", tree)
    rest = _Rest(body[length:])
    texts: dict[str, list[str]] = {}
    for given in _tables(tree, "inputs"):
        name = _text(given, "name")
        if name in texts:
            raise RefusalError(422, f"inputs: wanted {name!r} once, got it twice")
        texts[name] = _read_input(name, given, rest, most)
    rest.check_end()
    parameters = _table("parameters", tree.get("parameters", {}))
    binary = parameters.pop("binary_data_output", False) is True
    outputs = {
        _text(wanted, "name"): _table("parameters", wanted.get("parameters", {})).get("binary_data", binary) is True
        for wanted in _tables(tree, "outputs")
    }
    number = tree.get("id")
    if number is not None and not isinstance(number, str):
        raise RefusalError(422, f"id: wanted a text, got {describe_value(number)}")
    return InferRequest(number, parameters, texts, outputs, binary)


class _Rest:
    """The binary parts of a body, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content, self._first = content, 0

    def take(self, name: str, size: Any) -> bytes:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(self._content) - self._first:
            raise RefusalError(422, f"input {name!r}: wanted the binary_data_size of what follows, got {size!r}")
        self._first += size
        return self._content[self._first - size : self._first]

    def check_end(self) -> None:
        if self._first != len(self._content):
            raise RefusalError(422, f"body: {len(self._content) - self._first} bytes belong to no input")


def _read_input(name: str, given: Mapping[str, Any], rest: _Rest, most: int) -> list[str]:
    if given.get("datatype") != "BYTES":
        raise RefusalError(422, f"input {name!r}: wanted datatype BYTES, got {describe_value(given.get('datatype'))}")
    shape = given.get("shape")
    sizes = isinstance(shape, list) and all(type(size) is int and 0 <= size < 2**31 for size in shape)
    if not sizes or not 1 <= len(shape) <= MOST_DIMENSIONS:  # type: ignore[arg-type]  # a list, as checked
        raise RefusalError(422, f"input {name!r}: wanted a shape such as [2], got {describe_value(shape)}")
    count = prod(shape)  # type: ignore[arg-type]  # likewise
    if count > most:
        raise RefusalError(413, f"{name}: wanted at most {most} texts (max_batch), got {count}")
    size = _table("parameters", given.get("parameters", {})).get("binary_data_size")
    if size is None:
        given_texts = _flat(given.get("data"))
    else:
        given_texts = (_decode(name, part) for part in _elements(name, rest.take(name, size)))
    found: list[str] = []
    for text in given_texts:
        if not isinstance(text, str):
            raise RefusalError(422, f"input {name!r}: wanted texts, got {describe_value(text)}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RefusalError(422, f"input {name!r}: wanted Unicode text, got half of a surrogate pair") from None
        if len(found) == count:
            raise RefusalError(422, f"input {name!r}: wanted {count} texts for shape {shape}, got more")
        found.append(text)
    if len(found) < count:
        raise RefusalError(422, f"input {name!r}: wanted {count} texts for shape {shape}, got {len(found)}")
    return found


def _flat(data: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(data, list) and depth < MOST_DIMENSIONS:
        for inner in data:
            yield from _flat(inner, depth + 1)
    else:
        yield data


def _elements(name: str, content: bytes) -> Iterator[bytes]:
    """Yield the elements of a binary BYTES tensor: each has its length as four bytes before it."""
    first = 0
    while first < len(content):
        if first + 4 > len(content):
            raise RefusalError(422, f"input {name!r}: wanted the length of an element in 4 bytes")
        (size,) = struct.unpack_from("<I", content, first)
        first += 4
        if first + size > len(content):
            raise RefusalError(422, f"input {name!r}: wanted an element of {size} bytes, got {len(content) - first}")
        yield content[first : first + size]
        first += size


def _decode(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusalError(422, f"input {name!r}: wanted UTF-8") from None


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusalError(422, f"{name}: wanted an object, got {describe_value(value)}")
    return dict(value)


def _tables(tree: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    values = tree.get(name, [])
    if not isinstance(values, list):
        raise RefusalError(422, f"{name}: wanted a list, got {describe_value(values)}")
    if len(values) > MOST_TENSORS:
        raise RefusalError(422, f"{name}: wanted at most {MOST_TENSORS}, got {len(values)}")
    return [_table(name, value) for value in values]


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str):
        raise RefusalError(422, f"{name}: wanted a text, got {describe_value(value)}")
    if len(value) > LONGEST_NAME:
        raise RefusalError(422, f"{name}: wanted at most {LONGEST_NAME} characters, got {len(value)}")
    return value


def write_outputs(
    columns: Mapping[str, tuple[str, Sequence[int], Sequence[Any]]], asked: InferRequest
) -> tuple[list[dict[str, Any]], bytes]:
    """Return the outputs of an answer and its binary parts.

    Args:
        columns: datatype, shape and values of each output by its name.
        asked: the request.

    Raises:
        RefusalError: 422, it asks for an output that does not exist.
    """
    wanted = dict(asked.outputs) or dict.fromkeys(columns, asked.binary)
    outputs, parts = [], []
    for name, is_binary in wanted.items():
        if name not in columns:
            raise RefusalError(422, f"outputs: wanted some of {', '.join(columns)}, got {describe_value(name)}")
        datatype, shape, values = columns[name]
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(shape)}
        if is_binary:
            content = b"".join(map(_encode, values))
            output["parameters"] = {"binary_data_size": len(content)}
            parts.append(content)
        else:
            output["data"] = list(values)
        outputs.append(output)
    return outputs, b"".join(parts)


def _encode(value: Any) -> bytes:
    if isinstance(value, str):
        content = value.encode()
        return struct.pack("<I", len(content)) + content
    return struct.pack("<d", value)
