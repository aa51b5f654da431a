"""Pictures of a model at work: its attention weights."""

from peephole.inspect.attention import draw_attention

__all__ = ["draw_attention"]
