"""Look into a model at work: traces of predictions, and pictures of the attention.

`Model.trace` makes a `Trace`; docs/traces.md lists its arrays.
"""

from peephole.inspect.attention import draw_attention
from peephole.model.trace import Trace, decode_array
from peephole.search.recorded import BeamTree, Fate

__all__ = ["BeamTree", "Fate", "Trace", "decode_array", "draw_attention"]
