"""Recognise a first line that names the columns of a TSV or CSV file."""

from __future__ import annotations

from collections.abc import Sequence

# Words that name a column, and hardly ever stand beside each other in the first pair of a file
_WORDS = """
source target src tgt trg input output inputs outputs text label from to x y key value
word words lemma form inflected grapheme graphemes phoneme phonemes phone phones pronunciation pronunciations
pron ipa spelling orthography transcription transcript transliteration romanization romanized reading
sentence sentence1 sentence2 translation reference original corrected correction wrong right noisy clean
question answer prompt response document article body summary title headline abstract
hanja hangul hangeul kanji kana hiragana katakana pinyin latin cyrillic
arabic basque bengali bulgarian catalan chinese croatian czech danish dutch english estonian finnish french
galician georgian german greek hebrew hindi hungarian icelandic indonesian irish italian japanese korean
latvian lithuanian malay norwegian persian polish portuguese romanian russian serbian slovak slovenian
spanish swahili swedish tamil thai turkish ukrainian urdu vietnamese welsh
ar bg bn ca cs da de el en es et eu fa fi fr ga gl he hi hr hu hy id is it ja ka ko la lt lv mk ms nl no
pl pt ro ru sk sl sq sr sv sw ta te th tr uk ur vi zh
deu eng fra ger fre ita spa por nld rus jpn kor zho chi
"""
NAMES = frozenset(_WORDS.split())


def names_columns(fields: Sequence[str], columns: tuple[str, str]) -> bool:
    """Return whether the first line of a file holds the names of both configured columns.

    >>> names_columns(["id", "source", "target"], ("source", "target"))
    True
    """
    return all(column in fields for column in columns)


def looks_like_header(source: str, target: str) -> bool:
    """Return whether the first pair of a file is probably no pair, but the names of its columns.

    Both sides must be one of about 200 words that name columns, in any case, and must differ.

    >>> looks_like_header("Word", "Pronunciation"), looks_like_header("en", "it"), looks_like_header("word", "parola")
    (True, True, False)
    """
    first, second = (side.lower().lstrip("#") for side in (source, target))
    return first != second and first in NAMES and second in NAMES
