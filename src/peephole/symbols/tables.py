"""Convert text to symbol ids and back.

A symbol table turns a text into the ids that a model reads and writes. Four kinds: grapheme clusters
(`characters`: a Korean syllable, an emoji or a letter with its combining marks is one symbol),
whitespace-separated tokens (`whitespace`: phones, words) and subwords learned from the data (`bpe`,
`unigram`).

Known limits: outer whitespace is not kept by `whitespace` and the subword kinds; `whitespace` joins with one
space; the subword kinds read a literal U+2581 (▁) back as a space.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from peephole.errors import ConfigError, ModelFileError
from peephole.symbols.learning import SPACE, by_frequency, count_symbols, train_segmenter

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS, UNK = 0, 1, 2, 3
UNPREDICTABLE = (PAD, BOS, UNK)
"""The ids that no search predicts."""
SPECIALS = (
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
)  # the names of ids 0 to 3; the same text in the data is never special

KINDS = ("characters", "whitespace", "bpe", "unigram")
NORMALIZATIONS = ("NFC", "NFKC", "none")
CACHED_WORDS = 1 << 16  # words whose subwords are cached: ten times as fast on running text

# Texts of these code points alone have one cluster per code point. Clustering takes ten times as long as
# listing the code points, and nearly all texts consist of these.
_SINGLE_CODE_POINT_CLUSTERS = re.compile(
    r"[ -~\u00a1-\u02ff\u0391-\u03ff\u0400-\u0482\u048a-\u052f\u3001-\u3029\u3041-\u3096\u30a1-\u30ff"
    r"\u4e00-\u9fff\uac00-\ud7a3]*"
)


def normalize_text(text: str, form: str) -> str:
    r"""Return the text in a Unicode normal form, `NFC` or `NFKC`, or as it is (`none`).

    >>> len("e\N{COMBINING ACUTE ACCENT}"), len(normalize_text("e\N{COMBINING ACUTE ACCENT}", "NFC"))
    (2, 1)
    """
    return text if form == "none" or text.isascii() else unicodedata.normalize(form, text)  # type: ignore[arg-type]


def split_clusters(text: str) -> list[str]:
    """Split a text into grapheme clusters, the characters that a reader perceives.

    >>> split_clusters("né한👩‍👧")
    ['n', 'é', '한', '👩‍👧']
    """
    if _SINGLE_CODE_POINT_CLUSTERS.fullmatch(text):
        return list(text)
    return list(_cluster().findall(text))


@cache
def _cluster() -> Any:
    """Return the pattern of one grapheme cluster."""
    import regex  # type: ignore[import-untyped]  # imported here, since the import is slow and few texts need it

    return regex.compile(r"\X")


class Symbols(ABC):
    """A table of symbols; ids 0 to 3 are `SPECIALS`, ordinary symbols follow.

    Text is normalised inside `encode` and `split`.
    """

    kind: str
    normalize: str

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of ids V, including the four specials."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without BOS and EOS; a symbol that is not in the table is UNK."""

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """Return the symbols of a text as strings, as many as `encode` returns; unknown ones as written."""

    @abstractmethod
    def segment(self, text: str) -> tuple[list[int], list[str]]:
        """Return the results of `encode` and `split`, splitting the text once."""

    @abstractmethod
    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Return the name of each id; the specials have the names in `SPECIALS`."""

    @abstractmethod
    def token_ids(self, tokens: Iterable[str]) -> list[int]:
        """Return the id of each ordinary symbol that `tokens` names; any other text is UNK."""

    @abstractmethod
    def join(self, tokens: Iterable[str]) -> str:
        """Return the text of some symbols, given as strings."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids; PAD, BOS and EOS are left out, UNK shows as `<unk>`."""
        return self.join(self.tokens(i for i in ids if i >= UNK))

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the table as plain JSON values, which `symbols_from_json` reads."""


class ListedSymbols(Symbols):
    """A table that is a list of symbols; subclasses define how a text is split into symbols and joined again."""

    def __init__(self, ordinary: Sequence[str], normalize: str) -> None:
        self.normalize = normalize
        self._names = (*SPECIALS, *ordinary)
        self._ids = {symbol: i for i, symbol in enumerate(ordinary, start=len(SPECIALS))}

    def __len__(self) -> int:
        return len(self._names)

    def encode(self, text: str) -> list[int]:
        return self.token_ids(self.split(text))

    def segment(self, text: str) -> tuple[list[int], list[str]]:
        symbols = self.split(text)
        return self.token_ids(symbols), symbols

    def tokens(self, ids: Iterable[int]) -> list[str]:
        return [self._names[i] for i in ids]

    def token_ids(self, tokens: Iterable[str]) -> list[int]:
        known = self._ids.get
        return [known(token, UNK) for token in tokens]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "normalize": self.normalize, "symbols": list(self._names[len(SPECIALS) :])}


class CharacterSymbols(ListedSymbols):
    """Grapheme clusters; a space is a symbol like any other.

    >>> table = CharacterSymbols(["a", "b"], "NFC")
    >>> table.encode("abc"), table.decode([4, 5, 3, 2])
    ([4, 5, 3], 'ab<unk>')
    """

    kind = "characters"

    def split(self, text: str) -> list[str]:
        return split_clusters(normalize_text(text, self.normalize))

    def join(self, tokens: Iterable[str]) -> str:
        return "".join(tokens)


class WhitespaceSymbols(ListedSymbols):
    """Tokens between whitespace, joined again by one space.

    >>> table = WhitespaceSymbols(["AH", "B"], "NFC")
    >>> table.encode("B  AH Z"), table.decode([5, 4, 2])
    ([5, 4, 3], 'B AH')
    """

    kind = "whitespace"

    def split(self, text: str) -> list[str]:
        return normalize_text(text, self.normalize).split()

    def join(self, tokens: Iterable[str]) -> str:
        return " ".join(tokens)


class SubwordSymbols(Symbols):
    """Pieces of words learned from the data: byte pairs (`bpe`) or a unigram language model (`unigram`).

    The `tokenizers` library does the segmentation. Its id 0 is the unknown piece, which becomes UNK here, so
    that its id k becomes k + 3.

    Args:
        kind: `bpe` or `unigram`.
        segmenter: the library's own description of the trained tokenizer, a JSON text.
        normalize: Unicode normal form.
    """

    def __init__(self, kind: str, segmenter: str, normalize: str) -> None:
        from tokenizers import Tokenizer  # imported here, since the import is slow and few runs need it

        self.kind = kind
        self.normalize = normalize
        self._segmenter = segmenter
        self._tokenizer: Tokenizer = Tokenizer.from_str(segmenter)
        pieces = sorted(self._tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        self._names = (*SPECIALS, *(piece for piece, _ in pieces[1:]))
        self._segment_word = lru_cache(CACHED_WORDS)(self._segment_uncached)

    def __len__(self) -> int:
        return len(self._names)

    def encode(self, text: str) -> list[int]:
        return [i for word in self._words(text) for i in self._segment_word(word)[0]]

    def split(self, text: str) -> list[str]:
        return self.segment(text)[1]

    def segment(self, text: str) -> tuple[list[int], list[str]]:
        words = [self._segment_word(word) for word in self._words(text)]
        return [i for ids, _ in words for i in ids], [piece for _, pieces in words for piece in pieces]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        return [self._names[i] for i in ids]

    def token_ids(self, tokens: Iterable[str]) -> list[int]:
        return [self._ids.get(token, UNK) for token in tokens]

    def join(self, tokens: Iterable[str]) -> str:
        return "".join(tokens).replace(SPACE, " ").strip()

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "normalize": self.normalize, "segmenter": self._segmenter}

    def __reduce__(self) -> tuple[Any, ...]:
        return SubwordSymbols, (self.kind, self._segmenter, self.normalize)  # the cache cannot be pickled

    def _words(self, text: str) -> list[str]:
        """Return the words of a text, which are segmented independently."""
        clean = normalize_text(text, self.normalize).strip()
        return [SPACE + word for word in clean.split(" ")] if clean else []

    def _segment_uncached(self, word: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return the ids and the pieces of a word; an unknown piece as written."""
        found = self._tokenizer.encode(word)
        ids = tuple(i + UNK for i in found.ids)
        if UNK not in ids:
            return ids, tuple(self._names[i] for i in ids)
        spans = zip(ids, found.offsets, strict=True)
        return ids, tuple(word[slice(*span)] if i == UNK else self._names[i] for i, span in spans)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self._names) if i > UNK}


_TABLES: dict[str, type[ListedSymbols]] = {
    "characters": CharacterSymbols,
    "whitespace": WhitespaceSymbols,
}


def symbols_from_json(tree: Mapping[str, Any]) -> Symbols:
    """Rebuild a table from the result of `to_json`, of symbols or of frames.

    Raises:
        ModelFileError: the tree is not one that `to_json` returns.

    >>> symbols_from_json(CharacterSymbols(["a"], "NFC").to_json()).encode("a")
    [4]
    """
    kind, normalize = tree.get("kind"), tree.get("normalize")
    from peephole.symbols.frames import FRAME_KINDS, frames_from_json  # it imports this module

    if kind in FRAME_KINDS:
        return frames_from_json(tree)
    if kind not in KINDS or normalize not in NORMALIZATIONS:
        raise ModelFileError(f"symbol table: unknown kind {kind!r} or normalisation {normalize!r}")
    if kind in ("bpe", "unigram"):
        try:
            return SubwordSymbols(kind, tree["segmenter"], normalize)
        except Exception as error:  # the library raises bare Exception for text that it cannot parse
            raise ModelFileError(f"symbol table: cannot read the {kind} segmenter: {error}") from error
    ordinary = tree.get("symbols")
    if not isinstance(ordinary, list) or not all(isinstance(symbol, str) for symbol in ordinary):
        raise ModelFileError(f"symbol table: wanted a list of symbols, got {type(ordinary).__name__}")
    if len(set(ordinary)) != len(ordinary):
        [(symbol, _)] = Counter(ordinary).most_common(1)
        raise ModelFileError(f"symbol table: wanted each symbol once, got {symbol!r} twice")
    return _TABLES[kind](ordinary, normalize)


def learn_symbols(kind: str, texts: Iterable[str], *, vocabulary_size: int, min_count: int, normalize: str) -> Symbols:
    """Learn a table from texts, read once; the same texts in the same order give the same table.

    Only `unigram` may differ: the library breaks ties, which are many in small data, by the order of a hash
    table.

    Args:
        kind: one of `KINDS`.
        texts: the training texts of one side.
        vocabulary_size: the most ids, the four specials included.
        min_count: symbols (of the subword kinds: code points) seen fewer times are left out, and so become
            UNK.
        normalize: Unicode normal form, one of `NORMALIZATIONS`.

    Raises:
        ConfigError: the kind is unknown (`auto` must be resolved before).

    >>> learn_symbols("characters", ["ab", "b"], vocabulary_size=8, min_count=1, normalize="NFC").encode("ab")
    [5, 4]
    """
    normal = (normalize_text(text, normalize) for text in texts)
    if kind in ("bpe", "unigram"):
        words = count_symbols(text.strip().split(" ") for text in normal)
        num_pieces = vocabulary_size - UNK  # the segmenter has one special, the unknown piece
        segmenter = train_segmenter(kind, words, num_pieces=num_pieces, min_count=min_count)
        return SubwordSymbols(kind, segmenter, normalize)
    if kind not in KINDS:
        raise ConfigError(f"symbols: unknown kind {kind!r}; wanted one of {', '.join(KINDS)}")
    split: Callable[[str], list[str]] = split_clusters if kind == "characters" else str.split
    counts = count_symbols(map(split, normal))
    frequent = [symbol for symbol, count in by_frequency(counts) if count >= min_count]
    ordinary = frequent[: vocabulary_size - len(SPECIALS)]
    return _TABLES[kind](ordinary, normalize)
