"""Checks that any implementation of the search must pass, as functions of the implementation.

Each check takes a namespace with the public names of `peephole.search`. Numbers must agree exactly: both sides
add the same float32 log-probabilities in the same order in float64.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from peephole.symbols import BOS, EOS, PAD, UNK

from . import fakes
from .fakes import Found, Ids, Script, ScriptedStepper, coarse_script, pad, random_script

Check = Callable[[Any], None]
CONTRACT: list[Check] = []

# Unequal lengths, an equal pair and different maximal lengths, the longest neither first nor last
SOURCES: list[Ids] = [(9, 4), (5,), (4, 6, 8, 5), (9, 4), (7, 7, 4)]
MAX_LENGTHS = [3, 4, 7, 3, 5]


def check(function: Check) -> Check:
    CONTRACT.append(function)
    return function


def beam_search(search: Any, stepper: Any, sources: Sequence[Ids], max_lengths: Sequence[int], **settings: Any) -> Any:
    return search.beam_search(stepper, *pad(sources), max_lengths=torch.tensor(max_lengths), **settings)


def greedy_search(
    search: Any, stepper: Any, sources: Sequence[Ids], max_lengths: Sequence[int], **settings: Any
) -> Any:
    return search.greedy_search(stepper, *pad(sources), max_lengths=torch.tensor(max_lengths), **settings)


def sample(search: Any, stepper: Any, sources: Sequence[Ids], max_lengths: Sequence[int], **settings: Any) -> Any:
    return search.sample(stepper, *pad(sources), max_lengths=torch.tensor(max_lengths), **settings)


def assert_found(hypotheses: Iterable[Any], wanted: Iterable[Found]) -> None:
    got = [(hypothesis.ids, hypothesis.finished, hypothesis.log_prob) for hypothesis in hypotheses]
    assert got == [(found.ids, found.finished, found.log_prob) for found in wanted]


def assert_consistent(script: Script, source: Ids, hypothesis: Any) -> None:
    """Check that the scores and the attention of a hypothesis belong to its symbols."""
    symbols = (*hypothesis.ids, EOS) if hypothesis.finished else hypothesis.ids
    assert hypothesis.symbol_log_probs == fakes.symbol_scores(script, source, symbols)
    assert hypothesis.log_prob == fakes.score(script, source, symbols).log_prob
    assert hypothesis.attention.shape == (len(hypothesis.ids), len(source))
    for position in range(len(hypothesis.ids)):
        wanted = fakes.scripted_attention(source, (BOS, *hypothesis.ids[:position]))
        np.testing.assert_array_equal(hypothesis.attention[position], wanted)


@check
def greedy_takes_the_most_probable_symbol(search: Any) -> None:
    endings = set()
    for script in (random_script(1, num_symbols=7, eos=-3), coarse_script(2, num_symbols=7)):
        found = greedy_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS)
        cases = list(zip(SOURCES, MAX_LENGTHS, strict=True))
        assert_found(found, [fakes.greedy(script, source, 7, length) for source, length in cases])
        for source, hypothesis in zip(SOURCES, found, strict=True):
            assert_consistent(script, source, hypothesis)
        endings |= {hypothesis.finished for hypothesis in found}
    assert endings == {False, True}


@check
def beam_of_one_is_greedy(search: Any) -> None:
    for seed in range(6):
        for script in (random_script(seed, num_symbols=7), coarse_script(seed, num_symbols=7)):
            wanted = greedy_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS)
            for length_penalty in (0.0, 1.0, 3.0):
                settings = {"beam_size": 1, "nbest": 1, "length_penalty": length_penalty}
                found = beam_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, **settings)
                assert found == [[hypothesis] for hypothesis in wanted]


@check
def wide_beam_is_exhaustive(search: Any) -> None:
    """With 3 ordinary symbols and EOS there are at most 4 · 3³ = 108 extensions in 4 steps."""
    for seed in range(3):
        script = random_script(seed, num_symbols=7)
        for length_penalty in (0.0, 0.6, 1.5):
            for nbest in (1, 7, 108):
                settings = {"beam_size": 108, "nbest": nbest, "length_penalty": length_penalty}
                found = beam_search(search, ScriptedStepper(script), SOURCES[:3], [3, 1, 4], **settings)
                for source, length, hypotheses in zip(SOURCES, [3, 1, 4], found, strict=False):
                    every_hypothesis = fakes.enumerate_all(script, source, 7, length, length_penalty)
                    assert len(every_hypothesis) == sum(3**step for step in range(length))
                    assert_found(hypotheses, every_hypothesis[:nbest])


@check
def narrow_beam_equals_the_definition(search: Any) -> None:
    cases = [(2, 1, 0.0), (3, 3, 0.0), (3, 3, 1.0), (4, 2, 0.5), (5, 5, 2.0), (5, 1, 1.0)]
    for seed, (beam_size, nbest, length_penalty) in enumerate(cases):
        settings = {"beam_size": beam_size, "nbest": nbest, "length_penalty": length_penalty}
        scripts = [random_script(seed, num_symbols=8, eos=eos) for eos in (-3, 0, 2)]
        for script in (*scripts, coarse_script(seed, num_symbols=8)):
            found = beam_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, **settings)
            for source, length, hypotheses in zip(SOURCES, MAX_LENGTHS, found, strict=True):
                assert_found(hypotheses, fakes.beam(script, source, 8, length, **settings))
                for hypothesis in hypotheses:
                    assert_consistent(script, source, hypothesis)


@check
def nbest_is_sorted_and_distinct(search: Any) -> None:
    script = random_script(5, num_symbols=9, eos=1)
    for length_penalty in (0.0, 1.0):
        settings = {"beam_size": 6, "nbest": 6, "length_penalty": length_penalty}
        for hypotheses in beam_search(search, ScriptedStepper(script), SOURCES, [8] * 5, **settings):
            scores = [found.log_prob / (len(found.ids) + 1) ** length_penalty for found in hypotheses]
            assert scores == sorted(scores, reverse=True)
            assert len({found.ids for found in hypotheses}) == len(hypotheses) == 6


@check
def scores_equal_forced_scoring(search: Any) -> None:
    script = random_script(3, num_symbols=8)
    found = beam_search(search, ScriptedStepper(script), SOURCES, [9] * 5, beam_size=4, nbest=1)
    assert all(hypothesis.finished for [hypothesis] in found)
    forced = search.force(ScriptedStepper(script), *pad(SOURCES), [hypothesis.ids for [hypothesis] in found])
    assert forced == [hypothesis for [hypothesis] in found]
    for [wanted], got in zip(found, forced, strict=True):
        np.testing.assert_array_equal(got.attention, wanted.attention)


@check
def force_scores_any_target(search: Any) -> None:
    script = random_script(4, num_symbols=7)
    targets = [(4, UNK), (), (6, 5, 4, 4, 5), (UNK,), (6,)]
    for source, target, found in zip(
        SOURCES, targets, search.force(ScriptedStepper(script), *pad(SOURCES), targets), strict=True
    ):
        assert (found.ids, found.finished) == (target, True)
        assert_consistent(script, source, found)


@check
def special_symbols_are_never_predicted(search: Any) -> None:
    log_probs = fakes.log_of({PAD: 0.3, BOS: 0.3, UNK: 0.3, 4: 0.05, 5: 0.03, EOS: 0.02})
    stepper = ScriptedStepper(lambda source, prefix: log_probs)
    found = list(greedy_search(search, stepper, SOURCES, MAX_LENGTHS))
    for hypotheses in (
        *beam_search(search, stepper, SOURCES, MAX_LENGTHS, beam_size=4, nbest=4),
        *sample(search, stepper, SOURCES, MAX_LENGTHS, seed=1, num_samples=20),
        *sample(search, stepper, SOURCES, MAX_LENGTHS, seed=1, num_samples=20, top_k=2),
    ):
        found += hypotheses
    assert {symbol for hypothesis in found for symbol in hypothesis.ids} == {4, 5}
    for hypothesis in found:  # the probabilities of the others are not renormalised
        first = hypothesis.ids[0] if hypothesis.ids else EOS
        assert hypothesis.symbol_log_probs[0] == float(log_probs[first])


@check
def maximal_length_counts_eos(search: Any) -> None:
    def script(source: Ids, prefix: Ids) -> np.ndarray:
        """Return log-probabilities that make EOS certain after three symbols and impossible before."""
        return fakes.log_of({EOS: 1.0, 5: 0.0} if len(prefix) == 4 else {4: 0.7, 5: 0.3})

    certain = (4, 4, 4)
    for length, ids, finished in [
        (1, (4,), False),
        (3, certain, False),
        (4, certain, True),
        (9, certain, True),
    ]:
        stepper = ScriptedStepper(script)
        [[best, *_]] = beam_search(search, stepper, [(5,)], [length], beam_size=3, nbest=3)
        [greedy] = greedy_search(search, stepper, [(5,)], [length])
        [[drawn]] = sample(search, stepper, [(5,)], [length], seed=1, temperature=1e-3)
        for found in (best, greedy, drawn):
            assert (found.ids, found.finished) == (ids, finished)
            assert len(found.symbol_log_probs) == len(ids) + finished
            assert found.attention.shape == (len(ids), 1)


@check
def unfinished_hypotheses_are_kept_only_if_none_finished(search: Any) -> None:
    script = random_script(7, num_symbols=7, eos=-1)
    settings = {"beam_size": 3, "nbest": 3}
    endings = set()
    for length in (1, 2, 3, 4):
        for hypotheses in beam_search(search, ScriptedStepper(script), SOURCES, [length] * 5, **settings):
            endings.add(tuple(sorted({hypothesis.finished for hypothesis in hypotheses})))
    assert endings == {(False,), (True,)}


@check
def search_stops_when_the_nbest_cannot_improve(search: Any) -> None:
    log_probs = fakes.log_of({EOS: 1 / 2, 4: 1 / 4, 5: 1 / 4})

    def num_steps(**settings: Any) -> int:
        stepper = ScriptedStepper(lambda source, prefix: log_probs)
        beam_search(search, stepper, [(5,)], [21], beam_size=4, **settings)
        return len(stepper.sources_stepped)

    # The first step finishes a hypothesis of probability 1/2 and keeps two live ones of 1/4; the second finishes
    # two of 1/8 and keeps two live ones of 1/16, and so on.
    assert [num_steps(nbest=nbest) for nbest in (1, 2, 3, 4)] == [1, 2, 2, 3]
    # Ranked by mean log-probability, the score of a live hypothesis of probability (1/4)**u is bounded by
    # log (1/4)**u / 21, which is above log 1/2 while 2u < 21.
    assert num_steps(nbest=1, length_penalty=1.0) == 11


@check
def finished_sources_leave_the_batch(search: Any) -> None:
    """The rows of a source are contiguous, and each step has rows of unfinished sources only."""
    script = random_script(3, num_symbols=8, eos=1)

    def steps_of(source: Ids, length: int, run: Callable[[ScriptedStepper, list[Ids], list[int]], Any]) -> int:
        stepper = ScriptedStepper(script)
        run(stepper, [source], [length])
        return len(stepper.sources_stepped)

    runs = (
        lambda stepper, sources, lengths: beam_search(search, stepper, sources, lengths, beam_size=3, nbest=2),
        lambda stepper, sources, lengths: greedy_search(search, stepper, sources, lengths),
    )
    sources, lengths = [(9, 4), (5,), (4, 6, 8, 5), (7, 7, 4)], [3, 4, 12, 5]
    for run in runs:
        alone = [steps_of(source, length, run) for source, length in zip(sources, lengths, strict=True)]
        assert len(set(alone)) > 1
        stepper = ScriptedStepper(script)
        run(stepper, sources, lengths)
        for step, stepped in enumerate(stepper.sources_stepped):
            unfinished = [source for source, steps in zip(sources, alone, strict=True) if step < steps]
            count = len(stepped) // len(unfinished)
            assert stepped == [source for source in unfinished for _ in range(count)]


@check
def sources_are_independent(search: Any) -> None:
    script = random_script(6, num_symbols=8)
    together = beam_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, beam_size=3, nbest=3)
    sampled = sample(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, seed=3, num_samples=2)
    for index, (source, length) in enumerate(zip(SOURCES, MAX_LENGTHS, strict=True)):
        alone = ScriptedStepper(script)
        assert beam_search(search, alone, [source], [length], beam_size=3, nbest=3) == [together[index]]
        drawn = sample(search, alone, [source], [length], seed=3, num_samples=2, examples=[index])
        assert drawn == [sampled[index]]


@check
def cold_samples_are_greedy(search: Any) -> None:
    script = random_script(8, num_symbols=8, eos=-1)
    wanted = [[hypothesis] * 3 for hypothesis in greedy_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS)]
    for settings in ({"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}, {"top_k": 1, "temperature": 50.0}):
        drawn = sample(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, seed=1, num_samples=3, **settings)
        assert drawn == wanted
        for source, hypotheses in zip(SOURCES, drawn, strict=True):
            for hypothesis in hypotheses:
                assert_consistent(script, source, hypothesis)


@check
def samples_are_a_function_of_the_seed(search: Any) -> None:
    script = random_script(9, num_symbols=30, eos=-9)
    sources, lengths = [(5, 6), (5, 6), (5, 6)], [8, 8, 8]

    def draw(**settings: Any) -> Any:
        return sample(search, ScriptedStepper(script), sources, lengths, **settings)

    first = draw(seed=1, num_samples=2)
    assert first == draw(seed=1, num_samples=2)
    assert first == [hypotheses[:2] for hypotheses in draw(seed=1, num_samples=5)]
    assert first == draw(seed=1, num_samples=2, examples=[2, 1, 0])[::-1]
    # 18 targets of 8 symbols out of 26: independent draws are almost never equal
    drawn = [found for seed in (1, 2) for hypotheses in draw(seed=seed, num_samples=3) for found in hypotheses]
    assert len({found.ids for found in drawn}) == len(drawn) == 18


@check
def ensemble_is_the_mean_of_probabilities(search: Any) -> None:
    scripts = [random_script(seed, num_symbols=7, eos=eos) for seed, eos in ((1, -2), (2, 0), (3, 1))]

    def mean(source: Ids, prefix: Ids) -> np.ndarray:
        """Return the log of the mean of the scripts' probabilities."""
        return np.log(np.mean([np.exp(script(source, prefix).astype(np.float64)) for script in scripts], axis=0))

    ensemble = search.EnsembleStepper([ScriptedStepper(script) for script in scripts])
    settings = {"beam_size": 4, "nbest": 4, "length_penalty": 1.0}
    found = beam_search(search, ensemble, SOURCES, MAX_LENGTHS, **settings)
    for source, length, hypotheses in zip(SOURCES, MAX_LENGTHS, found, strict=True):
        wanted = fakes.beam(mean, source, 7, length, **settings)
        assert [hypothesis.ids for hypothesis in hypotheses] == [hypothesis.ids for hypothesis in wanted]
        for got, want in zip(hypotheses, wanted, strict=True):
            assert abs(got.log_prob - want.log_prob) < 1e-5
            for position in range(len(got.ids)):
                weights = fakes.scripted_attention(source, (BOS, *got.ids[:position]))
                np.testing.assert_allclose(got.attention[position], weights, atol=1e-6)


@check
def sample_frequencies_match_probabilities(search: Any) -> None:
    """Targets of two steps are drawn in proportion to their probabilities, with each of the settings.

    The seed is fixed, so the check never fails by chance. For a correct sampler, Hoeffding's inequality bounds the
    share of seeds that would fail it by 10⁻⁶ (3 settings with 13 targets each, both sides).
    """
    count, false_alarm = 8000, 1e-6
    script = random_script(2, num_symbols=7)
    bound = math.sqrt(math.log(2 * 3 * 13 / false_alarm) / (2 * count))  # 0.034
    for settings in ({}, {"temperature": 0.5, "top_k": 2}, {"temperature": 3.0, "top_p": 0.6}):
        [drawn] = sample(search, ScriptedStepper(script), [(9, 4)], [2], seed=5, num_samples=count, **settings)
        counts = Counter((*found.ids, EOS) if found.finished else found.ids for found in drawn)
        targets = {(EOS,), *((first, second) for first in (4, 5, 6) for second in (EOS, 4, 5, 6))}
        assert set(counts) <= targets
        for target in targets:
            prob = math.prod(
                truncated_probabilities(script((9, 4), (BOS, *target[:position])), **settings)[symbol]
                for position, symbol in enumerate(target)
            )
            assert abs(counts[target] / count - prob) <= bound
            assert prob > 0 or counts[target] == 0


def truncated_probabilities(
    log_probs: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> dict[int, float]:
    """Return the probabilities that a sampling step draws from, computed symbol by symbol."""
    weights = {symbol: math.exp(log_probs[symbol] / temperature) for symbol in (EOS, 4, 5, 6)}
    ordered = sorted(weights, key=lambda symbol: -weights[symbol])[:top_k]
    kept: list[int] = []
    for symbol in ordered:
        if top_p is None or sum(weights[s] for s in kept) < top_p * sum(weights[s] for s in ordered):
            kept.append(symbol)
    return {symbol: (symbol in kept) * weights[symbol] / sum(weights[s] for s in kept) for symbol in weights}
