"""Checks that any implementation of the search must pass under constraints: rules, other rankings, groups, phrases."""

from __future__ import annotations

from typing import Any

from peephole.symbols import EOS

from . import fakes_constrained as fakes
from .contract import MAX_LENGTHS, SOURCES, Check, assert_consistent, beam_search, greedy_search, sample
from .fakes import Ids, Script, ScriptedStepper, coarse_script, random_script
from .fakes_constrained import Constraints

CONTRACT: list[Check] = []
RULES = [
    Constraints(min_length=3),
    Constraints(no_repeat_ngram=1),
    Constraints(no_repeat_ngram=2),
    Constraints(no_repeat_ngram=3),
    Constraints(min_length=4, no_repeat_ngram=2, length_penalty=1.0),
    Constraints(min_length=6, no_repeat_ngram=1),  # more than the 3 different symbols that there are
]
RANKINGS = [
    Constraints(length_reward=0.8),
    Constraints(coverage_penalty=1.5),
    Constraints(length_penalty=1.0, length_reward=0.2, coverage_penalty=0.4),
    Constraints(coverage_penalty=0.7, min_length=2, no_repeat_ngram=2),
]
PHRASES: list[tuple[Ids, ...]] = [((5, 4),), (), ((6, 6, 5), (6, 5, 4)), ((4,), (5,)), ((5, 4, 5),)]
PREFIXES: list[Ids] = [(6,), (), (5, 3, 4, 6), (4, 4), (3, 6, 5)]
LONG = [9, 7, 12, 8, 10]


def check(function: Check) -> Check:
    CONTRACT.append(function)
    return function


def settings_of(search: Any, c: Constraints) -> dict[str, Any]:
    """Return the arguments of a beam search that are equal for all sources."""
    return {
        "rules": search.Rules(c.min_length, c.no_repeat_ngram),
        "length_penalty": c.length_penalty,
        "length_reward": c.length_reward,
        "coverage_penalty": c.coverage_penalty,
        "diverse_groups": c.groups,
        "diversity": c.diversity,
    }


def assert_beam(
    search: Any, script: Script, constraints: list[Constraints], lengths: list[int], **settings: Any
) -> list[Any]:
    """Compare a beam search of all sources with the reference; `constraints` differ in their phrases only."""
    prefixes = settings.pop("prefixes", None)
    given: dict[str, Any] = settings_of(search, constraints[0]) | settings
    if any(c.phrases for c in constraints):
        given["phrases"] = [c.phrases for c in constraints]
    found = beam_search(search, ScriptedStepper(script), SOURCES, lengths, prefixes=prefixes, **given)
    cases = zip(SOURCES, lengths, constraints, prefixes or [()] * len(SOURCES), found, strict=True)
    for source, length, c, prefix, hypotheses in cases:
        wanted = fakes.beam(script, source, 7, length, c, prefix=prefix, **settings)
        assert [(h.ids, h.finished) for h in hypotheses] == [(w.ids, w.finished) for w in wanted]
        for hypothesis in hypotheses:
            assert_consistent(script, source, hypothesis)
    return found


@check
def greedy_keeps_the_rules(search: Any) -> None:
    for c in RULES:
        for script in (random_script(1, num_symbols=7, eos=1), coarse_script(2, num_symbols=7)):
            for prefixes in (None, PREFIXES):
                stepper, rules = ScriptedStepper(script), search.Rules(c.min_length, c.no_repeat_ngram)
                found = greedy_search(search, stepper, SOURCES, LONG, rules=rules, prefixes=prefixes)
                for source, length, prefix, hypothesis in zip(SOURCES, LONG, prefixes or [()] * 5, found, strict=True):
                    wanted = fakes.greedy(script, source, 7, length, c, prefix)
                    assert (hypothesis.ids, hypothesis.finished) == (wanted.ids, wanted.finished)
                    assert_consistent(script, source, hypothesis)


@check
def beams_keep_the_rules(search: Any) -> None:
    for c in RULES:
        for beam_size, nbest in ((1, 1), (3, 3), (5, 2)):
            for seed, eos in ((1, 1.0), (2, -1.0)):
                script = random_script(seed, num_symbols=7, eos=eos)
                for prefixes in (None, PREFIXES):
                    assert_beam(search, script, [c] * 5, LONG, beam_size=beam_size, nbest=nbest, prefixes=prefixes)


@check
def wide_beams_find_every_target_within_the_rules(search: Any) -> None:
    script = random_script(3, num_symbols=7)
    for c in (*RULES[:5], *RANKINGS):
        settings = settings_of(search, c) | {"beam_size": 108, "nbest": 108}
        for prefixes in (None, [(6,), (), (5, 4), (4, 4), ()]):
            lengths = [4, 3, 4, 4, 4]
            found = beam_search(search, ScriptedStepper(script), SOURCES, lengths, prefixes=prefixes, **settings)
            for source, length, prefix, hypotheses in zip(SOURCES, lengths, prefixes or [()] * 5, found, strict=True):
                wanted = fakes.enumerate_all(script, source, 7, length, c, prefix)
                if wanted:
                    assert [hypothesis.ids for hypothesis in hypotheses] == wanted[:108]
                else:
                    assert not hypotheses[0].finished or len(hypotheses[0].ids) < c.min_length


@check
def samples_keep_the_rules(search: Any) -> None:
    script = random_script(4, num_symbols=7, eos=0.5)
    for c in RULES:
        rules = search.Rules(c.min_length, c.no_repeat_ngram)
        greedy = greedy_search(search, ScriptedStepper(script), SOURCES, LONG, rules=rules)
        cold = sample(search, ScriptedStepper(script), SOURCES, LONG, seed=1, temperature=1e-4, rules=rules)
        assert cold == [[hypothesis] for hypothesis in greedy]
        for drawn in sample(search, ScriptedStepper(script), SOURCES, LONG, seed=1, num_samples=20, rules=rules):
            for found in drawn:
                assert not c.no_repeat_ngram or not fakes.repeats(found.ids, c.no_repeat_ngram)
                assert len(found.ids) >= min(c.min_length, 3 if c.no_repeat_ngram == 1 else 99)


@check
def beams_are_ranked_by_the_formula(search: Any) -> None:
    for c in RANKINGS:
        for seed, (beam_size, nbest) in enumerate(((1, 1), (3, 3), (6, 2))):
            for eos in (-1.5, 0.5):
                script = random_script(seed, num_symbols=7, eos=eos)
                assert_beam(search, script, [c] * 5, MAX_LENGTHS, beam_size=beam_size, nbest=nbest)
                assert_beam(search, script, [c] * 5, LONG, beam_size=beam_size, nbest=nbest, prefixes=PREFIXES)


@check
def unused_settings_change_nothing(search: Any) -> None:
    script = random_script(5, num_symbols=7)
    for settings in ({"beam_size": 4, "nbest": 4}, {"beam_size": 4, "nbest": 1, "length_penalty": 1.0}):
        plain = beam_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, **settings)
        others = {"rules": search.Rules(), "length_reward": 0.0, "coverage_penalty": 0.0, "diverse_groups": 1}
        assert beam_search(search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, **settings, **others) == plain
        free = beam_search(
            search, ScriptedStepper(script), SOURCES, MAX_LENGTHS, **settings, phrases=[()] * len(SOURCES)
        )
        assert free == plain


@check
def groups_choose_in_turn(search: Any) -> None:
    for groups, beam_size, nbest, diversity in ((2, 4, 4, 0.5), (3, 6, 3, 0.3), (3, 3, 3, 2.0), (2, 6, 1, 1.0)):
        c = Constraints(groups=groups, diversity=diversity, length_penalty=0.5)
        for seed, eos in ((1, 0.0), (2, -2.0), (3, 1.0)):
            script = random_script(seed, num_symbols=7, eos=eos)
            assert_beam(search, script, [c] * 5, LONG, beam_size=beam_size, nbest=nbest)
            assert_beam(search, script, [c] * 5, LONG, beam_size=beam_size, nbest=nbest, prefixes=PREFIXES)


@check
def groups_with_rules_equal_the_reference(search: Any) -> None:
    c = Constraints(groups=2, diversity=0.8, min_length=2, no_repeat_ngram=2, coverage_penalty=0.5)
    for seed in range(3):
        assert_beam(search, random_script(seed, num_symbols=7), [c] * 5, LONG, beam_size=6, nbest=6)


@check
def groups_differ_in_their_first_symbols(search: Any) -> None:
    script = random_script(6, num_symbols=7, eos=1)
    settings = {"beam_size": 3, "nbest": 3, "diverse_groups": 3, "diversity": 1e6}
    sizes = set()
    for found in beam_search(search, ScriptedStepper(script), SOURCES, LONG, **settings):
        assert len({(*hypothesis.ids, EOS)[0] for hypothesis in found}) == len(found)
        sizes.add(len(found))  # fewer where a group never finished
    assert max(sizes) == 3
    alike = beam_search(search, ScriptedStepper(script), SOURCES, LONG, **settings | {"diversity": 0.0})
    greedy = greedy_search(search, ScriptedStepper(script), SOURCES, LONG)
    assert alike == [[hypothesis] for hypothesis in greedy]


@check
def targets_contain_their_phrases(search: Any) -> None:
    every = [Constraints(phrases=phrases) for phrases in PHRASES]
    for seed, (beam_size, nbest) in enumerate(((2, 1), (2, 2), (4, 4), (9, 3))):
        for eos in (2.0, -1.0):
            script = random_script(seed, num_symbols=7, eos=eos)
            for lengths, prefixes in ((LONG, None), (LONG, PREFIXES), ([3, 4, 6, 3, 4], None)):
                settings: dict[str, Any] = {"beam_size": beam_size, "nbest": nbest, "prefixes": prefixes}
                found = assert_beam(search, script, every, lengths, **settings)
                for hypotheses, phrases in zip(found, PHRASES, strict=True):
                    for hypothesis in hypotheses:
                        assert all(fakes.contains(hypothesis.ids, phrase) for phrase in phrases)


@check
def wide_beams_find_every_target_with_the_phrases(search: Any) -> None:
    script, lengths = random_script(7, num_symbols=7), [5, 3, 5, 4, 5]
    phrases: list[tuple[Ids, ...]] = [((5, 4),), (), ((6, 6, 5),), ((4,), (5,)), ((5, 4, 5),)]
    c = {"min_length": 2, "length_penalty": 0.5}
    settings = settings_of(search, Constraints(**c)) | {"beam_size": 500, "nbest": 40}
    found = beam_search(search, ScriptedStepper(script), SOURCES, lengths, phrases=phrases, **settings)
    for source, length, own, hypotheses in zip(SOURCES, lengths, phrases, found, strict=True):
        wanted = fakes.enumerate_all(script, source, 7, length, Constraints(**c, phrases=own))
        assert [hypothesis.ids for hypothesis in hypotheses] == wanted[:40]
        assert wanted


@check
def phrases_with_equal_scores_equal_the_reference(search: Any) -> None:
    every = [Constraints(phrases=phrases, min_length=2) for phrases in PHRASES]
    for seed in range(4):
        assert_beam(search, coarse_script(seed, num_symbols=7), every, LONG, beam_size=4, nbest=4)
        c = Constraints(groups=2, diversity=1.0)
        assert_beam(search, coarse_script(seed, num_symbols=7), [c] * 5, LONG, beam_size=4, nbest=4)


@check
def constrained_sources_are_independent(search: Any) -> None:
    script = random_script(8, num_symbols=7)
    c = Constraints(groups=2, diversity=0.6, min_length=2, no_repeat_ngram=2, coverage_penalty=0.5)
    grouped = settings_of(search, c) | {"beam_size": 4, "nbest": 4}
    together = beam_search(search, ScriptedStepper(script), SOURCES, LONG, **grouped)
    phrased = beam_search(search, ScriptedStepper(script), SOURCES, LONG, beam_size=4, nbest=4, phrases=PHRASES)
    for index, (source, length) in enumerate(zip(SOURCES, LONG, strict=True)):
        alone = ScriptedStepper(script)
        assert beam_search(search, alone, [source], [length], **grouped) == [together[index]]
        own = {"beam_size": 4, "nbest": 4, "phrases": [PHRASES[index]]}
        assert beam_search(search, alone, [source], [length], **own) == [phrased[index]]
