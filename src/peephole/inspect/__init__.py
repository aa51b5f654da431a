"""Look into a model at work: traces of predictions, diagnoses of wrong ones, and pictures of the attention.

`Model.trace` makes a `Trace`; docs/traces.md lists its arrays. `Model.diagnose` makes a `Diagnosis`.
"""

from peephole.inspect.attention import draw_attention
from peephole.model.diagnosis import DevErrors, Diagnosis, Loss, Neighbour, Parting
from peephole.model.trace import Trace, decode_array
from peephole.model.training_index import TrainingIndex, build_index
from peephole.search.recorded import BeamTree, Fate

__all__ = [
    "BeamTree",
    "DevErrors",
    "Diagnosis",
    "Fate",
    "Loss",
    "Neighbour",
    "Parting",
    "Trace",
    "TrainingIndex",
    "build_index",
    "decode_array",
    "draw_attention",
]
