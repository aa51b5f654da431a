"""The C++ engine from Python: its library, packed models and search, and its operators for PyTorch.

Importing this package needs no PyTorch and no library; the modules with PyTorch operators (`recurrence`, `decoder`,
`output`, `dropout`) are imported when `peephole.nn` first asks for an implementation.
"""

from peephole.engine.abi import (
    FUNCTIONS,
    activation,
    available,
    instruction_sets,
    library,
    library_path,
    peak,
)
from peephole.engine.problems import (
    ATTENTIONS,
    FORMS,
    OPERANDS,
    DecoderProblem,
    DropoutMaskProblem,
    LinearProblem,
    LSTMProblem,
    OutputLossProblem,
)

__all__ = [
    "ATTENTIONS",
    "FORMS",
    "FUNCTIONS",
    "OPERANDS",
    "DecoderProblem",
    "DropoutMaskProblem",
    "LSTMProblem",
    "LinearProblem",
    "OutputLossProblem",
    "activation",
    "available",
    "instruction_sets",
    "library",
    "library_path",
    "peak",
]
