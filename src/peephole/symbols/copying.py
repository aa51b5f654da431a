"""Ids of what can be copied: each symbol of a source by its text, as a symbol of the target.

Let V be the size of the target's table. A source symbol whose text is a symbol of the target has its id. The others
have the ids V, V + 1, … in the order in which they first appear in their source: such an id means a text of that source
only. A symbol of a target that the table lacks has the id of the same text in its source, if it occurs there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from peephole.symbols.tables import UNK, Symbols


class Copies(NamedTuple):
    """What can be copied from a source."""

    ids: list[int]
    """The id of each source symbol as a symbol of the target."""
    texts: tuple[str, ...]
    """The symbols that the target's table lacks: those of the ids V, V + 1, …"""


def find_copies(tokens: Sequence[str], target: Symbols) -> Copies:
    """Return what can be copied from a source of these symbols, as written.

    >>> from peephole.symbols import CharacterSymbols
    >>> find_copies(["b", "x", "a", "x", "y"], CharacterSymbols(["a", "b"], "NFC"))
    Copies(ids=[5, 6, 4, 6, 7], texts=('x', 'y'))
    """
    ids = target.token_ids(tokens)
    texts: dict[str, int] = {}
    if UNK in ids:
        size = len(target)
        for index, token in enumerate(tokens):
            if ids[index] == UNK:
                ids[index] = texts.setdefault(token, size + len(texts))
    return Copies(ids, tuple(texts))


def with_copied(ids: list[int], tokens: Sequence[str], texts: Sequence[str], target: Symbols) -> list[int]:
    """Return the ids of a target whose unknown symbols have the ids of the same texts in its source.

    Args:
        ids: the ids by the target's table.
        tokens: the symbols as written, one an id.
        texts: `Copies.texts` of the source.
        target: the table.
    """
    if UNK not in ids or not texts:
        return ids
    above = {text: i for i, text in enumerate(texts, start=len(target))}
    return [above.get(token, UNK) if i == UNK else i for i, token in zip(ids, tokens, strict=True)]


def copied_tokens(ids: Iterable[int], texts: Sequence[str], target: Symbols) -> list[str]:
    """Return the name of each id of a target, with `Copies.texts` of its source.

    >>> from peephole.symbols import CharacterSymbols
    >>> copied_tokens([4, 7, 2, 6], ("x", "y"), CharacterSymbols(["a", "b"], "NFC"))
    ['a', 'y', '</s>', 'x']
    """
    if not texts:
        return target.tokens(ids)
    size, ids = len(target), list(ids)
    names = target.tokens(min(i, size - 1) for i in ids)
    return [name if i < size else texts[i - size] for i, name in zip(ids, names, strict=True)]


def encode_pair(source: str, target: str, sources: Symbols, targets: Symbols) -> tuple[list[list[int]], list[int]]:
    """Return a pair of texts as a model that copies reads it.

    Returns:
        For each source symbol its id and the id of its copy; the ids of the target.
    """
    ids, tokens = sources.segment(source)
    copies = find_copies(tokens, targets)
    pairs = [list(pair) for pair in zip(ids, copies.ids, strict=True)]
    return pairs, with_copied(*targets.segment(target), copies.texts, targets)
