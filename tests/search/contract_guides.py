"""Checks that any implementation of the search must pass when guides add their scores to the model's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from peephole.symbols import BOS, EOS

from . import fakes
from .contract import MAX_LENGTHS, SOURCES, Check, assert_consistent, beam_search, greedy_search, sample
from .fakes import Ids, Script, ScriptedStepper, random_script

CONTRACT: list[Check] = []
WEIGHTS = (0.7, 0.3)


def check(function: Check) -> Check:
    CONTRACT.append(function)
    return function


def scripts() -> list[Script]:
    """Return the scripts of a model and of two guides, one of them far from a probability distribution."""
    model, first = (random_script(seed, num_symbols=7, eos=-0.5) for seed in (1, 2))
    return [model, first, lambda source, prefix: random_script(3, num_symbols=7)(source, prefix) - np.float32(2.5)]


def combined(source: Ids, prefix: Ids) -> np.ndarray:
    """Return the scores of a model and its guides, summed by hand in float32."""
    model, first, second = (script(source, prefix) for script in scripts())
    return (model + np.float32(WEIGHTS[0]) * first) + np.float32(WEIGHTS[1]) * second


def guided(search: Any) -> tuple[ScriptedStepper, dict[str, Any]]:
    model, *others = (ScriptedStepper(script) for script in scripts())
    guides = [search.Guide(stepper, weight) for stepper, weight in zip(others, WEIGHTS, strict=True)]
    return model, {"guides": guides}


def assert_found_by_score(found: list[Any], wanted: list[Any], source: Ids) -> None:
    """Check the targets found by the combined score, and that their log-probabilities are the model's own."""
    assert [(h.ids, h.finished) for h in found] == [(w.ids, w.finished) for w in wanted]
    for hypothesis in found:
        assert_consistent(scripts()[0], source, hypothesis)


@check
def greedy_follows_the_combined_score(search: Any) -> None:
    stepper, settings = guided(search)
    found = greedy_search(search, stepper, SOURCES, MAX_LENGTHS, **settings)
    alone = greedy_search(search, stepper, SOURCES, MAX_LENGTHS)
    assert found != alone
    for source, length, hypothesis in zip(SOURCES, MAX_LENGTHS, found, strict=True):
        assert_found_by_score([hypothesis], [fakes.greedy(combined, source, 7, length)], source)


@check
def beams_are_ranked_by_the_combined_score(search: Any) -> None:
    for beam_size, nbest, length_penalty in [(1, 1, 0.0), (3, 3, 0.0), (4, 2, 1.0), (108, 108, 0.6)]:
        stepper, settings = guided(search)
        ranking = {"beam_size": beam_size, "nbest": nbest, "length_penalty": length_penalty}
        found = beam_search(search, stepper, SOURCES, MAX_LENGTHS, **ranking, **settings)
        for source, length, hypotheses in zip(SOURCES, MAX_LENGTHS, found, strict=True):
            wanted = fakes.beam(combined, source, 7, length, **ranking)
            assert_found_by_score(hypotheses, wanted, source)


@check
def cold_guided_samples_are_greedy(search: Any) -> None:
    stepper, settings = guided(search)
    drawn = sample(search, stepper, SOURCES, MAX_LENGTHS, seed=1, num_samples=2, temperature=1e-4, **settings)
    wanted = greedy_search(search, stepper, SOURCES, MAX_LENGTHS, **settings)
    assert drawn == [[hypothesis] * 2 for hypothesis in wanted]


@check
def guides_of_an_ensemble_are_added_to_the_mean(search: Any) -> None:
    model, first, second = scripts()

    def mean(source: Ids, prefix: Ids) -> np.ndarray:
        probs = [np.exp(script(source, prefix).astype(np.float64)) for script in (model, second)]
        return np.log(np.mean(probs, axis=0)) + 2.0 * first(source, prefix)

    ensemble = search.EnsembleStepper([ScriptedStepper(model), ScriptedStepper(second)])
    settings = {"beam_size": 4, "nbest": 4}
    guides = [search.Guide(ScriptedStepper(first), 2.0)]
    found = beam_search(search, ensemble, SOURCES, MAX_LENGTHS, **settings, guides=guides)
    for source, length, hypotheses in zip(SOURCES, MAX_LENGTHS, found, strict=True):
        wanted = fakes.beam(mean, source, 7, length, **settings)
        assert [hypothesis.ids for hypothesis in hypotheses] == [hypothesis.ids for hypothesis in wanted]


@check
def an_interpolating_guide_takes_its_weight_from_the_model(search: Any) -> None:
    model, first, second = scripts()
    for weight in (0.3, 1.0):

        def mixed(source: Ids, prefix: Ids, weight: float = weight) -> np.ndarray:
            share = np.float32(1 - weight) * model(source, prefix) + np.float32(weight) * first(source, prefix)
            return share + np.float32(0.5) * second(source, prefix)

        interpolated = search.Guide(ScriptedStepper(first), weight, interpolates=True)
        guides = [interpolated, search.Guide(ScriptedStepper(second), 0.5)]
        settings = {"beam_size": 4, "nbest": 4}
        found = beam_search(search, ScriptedStepper(model), SOURCES, MAX_LENGTHS, **settings, guides=guides)
        for source, length, hypotheses in zip(SOURCES, MAX_LENGTHS, found, strict=True):
            assert_found_by_score(hypotheses, fakes.beam(mixed, source, 7, length, **settings), source)


@check
def a_prefix_counts_in_the_combined_score(search: Any) -> None:
    prefixes: list[Ids] = [(6,), (), (5, 3, 4, 6), (4, 4), (3, 6, 5)]
    stepper, settings = guided(search)
    ranking = {"beam_size": 4, "nbest": 4, "length_penalty": 1.0}
    found = beam_search(search, stepper, SOURCES, MAX_LENGTHS, prefixes=prefixes, **ranking, **settings)
    for source, length, prefix, hypotheses in zip(SOURCES, MAX_LENGTHS, prefixes, found, strict=True):
        wanted = fakes.beam(combined, source, 7, length, prefix=prefix, **ranking)
        assert_found_by_score(hypotheses, wanted, source)


@check
def a_guide_may_forbid_symbols(search: Any) -> None:
    def forbids(source: Ids, prefix: Ids) -> np.ndarray:
        """Return a score that leaves only 5 and then EOS."""
        scores = np.full(7, -np.inf, dtype=np.float32)
        scores[EOS if prefix[-1] == 5 else 5] = 0
        return scores

    stepper, guide = ScriptedStepper(scripts()[0]), search.Guide(ScriptedStepper(forbids), 1.0)
    for found in beam_search(search, stepper, SOURCES, MAX_LENGTHS, beam_size=3, nbest=3, guides=[guide]):
        assert [hypothesis.ids for hypothesis in found] == [(5,)]
    assert torch.isfinite(torch.tensor(scripts()[0]((9, 4), (BOS,)))).all()
