"""Learn the symbols of a table: the most frequent ones, or subwords trained by the `tokenizers` library.

Counting takes bounded memory and training bounded time, whatever the number of texts.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

SPACE = "▁"  # represents a space inside a subword
UNKNOWN_PIECE = " "  # name of the unknown piece: no word contains a space

MOST_COUNTED = 1_000_000  # distinct symbols held while counting: bounds the memory of learning
WORDS_LEARNED = 10_000_000  # running words that subwords are learned from: bounds the time of learning
_variable = threading.Lock()  # held while the library's environment variable is changed
LONGEST_WORD = 200  # code points; longer words are learned in parts, since BPE training is slow on long words


def count_symbols(split_texts: Iterable[Sequence[str]], most: int = MOST_COUNTED) -> Counter[str]:
    """Count symbols in bounded memory: above `most` distinct symbols, the rarer half is dropped.

    >>> count_symbols([["a", "b"], ["a", "c"], ["d"]], most=2)
    Counter({'a': 2, 'd': 1})
    """
    counts: Counter[str] = Counter()
    for symbols in split_texts:
        counts.update(symbols)
        if len(counts) > most:
            counts = Counter(dict(by_frequency(counts)[: most // 2]))
    return counts


def by_frequency(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return symbols with their counts, the most frequent first, equally frequent ones by code point.

    >>> by_frequency(Counter("banana"))
    [('a', 3), ('n', 2), ('b', 1)]
    """
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def train_segmenter(kind: str, words: Counter[str], *, num_pieces: int, min_count: int) -> str:
    """Train a subword segmenter on counted words.

    No piece is kept as an "added token" of the library, which would make text such as `<unk>` special.

    Args:
        kind: `bpe` or `unigram`.
        words: how often each word, without spaces, was seen.
        num_pieces: the most pieces, the unknown one, which has id 0, included.
        min_count: code points seen fewer times become unknown.

    Returns:
        The library's own description of the tokenizer, a JSON text.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    characters = Counter[str]()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    # Two less for the unknown piece and ▁: with a larger alphabet the library's unigram training never ends
    alphabet = {c for c, count in by_frequency(characters)[: num_pieces - 2] if count >= min_count}
    trainer: trainers.Trainer
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN_PIECE))
        trainer = trainers.BpeTrainer(
            vocab_size=num_pieces,
            min_frequency=max(min_count, 2),  # a pair seen once is not worth a merge
            special_tokens=[UNKNOWN_PIECE],
            show_progress=False,
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=num_pieces,
            unk_token=UNKNOWN_PIECE,
            special_tokens=[UNKNOWN_PIECE],
            show_progress=False,
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=True)
    with _single_thread():
        training_words = _training_words(words, characters.keys() - alphabet)
        run_interruptibly(lambda: tokenizer.train_from_iterator(training_words, trainer))
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = []
    if kind == "unigram":
        _make_unigram_deterministic(description["model"], num_pieces)
    return json.dumps(description, ensure_ascii=False)


def run_interruptibly(work: Callable[[], object]) -> None:
    """Call a function of a library that does not let Python handle signals, so that Ctrl-C is heard.

    The function runs in a thread of its own. If a signal handler raises an exception, the thread goes on until the
    function or the process ends, and its result is dropped.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)  # signal handlers run between two calls
    if errors:
        raise errors[0]


def _training_words(words: Counter[str], rare: set[str]) -> Iterator[str]:
    """Yield each word in proportion to its count, split at rare characters."""
    share = min(1.0, WORDS_LEARNED / max(1, words.total()))
    blank = dict.fromkeys(map(ord, rare), " ")
    for word, count in by_frequency(words):
        for part in word.translate(blank).split(" "):
            for start in range(0, len(part), LONGEST_WORD):
                yield " ".join([part[start : start + LONGEST_WORD]] * max(1, int(count * share)))


def _make_unigram_deterministic(model: dict[str, Any], num_pieces: int) -> None:
    """Round a unigram model's scores, put its pieces in a fixed order and keep `num_pieces`, in place.

    The library adds its sums in the order of a hash table, which differs from process to process. Without
    ties the scores agree to about 1e-12, so six digits are equal in every process. It also returns up to a
    tenth more pieces than requested.
    """
    unknown, *pieces = model["vocab"]
    costs = sorted((-round(score, 6), piece) for piece, score in pieces)
    single = [entry for entry in costs if len(entry[1]) == 1]
    longer = [entry for entry in costs if len(entry[1]) > 1]
    kept = sorted(single + longer[: num_pieces - 1 - len(single)])
    model["vocab"] = [unknown, *([piece, -cost] for cost, piece in kept)]


@contextmanager
def _single_thread() -> Iterator[None]:
    """Prevent the tokenizers library from starting threads: its sums depend on the number of threads."""
    name = "TOKENIZERS_PARALLELISM"
    with _variable:
        before = os.environ.get(name)
        os.environ[name] = "false"
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
