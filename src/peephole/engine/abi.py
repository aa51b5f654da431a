"""The C++ engine's library: where it is, loading it, and the types of its functions.

The package `peephole.engine` is the only one that calls the C ABI of engine/include/peephole.h. `structures.py` has its
structures, `problems.py` the calls of training, `packed.py` those of prediction; arrays are passed by address. None of
these needs PyTorch, and importing them does not fail when the library is missing: see `available`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from functools import cache
from pathlib import Path

from peephole.engine.enums import Function, Status
from peephole.errors import EngineError

ABI_VERSION = 24
FUNCTIONS = {function.name.lower(): function for function in Function}
LIBRARY_NAMES = ("libpeephole.so", "libpeephole.dylib", "peephole.dll")
LIBRARY_VARIABLE = "PEEPHOLE_LIBRARY"
"""Environment variable that names another build of the library than the one in the package."""


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
    given = FUNCTIONS[function], scalar, count, source, result
    if library().peephole_activation(*given, instruction_set.encode()) == Status.NO_INSTRUCTION_SET:
        raise _unknown(instruction_set)


def peak(repeats: int, scalar: int, instruction_set: str) -> int:
    """Multiply matrices that fit the first cache, on one thread; return the floating point operations done."""
    operations = int(library().peephole_peak(repeats, scalar, instruction_set.encode()))
    if operations < 0:
        raise _unknown(instruction_set)
    return operations


def call(function: str, instruction_set: str, *given: ctypes.Structure | None) -> Status:
    """Call a function of the library with structures by address and return its status.

    Raises:
        ValueError: the instruction set is unknown, or this processor lacks it.
    """
    pointers = (None if structure is None else ctypes.byref(structure) for structure in given)
    status = Status(getattr(library(), function)(*pointers, instruction_set.encode()))
    if status == Status.NO_INSTRUCTION_SET:
        raise _unknown(instruction_set)
    return status


def _unknown(instruction_set: str) -> ValueError:
    return ValueError(f"instruction set: wanted one of {', '.join(instruction_sets())}; got {instruction_set!r}")


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
        EngineError: it is missing, cannot be loaded, or is not one for this version of the package.
    """
    path = library_path()
    if path is None:
        raise EngineError("peephole was installed without its engine: no C++ compiler was found then")
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise EngineError(f"{path}: cannot be loaded: {error}") from error
    found = loaded.peephole_abi_version()
    if found != ABI_VERSION:
        raise EngineError(f"{path}: wanted ABI version {ABI_VERSION}, got {found}; install peephole again")
    text, number, address, status = ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
    signatures: dict[str, tuple[type | None, list[type]]] = {
        "peephole_instruction_set": (text, [ctypes.c_int32]),
        "peephole_lstm_saved_bytes": (ctypes.c_size_t, [address]),
        "peephole_lstm_scratch_bytes": (ctypes.c_size_t, [address, ctypes.c_int32]),
        "peephole_lstm_forward": (status, [address, text]),
        "peephole_lstm_backward": (status, [address, address, text]),
        "peephole_decoder_saved_bytes": (ctypes.c_size_t, [address]),
        "peephole_decoder_scratch_bytes": (ctypes.c_size_t, [address, ctypes.c_int32]),
        "peephole_decoder_forward": (status, [address, text]),
        "peephole_decoder_backward": (status, [address, address, text]),
        "peephole_linear_scratch_bytes": (ctypes.c_size_t, [address, ctypes.c_int32]),
        "peephole_linear_forward": (status, [address, text]),
        "peephole_linear_backward": (status, [address, address, text]),
        "peephole_output_loss_scratch_bytes": (ctypes.c_size_t, [address, ctypes.c_int32]),
        "peephole_output_loss_run": (status, [address, address, text]),
        "peephole_dropout_mask_run": (status, [address, text]),
        "peephole_trainer_open": (address, [text, ctypes.c_size_t, address, text, address, ctypes.c_size_t]),
        "peephole_trainer_close": (None, [address]),
        "peephole_trainer_step_bytes": (
            status,
            [text, ctypes.c_size_t, address, address, number, ctypes.c_int32, address, address, ctypes.c_size_t],
        ),
        "peephole_trainer_describe": (ctypes.c_int32, [address, number, address]),
        "peephole_trainer_run": (status, [address, ctypes.c_int32, address, address, ctypes.c_size_t]),
        "peephole_model_open": (address, [address, ctypes.c_size_t, text, address, ctypes.c_size_t]),
        "peephole_model_close": (None, [address]),
        "peephole_model_frame_size": (number, [address]),
        "peephole_model_vector_size": (number, [address]),
        "peephole_model_copies": (ctypes.c_int32, [address]),
        "peephole_model_places": (number, [address, number]),
        "peephole_search": (status, [address, address, address, ctypes.c_size_t]),
        "peephole_result_release": (None, [address]),
        "peephole_session_open": (address, [address, number, ctypes.c_int32, number, address, ctypes.c_size_t]),
        "peephole_session_close": (None, [address]),
        "peephole_session_add": (status, [address, number, address, address, ctypes.c_size_t]),
        "peephole_session_step": (status, [address, address, address, ctypes.c_size_t]),
        "peephole_answers_release": (None, [address]),
        "peephole_session_cancel": (ctypes.c_int32, [address, number]),
        "peephole_session_count": (None, [address, address, address, address]),
        "peephole_trace_make": (status, [address, address, address, ctypes.c_size_t]),
        "peephole_trace_release": (None, [address]),
        "peephole_draw": (status, [address, address, address, ctypes.c_size_t]),
        "peephole_activation": (status, [ctypes.c_int32, ctypes.c_int32, number, address, address, text]),
        "peephole_peak": (number, [number, ctypes.c_int32, text]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
