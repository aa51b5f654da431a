"""Names that tensors had in earlier versions.

Model files of format versions 1 and 2, and checkpoints of that time, use the old names.
"""

from __future__ import annotations

RENAMED = {"encoder.embedding.weight": "frontend.embedding.weight"}
"""Old name → name in use now."""

_OLD_NAMES = {new: old for old, new in RENAMED.items()}


def current_name(name: str) -> str:
    """Return the name in use now of a tensor that was stored under an old one; other names stay.

    >>> current_name("encoder.embedding.weight"), current_name("decoder.output.bias")
    ('frontend.embedding.weight', 'decoder.output.bias')
    """
    return RENAMED.get(name, name)


def old_name(name: str) -> str:
    """Return the name under which model files of format versions 1 and 2 store a tensor."""
    return _OLD_NAMES.get(name, name)
