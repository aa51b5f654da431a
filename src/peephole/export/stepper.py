"""A stepper over exported graphs: ONNX Runtime computes the steps of `peephole.search`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import onnxruntime  # type: ignore[import-untyped]
import torch
from torch import Tensor

from peephole.config import Config
from peephole.errors import ModelFileError, check_path
from peephole.export.folder import FORMAT, FORMAT_VERSION
from peephole.export.seq2seq import DECODER_STEP, ENCODER
from peephole.nn.schema import Architecture, num_places
from peephole.search import select_rows
from peephole.symbols import symbols_from_json

Part = TypeVar("Part")

LEAST_SEVERITY = 3  # ONNX Runtime prints only errors on stderr


class OnnxState(NamedTuple):
    """The inputs of a decoder step other than the previous symbol."""

    source_index: Tensor  # (N,) index of each row's source in the batch
    carried: tuple[Tensor, ...]  # h and, for an LSTM, c of each layer, (N, H), and the state of attention, (N, T)
    source: tuple[Tensor, ...]  # memory, keys and source_lengths, or the context: constant over the steps


class OnnxStepper:
    """Run the graphs that `export_onnx` wrote, as a `peephole.search.Stepper` on the CPU.

    `config`, `source_symbols` and `target_symbols` are those of the model, read from the graphs.

    Args:
        folder: folder of the graphs.
        threads: threads that ONNX Runtime may use inside an operator; by default one for each core.

    Raises:
        ModelFileError: a graph is missing or damaged, was not written by peephole or has another format, or the two
            graphs belong to different models.
    """

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        check_path("folder", folder)
        encoder, step = (_Session(Path(folder), name, threads) for name in (ENCODER, DECODER_STEP))
        self._encoder, self._step = encoder, step
        models = [session.metadata.get("model") for session in (encoder, step)]
        if models[0] != models[1]:
            raise ModelFileError(f"{folder}: wanted two graphs of one model, got those of {models[0]} and {models[1]}")
        self.config = encoder.read("config", Config.from_dict)
        self.source_symbols = encoder.read("source_symbols", symbols_from_json)
        self.target_symbols = encoder.read("target_symbols", symbols_from_json)
        self._carried = [name for name in step.inputs if f"next_{name}" in step.outputs]
        self._source = [name for name in step.inputs if name not in ("previous", *self._carried)]

    def start(self, source: Tensor, source_lengths: Tensor) -> OnnxState:
        """Read the sources, (B, T) or (B, T, F), lengths from 1 to T; return the state before the first symbol.

        Those of a model that copies are (B, T, 2): symbols, and the target symbols with their texts.
        """
        found = {"source_lengths": source_lengths}
        if "copies" in self._source:
            source, found["copies"] = source.unbind(2)
        found |= self._encoder(self._encoder.inputs, (source, source_lengths))
        carried, shared = (tuple(found[name] for name in names) for names in (self._carried, self._source))
        return OnnxState(torch.arange(len(source)), carried, shared)

    def places(self, source_lengths: Tensor) -> Tensor:
        """Return the number of places that the model attends to in each source."""
        places: Tensor = num_places(Architecture.of(self.config.model), source_lengths)
        return places

    def ctc_log_probs(self, source: Tensor, source_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(k | j), (31), (B, S, V), and the number of real outputs of each source; see `CTCStepper`."""
        found = self._encoder(self._encoder.inputs, (source, source_lengths))
        return found["ctc_log_probs"], self.places(source_lengths)

    def step(self, state: OnnxState, previous: Tensor) -> tuple[Tensor, OnnxState, Tensor | None]:
        """Return log p of every next symbol (N, V), the next state, and the attention (N, T), None for a context."""
        names = ("previous", *self._carried, *self._source)
        found = self._step(names, (previous, *state.carried, *state.source))
        carried = tuple(found[f"next_{name}"] for name in self._carried)
        return found["log_probs"], state._replace(carried=carried), found.get("attention")

    def reorder(self, state: OnnxState, rows: Tensor) -> OnnxState:
        """Return the state whose row m is row rows[m] of this one; copy memory and keys only if sources change."""
        if torch.equal(state.source_index[rows], state.source_index):
            return state._replace(carried=select_rows(state.carried, rows))
        return select_rows(state, rows)


class _Session:
    """A graph loaded by ONNX Runtime, called with named tensors."""

    def __init__(self, folder: Path, name: str, threads: int | None) -> None:
        self._path = path = folder / f"{name}.onnx"
        if not path.is_file():
            raise ModelFileError(f"{path}: no such file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = LEAST_SEVERITY
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base class
            reason = str(error).splitlines()[0]
            raise ModelFileError(f"{path}: ONNX Runtime cannot read it: {reason}") from error
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]
        wanted = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "graph": name}
        for key, value in wanted.items():
            if self.metadata.get(key) != value:
                raise ModelFileError(f"{path}: wanted {key} {value!r} in its metadata, got {self.metadata.get(key)!r}")

    def read(self, key: str, parse: Callable[[dict[str, Any]], Part]) -> Part:
        """Read an entry of the metadata, a JSON object, with `parse`."""
        try:
            return parse(dict(json.loads(self.metadata.get(key, ""))))
        except (ValueError, TypeError, RecursionError) as error:  # PeepholeErrors are ValueErrors, too
            raise ModelFileError(f"{self._path}: metadata: {key}: {error}") from error

    def __call__(self, names: Sequence[str], tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        return dict(zip(self.outputs, map(torch.from_numpy, self._session.run(None, arrays)), strict=True))
