"""The C++ engine seen from Python.

This file (the library, and training), engine_structures.py and engine_model.py (prediction) know the C ABI of
engine/include/peephole.h; nn/engine_ops.py and nn/engine_decoder.py know how many bytes it saves, since PyTorch asks
without a library (tests/contracts/test_engine_sizes.py compares). Arrays are given by address. Nothing here needs
torch, and nothing fails if the library is missing: `available()` tells.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from peephole import engine_structures as structures

ABI_VERSION = 6
OPERANDS = {"as_is": 0, "bf16": 1}
FORMS = {"none": 0, "diagonal": 1, "full": 2}
ATTENTIONS = {"fixed_context": 0, "additive": 1, "product": 2}
FUNCTIONS = {"sigmoid": 0, "tanh": 1}
LIBRARY_NAMES = ("libpeephole.so", "libpeephole.dylib", "peephole.dll")
LIBRARY_VARIABLE = "PEEPHOLE_LIBRARY"
"""Environment variable that names another build of the library than the one in the package."""


@dataclass(frozen=True)
class LSTMProblem:
    """The sizes of one LSTM layer in one direction; see peephole.h."""

    scalar: int  # bytes of a number: 4 or 8
    operand: str  # what products multiply: as_is, bf16
    form: str  # full, diagonal, none
    reverse: bool
    threads: int
    batch: int
    steps: int
    input_size: int
    hidden_size: int

    def saved_bytes(self) -> int:
        """Return the size of the array `saved`."""
        return int(library().peephole_lstm_saved_bytes(ctypes.byref(self._with({}))))

    def scratch_bytes(self, *, backward: bool) -> int:
        """Return the size of the array `scratch`."""
        return int(library().peephole_lstm_scratch_bytes(ctypes.byref(self._with({})), backward))

    def forward(self, arrays: structures.Addresses, instruction_set: str) -> None:
        """Compute (1)-(6) for all steps; `arrays` holds the address of each array of `peephole_lstm`."""
        _call("peephole_lstm_forward", instruction_set, self._with(arrays))

    def backward(self, arrays: Mapping[str, int | None], gradients: structures.Addresses, instruction_set: str) -> None:
        """Compute all gradients; `gradients` holds the address of each array of `peephole_lstm_gradients`."""
        _call("peephole_lstm_backward", instruction_set, self._with(arrays), structures.LSTMGradients(**gradients))

    def _with(self, arrays: structures.Addresses) -> structures.LSTM:
        sizes = {name: getattr(self, name) for name in structures.LSTM._SIZES}
        return structures.LSTM(
            self.scalar, OPERANDS[self.operand], FORMS[self.form], self.reverse, self.threads, **sizes, **arrays
        )


@dataclass(frozen=True)
class DecoderProblem:
    """The sizes of a decoder; see peephole.h. Arrays of its layers are given as one mapping a layer."""

    scalar: int  # bytes of a number: 4 or 8
    operand: str  # what products multiply: as_is, bf16
    form: str  # full, diagonal, none
    attention: str  # fixed_context, additive, product
    threads: int
    num_layers: int
    batch: int
    steps: int
    source_steps: int
    embedding_size: int
    memory_size: int
    key_size: int
    hidden_size: int

    def saved_bytes(self) -> int:
        """Return the size of the array `saved`."""
        return int(library().peephole_decoder_saved_bytes(ctypes.byref(self._with({}, [{}] * self.num_layers))))

    def scratch_bytes(self, *, backward: bool) -> int:
        """Return the size of the array `scratch`."""
        problem = self._with({}, [{}] * self.num_layers)
        return int(library().peephole_decoder_scratch_bytes(ctypes.byref(problem), backward))

    def forward(self, arrays: structures.Addresses, layers: list[structures.Addresses], instruction_set: str) -> None:
        """Compute all target steps; `arrays` and `layers` hold the addresses that peephole.h names."""
        _call("peephole_decoder_forward", instruction_set, self._with(arrays, layers))

    def backward(
        self,
        arrays: structures.Addresses,
        layers: list[structures.Addresses],
        gradients: structures.Addresses,
        layer_gradients: list[structures.Addresses],
        instruction_set: str,
    ) -> None:
        """Compute all gradients; `gradients` and `layer_gradients` hold the addresses that peephole.h names."""
        rows = (structures.DecoderLayerGradients * self.num_layers)(
            *(structures.DecoderLayerGradients(**row) for row in layer_gradients)
        )
        given = structures.DecoderGradients(**gradients, layers=ctypes.addressof(rows))
        _call("peephole_decoder_backward", instruction_set, self._with(arrays, layers), given)

    def _with(self, arrays: structures.Addresses, layers: list[structures.Addresses]) -> structures.Decoder:
        rows = (structures.DecoderLayer * self.num_layers)(*(structures.DecoderLayer(**row) for row in layers))
        sizes = {name: getattr(self, name) for name in structures.Decoder._SIZES}
        problem = structures.Decoder(
            self.scalar,
            OPERANDS[self.operand],
            FORMS[self.form],
            ATTENTIONS[self.attention],
            self.threads,
            self.num_layers,
            **sizes,
            **arrays,
            layers=ctypes.addressof(rows),
        )
        problem.rows = rows  # they live as long as the address to them
        return problem


@dataclass(frozen=True)
class LinearProblem:
    """The sizes of y = W x + b over rows; see peephole.h."""

    scalar: int  # bytes of a number: 4 or 8
    operand: str  # what products multiply: as_is, bf16
    threads: int
    rows: int
    inputs: int
    outputs: int

    def scratch_bytes(self, *, backward: bool) -> int:
        """Return the size of the array `scratch`."""
        return int(library().peephole_linear_scratch_bytes(ctypes.byref(self._with({})), backward))

    def forward(self, arrays: structures.Addresses, instruction_set: str) -> None:
        """Compute y; `arrays` holds the address of each array of `peephole_linear`."""
        _call("peephole_linear_forward", instruction_set, self._with(arrays))

    def backward(self, arrays: structures.Addresses, gradients: structures.Addresses, instruction_set: str) -> None:
        """Compute all gradients; `gradients` holds the address of each array of `peephole_linear_gradients`."""
        given = self._with(arrays), structures.pointers(("y", "x", "weight", "bias"), gradients)
        _call("peephole_linear_backward", instruction_set, *given)

    def _with(self, arrays: structures.Addresses) -> structures.Linear:
        return structures.Linear(**vars(self) | {"operand": OPERANDS[self.operand]}, **arrays)


@dataclass(frozen=True)
class OutputLossProblem:
    """The sizes of an output layer with its loss, (10)-(12); see peephole.h."""

    scalar: int  # bytes of a number: 4 or 8
    operand: str  # what products multiply: as_is, bf16
    threads: int
    rows: int
    hidden_size: int
    symbols: int
    padding: int  # the target of rows that are not real
    label_smoothing: float

    def scratch_bytes(self, *, gradients: bool) -> int:
        """Return the size of the array `scratch`."""
        return int(library().peephole_output_loss_scratch_bytes(ctypes.byref(self._with({})), gradients))

    def run(self, arrays: structures.Addresses, gradients: structures.Addresses | None, instruction_set: str) -> None:
        """Compute the loss and, where their addresses are given, all gradients.

        Raises:
            IndexError: a target is no symbol.
        """
        given = None if gradients is None else structures.pointers(("readouts", "weight", "bias"), gradients)
        done = _call("peephole_output_loss_run", instruction_set, self._with(arrays), given)
        if done == 2:
            raise IndexError(f"target: wanted symbols from 0 to {self.symbols - 1}, got others too")

    def _with(self, arrays: structures.Addresses) -> structures.OutputLoss:
        return structures.OutputLoss(**vars(self) | {"operand": OPERANDS[self.operand]}, **arrays)


@dataclass(frozen=True)
class DropoutMaskProblem:
    """The sizes and settings of a dropout mask; see peephole.h."""

    threads: int
    threshold: int
    keep_rate: float
    batch: int
    steps: int
    units: int
    place: int

    def run(self, arrays: structures.Addresses, instruction_set: str) -> None:
        """Write the mask; `arrays` holds the address of each array of `peephole_dropout_mask`."""
        _call("peephole_dropout_mask_run", instruction_set, structures.DropoutMask(**vars(self), **arrays))


def available() -> bool:
    """Return whether the library was found."""
    return library_path() is not None


@cache
def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets this processor can run, best first; none without the library.

    >>> available() == ("generic" in instruction_sets())
    True
    """
    if not available():
        return ()
    names: list[str] = []
    while (name := library().peephole_instruction_set(len(names))) is not None:
        names.append(name.decode())
    return tuple(names)


def activation(function: str, scalar: int, count: int, source: int, result: int, instruction_set: str) -> None:
    """Apply `"sigmoid"` or `"tanh"` as the cell does to `count` numbers of `scalar` bytes at address `source`."""
    done = library().peephole_activation(FUNCTIONS[function], scalar, count, source, result, instruction_set.encode())
    _check(done, instruction_set)


def peak(repeats: int, scalar: int, instruction_set: str) -> int:
    """Multiply matrices that fit the first cache, on one thread; return the floating point operations done."""
    done = int(library().peephole_peak(repeats, scalar, instruction_set.encode()))
    _check(done < 0, instruction_set)
    return done


def _call(function: str, instruction_set: str, *given: ctypes.Structure | ctypes.Array[ctypes.c_void_p] | None) -> int:
    pointers = (None if structure is None else ctypes.byref(structure) for structure in given)
    done = int(getattr(library(), function)(*pointers, instruction_set.encode()))
    _check(done == 1, instruction_set)
    return done


def _check(status: int, instruction_set: str) -> None:
    if status:
        raise ValueError(f"instruction set: wanted one of {', '.join(instruction_sets())}; got {instruction_set!r}")


def library_path() -> Path | None:
    """Return the library's path: PEEPHOLE_LIBRARY, or in the package, which an editable install has in two places."""
    if LIBRARY_VARIABLE in os.environ:
        return Path(os.environ[LIBRARY_VARIABLE])
    folders = importlib.import_module("peephole").__path__
    candidates = (Path(folder) / name for folder in folders for name in LIBRARY_NAMES)
    return next((path for path in candidates if path.is_file()), None)


@cache
def library() -> ctypes.CDLL:
    """Load the library.

    Raises:
        OSError: it is missing, or not one for this version of the package.
    """
    path = library_path()
    if path is None:
        raise OSError("peephole was installed without its engine: no C++ compiler was found then")
    loaded = ctypes.CDLL(str(path))
    found = loaded.peephole_abi_version()
    if found != ABI_VERSION:
        raise OSError(f"{path}: wanted ABI version {ABI_VERSION}, got {found}; install peephole again")
    text, number, address = ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p
    signatures: dict[str, tuple[type | None, list[type]]] = {
        "peephole_instruction_set": (text, [ctypes.c_int32]),
        "peephole_lstm_saved_bytes": (ctypes.c_size_t, [address]),
        "peephole_lstm_scratch_bytes": (ctypes.c_size_t, [address, ctypes.c_int32]),
        "peephole_lstm_forward": (ctypes.c_int32, [address, text]),
        "peephole_lstm_backward": (ctypes.c_int32, [address, address, text]),
        "peephole_decoder_saved_bytes": (ctypes.c_size_t, [address]),
        "peephole_decoder_scratch_bytes": (ctypes.c_size_t, [address, ctypes.c_int32]),
        "peephole_decoder_forward": (ctypes.c_int32, [address, text]),
        "peephole_decoder_backward": (ctypes.c_int32, [address, address, text]),
        "peephole_linear_scratch_bytes": (ctypes.c_size_t, [address, ctypes.c_int32]),
        "peephole_linear_forward": (ctypes.c_int32, [address, text]),
        "peephole_linear_backward": (ctypes.c_int32, [address, address, text]),
        "peephole_output_loss_scratch_bytes": (ctypes.c_size_t, [address, ctypes.c_int32]),
        "peephole_output_loss_run": (ctypes.c_int32, [address, address, text]),
        "peephole_dropout_mask_run": (ctypes.c_int32, [address, text]),
        "peephole_model_open": (address, [address, ctypes.c_size_t, text, address, ctypes.c_size_t]),
        "peephole_model_close": (None, [address]),
        "peephole_search": (ctypes.c_int32, [address, address, address, ctypes.c_size_t]),
        "peephole_result_release": (None, [address]),
        "peephole_activation": (
            ctypes.c_int32,
            [ctypes.c_int32, ctypes.c_int32, number, address, address, text],
        ),
        "peephole_peak": (number, [number, ctypes.c_int32, text]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
