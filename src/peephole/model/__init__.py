"""Use a trained model: load, predict, score, save, evaluate, quantize.

Importing this package imports only the modules that predicting a text needs. `peephole.model.evaluation`
(`peephole.evaluate`) and `peephole.model.quantization` (`peephole.quantize`) are separate modules, since they need
NumPy.
"""

from peephole.model.handle import Model
from peephole.model.loading import load
from peephole.model.prediction import Prediction
from peephole.model.reading import (
    ChangedSourceWarning,
    Notice,
    Notices,
    SlowSearchWarning,
    TruncatedSourceWarning,
    UnknownSymbolWarning,
)

__all__ = [
    "ChangedSourceWarning",
    "Model",
    "Notice",
    "Notices",
    "Prediction",
    "SlowSearchWarning",
    "TruncatedSourceWarning",
    "UnknownSymbolWarning",
    "load",
]
