"""Checks that any implementation of the search must pass for targets with a given prefix."""

from __future__ import annotations

from typing import Any

from peephole.symbols import UNK

from . import fakes
from .contract import (
    MAX_LENGTHS,
    SOURCES,
    Check,
    assert_consistent,
    assert_found,
    beam_search,
    greedy_search,
    sample,
)
from .fakes import Ids, ScriptedStepper, coarse_script, pad, random_script

# Different lengths, one of them empty and one the longest that its maximal length allows; improbable symbols and UNK
PREFIXES: list[Ids] = [(6,), (), (5, UNK, 4, 6), (4, 4), (UNK, 6, 5)]
CONTRACT: list[Check] = []


def check(function: Check) -> Check:
    CONTRACT.append(function)
    return function


@check
def greedy_continues_its_prefix(search: Any) -> None:
    for script in (random_script(1, num_symbols=7, eos=-3), coarse_script(2, num_symbols=7)):
        found = greedy_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, prefixes=PREFIXES)
        cases = list(zip(SOURCES, MAX_LENGTHS, PREFIXES, strict=True))
        assert_found(found, [fakes.greedy(script, source, 7, length, prefix) for source, length, prefix in cases])
        for source, hypothesis in zip(SOURCES, found, strict=True):
            assert_consistent(script, source, hypothesis)


@check
def beam_after_a_prefix_equals_the_definition(search: Any) -> None:
    cases = [(1, 1, 0.0), (3, 3, 0.0), (4, 2, 0.5), (5, 5, 2.0), (108, 108, 1.0)]
    for seed, (beam_size, nbest, length_penalty) in enumerate(cases):
        settings = {"beam_size": beam_size, "nbest": nbest, "length_penalty": length_penalty}
        for script in (random_script(seed, num_symbols=7, eos=seed - 2), coarse_script(seed, num_symbols=7)):
            stepper = ScriptedStepper(script)
            found = beam_search(search, stepper, SOURCES, MAX_LENGTHS, prefixes=PREFIXES, **settings)
            for source, length, prefix, hypotheses in zip(SOURCES, MAX_LENGTHS, PREFIXES, found, strict=True):
                assert_found(hypotheses, fakes.beam(script, source, 7, length, prefix=prefix, **settings))
                for hypothesis in hypotheses:
                    assert_consistent(script, source, hypothesis)


@check
def wide_beam_after_a_prefix_is_exhaustive(search: Any) -> None:
    script = random_script(3, num_symbols=7)
    settings = {"beam_size": 108, "nbest": 108, "length_penalty": 0.6}
    found = beam_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, prefixes=PREFIXES, **settings)
    for source, length, prefix, hypotheses in zip(SOURCES, MAX_LENGTHS, PREFIXES, found, strict=True):
        assert_found(hypotheses, fakes.enumerate_all(script, source, 7, length, 0.6, prefix))


@check
def scores_after_a_prefix_equal_forced_scoring(search: Any) -> None:
    script = random_script(3, num_symbols=8, eos=1)
    runs = (
        lambda stepper: [[found] for found in greedy_search(search, stepper, SOURCES, [30] * 5, prefixes=PREFIXES)],
        lambda stepper: beam_search(search, stepper, SOURCES, [9] * 5, prefixes=PREFIXES, beam_size=4, nbest=1),
        lambda stepper: sample(search, stepper, SOURCES, [30] * 5, prefixes=PREFIXES, seed=1, temperature=0.7),
    )
    for run in runs:
        best = [hypothesis for [hypothesis] in run(ScriptedStepper(script))]
        assert all(hypothesis.finished for hypothesis in best)
        assert best == search.force(ScriptedStepper(script), *pad(SOURCES), [hypothesis.ids for hypothesis in best])
        for hypothesis, prefix in zip(best, PREFIXES, strict=True):
            assert hypothesis.ids[: len(prefix)] == prefix


@check
def empty_prefixes_change_nothing(search: Any) -> None:
    for script in (random_script(4, num_symbols=8), coarse_script(4, num_symbols=8)):
        for run, settings in (
            (greedy_search, {}),
            (beam_search, {"beam_size": 4, "nbest": 3, "length_penalty": 0.5}),
            (sample, {"seed": 1, "num_samples": 3, "top_p": 0.9}),
        ):
            steppers = [ScriptedStepper(script) for _ in range(3)]
            without, none, empty = (
                run(search, stepper, SOURCES, MAX_LENGTHS, **settings, **given)
                for stepper, given in zip(steppers, ({}, {"prefixes": None}, {"prefixes": [()] * 5}), strict=True)
            )
            assert without == none == empty
            assert steppers[0].sources_stepped == steppers[1].sources_stepped == steppers[2].sources_stepped


@check
def samples_after_a_prefix_use_the_random_numbers_of_their_steps(search: Any) -> None:
    """A sample is drawn again when its own prefix is forced."""
    script = random_script(9, num_symbols=30, eos=-9)
    for settings in ({}, {"temperature": 0.8, "top_k": 9}, {"top_p": 0.8}):
        [[free]] = sample(search, ScriptedStepper(script), [(5, 6)], [8], seed=1, **settings)
        assert len(free.ids) == 8
        for length in range(8):
            prefix = free.ids[:length]
            [again] = sample(
                search, ScriptedStepper(script), [(5, 6)], [8], seed=1, num_samples=4, prefixes=[prefix], **settings
            )
            assert {found.ids[:length] for found in again} == {prefix}
            assert len({found.ids for found in again}) > 1
            [[once]] = sample(search, ScriptedStepper(script), [(5, 6)], [8], seed=1, prefixes=[prefix], **settings)
            assert once == free
            assert_consistent(script, (5, 6), once)


@check
def a_prefix_is_one_live_hypothesis(search: Any) -> None:
    """The model steps one row per source until the first free symbol is chosen, and the full beam afterwards."""
    stepper = ScriptedStepper(random_script(2, num_symbols=8, eos=-9))
    beam_search(search, stepper, [(5,), (4, 6)], [6, 6], beam_size=4, nbest=1, prefixes=[(4, UNK, 6), (7, 7, 4)])
    assert [len(sources) for sources in stepper.sources_stepped] == [2, 2, 2, 2, 8, 8]


@check
def prefixes_of_other_sources_have_no_effect(search: Any) -> None:
    script = random_script(6, num_symbols=8)
    runs = (
        lambda stepper, sources, lengths, examples, prefixes: beam_search(
            search, stepper, sources, lengths, prefixes=prefixes, beam_size=3, nbest=3
        ),
        lambda stepper, sources, lengths, examples, prefixes: sample(
            search, stepper, sources, lengths, prefixes=prefixes, seed=3, num_samples=2, examples=examples
        ),
        lambda stepper, sources, lengths, examples, prefixes: greedy_search(
            search, stepper, sources, lengths, prefixes=prefixes
        ),
    )
    for run in runs:
        together = run(ScriptedStepper(script), SOURCES, MAX_LENGTHS, range(5), PREFIXES)
        for index, case in enumerate(zip(SOURCES, MAX_LENGTHS, range(5), PREFIXES, strict=True)):
            assert run(ScriptedStepper(script), *([part] for part in case)) == [together[index]]
