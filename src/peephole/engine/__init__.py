"""The C++ engine from Python: its library, packed models and search, and its operators for PyTorch.

The names below are imported when first used: prediction needs none of training's. The modules with PyTorch operators
(`recurrence`, `decoder`, `output`, `dropout`) are imported at the first request to `peephole.nn.backends`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peephole.lazy import lazy_names

if TYPE_CHECKING:
    from peephole.engine.abi import FUNCTIONS as FUNCTIONS
    from peephole.engine.abi import activation as activation
    from peephole.engine.abi import available as available
    from peephole.engine.abi import instruction_sets as instruction_sets
    from peephole.engine.abi import library as library
    from peephole.engine.abi import library_path as library_path
    from peephole.engine.abi import peak as peak
    from peephole.engine.number_speed import bfloat16_is_faster as bfloat16_is_faster
    from peephole.engine.problems import ATTENTIONS as ATTENTIONS
    from peephole.engine.problems import FORMS as FORMS
    from peephole.engine.problems import OPERANDS as OPERANDS
    from peephole.engine.problems import DecoderProblem as DecoderProblem
    from peephole.engine.problems import DropoutMaskProblem as DropoutMaskProblem
    from peephole.engine.problems import LinearProblem as LinearProblem
    from peephole.engine.problems import LSTMProblem as LSTMProblem
    from peephole.engine.problems import OutputLossProblem as OutputLossProblem

_MODULES = {
    "ATTENTIONS": "peephole.engine.problems",
    "DecoderProblem": "peephole.engine.problems",
    "DropoutMaskProblem": "peephole.engine.problems",
    "FORMS": "peephole.engine.problems",
    "FUNCTIONS": "peephole.engine.abi",
    "LSTMProblem": "peephole.engine.problems",
    "LinearProblem": "peephole.engine.problems",
    "OPERANDS": "peephole.engine.problems",
    "OutputLossProblem": "peephole.engine.problems",
    "activation": "peephole.engine.abi",
    "available": "peephole.engine.abi",
    "bfloat16_is_faster": "peephole.engine.number_speed",
    "instruction_sets": "peephole.engine.abi",
    "library": "peephole.engine.abi",
    "library_path": "peephole.engine.abi",
    "peak": "peephole.engine.abi",
}

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
    "bfloat16_is_faster",
    "instruction_sets",
    "library",
    "library_path",
    "peak",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
