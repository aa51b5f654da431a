"""Sequence-to-sequence learning that you can inspect.

    model = peephole.train("train.tsv", out="g2p.safetensors", minutes=5)
    model = peephole.load("g2p.safetensors")
    model.predict(["hello"], beam_size=5, nbest=3)
    peephole.evaluate(model, "test.tsv")

The names below are loaded when they are first used, so that `import peephole` and `peephole --help` answer at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from peephole.lazy import lazy_names
from peephole.nn.backends import add_backend

if TYPE_CHECKING:
    from peephole import inspect as inspect
    from peephole import nn as nn
    from peephole.config import Config as Config
    from peephole.errors import PeepholeError as PeepholeError
    from peephole.inspect.report import report as report
    from peephole.model import Model as Model
    from peephole.model import Prediction as Prediction
    from peephole.model import load as load
    from peephole.model.calibration import calibrate as calibrate
    from peephole.model.evaluation import evaluate as evaluate
    from peephole.model.info import info as info
    from peephole.model.quantization import quantize as quantize
    from peephole.training import resume as resume
    from peephole.training import train as train
    from peephole.training import tune as tune
    from peephole.training.checking import check as check

# PyTorch's OpenMP workers spin for milliseconds after each parallel region, on cores that the engine's threads need.
# This makes them sleep sooner; libgomp reads it when PyTorch is imported. 1000 turns cost PyTorch nothing measurable; 0
# would make it two to four times slower.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"

add_backend("peephole.engine.backend")  # imported at the first request

_MODULES = {
    "Config": "peephole.config",
    "Model": "peephole.model",
    "PeepholeError": "peephole.errors",
    "Prediction": "peephole.model",
    "calibrate": "peephole.model.calibration",
    "check": "peephole.training.checking",
    "evaluate": "peephole.model.evaluation",
    "info": "peephole.model.info",
    "inspect": "peephole.inspect",
    "load": "peephole.model",
    "nn": "peephole.nn",
    "quantize": "peephole.model.quantization",
    "report": "peephole.inspect.report",
    "resume": "peephole.training",
    "train": "peephole.training",
    "tune": "peephole.training",
}

__all__ = [
    "Config",
    "Model",
    "PeepholeError",
    "Prediction",
    "calibrate",
    "check",
    "evaluate",
    "info",
    "inspect",
    "load",
    "nn",
    "quantize",
    "report",
    "resume",
    "train",
    "tune",
]

_import, __dir__ = lazy_names(__name__, _MODULES)


def __getattr__(name: str) -> Any:
    try:
        return _import(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "peephole":
            raise
        from peephole.errors import install_hint

        package = error.name.partition(".")[0]
        raise ModuleNotFoundError(
            f"peephole.{name} needs {package}: {install_hint(package)}", name=error.name
        ) from error
