"""Report how many symbols of the data a model cannot know, because its tables lack them."""

from __future__ import annotations

from collections.abc import Sequence

from peephole.data.corpus import Corpus
from peephole.data.read import Pair
from peephole.symbols import UNK, FrameSymbols, Symbols


def unknown_line(train: Corpus, dev: Sequence[Pair], source_symbols: Symbols, target_symbols: Symbols) -> str | None:
    """Return a line with the shares of symbols that are read as <unk>, in training and dev; None if there are none.

    Args:
        train: the training pairs.
        dev: the dev pairs.
        source_symbols: table of the sources; files of sound, images and numbers have no symbols.
        target_symbols: table of the targets.
    """
    sides = {"target": target_symbols}
    if not isinstance(source_symbols, FrameSymbols):
        sides = {"source": source_symbols, **sides}
    parts = []
    for side, symbols in sides.items():
        in_training = train.count_ids(side, UNK), train.num_ids(side)
        encoded = [symbols.encode(getattr(pair, side)) for pair in dev]
        in_dev = sum(ids.count(UNK) for ids in encoded), sum(map(len, encoded))
        if in_training[0] or in_dev[0]:
            shares = [_percent(unknown, count) for unknown, count in (in_training, in_dev)]
            parts.append(f"{shares[0]} of the {side} symbols of training, {shares[1]} of those of dev")
    return f"read as <unk>: {'; '.join(parts)}" if parts else None


def _percent(part: int, whole: int) -> str:
    """Return a share in per cent, with two digits or as a whole number.

    >>> _percent(1, 3000), _percent(0, 0), _percent(998, 1000), _percent(7, 7)
    ('0.033 %', '0 %', '100 %', '100 %')
    """
    share = 100 * part / max(1, whole)
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
