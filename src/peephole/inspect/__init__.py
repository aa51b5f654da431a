"""Look into a model at work: traces of predictions, pages, and pictures of the attention.

`Model.trace` makes a `Trace`; docs/traces.md lists its arrays. `make_page` makes one HTML file of it.
"""

from peephole.inspect.attention import draw_attention
from peephole.inspect.figures import draw_trace
from peephole.inspect.pages import PredictionPage, make_page
from peephole.model.saliency import saliency
from peephole.model.trace import Trace, decode_array
from peephole.search.recorded import BeamTree, Fate

__all__ = [
    "BeamTree",
    "Fate",
    "PredictionPage",
    "Trace",
    "decode_array",
    "draw_attention",
    "draw_trace",
    "make_page",
    "saliency",
]
