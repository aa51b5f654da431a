"""Make the stored models of a format version, and what they must go on predicting.

    python tests/models/make.py 1
    python tests/models/make.py 2

Files of each version are made once, when the version is new, and never again: they are the proof that files of users
still load. The model of version 1 learns a toy language in which each letter has one sound; those of version 2 are
the same with its matrices as int8 and bfloat16.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

SOUNDS = {"a": "AH", "b": "B", "c": "K", "d": "D", "e": "EH", "한": "HAN", "😀": "SMILE"}
LONGEST = 6  # letters of a training word

HERE = Path(__file__).parent
MODEL = HERE / "lstm_v1.safetensors"
STORED = {"1": [MODEL], "2": [HERE / "lstm_v2_int8.safetensors", HERE / "lstm_v2_bfloat16.safetensors"]}

# Known words, one that is too long, a letter never seen, and the empty source
SOURCES = ["a", "abc", "cab", "deadbead", "한b😀e", "eeeeee", "axb", ""]


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


def write_pairs(path: Path, words: list[str]) -> None:
    """Write words with their targets as TSV."""
    path.write_text("".join(f"{word}\t{pronounce(word)}\n" for word in words), encoding="utf-8")


def train() -> None:
    """Train the model of version 1."""
    import peephole

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "toy.tsv"
        write_pairs(data, toy_words(600, seed=1))
        settings = {"hidden_size": 12, "embedding_size": 6, "learning_rate": 0.02, "dropout": 0.0, "ema_decay": 0.9}
        model = peephole.train(data, out=Path(folder) / MODEL.name, steps=500, batch_symbols=200, **settings)
    model.save(MODEL)


def quantize() -> None:
    """Make the models of version 2 from that of version 1."""
    from peephole.storage.model_file import load_model, save_model

    for path, stored in zip(STORED["2"], ("int8", "bfloat16"), strict=True):
        save_model(path, replace(load_model(MODEL), stored=stored))


def write_expected(path: Path) -> None:
    """Write down what a model predicts, by the definition in PyTorch."""
    import peephole

    model = peephole.load(path)
    model.config = model.config.with_values({"search.engine": "off"})
    predictions = [
        [{"text": p.text, "log_prob": p.log_prob} for p in found] for found in model.predict(SOURCES, nbest=3)
    ]
    scored = [word for word in SOURCES if set(word) & SOUNDS.keys()]
    targets = ["B AH", "AH B K", "", "D EH AH D B EH AH D", "HAN B SMILE EH", "EH EH EH", "AH never_seen B"]
    expected = {
        "predict": dict(zip(SOURCES, predictions, strict=True)),
        "score": list(zip(scored, targets, model.score(scored, targets), strict=True)),
    }
    text = json.dumps(expected, ensure_ascii=False, indent=1) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    version = sys.argv[1]
    {"1": train, "2": quantize}[version]()
    for stored in STORED[version]:
        write_expected(stored)
