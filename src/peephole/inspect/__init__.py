"""Draw pictures of a model's attention weights."""

from peephole.inspect.attention import draw_attention

__all__ = ["draw_attention"]
