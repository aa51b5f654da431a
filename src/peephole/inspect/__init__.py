"""Looking into a model: what it attends to."""

from peephole.inspect.attention import draw_attention

__all__ = ["draw_attention"]
