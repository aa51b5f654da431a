"""The user's handle on a trained model: load, predict, score, save, evaluate, quantize.

Imported at once is only what predicting a text needs. `peephole.model.evaluation` (`peephole.evaluate`) and
`peephole.model.quantization` (`peephole.quantize`) are modules of their own, because they need NumPy.
"""

from peephole.model.handle import Model, load
from peephole.model.prediction import Prediction
from peephole.model.reading import (
    Notice,
    Notices,
    SlowSearchWarning,
    TruncatedSourceWarning,
    UnknownSymbolWarning,
)

__all__ = [
    "Model",
    "Notice",
    "Notices",
    "Prediction",
    "SlowSearchWarning",
    "TruncatedSourceWarning",
    "UnknownSymbolWarning",
    "load",
]
