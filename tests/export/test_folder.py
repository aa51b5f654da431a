"""Tests of the exported files: their contents, replacement on disk, and errors for damaged files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from peephole.errors import ArgumentError, ConfigError, ModelFileError, RunError
from peephole.export import export_onnx, folder, graph
from peephole.export.seq2seq import build_decoder_step, build_encoder
from peephole.export.stepper import OnnxStepper
from peephole.export.weights import Weights
from peephole.nn.schema import Architecture
from peephole.storage.model_file import ModelFile, load_model, read_tensors, write_tensors

from .random_models import model_config, write_model


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.safetensors", model_config())


def operators(path: Path) -> dict[str, onnx.NodeProto]:
    """Return one node of each operator, loop bodies included."""
    graphs = [onnx.load(path).graph]
    graphs += [a.g for node in graphs[0].node for a in node.attribute if a.name == "body"]
    return {node.op_type: node for g in graphs for node in g.node}


# Contents


def test_the_graphs_describe_the_model(model_path: Path) -> None:
    files = export_onnx(model_path)
    assert files == [model_path.parent / "m.onnx" / name for name in ("encoder.onnx", "decoder_step.onnx")]
    file = load_model(model_path)
    metadata = [{entry.key: entry.value for entry in onnx.load(path).metadata_props} for path in files]
    assert [m.pop("graph") for m in metadata] == ["encoder", "decoder_step"]
    assert metadata[0] == metadata[1]
    assert json.loads(metadata[0]["config"]) == file.config.to_dict()
    assert json.loads(metadata[0]["source_symbols"]) == file.source_symbols.to_json()
    assert json.loads(metadata[0]["target_symbols"]) == file.target_symbols.to_json()
    assert metadata[0]["format"], metadata[0]["format_version"] == ("peephole-onnx", "1")
    stepper = OnnxStepper(files[0].parent)
    assert stepper.config == file.config
    assert stepper.source_symbols.encode("abz") == file.source_symbols.encode("abz") == [4, 5, 3]
    assert stepper.target_symbols.decode([4, 5]) == "한0 한1"


def test_graphs_target_old_runtimes_and_have_open_dimensions(model_path: Path) -> None:
    for path in export_onnx(model_path):
        model = onnx.load(path)
        assert model.ir_version == 7
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 14)]
        values = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
        batch = "batch" if "source" in values else "rows"
        wanted: dict[str, list[Any]] = {
            "batch": {"source": ["batch", "time"], "source_lengths": ["batch"]},
            "rows": {
                "previous": ["rows"],
                "h_0": ["rows", 6],
                "c_0": ["rows", 6],
                "memory": ["rows", "time", 6],
                "keys": ["rows", "time", 6],
                "source_lengths": ["rows"],
            },
        }[batch]
        assert values == wanted


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder_step.onnx"])
def test_onnx_lstm_and_gru_operators_are_used_where_possible(tmp_path: Path, name: str) -> None:
    def operators_of(**settings: Any) -> dict[str, onnx.NodeProto]:
        export_onnx(write_model(tmp_path / "m.safetensors", model_config(**settings)))
        return operators(tmp_path / "m.onnx" / name)

    assert len(operators_of(peephole="diagonal")["LSTM"].input) == 8  # the last is P
    assert len(operators_of(peephole="none")["LSTM"].input) < 8 or not operators_of(peephole="none")["LSTM"].input[7]
    assert "GRU" in operators_of(cell="gru", peephole="none")
    full = operators_of(peephole="full")
    assert "LSTM" not in full
    assert ("Scan" in full) == (name == "encoder.onnx")


def test_the_same_model_gives_the_same_bytes(model_path: Path, tmp_path: Path) -> None:
    first, second = export_onnx(model_path, tmp_path / "a"), export_onnx(model_path, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_an_export_needs_no_torch(model_path: Path) -> None:
    program = "import sys\nsys.modules['torch'] = None\nfrom peephole.cli import main\nmain(sys.argv[1:])"
    command = [sys.executable, "-c", program, "export", str(model_path), "--to", "onnx"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    OnnxStepper(model_path.parent / "m.onnx")


# Writing


def test_export_replaces_older_graphs_and_no_other_files(model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    export_onnx(model_path, tmp_path / "out")
    old = (tmp_path / "out" / "encoder.onnx").read_bytes()
    export_onnx(write_model(tmp_path / "other.safetensors", model_config(), seed=1), tmp_path / "out")
    assert (tmp_path / "out" / "encoder.onnx").read_bytes() != old
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"notes.txt", "encoder.onnx", "decoder_step.onnx"}


@pytest.mark.parametrize("existing", [False, True])
def test_failed_write_leaves_the_folder_unchanged(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    out = tmp_path / "out"
    before = {}
    if existing:
        before = {path.name: path.read_bytes() for path in export_onnx(model_path, out)}
    other = write_model(tmp_path / "other.safetensors", model_config(), seed=1)
    flushed = []

    def full(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"out/decoder_step\.onnx: cannot be written: No space left on device"):
        export_onnx(other, out)
    assert out.exists() == existing
    assert {path.name: path.read_bytes() for path in out.glob("*")} == before


def test_too_large_model_is_refused(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "LARGEST_GRAPH", 2000)
    with pytest.raises(ModelFileError, match=r"m.safetensors: wanted at most 2000 bytes in the encoder, got \d{4}"):
        export_onnx(model_path)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "decoder.output.bias",
            None,
            r"safetensors: tensor '\S+bias': wanted float32 \(8,\), got no tensor$",
        ),
        ("decoder.output.bias", np.zeros(7, np.float32), r"output.bias': wanted float32 \(8,\), got float32 \(7,\)"),
        ("decoder.output.bias", np.zeros(8), r"output.bias': wanted float32 \(8,\), got float64 \(8,\)"),
        ("decoder.more", np.zeros(8, np.float32), r"tensor 'decoder.more': wanted no tensor, got float32 \(8,\)$"),
    ],
)
def test_tensors_that_contradict_the_config(model_path: Path, name: str, tensor: Any, message: str) -> None:
    tensors, metadata = read_tensors(model_path)
    tensors[name] = tensor
    if tensor is None:
        del tensors[name]
    del metadata["checksum"]
    write_tensors(model_path, tensors, metadata)
    with pytest.raises(ModelFileError, match=message):
        export_onnx(model_path)
    assert not (model_path.parent / "m.onnx").exists()


@pytest.mark.parametrize("kind", ["cell", "peephole", "context", "attention", "input", "output"])
def test_unknown_kind_is_refused_by_name(model_path: Path, kind: str) -> None:
    model = load_model(model_path)
    architecture = replace(model.architecture, **{kind: "made-up"})
    with pytest.raises(ConfigError, match=rf"^ONNX export, {kind}: wanted .*, got 'made-up'$"):
        both_graphs(architecture, model)


def both_graphs(architecture: Architecture, model: ModelFile) -> list[graph.Graph]:
    weights = Weights(model.tensors)
    return [
        build_encoder(architecture, len(model.target_symbols), weights),
        build_decoder_step(architecture, len(model.target_symbols), weights),
    ]


def test_unused_tensor_is_named(model_path: Path) -> None:
    model = load_model(model_path)
    more = replace(model, tensors={**model.tensors, "decoder.more": np.zeros(8, np.float32)})
    with pytest.raises(ModelFileError, match=r"m: tensor 'decoder.more': the exported graphs do not use it$"):
        folder.encode_graphs("m", more)


# Reading


def change_metadata(path: Path, **changes: str | None) -> None:
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in metadata.items() if value is not None})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "encoder.onnx: wanted format 'peephole-onnx' in its metadata, got None"),
        ({"format_version": "2"}, "encoder.onnx: wanted format_version '1' in its metadata, got '2'"),
        ({"graph": "decoder_step"}, "encoder.onnx: wanted graph 'encoder' in its metadata, got 'decoder_step'"),
        ({"config": "{"}, "encoder.onnx: metadata: config: Expecting property name"),
        ({"config": "3"}, "encoder.onnx: metadata: config: 'int' object is not iterable"),
        ({"config": None}, "encoder.onnx: metadata: config: Expecting value: line 1"),
        (
            {"config": '{"model": {"size": 3}}'},
            "encoder.onnx: metadata: config: config, model: unknown key 'size'",
        ),
        ({"target_symbols": "{}"}, "encoder.onnx: metadata: target_symbols: symbol table: unknown kind None"),
    ],
)
def test_foreign_metadata_is_refused(model_path: Path, changes: dict[str, str | None], message: str) -> None:
    [encoder, _] = export_onnx(model_path)
    change_metadata(encoder, **changes)
    with pytest.raises(ModelFileError, match=message):
        OnnxStepper(encoder.parent)


def test_graphs_of_two_models_are_not_mixed(model_path: Path, tmp_path: Path) -> None:
    [encoder, _] = export_onnx(model_path)
    export_onnx(write_model(tmp_path / "other.safetensors", model_config(), seed=1))
    encoder.replace(tmp_path / "other.onnx" / "encoder.onnx")
    with pytest.raises(
        ModelFileError, match=r"other.onnx: wanted two graphs of one model, got those of \w{8} and \w{8}"
    ):
        OnnxStepper(tmp_path / "other.onnx")


def test_damaged_and_missing_graphs_are_refused(model_path: Path) -> None:
    [encoder, step] = export_onnx(model_path)
    step.write_bytes(step.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"decoder_step.onnx: ONNX Runtime cannot read it: "):
        OnnxStepper(encoder.parent)
    step.unlink()
    with pytest.raises(ModelFileError, match=r"m.onnx.decoder_step.onnx: no such file"):
        OnnxStepper(encoder.parent)


def test_an_invalid_graph_is_not_written() -> None:
    wrong = graph.Graph("wrong")
    wrong.output("out", wrong.op("Tanh", "nowhere"), ("batch",))
    with pytest.raises(onnx.checker.ValidationError, match="nowhere"):
        wrong.model({})


def test_a_folder_without_a_name_is_refused(model_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"^out: wanted the name of a file, got an empty one$"):
        export_onnx(model_path, "")
