"""Tests the joint search of attention and CTC, (34)-(36), against all targets of small cases."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from peephole.config import Config, SearchConfig
from peephole.errors import ConfigError
from peephole.model import Model
from peephole.nn import Seq2SeqStepper, ctc_stepper
from peephole.nn.ctc_stepper import NO_PATH, CTCStepper
from peephole.search import force
from peephole.search.torch import DefinitionSearch, pad
from peephole.symbols import BOS, EOS, PAD, UNK, CharacterSymbols
from rejection import rejected_by_comparison

from .changes import change_text
from .ctc_oracle import ctc_prob, paths, prefix_prob
from .network_checks import weights_of
from .oracle import log_softmax
from .test_ctc import make, oracle_of
from .wrong_ctc_steppers import WRONG_CTC_STEPPERS

SOURCES = [[4, 6, 5, 4], [5, 6], [6, 4, 4, 3, 5], [5, 4, 3]]
V = 6
SYMBOLS = (4, 5)  # that a search may predict, besides </s>


@cache
def listed_paths(settings=()):
    """Return p(k | j), (S, V), and the probabilities of all targets, for each source, by the oracle."""
    model, config = make(**dict(settings))
    reference = oracle_of(config, weights_of(model))
    found = []
    for source in SOURCES:
        y = np.exp([log_softmax(reference.linear("ctc", h)) for h in reference.encode(source)[0]])
        found.append((y, paths(y)))
    return found


def log_ratio(one: float, other: float) -> float:
    """Return what the stepper gives for a conditional probability: 0 after a prefix without a path."""
    return 0.0 if other == 0 else NO_PATH if one == 0 else float(np.log(one) - np.log(other))


def ids_of(found):
    return [[hypothesis.ids for hypothesis in hypotheses] for hypotheses in found]


def make_talkative(seed=0):
    """Return a network whose attention prefers targets of several symbols."""
    model, _ = make(seed)
    with torch.no_grad():
        model.decoder.output.bias[EOS] -= 3
    return model


def check_forced(settings=()) -> None:
    """Compare each symbol's log-probability in many targets with prefix probabilities from all paths, (35)."""
    stepper = CTCStepper(make(**dict(settings))[0])
    targets = [(), (4,), (4, 4), (5, 4, 4), (3, 5, 4), (1, 4), (4, 4, 4, 4, 5, 5), (0, 4), (4, 0)]
    for ids in targets:
        found = force(stepper, *pad(SOURCES), [ids] * len(SOURCES))
        for (y, listed), hypothesis in zip(listed_paths(settings), found, strict=True):
            probs = [prefix_prob(listed, ids[:n]) for n in range(len(ids) + 1)] + [ctc_prob(y, ids)]
            wanted = [log_ratio(one, other) for one, other in zip(probs[1:], probs, strict=False)]
            assert hypothesis.symbol_log_probs == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def all_targets(longest: int):
    """Return every target of at most so many symbols, without </s>."""
    return [ids for n in range(longest + 1) for ids in itertools.product(SYMBOLS, repeat=n)]


def check_beam(weight: float, settings=()) -> None:
    """Compare a beam that never overflows with all targets, ranked by (36); their log p is that of attention, (11)."""
    longest = 4
    model, config = make(**dict(settings))
    how = SearchConfig(beam_size=200, nbest=6, ctc_weight=weight)
    found = DefinitionSearch([model]).find(SOURCES, [longest + 1] * len(SOURCES), how)
    reference = oracle_of(config, weights_of(model))
    for source, (y, _), hypotheses in zip(SOURCES, listed_paths(settings), found, strict=True):
        scored = []
        for ids in all_targets(longest):
            attention, ctc = float(reference.log_prob(source, [*ids, EOS])), ctc_prob(y, ids)
            scored.append(((1 - weight) * attention + weight * (np.log(ctc) if ctc else NO_PATH), ids, attention))
        best = sorted(scored, key=lambda entry: -entry[0])[:6]
        assert [hypothesis.ids for hypothesis in hypotheses] == [ids for _, ids, _ in best]
        assert [h.log_prob for h in hypotheses] == pytest.approx([attention for *_, attention in best], rel=1e-9)


@pytest.mark.parametrize("settings", [{}, {"encoder_layers": 2, "encoder_pyramid": 1}, {"context": "last"}], ids=str)
def test_symbols_have_the_ratio_of_prefix_probabilities(settings):
    check_forced(tuple(settings.items()))


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("settings", [{}, {"context": "mean"}], ids=str)
def test_a_wide_beam_finds_the_best_of_all_targets(settings, weight):
    check_beam(weight, tuple(settings.items()))


@pytest.mark.parametrize("change", WRONG_CTC_STEPPERS, ids=lambda change: change.name)
def test_wrong_stepper_is_rejected(change, monkeypatch):
    owner, _, name = change.function.rpartition(".")
    place = getattr(ctc_stepper, owner) if owner else ctc_stepper
    monkeypatch.setattr(place, name, change_text(getattr(place, name), change.right, change.wrong))
    with rejected_by_comparison():
        check_forced()
        check_beam(0.4)


def test_results_do_not_depend_on_the_batch():
    searching = DefinitionSearch([make_talkative()])
    for how in (
        SearchConfig(beam_size=3, nbest=3, ctc_weight=0.4),
        SearchConfig(beam_size=1, ctc_weight=0.4),
        SearchConfig(nbest=3, temperature=0.7, ctc_weight=0.4),
    ):
        examples = list(range(len(SOURCES)))
        together = searching.find(SOURCES, [5] * 4, how, examples=examples)
        alone = searching.find(SOURCES, [5] * 4, replace(how, batch_size=1), examples=examples)
        assert ids_of(together) == ids_of(alone)
        without = searching.find(SOURCES, [5] * 4, replace(how, ctc_weight=0.0), examples=examples)
        assert ids_of(together) != ids_of(without)


def test_an_ensemble_averages_the_conditional_probabilities_of_both_outputs():
    networks = [make_talkative(seed) for seed in (0, 1)]
    how = SearchConfig(beam_size=200, nbest=5, ctc_weight=0.4)
    found = DefinitionSearch(networks).find(SOURCES, [4] * 4, how)

    def mean(steppers, ids) -> np.ndarray:
        rows = [[h.symbol_log_probs for h in force(s, *pad(SOURCES), [ids] * 4)] for s in steppers]
        return (np.logaddexp.reduce(rows) - np.log(len(rows))).sum(1)

    ctc = {ids: mean([CTCStepper(n) for n in networks], ids) for ids in all_targets(3)}
    attention = {ids: mean([Seq2SeqStepper(n) for n in networks], ids) for ids in ctc}
    for b, hypotheses in enumerate(found):
        best = sorted(ctc, key=lambda ids: -(0.6 * attention[ids][b] + 0.4 * ctc[ids][b]))
        assert [h.ids for h in hypotheses] == best[:5]
        assert [h.log_prob for h in hypotheses] == pytest.approx([attention[ids][b] for ids in best[:5]], rel=1e-9)


def test_a_model_searches_with_the_weight_it_was_trained_with():
    network, config = make()
    source, target = CharacterSymbols(list("abc"), "NFC"), CharacterSymbols(list("AB"), "NFC")
    settings = {f"model.{name}": value for name, value in vars(config).items()}
    model = Model(Config().with_values(settings | {"train.ctc_weight": 0.4}), source, target, [network])
    texts, how = ["abca", "bc", "cab"], {"engine": "off", "beam_size": 4, "nbest": 4}
    default = model.predict(texts, **how)
    assert default == model.predict(texts, ctc_weight=0.4, **how)
    assert default != model.predict(texts, ctc_weight=0, **how)
    for text, predictions in zip(texts, default, strict=True):
        scores = model.score([text] * 4, [best.tokens for best in predictions], engine="off")
        finished = [(best.log_prob, score) for best, score in zip(predictions, scores, strict=True) if best.finished]
        assert [log_prob for log_prob, _ in finished] == pytest.approx([score for _, score in finished], rel=1e-9)


def test_a_prefix_without_a_path_leaves_the_choice_to_attention():
    network = make_talkative()
    how = SearchConfig(beam_size=4, nbest=4, ctc_weight=0.4)
    prefix = (4, 4, 4, 4)
    found = DefinitionSearch([network]).find(SOURCES, [7] * 4, how, prefixes=[prefix] * 4)
    alone = DefinitionSearch([network]).find(SOURCES, [7] * 4, replace(how, ctc_weight=0.0), prefixes=[prefix] * 4)
    assert all(hypothesis.ids[:4] == prefix for hypotheses in found for hypothesis in hypotheses)
    assert ids_of(found) == ids_of(alone)


def test_a_ctc_weight_without_ctc_is_refused():
    with pytest.raises(ConfigError, match=r"search\.ctc_weight: wanted model\.ctc=true, or 0; got 0\.3"):
        Config().with_values({"search.ctc_weight": 0.3})
    assert Config().searching().ctc_weight == 0
    assert {PAD, BOS, UNK, EOS}.isdisjoint(SYMBOLS)
