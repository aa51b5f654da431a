"""Scripted models for the tests of the search, and reference searches without tensors.

A script replaces the model: a function from the source and the previous symbols, BOS first, to the
log-probabilities of the next symbol. The reference searches call it for one prefix at a time.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from peephole.symbols import BOS, EOS, PAD, UNK

Ids = tuple[int, ...]
Script = Callable[[Ids, Ids], np.ndarray]  # -> (V,) float32


class PrefixState(NamedTuple):
    owner: Tensor  # (N,) number of the stepper that made the state
    source: Tensor  # (N, T)
    source_lengths: Tensor  # (N,)
    prefix: Tensor  # (N, u)


class ScriptedStepper:
    """A stepper whose state is the prefix itself: a row of a wrong parent has the scores of another prefix.

    The prefixes of a state made by another stepper are read as ending in PAD, which changes their scores, too.
    """

    count = itertools.count()

    def __init__(self, script: Script, dtype: torch.dtype = torch.float32) -> None:
        self.script = script
        self.dtype = dtype
        self.number = next(self.count)
        self.sources_stepped: list[list[Ids]] = []  # the sources of the rows of each step

    def start(self, source: Tensor, source_lengths: Tensor) -> PrefixState:
        owner, prefix = torch.full_like(source_lengths, self.number), source.new_zeros(len(source), 0)
        return PrefixState(owner, source, source_lengths, prefix)

    def places(self, source_lengths: Tensor) -> Tensor:
        return source_lengths

    def step(self, state: PrefixState, previous: Tensor) -> tuple[Tensor, PrefixState, Tensor]:
        prefix = torch.cat([state.prefix, previous[:, None]], 1)
        sources = read_sources(state.source, state.source_lengths)
        self.sources_stepped.append(sources)
        foreign = (state.owner != self.number).tolist()
        prefixes = [(*ids, PAD) if other else tuple(ids) for ids, other in zip(prefix.tolist(), foreign, strict=True)]
        rows = list(zip(sources, prefixes, strict=True))
        numbers = {row: number for number, row in enumerate(dict.fromkeys(rows))}  # equal rows are computed once
        log_probs = np.stack([self.script(*row) for row in numbers])
        attention = np.zeros((len(numbers), state.source.shape[1]), dtype=np.float32)
        for (source, prefix_ids), number in numbers.items():
            attention[number, : len(source)] = scripted_attention(source, prefix_ids)
        index = [numbers[row] for row in rows]
        after = state._replace(prefix=prefix)
        return torch.tensor(log_probs[index], dtype=self.dtype), after, torch.tensor(attention[index])

    def reorder(self, state: PrefixState, rows: Tensor) -> PrefixState:
        return PrefixState(*(part[rows] for part in state))


def read_sources(source: Tensor, source_lengths: Tensor) -> list[Ids]:
    return [tuple(ids[:length]) for ids, length in zip(source.tolist(), source_lengths.tolist(), strict=True)]


def pad(sources: Sequence[Sequence[int]], width: int = 0) -> tuple[Tensor, Tensor]:
    """Return the sources as a batch: ids (B, T) padded with PAD to at least a width, and lengths (B,)."""
    width = max([width, *map(len, sources)])
    ids = [[*source] + [PAD] * (width - len(source)) for source in sources]
    return torch.tensor(ids).view(len(sources), width), torch.tensor([len(source) for source in sources])


@functools.cache
def random_script(seed: int, *, num_symbols: int, eos: float = 0.0, spread: float = 1.5) -> Script:
    """Return a script of pseudo-random log-probabilities, different for each source and each prefix.

    PAD, BOS and UNK are as probable as the others, so that a search that fails to exclude them finds them.

    Args:
        seed: at least 0.
        num_symbols: V.
        eos: added to the logit of EOS.
        spread: standard deviation of the logits.
    """

    @functools.cache
    def script(source: Ids, prefix: Ids) -> np.ndarray:
        logits = spread * np.random.default_rng([seed, *source, num_symbols, *prefix]).standard_normal(num_symbols)
        logits[EOS] += eos
        return (logits - np.logaddexp.reduce(logits)).astype(np.float32)

    return script


def log_of(probs: Mapping[int, float]) -> np.ndarray:
    """Return float32 log-probabilities of symbols 0 to the largest in `probs`; missing symbols have -inf."""
    log_probs = np.full(max(probs) + 1, -np.inf, dtype=np.float32)
    for symbol, prob in probs.items():
        log_probs[symbol] = math.log(prob) if prob > 0 else -np.inf
    return log_probs


@functools.cache
def coarse_script(seed: int, *, num_symbols: int) -> Script:
    """Return a script with many ties: each log-probability is -1 or -2, so that their sums are exact."""

    @functools.cache
    def script(source: Ids, prefix: Ids) -> np.ndarray:
        return -np.random.default_rng([seed, *source, *prefix]).integers(1, 3, num_symbols).astype(np.float32)

    return script


@functools.cache
def scripted_attention(source: Ids, prefix: Ids) -> np.ndarray:
    weights = np.random.default_rng([*source, 7, *prefix]).random(len(source)) + 0.1
    return (weights / weights.sum()).astype(np.float32)


class Found(NamedTuple):
    """A hypothesis of the reference searches."""

    score: float
    log_prob: float
    ids: Ids  # without EOS
    finished: bool


def symbol_scores(script: Script, source: Ids, symbols: Sequence[int]) -> tuple[float, ...]:
    """Return the log-probability of each symbol given BOS and the previous symbols."""
    return tuple(float(script(source, (BOS, *symbols[:position]))[symbol]) for position, symbol in enumerate(symbols))


def score(script: Script, source: Ids, symbols: Sequence[int], length_penalty: float = 0.0) -> Found:
    log_prob = functools.reduce(float.__add__, symbol_scores(script, source, symbols), 0.0)
    finished = symbols[-1] == EOS
    ids = tuple(symbols[:-1] if finished else symbols)
    return Found(log_prob * len(symbols) ** -length_penalty, log_prob, ids, finished)


def predictable(num_symbols: int) -> list[int]:
    return [symbol for symbol in range(num_symbols) if symbol not in (PAD, BOS, UNK)]


def greedy(script: Script, source: Ids, num_symbols: int, max_length: int, prefix: Ids = ()) -> Found:
    symbols = list(prefix)
    while len(symbols) < max_length and EOS not in symbols:
        log_probs = script(source, (BOS, *symbols))
        symbols.append(max(predictable(num_symbols), key=lambda symbol: log_probs[symbol]))  # the first among ties
    return score(script, source, symbols)


def enumerate_all(
    script: Script, source: Ids, num_symbols: int, max_length: int, length_penalty: float = 0.0, prefix: Ids = ()
) -> list[Found]:
    """Return every finished hypothesis that begins with a prefix, best first."""
    ordinary = [symbol for symbol in predictable(num_symbols) if symbol != EOS]
    found = [
        score(script, source, (*prefix, *symbols, EOS), length_penalty)
        for length in range(max_length - len(prefix))
        for symbols in itertools.product(ordinary, repeat=length)
    ]
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def beam(
    script: Script,
    source: Ids,
    num_symbols: int,
    max_length: int,
    *,
    beam_size: int,
    nbest: int,
    length_penalty: float = 0.0,
    prefix: Ids = (),
) -> list[Found]:
    """Return the result of beam search without early stopping; stable sorts break ties by the order of the loops."""
    live: list[Found] = [Found(0.0, 0.0, prefix, False)]
    finished: list[Found] = []
    for _ in range(len(prefix), max_length):
        extensions = [
            score(script, source, (*hypothesis.ids, symbol), length_penalty)
            for hypothesis in live
            for symbol in predictable(num_symbols)
        ]
        kept = sorted(extensions, key=lambda hypothesis: -hypothesis.log_prob)[:beam_size]
        finished += [hypothesis for hypothesis in kept if hypothesis.finished]
        live = [hypothesis for hypothesis in kept if not hypothesis.finished]
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)[:nbest] or live[:nbest]
