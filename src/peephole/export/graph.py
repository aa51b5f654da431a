"""An ONNX graph, written operator by operator; a value is known by its name.

Opset 14 of the year 2021 is the oldest in which every operator used here has the meaning that it has today (LSTM and
GRU of 14 differ from those of 22 only in the number formats allowed), so every runtime of these years reads it: ONNX
Runtime since 1.8, TensorRT, OpenVINO, browsers. The file format's version is set with it: the `onnx` package would
write its own newest, which older runtimes refuse.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

from peephole import __version__

OPSET = 14
IR_VERSION = 7  # that came with it

FLOAT, INT64, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL


class Graph:
    """A graph that grows.

    Args:
        name: of the graph.
        outer: the graph in which this one is the body of a loop; it sees the values of `outer`.
    """

    def __init__(self, name: str, outer: Graph | None = None) -> None:
        self.name = name
        self._numbers: Iterator[int] = itertools.count() if outer is None else outer._numbers
        self._constants: dict[str, TensorProto] = {} if outer is None else outer._constants
        self._is_body = outer is not None
        self._nodes: list[Any] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []

    @property
    def size(self) -> int:
        """Return the bytes that the constants take in a file."""
        return sum(tensor.ByteSize() for tensor in self._constants.values())

    def input(self, name: str, kind: int, dims: Sequence[str | int]) -> str:
        """Add an input; a dimension is a size, or the name of one that is known when the graph runs."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, dims))
        return name

    def output(self, name: str, value: str, dims: Sequence[str | int]) -> None:
        """Return a float32 value under a name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, FLOAT, dims))

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        """Add a constant; the same name stands for the same array."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def ints(self, *values: int) -> str:
        """Return a vector of integers: axes, sizes."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Return a number as a vector of size 1."""
        return self.constant(f"number_{value}", np.array([value], np.float32))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator; return its only output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add an operator; return its outputs. An input or output named "" is left out."""
        names = [f"{kind}_{next(self._numbers)}" for _ in range(count)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def linear(self, x: str, name: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None = None) -> str:
        """Return W x + b of the vectors in x, (…, I) -> (…, O).

        Args:
            x: vectors.
            name: of the module that has the weights.
            weight: W, (O, I).
            bias: b, (O,), or None.
        """
        product = self.op("MatMul", x, self.constant(f"{name}.weight.transposed", weight.T))
        return product if bias is None else self.op("Add", product, self.constant(f"{name}.bias", bias))

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Cut the last dimension into parts."""
        return self.ops("Split", len(sizes), x, self.ints(*sizes), axis=-1)

    def add_dimension(self, x: str, axis: int) -> str:
        """Return x with a dimension of size 1."""
        return self.op("Unsqueeze", x, self.ints(axis))

    def drop_dimension(self, x: str, axis: int) -> str:
        """Return x without a dimension, which has size 1."""
        return self.op("Squeeze", x, self.ints(axis))

    def valid(self, lengths: str, padded: str) -> str:
        """Return which positions are real, (B, T) of bools.

        Args:
            lengths: (B,) int64.
            padded: (B, T, …), for the sake of its T.
        """
        zero, one = (self.constant(name, np.array(value, np.int64)) for name, value in (("zero", 0), ("one", 1)))
        time = self.op("Gather", self.op("Shape", padded), one)
        return self.op("Less", self.op("Range", zero, time, one), self.add_dimension(lengths, 1))

    def proto(self) -> GraphProto:
        """Return the graph; the constants of a body are those of the graph around it."""
        constants = [] if self._is_body else list(self._constants.values())
        return helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, constants)

    def model(self, metadata: dict[str, str]) -> ModelProto:
        """Return the checked graph with its metadata.

        Raises:
            onnx.checker.ValidationError: it is no valid graph, which is our mistake.
        """
        model = helper.make_model(
            self.proto(),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="peephole",
            producer_version=__version__,
        )
        helper.set_model_props(model, metadata)
        checker.check_model(model, full_check=True)
        return model
