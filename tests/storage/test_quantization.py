"""Tests of rounding to bfloat16 and int8 against exact numbers, and of model files in these formats."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from peephole.config import Config
from peephole.errors import ModelFileError
from peephole.nn import schema
from peephole.nn.schema import Architecture, Role, TensorSpec
from peephole.storage.model_file import ModelFile, load_model, read_tensors, save_model, write_tensors
from peephole.storage.quantization import (
    SCALE_BITS,
    dequantize,
    largest_rounding_error,
    quantize,
    read_bfloat16,
    round_to_bfloat16,
    round_to_int8,
)
from peephole.symbols import CharacterSymbols

FORMATS = ("bfloat16", "int8")


def random_matrix(seed: int, rows: int = 40, columns: int = 30) -> np.ndarray:
    """Return rows of very different magnitudes, down to denormal numbers, and one row of zeros."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, columns)) * 2.0 ** rng.integers(-140, 120, (rows, 1))
    matrix[3] = 0
    return matrix.astype(np.float32)


MATRIX = {"m": TensorSpec((40, 30), Role.MATRIX)}
TABLE = CharacterSymbols(["a"], "NFC")


def config_of(peephole: str) -> Config:
    return Config().with_values({"model.peephole": peephole, "hidden_size": 2, "embedding_size": 3})


def specs_of(peephole: str) -> dict[str, TensorSpec]:
    return schema.tensors(Architecture.of(config_of(peephole).model), len(TABLE), len(TABLE))


def model_file(peephole: str = "full") -> ModelFile:
    rng = np.random.default_rng(5)
    tensors = {name: rng.normal(size=spec.shape).astype(np.float32) for name, spec in specs_of(peephole).items()}
    return ModelFile(tensors, config_of(peephole), TABLE, TABLE)


# bfloat16


def test_bfloat16_is_the_nearest_with_ties_to_even() -> None:
    one = 1.0
    ulp = 2.0**-7
    values = [one, one + ulp / 2, one + ulp * 3 / 2, one + ulp / 2 + 2**-23, one + ulp / 2 - 2**-23, -one - ulp / 2]
    wanted = [one, one, one + 2 * ulp, one + ulp, one, -one]
    got = read_bfloat16(round_to_bfloat16(np.array([values], np.float32)))
    np.testing.assert_array_equal(got, np.array([wanted], np.float32))


def test_no_bfloat16_is_nearer() -> None:
    matrix = random_matrix(1)
    rounded = round_to_bfloat16(matrix)
    for step in (1, 2**16 - 1):  # the next number up and, by 16-bit wrap-around, down
        neighbour = (rounded["bfloat16"] + np.uint16(step)).view(rounded.dtype)
        distance = np.abs(read_bfloat16(rounded).astype(np.float64) - matrix)
        other = np.abs(read_bfloat16(neighbour).astype(np.float64) - matrix)
        real = ~np.isnan(other)  # the neighbour of zero in the other direction is NaN
        assert (distance <= other)[real].all()
        even = rounded["bfloat16"] % 2 == 0
        assert even[real & (distance == other)].all()


# int8


def test_int8_is_the_nearest_multiple_of_its_rows_scale() -> None:
    matrix = random_matrix(2)
    q, scale = round_to_int8(matrix)
    assert q.dtype == np.int8
    assert scale.dtype == np.float32
    assert np.abs(q.astype(int)).max() == 127
    assert np.isfinite(scale).all()
    assert (scale > 0).all()
    assert (127 * scale.astype(np.float64) >= np.abs(matrix).max(1)).all()  # rounded up
    error = np.abs(q * scale.astype(np.float64)[:, None] - matrix)
    assert (error <= scale.astype(np.float64)[:, None] / 2).all()
    large = np.abs(matrix).max(1) > 2.0**-110
    assert (np.abs(q.astype(int)).max(1)[large] == 127).all()  # the whole range is used
    assert not q[3].any()  # zeros stay zeros


def test_products_with_a_scale_are_exact_in_float32() -> None:
    q, scale = round_to_int8(random_matrix(3))
    for value in scale:
        numerator = Fraction(float(value)).numerator
        odd = numerator // (numerator & -numerator)
        assert odd.bit_length() <= SCALE_BITS
    product = q * scale[:, None]
    assert product.dtype == np.float32
    np.testing.assert_array_equal(product, q * scale.astype(np.float64)[:, None])


@pytest.mark.parametrize("to", FORMATS)
def test_quantizing_again_changes_nothing(to: str) -> None:
    once = quantize({"m": random_matrix(4)}, to, MATRIX)
    again = quantize(dequantize(once), to, MATRIX)
    assert once.keys() == again.keys()
    for name in once:
        assert once[name].tobytes() == again[name].tobytes()


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_weights_too_large_for_a_scale_are_refused(to: str, value: float) -> None:
    with pytest.raises(ModelFileError, match=r"^tensor m: wanted weights below 2\*\*127 to quantize, got larger ones"):
        quantize({"m": np.array([[1, value]], np.float32)}, to, MATRIX)


def test_only_matrices_are_quantized() -> None:
    shapes = {"a.weight": (4, 6), "a.bias": (4,), "layer.weight_peephole": (3, 5), "deep": (2, 3, 4)}
    tensors = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    roles = dict(zip(shapes, (Role.MATRIX, Role.VECTOR, Role.MATRIX, Role.VECTOR), strict=True))
    specs = {name: TensorSpec(shape, roles[name]) for name, shape in shapes.items()}
    full = quantize(tensors, "int8", specs)
    assert {name for name, tensor in full.items() if tensor.dtype == np.int8} == {"a.weight", "layer.weight_peephole"}
    assert full.keys() - tensors.keys() == {"a.weight.scale", "layer.weight_peephole.scale"}
    diagonal = quantize(tensors, "int8", specs | {"layer.weight_peephole": TensorSpec((3, 5), Role.DIAGONAL)})
    assert {name for name, tensor in diagonal.items() if tensor.dtype == np.int8} == {"a.weight"}
    for name in ("a.bias", "deep", "layer.weight_peephole"):
        np.testing.assert_array_equal(diagonal[name], tensors[name], strict=True)


@pytest.mark.parametrize("peephole", ["full", "diagonal", "none"])
def test_diagonal_peepholes_and_vectors_of_a_model_stay_float32(peephole: str) -> None:
    tensors = model_file(peephole).tensors
    found = quantize(tensors, "int8", specs_of(peephole))
    left = {name for name in tensors if found[name].dtype == np.float32}
    wanted = {name for name, tensor in tensors.items() if tensor.ndim == 1}
    diagonals = {name for name in tensors if "peephole" in name} if peephole == "diagonal" else set()
    assert len(diagonals) == (3 if peephole == "diagonal" else 0)
    assert left == wanted | diagonals


def test_the_largest_rounding_error_is_relative_to_its_row() -> None:
    tensors = {"a": np.array([[100.0, 1.0], [0.0, 0.5]]), "b": np.zeros((1, 2)), "c": np.array([4.0, 2.0])}
    rounded = {"a": np.array([[100.0, 3.0], [0.0, 0.25]]), "b": np.zeros((1, 2)), "c": np.array([3.0, 2.0])}
    assert largest_rounding_error(tensors, rounded) == (0.5, "a")


# Files


@pytest.mark.parametrize("peephole", ["full", "diagonal"])
@pytest.mark.parametrize("to", FORMATS)
def test_saved_model_is_loaded_rounded(to: str, peephole: str, tmp_path: Path) -> None:
    model = replace(model_file(peephole), stored=to)
    save_model(tmp_path / "m.safetensors", model)
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.stored == to
    assert loaded.config == model.config
    wanted = dequantize(quantize(model.tensors, to, specs_of(peephole)))
    assert loaded.tensors.keys() == model.tensors.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor, strict=True)
        assert loaded.tensors[name].dtype == np.float32
    save_model(tmp_path / "again.safetensors", loaded)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_matrices_alone_are_stored_in_fewer_bits(tmp_path: Path) -> None:
    for stored in ("float32", "bfloat16", "int8"):
        path = tmp_path / f"{stored}.safetensors"
        save_model(path, replace(model_file(), stored=stored))
        raw = path.read_bytes()
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        assert header["__metadata__"]["format_version"] == "3"
        number = {"float32": "F32", "bfloat16": "BF16", "int8": "I8"}[stored]
        assert header["decoder.readout.weight"]["dtype"] == number
        assert header["decoder.readout.bias"]["dtype"] == "F32"


@pytest.mark.parametrize("to", FORMATS)
def test_checksum_detects_a_changed_weight(to: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, replace(model_file(), stored=to))
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for position in range(start, len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ModelFileError, match="damaged: wanted checksum"):
            load_model(path)


@pytest.mark.parametrize(
    ("scale", "got"),
    [(None, "no tensor"), (np.ones(3, np.float32), r"float32 \(3,\)"), (np.ones(2), r"float64 \(2,\)")],
)
def test_int8_without_its_scales_is_refused(scale: np.ndarray | None, got: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, replace(model_file(), stored="int8"))
    tensors, metadata = read_tensors(path)
    name = "decoder.readout.weight.scale"
    del metadata["checksum"], tensors[name]
    write_tensors(path, tensors if scale is None else tensors | {name: scale}, metadata)
    with pytest.raises(ModelFileError, match=rf"tensor '{name}': wanted float32 \(2,\), got {got}$"):
        load_model(path)
