"""Make the stored models of the newest format version.

    python tests/models/make.py

The files of each version are made once, when the version is new, and never again: they prove that users' files still
load. The model of version 1 was trained on 600 words of a toy language in which each letter has one sound; the models
of all later versions have the same weights, in float32 or rounded. The expected predictions were computed by the
PyTorch definition when versions 1 and 2 were new.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

SOUNDS = {"a": "AH", "b": "B", "c": "K", "d": "D", "e": "EH", "한": "HAN", "😀": "SMILE"}
LONGEST = 6  # letters of a training word

HERE = Path(__file__).parent
MODEL = HERE / "lstm_v1.safetensors"
STORED = {
    "1": [MODEL],
    "2": [HERE / "lstm_v2_int8.safetensors", HERE / "lstm_v2_bfloat16.safetensors"],
    "3": [HERE / f"lstm_v3_{stored}.safetensors" for stored in ("float32", "int8", "bfloat16")],
}
EXPECTED = {
    "float32": HERE / "lstm_v1.json",
    "int8": HERE / "lstm_v2_int8.json",
    "bfloat16": HERE / "lstm_v2_bfloat16.json",
}
"""Number format → file of the expected predictions of the models stored in it."""


def pronounce(word: str) -> str:
    """Return the target of a word.

    >>> pronounce("ab")
    'AH B'
    """
    return " ".join(SOUNDS[letter] for letter in word)


def toy_words(count: int, seed: int) -> list[str]:
    """Return different words of 1 to LONGEST letters."""
    rng = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(rng.choices(list(SOUNDS), k=rng.randint(1, LONGEST)))] = None
    return list(words)


def make() -> None:
    """Save the model of version 1 in the newest format version, in each number format."""
    from peephole.storage.header import FORMAT_VERSION
    from peephole.storage.model_file import load_model, save_model

    for path in STORED[str(FORMAT_VERSION)]:
        save_model(path, replace(load_model(MODEL), stored=path.stem.split("_")[-1]))


if __name__ == "__main__":
    make()
