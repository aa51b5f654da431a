"""Look into a model at work: traces of predictions, diagnoses of wrong ones, pages, and pictures.

`Model.trace` makes a `Trace`; docs/traces.md lists its arrays. `Model.diagnose` makes a `Diagnosis`. `make_page` makes
one HTML file that shows a prediction.
"""

from peephole.inspect.attention import draw_attention
from peephole.inspect.figures import draw_trace
from peephole.inspect.prediction_page import PredictionPage, make_page
from peephole.model.diagnosis import DevErrors, Diagnosis, Loss, Neighbour, Parting
from peephole.model.saliency import saliency
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
    "PredictionPage",
    "Trace",
    "TrainingIndex",
    "build_index",
    "decode_array",
    "draw_attention",
    "draw_trace",
    "make_page",
    "saliency",
]
