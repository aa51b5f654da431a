"""Characters that readers cannot tell apart, and characters that texts of pairs seldom mean to have.

The table is a part of Unicode's confusables.txt (UTS 39): the letters, marks and spaces that keyboards, word processors
and OCR programs exchange. The whole table has thousands of mathematical letters that texts seldom hold.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_GROUPS = (
    # Latin, Cyrillic, Greek
    *("aа", "cс", "eе", "iі", "jј", "oоο", "pрρ", "sѕ", "xх", "yу", "vν", "hһ", "uυ"),
    *("AАΑ", "BВΒ", "CС", "EЕΕ", "HНΗ", "IІΙ", "JЈ", "KКΚ", "MМΜ", "NΝ", "OОΟ", "PРΡ", "SЅ", "TТΤ", "XХΧ", "YΥ", "ZΖ"),
    *("µμ", "ΩΩ", "ÅÅ", "ßβ", "đð", "ıι", "ʻ‘", "əә"),
    # Hyphens, dashes, minus
    "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad\u02d7\ufe63\uff0d",
    # Apostrophes and quotation marks
    "'\u2018\u2019\u02bc\u02b9\u00b4\u0060\u2032\uff07",
    '"\u201c\u201d\u201e\u2033\u02ba\uff02',
    # Spaces
    " \u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000",
    # Other marks
    *(".․", ",‚", ":։", ";;", "…⋯", "·•‧∙⋅・", "~∼～", "/⁄∕", "|ǀ│", "!ǃ", "*∗＊", "×✕"),
)
_LOOK = {character: group[0] for group in _GROUPS for character in group}
_JOINERS = "\u200c\u200d"  # of emoji, and of several scripts


def alike(characters: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of different characters that look alike, each in the order of code points.

    Characters also look alike if one is the compatibility form (NFKC) of another, such as a full-width letter.

    >>> alike("aаbＡAx")
    [('A', 'Ａ'), ('a', 'а')]
    """
    looks: dict[str, set[str]] = {}
    for character in characters:
        form = unicodedata.normalize("NFKC", character)
        look = _LOOK.get(character) or _LOOK.get(form) or form
        looks.setdefault(look, set()).add(character)
    return sorted(tuple(sorted(group)) for group in looks.values() if len(group) > 1)


def is_control(character: str) -> bool:
    """Return whether a character is a control or format character, unassigned, or stands for an unreadable one.

    >>> [is_control(character) for character in ("a", "\\x07", "\\u200b", "\\ufffd", "\\u200d")]
    [False, True, True, True, False]
    """
    return (
        unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs") and character not in _JOINERS
    ) or character == "\ufffd"


def name_of(character: str) -> str:
    """Return a character as a message shows it: itself if it can be seen, its code point and its name.

    >>> name_of("é"), name_of("\\x07")
    ("'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE", 'U+0007')
    """
    shown = f"{character!r} " if character.isprintable() and not character.isspace() else ""
    return f"{shown}U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
