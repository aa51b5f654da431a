"""Compare the symbol tables of the two sides, for a model that copies."""

from __future__ import annotations

from peephole.errors import ConfigError
from peephole.symbols import SPECIALS, UNK, Symbols


def copying_line(source: Symbols, target: Symbols) -> str:
    """Return a line with the number of source symbols that are symbols of the target.

    Raises:
        ConfigError: the tables split texts in different ways, so that a symbol of one is not one of the other.
    """
    if source.kind != target.kind:
        raise ConfigError(
            f"model.output='copy' copies symbols: wanted symbols.source and symbols.target of one kind, got "
            f"{source.kind!r} and {target.kind!r}"
        )
    ordinary = range(len(SPECIALS), len(source))
    shared = sum(i != UNK for i in target.token_ids(source.tokens(ordinary)))
    return (
        f"copying: {shared} of {len(ordinary)} source symbols are target symbols; the others are copied by their text"
    )
