"""The folder of an exported model: `encoder.onnx` and `decoder_step.onnx`, each with a description of the model.

Metadata of both graphs: `format`, `format_version`, `graph` (encoder or decoder_step), `model` (a checksum of the
model), `config` (JSON of all settings), `source_symbols` and `target_symbols` (JSON, as in the model file).
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from peephole.errors import ModelFileError, PeepholeError, check_path
from peephole.export.files import write_files
from peephole.export.graph import Graph
from peephole.export.seq2seq import build_decoder_step, build_encoder
from peephole.export.weights import Weights
from peephole.storage.model_file import ModelFile, load_model

FORMAT = "peephole-onnx"
FORMAT_VERSION = 1
LARGEST_GRAPH = 2**31 - 1  # bytes, the limit of protobuf and so of an ONNX file


def export_onnx(path: str | Path, out: str | Path | None = None) -> list[Path]:
    """Write a model file as two ONNX graphs.

    Args:
        path: the model file.
        out: the folder to write them to, made if there is none; by default the model's name with the ending `.onnx`.
            Graphs in it are replaced.

    Returns:
        The files written.

    Raises:
        ModelFileError: the file is not a model or is damaged, the model has a kind that cannot be exported, or it is
            too large for ONNX.
        ConfigError: a graph would replace the model.
        RunError: the folder cannot be written.
        ArgumentError: `out` is not a name.
    """
    if out is not None:
        check_path("out", out)
    model = load_model(path)
    folder = Path(path).with_suffix(".onnx") if out is None else Path(out)
    graphs = encode_graphs(path, model)
    return write_files(folder, {f"{name}.onnx": content for name, content in graphs.items()}, [path])


def encode_graphs(path: str | Path, model: ModelFile) -> dict[str, bytes]:
    """Return the bytes of both graphs; `path` is that of the model file, for messages.

    Raises:
        ModelFileError: the architecture has a kind that cannot be exported, or a graph is larger than 2 GB.
    """
    weights = Weights(model.tensors)
    try:
        graphs = [
            build_encoder(model.architecture, len(model.target_symbols), weights),
            build_decoder_step(model.architecture, len(model.target_symbols), weights),
        ]
        weights.check_all_used()
    except PeepholeError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return {graph.name: _encode(path, graph, describe(model)) for graph in graphs}


def describe(model: ModelFile) -> dict[str, str]:
    """Return the metadata that both graphs share."""
    tables = {
        "config": json.dumps(model.config.to_dict()),
        "source_symbols": json.dumps(model.source_symbols.to_json(), ensure_ascii=False),
        "target_symbols": json.dumps(model.target_symbols.to_json(), ensure_ascii=False),
    }
    checksum = zlib.crc32("".join(tables.values()).encode())
    for name, tensor in sorted(model.tensors.items()):
        checksum = zlib.crc32(tensor.tobytes(), zlib.crc32(name.encode(), checksum))
    return {"format": FORMAT, "format_version": str(FORMAT_VERSION), "model": f"{checksum:08x}", **tables}


def _encode(path: str | Path, graph: Graph, metadata: dict[str, str]) -> bytes:
    if graph.size > LARGEST_GRAPH:
        raise ModelFileError(f"{path}: wanted at most {LARGEST_GRAPH} bytes in the {graph.name}, got {graph.size}")
    content: bytes = graph.model({**metadata, "graph": graph.name}).SerializeToString(deterministic=True)
    return content
