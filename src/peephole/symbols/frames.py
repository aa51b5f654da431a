"""How a source that is no text is read as frames: the entry of a model file in place of a symbol table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from peephole.errors import ModelFileError, plural
from peephole.symbols.tables import SPECIALS, Symbols

FRAME_KINDS = ("sound", "image", "numbers")
_KEYS = {"sound": ("sample_rate", "mel_bins"), "image": ("height", "colours"), "numbers": ("size",)}
MOST = 1 << 20  # far above any useful number


class FrameSymbols(Symbols):
    """The table of a source without symbols: files of sound, images or numbers, read as frames of F numbers.

    It stands where a model has the symbol table of a text, and holds what must be the same in prediction as in
    training. It has the four special ids, which no source uses.

    Args:
        kind: sound (log-mel filterbanks), image (columns of points) or numbers (rows of a table).
        sample_rate: sound: samples a second to which it is resampled.
        mel_bins: sound: F, triangular filters on the mel scale.
        height: images: points to which the height is scaled; the width is scaled likewise.
        colours: images: F is three times the height, the red points, then the green and the blue ones, instead of grey.
        size: numbers: F.
        columns: numbers: the names of the F components, where a table must have these columns; None: any names.

    >>> FrameSymbols("image", height=32).size, len(FrameSymbols("image"))
    (32, 4)
    """

    normalize = "none"

    def __init__(
        self,
        kind: str,
        *,
        sample_rate: int = 16000,
        mel_bins: int = 80,
        height: int = 48,
        colours: bool = False,
        size: int = 1,
        columns: Sequence[str] | None = None,
    ) -> None:
        self.kind = kind
        self.sample_rate, self.mel_bins, self.height, self.colours = sample_rate, mel_bins, height, colours
        self.size = {"sound": mel_bins, "image": height * (3 if colours else 1), "numbers": size}[kind]
        """F, the numbers in a frame."""
        self.columns = None if columns is None else tuple(columns)

    def __len__(self) -> int:
        return len(SPECIALS)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrameSymbols) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.kind, self.size))

    def _refuse(self) -> NoReturn:
        raise TypeError(f"the source is {self.kind}, which has no symbols")

    def encode(self, text: str) -> list[int]:
        self._refuse()

    def split(self, text: str) -> list[str]:
        self._refuse()

    def segment(self, text: str) -> tuple[list[int], list[str]]:
        self._refuse()

    def tokens(self, ids: Iterable[int]) -> list[str]:
        return [SPECIALS[i] for i in ids]

    def token_ids(self, tokens: Iterable[str]) -> list[int]:
        self._refuse()

    def join(self, tokens: Iterable[str]) -> str:
        self._refuse()

    def to_json(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in _KEYS[self.kind]}
        columns = {"columns": list(self.columns)} if self.kind == "numbers" and self.columns is not None else {}
        return {"kind": self.kind, "normalize": self.normalize, **found, **columns}


def frames_from_json(tree: Mapping[str, Any]) -> FrameSymbols:
    """Rebuild a table from the result of `FrameSymbols.to_json`.

    Raises:
        ModelFileError: the tree is not one that it returns.
    """
    kind = tree["kind"]
    found: dict[str, Any] = {}
    for name in _KEYS[kind]:
        value = tree.get(name)
        wanted = "true or false" if name == "colours" else f"a whole number from 1 to {MOST:,}"
        fits = isinstance(value, bool) if name == "colours" else type(value) is int and 1 <= value <= MOST
        if not fits:
            raise ModelFileError(f"source of {kind}: {name}: wanted {wanted}, got {value!r}")
        found[name] = value
    if kind == "numbers" and (columns := tree.get("columns")) is not None:
        if not isinstance(columns, list) or [type(name) for name in columns] != [str] * found["size"]:
            raise ModelFileError(f"source of numbers: columns: wanted {plural(found['size'], 'name')}, got {columns!r}")
        found["columns"] = columns
    return FrameSymbols(kind, **found)
