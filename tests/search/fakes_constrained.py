"""Reference searches under constraints, without tensors, and the constraints themselves as questions about a target."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from peephole.symbols import BOS, EOS

from .fakes import Found, Ids, Script, predictable, score, scripted_attention


@dataclass(frozen=True)
class Constraints:
    """What a search is told besides its size; the defaults constrain nothing."""

    length_penalty: float = 0.0
    length_reward: float = 0.0
    coverage_penalty: float = 0.0
    min_length: int = 0
    no_repeat_ngram: int = 0
    groups: int = 1
    diversity: float = 0.0
    phrases: tuple[Ids, ...] = ()


def windows(ids: Ids, size: int) -> list[Ids]:
    return [ids[first : first + size] for first in range(len(ids) - size + 1)]


def repeats(ids: Ids, size: int, prefix_length: int = 0) -> bool:
    """Return whether an n-gram that ends after the prefix has occurred before."""
    seen: Counter[Ids] = Counter()
    for end, gram in enumerate(windows(ids, size), start=size):
        if seen[gram] and end > prefix_length:
            return True
        seen[gram] += 1
    return False


def contains(ids: Ids, phrase: Ids) -> bool:
    return phrase in windows(ids, len(phrase))


def final_score(source: Ids, symbols: Ids, total: float, c: Constraints) -> float:
    """Return the score by which finished hypotheses are ranked; `total` is the sum of their symbols' scores."""
    covered = [0.0] * len(source)
    for position in range(len(symbols)):
        weights = scripted_attention(source, (BOS, *symbols[:position]))
        covered = [float(held) + float(weight) for held, weight in zip(covered, weights, strict=True)]
    penalty = sum(math.log(min(part, 1.0)) for part in covered)
    length = len(symbols)
    return total / length**c.length_penalty + c.length_reward * length + c.coverage_penalty * penalty


def may_follow(ids: Ids, prefix_length: int, num_symbols: int, c: Constraints) -> list[int]:
    """Return the symbols that the rules let follow a hypothesis."""
    ordinary = [symbol for symbol in predictable(num_symbols) if symbol != EOS]
    if c.no_repeat_ngram:
        ordinary = [s for s in ordinary if not repeats((*ids, s), c.no_repeat_ngram, prefix_length=len(ids))]
    is_short = len(ids) < c.min_length and bool(ordinary)
    return sorted(ordinary if is_short else [EOS, *ordinary])


def to_go(ids: Ids, phrases: Sequence[Ids]) -> int:
    """Return the symbols that a hypothesis needs for the phrases that it lacks, with the furthest one continued."""
    missing = [phrase for phrase in phrases if not contains(ids, phrase)]
    ends = [
        max(size for size in range(len(phrase)) if size <= len(ids) and ids[len(ids) - size :] == phrase[:size])
        for phrase in missing
    ]
    return sum(map(len, missing)) - max(ends, default=0)


def in_turns(extensions: list[Found], phrases: Sequence[Ids], count: int) -> list[Found]:
    """Return extensions taken in turns from those with as many symbols to go, the fewest first; then best first."""
    banks: dict[int, list[Found]] = {}
    for extension in sorted(extensions, key=lambda extension: -extension.log_prob):
        banks.setdefault(to_go(extension.ids, phrases), []).append(extension)
    turns = itertools.zip_longest(*(banks[key] for key in sorted(banks)))
    taken = [extension for turn in turns for extension in turn if extension is not None][:count]
    order = {id(extension): place for place, extension in enumerate(extensions)}
    return sorted(taken, key=lambda extension: (-extension.log_prob, order[id(extension)]))


def last_symbol(found: Found) -> int:
    return EOS if found.finished else found.ids[-1]


def greedy(script: Script, source: Ids, num_symbols: int, max_length: int, c: Constraints, prefix: Ids = ()) -> Found:
    symbols = prefix
    while len(symbols) < max_length and EOS not in symbols:
        log_probs = script(source, (BOS, *symbols))
        symbols += (max(may_follow(symbols, len(prefix), num_symbols, c), key=lambda symbol: log_probs[symbol]),)
    return score(script, source, symbols)


def enumerate_all(
    script: Script, source: Ids, num_symbols: int, max_length: int, c: Constraints, prefix: Ids = ()
) -> list[Ids]:
    """Return every finished target that meets the constraints, without EOS, best first.

    A least length must leave other symbols to follow, and phrases must have room, or the searches do otherwise.
    """
    ordinary = [symbol for symbol in predictable(num_symbols) if symbol != EOS]
    found = []
    for length in range(max_length - len(prefix)):
        for symbols in itertools.product(ordinary, repeat=length):
            ids = (*prefix, *symbols)
            repeated = c.no_repeat_ngram and repeats(ids, c.no_repeat_ngram, len(prefix))
            if len(ids) < c.min_length or repeated or not all(contains(ids, phrase) for phrase in c.phrases):
                continue
            total = score(script, source, (*ids, EOS)).log_prob
            found.append((final_score(source, (*ids, EOS), total, c), ids))
    return [ids for _, ids in sorted(found, key=lambda pair: -pair[0])]


def beam(
    script: Script,
    source: Ids,
    num_symbols: int,
    max_length: int,
    c: Constraints,
    *,
    beam_size: int,
    nbest: int,
    prefix: Ids = (),
) -> list[Found]:
    """Return the result of beam search under constraints, without early stopping."""
    width, each = beam_size // c.groups, -(-nbest // c.groups)
    live = [[Found(0.0, 0.0, prefix, False)] for _ in range(c.groups)]
    finished: list[list[Found]] = [[] for _ in range(c.groups)]
    for length in range(len(prefix) + 1, max_length + 1):
        chosen: Counter[int] = Counter()
        for group in range(c.groups):
            extensions = [
                score(script, source, (*hypothesis.ids, symbol))
                for hypothesis in live[group]
                for symbol in may_follow(hypothesis.ids, len(prefix), num_symbols, c)
            ]
            extensions = [
                found
                for found in extensions
                if to_go(found.ids, c.phrases) <= (0 if found.finished else max_length - length)
            ]
            if c.phrases:
                kept = in_turns(extensions, c.phrases, width)
            else:
                lowered = {id(found): found.log_prob - c.diversity * chosen[last_symbol(found)] for found in extensions}
                kept = sorted(extensions, key=lambda found: -lowered[id(found)])[:width]
            chosen.update(map(last_symbol, kept))
            finished[group] += [found for found in kept if found.finished]
            live[group] = [found for found in kept if not found.finished]

    def rank(hypotheses: list[Found]) -> list[Found]:
        def key(found: Found) -> float:
            symbols = (*found.ids, EOS) if found.finished else found.ids
            return -final_score(source, symbols, found.log_prob, c)

        return sorted(hypotheses, key=key)

    groups = zip(finished, live, strict=True)
    best = [found for own, rest in groups for found in (rank(own) or rank(rest))[:each]]
    any_finished = any(found.finished for found in best)
    different = {found.ids: found for found in rank(best) if found.finished == any_finished}
    return list(different.values())[:nbest]
