"""Run a prediction system in turns with the others.

It imports only the standard library, because OpenNMT-py's process has another Python environment.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Predict = Callable[[list[str], int], list[list[str]]]
"""Words that are searched as one batch, and a beam size (1: greedy) → the phones of each word."""


def parse_peer_arguments(description: str | None) -> argparse.Namespace:
    """Read the arguments that predict_speed.py passes to a peer's worker."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("batches", type=Path, help="to train on")
    parser.add_argument("model", type=Path, help="file of weights, written if it is missing")
    parser.add_argument("words", type=Path, help="to predict")
    parser.add_argument("--train-minutes", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


def take_turns(predict: Predict, words_file: Path, facts: dict[str, Any]) -> None:
    """Predict all words once for each beam size, print the facts, then measure a turn for each line on stdin.

    The line is JSON: the beam size, the words in a batch, and the minimum duration in seconds. A turn consists of whole
    passes over the words (some of the words for batches of 1); all systems get the same words in the same batches of
    about equal length. The answer is a JSON line: words, seconds, seconds of processor time of all threads, and for
    batches of 1 the seconds of each word.

    Args:
        predict: the system's prediction.
        words_file: JSON, a list of (letters, phones of each pronunciation).
        facts: versions and other facts; the share of words predicted right is added.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries would break the protocol

    pairs = read_pairs(words_file)
    words = [letters for letters, _ in pairs]
    for beam_size in (1, 5):
        found = [phones for batch in batches_of(words, 64) for phones in predict(batch, beam_size)]
        right = sum(phones in wanted for phones, (_, wanted) in zip(found, pairs, strict=True))
        facts = facts | {f"right_{beam_size}": 100 * right / len(words)}
    print(json.dumps(facts), file=answers, flush=True)
    for line in sys.stdin:
        beam_size, batch_size, min_seconds = json.loads(line)
        batches = batches_of(measured_words(words, batch_size), batch_size)
        times = []
        start, processor_start = time.perf_counter(), time.process_time()
        while time.perf_counter() - start < min_seconds:
            for batch in batches:
                before = time.perf_counter()
                predict(batch, beam_size)
                times.append(time.perf_counter() - before)
        passes = len(times) // len(batches)
        answer = {"words": passes * sum(map(len, batches)), "seconds": sum(times)}
        answer["processor_seconds"] = time.process_time() - processor_start
        print(json.dumps(answer | ({"times": times} if batch_size == 1 else {})), file=answers, flush=True)


def read_pairs(words_file: Path) -> list[tuple[str, list[list[str]]]]:
    """Read (letters, phones of each pronunciation), short words first."""
    return sorted(json.loads(words_file.read_text(encoding="utf-8")), key=lambda pair: (len(pair[0]), pair[0]))


def measured_words(words: list[str], batch_size: int) -> list[str]:
    """Return the words of a pass: a sixteenth of them for batches of 1."""
    return words[:: max(1, 16 // batch_size)]


def batches_of(words: list[str], size: int) -> list[list[str]]:
    """Split the words into batches."""
    return [words[first : first + size] for first in range(0, len(words), size)]


def until_over(batches: list[Any], minutes: float) -> Iterator[Any]:
    """Yield the batches repeatedly until the minutes are over."""
    end = time.perf_counter() + 60 * minutes
    while True:
        for batch in batches:
            if time.perf_counter() > end:
                return
            yield batch
