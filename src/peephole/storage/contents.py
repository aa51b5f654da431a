"""Check that a model file holds exactly the tensors of its architecture, each in the right shape and number format."""

from __future__ import annotations

from collections.abc import Mapping

from peephole.errors import ModelFileError
from peephole.nn.schema import Role, TensorSpec
from peephole.storage.quantization import SCALE, Stored, Tensors, number_format

ABSENT = "no tensor"
REFERENCE = "decoder.embedding.weight"
"""The matrix whose number format all matrices of a file must have."""


def stored_format(tensors: Tensors) -> Stored:
    """Return the number format in which the tensors of a model file store matrices."""
    formats: dict[str, Stored] = {"bfloat16": "bfloat16", "int8": "int8"}
    return formats.get(number_format(tensors[REFERENCE]), "float32") if REFERENCE in tensors else "float32"


def check_tensors(tensors: Tensors, specs: Mapping[str, TensorSpec], stored: Stored) -> None:
    """Compare the tensors of a model file with its architecture.

    Args:
        tensors: the tensors of the file.
        specs: names, shapes and roles of the network's tensors.
        stored: the number format of matrices.

    Raises:
        ModelFileError: a tensor is missing, is not one of the network's, or has another shape or number format; the
            message names it.
    """
    wanted: dict[str, str] = {}
    for name, spec in specs.items():
        is_matrix = spec.role is Role.MATRIX
        wanted[name] = f"{stored if is_matrix else 'float32'} {spec.shape}"
        if is_matrix and stored == "int8":
            wanted[name + SCALE] = f"float32 {spec.shape[:1]}"
    got = {name: f"{number_format(tensor)} {tensor.shape}" for name, tensor in tensors.items()}
    for name in [*sorted(wanted), *sorted(got.keys() - wanted.keys())]:
        if wanted.get(name) != got.get(name):
            raise ModelFileError(f"tensor {name!r}: wanted {wanted.get(name, ABSENT)}, got {got.get(name, ABSENT)}")
