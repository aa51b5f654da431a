"""Choose the implementation of each of the definition's operators.

The modules of `peephole.nn` compute by their equations unless another implementation of the operator is found here. A
backend (the C++ engine, GPU kernels) is added by the name of its module, which is imported at the first request and
calls `register`. It receives a `Request` and either accepts it or returns the reason why it does not.

The definition itself imports no backend.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

OPERATORS = {
    "recurrent_layer": "the recurrent layers",
    "decoder": "the decoder",
    "feeding_decoder": "the decoder with input feeding",
    "sampled_decoder": "the decoder with scheduled sampling",
    "linear": "the products outside the recurrences",
    "output_loss": "the output layer with its loss",
    "dropout_mask": "dropout masks",
}
"""Each operator that a backend may compute, with its name in messages."""

BFLOAT16_PRODUCTS = "bfloat16 products"
"""Number format of a request under autocast: float32 in and out, products of bfloat16."""


class Request(NamedTuple):
    """One operator to compute: kinds of its parts, device and number format."""

    operator: str  # a key of OPERATORS
    kinds: Mapping[str, str]  # kind of each part: cell, peephole, attention, …
    device: str  # as torch.device.type
    numbers: str  # float32, float64, … as in torch.dtype; BFLOAT16_PRODUCTS; "empty" or "mixed" tensors


@runtime_checkable
class Backend(Protocol):
    """Implementations of one origin for some of the operators."""

    name: str

    def variants(self) -> tuple[str, ...]:
        """Return the names by which `use_engine` selects one of several builds of the same implementations."""

    def decline(self, request: Request) -> str | None:
        """Return the reason why the backend does not compute a request; None if it does."""

    def implementation(self, operator: str) -> Callable[..., Any]:
        """Return the function that computes an operator; it takes the arguments of the definition's function."""


class Choice(NamedTuple):
    """The implementation chosen for a request, or the reason why there is none."""

    run: Callable[..., Any] | None  # None: the definition
    reason: str | None  # why the definition computes; None where a backend does


_modules: list[str] = []
_backends: list[Backend] = []
_importing = threading.RLock()
_setting: ContextVar[str] = ContextVar("peephole backend", default="auto")


def add_backend(module: str) -> None:
    """Add a backend by the name of its module, which is imported at the first request and calls `register`."""
    if module not in _modules:
        _modules.append(module)


def register(backend: Backend) -> None:
    """Register a backend after those there are: the first one that accepts a request computes it."""
    _backends.append(backend)


def backends() -> list[Backend]:
    """Return the registered backends, importing those that were added by name."""
    if _modules:
        with _importing:  # another thread must not go on without a backend that is being imported
            while _modules:
                importlib.import_module(_modules[0])
                _modules.pop(0)
    return _backends


def find(request: Request) -> Choice:
    """Return the implementation that computes a request, or the reason why the definition does."""
    if _setting.get() == "off":
        return Choice(None, "turned off")
    reasons = []
    for backend in backends():
        reason = backend.decline(request)
        if reason is None:
            return Choice(backend.implementation(request.operator), None)
        reasons.append(f"{backend.name}: {reason}")
    return Choice(None, "; ".join(reasons) or "no backend is installed")


def find_for(operator: str, kinds: Mapping[str, str], tensors: Iterable[Tensor]) -> Choice:
    """Return the choice for an operator of these kinds on these tensors; see `request_for`."""
    return find(request_for(operator, kinds, tensors))


def request_for(operator: str, kinds: Mapping[str, str], tensors: Iterable[Tensor]) -> Request:
    """Return the request for an operator on these tensors; the first one gives device and number format."""
    first, *others = tensors
    device, number = first.device.type, first.dtype
    if not first.numel():
        numbers = "empty"
    elif all(tensor.dtype == number and tensor.device.type == device for tensor in others):
        numbers = _under_autocast(str(number).removeprefix("torch."), device)
    else:
        numbers = "mixed"
    return Request(operator, kinds, device, numbers)


def _under_autocast(numbers: str, device: str) -> str:
    """Return the number format of products of `numbers` on a device here: autocast may change it."""
    import torch  # here, so that naming backends needs no PyTorch

    if not torch.is_autocast_enabled(device):
        return numbers
    lower = str(torch.get_autocast_dtype(device)).removeprefix("torch.")
    if numbers != "float32":
        return f"{numbers} under autocast to {lower}"
    return BFLOAT16_PRODUCTS if lower == "bfloat16" else f"{lower} products"


def multiplies_bfloat16() -> bool:
    """Return whether products multiply bfloat16 here: on a CPU, under autocast to it."""
    import torch

    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def current_setting() -> str:
    """Return the setting of `use_engine`: auto, off, or a backend's variant."""
    return _setting.get()


@contextmanager
def use_engine(setting: str) -> Iterator[None]:
    """Select within the block the implementations of the definition's operators.

    Args:
        setting: `"auto"`: the first backend that can; `"off"`: the definition; or a backend's variant, such as one of
            `peephole.engine.instruction_sets()`.

    Raises:
        ValueError: the setting is none of these.
    """
    known = ["auto", "off"]
    if setting not in known:
        known += [variant for backend in backends() for variant in backend.variants()]
    if setting not in known:
        raise ValueError(f"engine: wanted one of {', '.join(known)}; got {setting!r}")
    token = _setting.set(setting)
    try:
        yield
    finally:
        _setting.reset(token)
