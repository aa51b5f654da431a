"""An ONNX graph, built operator by operator; values are given by their names.

Opset 14 (2021) is the oldest in which every operator used here has its present meaning (LSTM and GRU of opset 14
differ from those of 22 only in the number formats allowed), so ONNX Runtime since 1.8, TensorRT, OpenVINO and browsers
read it. The version of the file format is set, too: the `onnx` package would write its newest, which older runtimes
refuse.
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
IR_VERSION = 7  # the version of the file format published with opset 14

FLOAT, INT64, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL


class Graph:
    """A graph to which inputs, operators and outputs are added.

    Args:
        name: name of the graph.
        outer: the graph in which this one is the body of a loop; the body may use the values of `outer`.
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

    def output(self, name: str, value: str, dims: Sequence[str | int], kind: int = FLOAT) -> None:
        """Add an output with the value of that name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, kind, dims))

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        """Add a constant and return its name; a second call with the same name must pass the same array."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def ints(self, *values: int) -> str:
        """Add a vector of integers, such as axes or sizes."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Add a number as a vector of size 1."""
        return self.constant(f"number_{value}", np.array([value], np.float32))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator and return its only output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add an operator and return its outputs; "" is an omitted input."""
        names = [f"{kind}_{next(self._numbers)}" for _ in range(count)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def linear(self, x: str, name: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None = None) -> str:
        """Add W x + b of the vectors in x, (…, I) -> (…, O).

        Args:
            x: vectors.
            name: name of the module that has the weights.
            weight: W, (O, I).
            bias: b, (O,), or None.
        """
        product = self.op("MatMul", x, self.constant(f"{name}.weight.transposed", weight.T))
        return product if bias is None else self.op("Add", product, self.constant(f"{name}.bias", bias))

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Add a split of the last dimension into parts."""
        return self.ops("Split", len(sizes), x, self.ints(*sizes), axis=-1)

    def split_evenly(self, x: str, count: int) -> list[str]:
        """Add a split of the last dimension into equal parts."""
        return self.ops("Split", count, x, axis=-1)

    def add_dimension(self, x: str, axis: int) -> str:
        """Add a dimension of size 1 to x."""
        return self.op("Unsqueeze", x, self.ints(axis))

    def drop_dimension(self, x: str, axis: int) -> str:
        """Remove a dimension of size 1 from x."""
        return self.op("Squeeze", x, self.ints(axis))

    def valid(self, lengths: str, padded: str) -> str:
        """Add the mask of real positions, (B, T) of bools.

        Args:
            lengths: (B,) int64.
            padded: (B, T, …); only its T is used.
        """
        zero, one = (self.constant(name, np.array(value, np.int64)) for name, value in (("zero", 0), ("one", 1)))
        time = self.op("Gather", self.op("Shape", padded), one)
        return self.op("Less", self.op("Range", zero, time, one), self.add_dimension(lengths, 1))

    def proto(self) -> GraphProto:
        """Return the graph; the constants of a loop's body are stored in the graph around it."""
        constants = [] if self._is_body else list(self._constants.values())
        return helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, constants)

    def model(self, metadata: dict[str, str]) -> ModelProto:
        """Return the checked graph with its metadata.

        Raises:
            onnx.checker.ValidationError: the graph is not valid, which is a bug here.
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
