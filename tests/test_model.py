"""Tests Model: predict, score, teacher_forced, save and load, against step-by-step loops over the networks."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import warnings
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import peephole
from models.make import MODEL, SOUNDS, pronounce, toy_words
from peephole.config import Config
from peephole.errors import ConfigError, ModelFileError, PeepholeError
from peephole.model import (
    Model,
    Notices,
    Prediction,
    SlowSearchWarning,
    TruncatedSourceWarning,
    UnknownSymbolWarning,
)
from peephole.nn import build_seq2seq
from peephole.search.torch import pad
from peephole.symbols import BOS, EOS, PAD, UNK, CharacterSymbols

TOLERANCE = 1e-5  # for attention weights and the log-probability of one symbol; times the number of symbols for a sum
LETTERS = list(SOUNDS)

# Settings of every kind of model
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "full additive": {},
    "diagonal general, three layers": {
        "peephole": "diagonal",
        "attention": "general",
        "encoder_layers": 2,
        "decoder_layers": 3,
    },
    "dot, one direction": {"peephole": "none", "attention": "dot", "bidirectional": False},
    "gru": {"cell": "gru", "peephole": "none"},
    "gru, bridge": {"cell": "gru", "peephole": "none", "encoder_size": 6, "attention": "general"},
    "last": {"context": "last", "encoder_size": 10},
    "mean": {"context": "mean"},
    "location": {"attention": "location", "location_width": 5},
    "heads, bridge": {"attention": "multihead", "attention_heads": 2, "encoder_size": 6, "decoder_layers": 2},
    "gru last": {"cell": "gru", "peephole": "none", "context": "last", "bidirectional": False},
}


@cache
def half_trained(name: str, seed: int = 1) -> Model:
    """Return a model trained on one batch until its predictions differ between sources.

    It is float64, because after so short a training it amplifies float32 rounding errors more than a real model does.
    """
    toy = peephole.load(MODEL)
    sizes = {"hidden_size": 12, "embedding_size": 6} | ARCHITECTURES[name]
    config = Config().with_values({f"model.{key}": value for key, value in sizes.items()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_seq2seq(config.model, len(toy.source_symbols), len(toy.target_symbols)).double()
    lesson = toy_words(64, seed=5)
    batch = [
        *pad([toy.source_symbols.encode(word) for word in lesson]),
        *pad([[*toy.target_symbols.encode(pronounce(word)), EOS] for word in lesson]),
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(50):
        optimizer.zero_grad()
        (-network.log_prob(*batch).mean() / 4).backward()
        optimizer.step()
    return Model(config, toy.source_symbols, toy.target_symbols, [network.eval()])


@pytest.fixture(scope="module")
def toy(toy_file: Path) -> Model:
    return peephole.load(toy_file)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def any_model(request: pytest.FixtureRequest) -> Model:
    return half_trained(request.param)


def words(count: int, seed: int, shortest: int = 1, longest: int = 9) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(LETTERS, k=rng.randint(shortest, longest))) for _ in range(count)]


def by_hand(model: Model, source: str, fed: list[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run a model step by step; return log p of all next symbols (U + 1, V), and the attention (T,) of each step."""
    ids = torch.tensor([model.source_symbols.encode(source)])
    states = [network.start(ids, torch.tensor([ids.shape[1]])) for network in model.networks]
    rows, attention = [], []
    with torch.no_grad():
        for symbol in [BOS, *fed]:
            steps = [
                network.step(torch.tensor([symbol]), state)
                for network, state in zip(model.networks, states, strict=True)
            ]
            states = [state for _, state, _ in steps]
            rows.append(torch.stack([logits[0].double().softmax(0) for logits, *_ in steps]).mean(0).log())
            if steps[0][2] is not None:
                attention.append(torch.stack([weights[0] for *_, weights in steps if weights is not None]).mean(0))
    return torch.stack(rows), attention


def greedy_by_hand(model: Model, source: str, longest: int) -> list[int]:
    """Return the greedy target of a source, computed step by step."""
    ids: list[int] = []
    while len(ids) < longest:
        row = by_hand(model, source, ids)[0][-1]
        row[[PAD, BOS, UNK]] = -torch.inf
        if int(row.argmax()) == EOS:
            break
        ids.append(int(row.argmax()))
    return ids


def assert_same(got: list[Prediction], wanted: list[Prediction]) -> None:
    assert [p.text for p in got] == [p.text for p in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert one.tokens == other.tokens
        assert one.source_tokens == other.source_tokens
        assert one.finished == other.finished
        assert one.log_prob == pytest.approx(other.log_prob, abs=TOLERANCE * len(other.symbol_log_probs))
        assert one.symbol_log_probs == pytest.approx(other.symbol_log_probs, abs=TOLERANCE)
        if other.attention is None:
            assert one.attention is None
        else:
            np.testing.assert_allclose(one.attention, other.attention, atol=TOLERANCE)


# predict


def test_all_fields_of_predictions_match_stepwise_computation(any_model: Model) -> None:
    sources = words(12, seed=3)
    found = any_model.predict(sources, beam_size=4, nbest=3)
    assert len(found) == len(sources)
    assert len({p.text for predictions in found for p in predictions}) > 30  # different enough to reveal a mix-up
    for source, predictions in zip(sources, found, strict=True):
        assert len(predictions) == 3
        assert len({p.text for p in predictions}) == 3
        log_probs = [p.log_prob for p in predictions]
        assert log_probs == sorted(log_probs, reverse=True)
        for p in predictions:
            ids = any_model.target_symbols.encode(p.text)
            rows, attention = by_hand(any_model, source, ids)
            wanted = [float(row[symbol]) for row, symbol in zip(rows, [*ids, EOS], strict=True)]
            assert p.finished
            assert p.symbol_log_probs == pytest.approx(wanted, abs=TOLERANCE)
            assert p.log_prob == pytest.approx(sum(p.symbol_log_probs), abs=1e-9)
            assert p.tokens == p.text.split() == any_model.target_symbols.tokens(ids)
            assert p.source_tokens == any_model.source_symbols.split(source)
            if any_model.config.model.context == "attention":
                assert p.attention is not None
                assert p.attention.shape == (len(ids), len(p.source_tokens))
                assert p.attention.dtype == np.float32
                np.testing.assert_allclose(p.attention.sum(1), 1, atol=TOLERANCE)
                for row, weights in zip(p.attention, attention[:-1], strict=True):
                    np.testing.assert_allclose(row, weights.numpy(), atol=TOLERANCE)
            else:
                assert p.attention is None


def test_a_beam_of_one_is_greedy_search(any_model: Model) -> None:
    for source, [best] in zip(words(4, 5), any_model.predict(words(4, 5), beam_size=1), strict=True):
        ids = greedy_by_hand(any_model, source, 3 * len(any_model.source_symbols.encode(source)) + 20)
        assert best.text == any_model.target_symbols.decode(ids)


def test_log_prob_equals_the_score_of_the_text(any_model: Model) -> None:
    sources = words(10, seed=4)
    flat = [(s, p) for s, found in zip(sources, any_model.predict(sources, nbest=5), strict=True) for p in found]
    random.Random(1).shuffle(flat)
    scores = any_model.score([s for s, _ in flat], [p.text for _, p in flat])
    for score, (_, p) in zip(scores, flat, strict=True):
        assert score == pytest.approx(p.log_prob, abs=TOLERANCE * len(p.symbol_log_probs))


def test_predict_returns_one_prediction_by_default(toy: Model) -> None:
    assert_same(toy.predict(["cab"])[0], toy.predict(["cab"], beam_size=5, nbest=5)[0][:1])
    assert toy.predict(["cab"])[0][0].text == "K AH B"
    assert toy.predict([]) == []


def test_arguments_override_the_search_settings_of_the_model(toy: Model) -> None:
    model = Model(
        toy.config.with_values({"beam_size": 3, "nbest": 2}), toy.source_symbols, toy.target_symbols, toy.networks
    )
    assert len(model.predict(["abc"])[0]) == 2
    assert_same(model.predict(["abc"])[0], toy.predict(["abc"], beam_size="3", nbest="2")[0])
    assert len(model.predict(["abc"], nbest=1)[0]) == 1


def test_an_empty_source_gives_an_empty_prediction(any_model: Model) -> None:
    found = any_model.predict(["", "ab", ""], nbest=2)
    for empty in (found[0], found[2]):
        assert len(empty) == 1
        assert (empty[0].text, empty[0].log_prob, empty[0].finished) == ("", 0.0, True)
        assert (empty[0].tokens, empty[0].source_tokens, empty[0].symbol_log_probs) == ([], [], [])
    assert_same(found[1], any_model.predict(["ab"], nbest=2)[0])


def test_results_keep_the_order_of_the_sources(toy: Model) -> None:
    sources = [*words(30, seed=6), "", "a", ""]
    counts: list[int] = []
    found = toy.predict(sources, batch_size=4, progress=counts.append)
    for source, predictions in zip(sources, found, strict=True):
        assert_same(predictions, toy.predict([source])[0])
        assert "".join(predictions[0].source_tokens) == source
    assert sum(counts) == 31  # sources that are not empty
    assert counts == [0, 16, 15]  # four batches at a time, after a call before the search


FILLER = words(64, seed=7, shortest=10, longest=16)


@pytest.mark.parametrize("name", ["toy", "dot, one direction", "gru"])
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_results_do_not_depend_on_the_rest_of_the_batch(name: str, data: st.DataObject) -> None:
    model = peephole.load(MODEL) if name == "toy" else half_trained(name)
    sources = data.draw(st.lists(st.text(LETTERS, min_size=1, max_size=9), min_size=1, max_size=4))
    batch = [*sources, *FILLER[len(sources) :]]
    order = data.draw(st.permutations(range(64)))
    together = model.predict([batch[index] for index in order], nbest=5)
    targets = [found[-1].text for found in together]
    scores = model.score([batch[index] for index in order], targets)
    for index, source in enumerate(sources):
        row = order.index(index)
        assert_same(together[row], model.predict([source], nbest=5)[0])
        num_symbols = len(together[row][-1].symbol_log_probs)
        assert scores[row] == pytest.approx(model.score([source], [targets[row]])[0], abs=TOLERANCE * num_symbols)


def test_predictions_do_not_exceed_the_maximum_length(any_model: Model) -> None:
    for factor, extra in ((0, 1), (0.5, 1), (1, 2)):
        [found] = any_model.predict(["abcde"], nbest=3, max_length_factor=factor, max_length_extra=extra)
        longest = int(5 * factor) + extra  # </s> included
        assert all(len(p.tokens) + p.finished <= longest for p in found)
        for p in found:
            assert len(p.symbol_log_probs) == len(p.tokens) + p.finished
            if p.attention is not None:
                assert p.attention.shape == (len(p.tokens), 5)


def test_a_prediction_cut_at_the_maximum_length_is_unfinished(toy: Model) -> None:
    [[best]] = toy.predict(["abcde"], max_length_factor=0, max_length_extra=2, beam_size=1)
    assert (best.text, best.finished) == ("AH B", False)
    rows, _ = by_hand(toy, "abcde", toy.target_symbols.encode("AH B"))
    wanted = [float(row[symbol]) for row, symbol in zip(rows, toy.target_symbols.encode("AH B"), strict=False)]
    assert best.symbol_log_probs == pytest.approx(wanted, abs=TOLERANCE)
    assert best.log_prob == pytest.approx(sum(wanted), abs=2 * TOLERANCE)


def test_the_length_penalty_determines_the_ranking(any_model: Model) -> None:
    [found] = any_model.predict(["abcab"], beam_size=20, nbest=20, length_penalty=1.0)
    ranks = [p.log_prob / len(p.symbol_log_probs) for p in found]
    assert ranks == sorted(ranks, reverse=True)
    assert [p.log_prob for p in found] != sorted((p.log_prob for p in found), reverse=True)


def test_special_symbols_are_never_predicted(any_model: Model) -> None:
    for found in any_model.predict(words(10, 8), beam_size=8, nbest=8):
        for p in found:
            assert not {PAD, BOS, EOS, UNK} & set(any_model.target_symbols.encode(p.text))


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"beam_siz": 3}, "predict: unknown key 'search.beam_siz'; did you mean 'search.beam_size'?"),
        ({"beam_size": 0}, "predict, search.beam_size: wanted a number from 1 to 1000000, got 0"),
        ({"nbest": 6}, "search.nbest: wanted at most beam_size = 5, got 6"),
        ({"temperature": "hot"}, "predict, search.temperature: wanted a number or none, got 'hot'"),
        ({"top_p": 2}, "predict, search.top_p: wanted a number from 0.0001 to 1, got 2"),
    ],
)
def test_a_wrong_search_setting_is_refused(toy: Model, search: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        toy.predict(["a"], **search)
    assert str(caught.value) == message


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize("wrong", [None, 5])
def test_an_argument_that_is_no_list_of_texts_is_refused(toy: Model, wrong: Any) -> None:
    for call in (toy.predict, lambda texts: toy.predict(["a"], prefixes=texts or 7), lambda t: toy.score(["a"], t)):
        with pytest.raises(PeepholeError, match=r"(sources|prefixes|targets): wanted a list of texts, got "):
            call(wrong)
    with pytest.raises(PeepholeError, match=r"^sources: wanted texts, got None at index 1$"):
        toy.predict(["a", None])  # type: ignore[list-item]  # as a user may
    with pytest.raises(PeepholeError, match=r"^targets: wanted a list of texts, got one text, 'ab'"):
        toy.score(["a", "b"], "ab")


def test_sources_may_come_from_a_generator(toy: Model) -> None:
    words = ["a", "ab"]
    assert [best.text for [best] in toy.predict(iter(words))] == [best.text for [best] in toy.predict(words)]
    sounds = ["AH", "AH B"]
    assert toy.score(iter(words), iter(sounds)) == toy.score(words, sounds)


def test_a_single_text_is_refused_as_a_list_of_texts(toy: Model) -> None:
    for call in (toy.predict, lambda text: toy.score(text, text)):
        with pytest.raises(PeepholeError, match=r"wanted a list of texts, got one text, 'hello'; write \['hello'\]"):
            call("hello")


# Unknown symbols and long sources


def test_unknown_symbols_are_counted_and_read_as_unk(toy: Model) -> None:
    text = "3 source symbols were not seen in training and are read as <unk>, the first of them 'x'"
    with pytest.warns(UnknownSymbolWarning, match=text):
        found = toy.predict(["ab", "axbx", "", "qa"])
    with pytest.warns(UnknownSymbolWarning):
        assert_same(found[1], [replace(toy.predict(["aßbß"])[0][0], source_tokens=["a", "x", "b", "x"])])
    assert toy.unknown_symbols(["ab", "axbx", "qa"], ["AH", "AH Q Q"]) == Counter({"x": 2, "Q": 2, "q": 1})
    with pytest.warns(UnknownSymbolWarning, match="^1 source symbols"):
        toy.score(["x"], ["AH"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        toy.predict(["abcde한😀"])


def test_an_unknown_target_symbol_is_scored_as_unk(toy: Model) -> None:
    rows, _ = by_hand(toy, "ab", [UNK])
    wanted = float(rows[0][UNK] + rows[1][EOS])
    text = "^1 target symbols were not seen in training and are read as <unk>, the first of them 'never_seen'"
    with pytest.warns(UnknownSymbolWarning, match=text):
        assert toy.score(["ab"], ["never_seen"]) == pytest.approx([wanted], abs=TOLERANCE)


def test_a_long_source_is_truncated_with_a_warning(toy: Model) -> None:
    config = toy.config.with_values({"max_length": 4})
    model = Model(config, toy.source_symbols, toy.target_symbols, toy.networks)
    with pytest.warns(TruncatedSourceWarning, match="2 of 3 sources are longer than 4 symbols; only their beginning"):
        found = model.predict(["abcdecab", "abcd", "eeeee"])
    assert_same(found[0], toy.predict(["abcd"])[0])
    assert_same(found[1], toy.predict(["abcd"])[0])
    assert_same(found[2], toy.predict(["eeee"])[0])
    with pytest.warns(TruncatedSourceWarning):
        assert model.score(["abcdecab"], ["AH B"]) == pytest.approx(toy.score(["abcd"], ["AH B"]), abs=TOLERANCE)


# score and teacher_forced


def test_score_refuses_unequal_numbers_and_empty_sources(toy: Model) -> None:
    with pytest.raises(PeepholeError, match="wanted as many targets as sources, got 1 and 2"):
        toy.score(["a", "b"], ["AH"])
    with pytest.raises(PeepholeError, match=r"^teacher_forced: source 2 is empty; wanted at least one symbol$"):
        toy.teacher_forced(["a", "a", ""], ["B", "B", "B"])
    with pytest.raises(PeepholeError, match="source 1 is empty"):
        toy.score(["a", ""], ["AH", "B"])
    assert toy.score([], []) == []
    [empty] = toy.score(["ab"], [""])
    assert empty == pytest.approx(float(by_hand(toy, "ab", [])[0][0][EOS]), abs=TOLERANCE)


def test_the_probabilities_of_all_targets_sum_to_one() -> None:
    model = half_trained("mean")
    assert sum(math.exp(score) for score in model.score(["ab"] * 8, ["", *SOUNDS.values()])) < 1
    rows, _ = by_hand(model, "ab", [])
    assert float(rows[0].exp().sum()) == pytest.approx(1)
    # The score of a one-symbol target is log p(y) + log p(</s> | y), so scores use the same normalised probabilities.
    first = {symbol: float(rows[0][model.target_symbols.encode(symbol)[0]]) for symbol in SOUNDS.values()}
    for symbol, log_prob in first.items():
        then, _ = by_hand(model, "ab", model.target_symbols.encode(symbol))
        assert model.score(["ab"], [symbol])[0] == pytest.approx(log_prob + float(then[1][EOS]), abs=TOLERANCE)


def test_teacher_forced_returns_the_most_probable_symbol_after_each_gold_prefix(any_model: Model) -> None:
    sources = words(9, seed=9)
    targets = [" ".join(SOUNDS[letter] for letter in word) for word in words(9, seed=10, shortest=0)]
    targets[3] = "AH never_seen B"
    found = any_model.teacher_forced(sources, targets, notices=Notices())
    for source, target, best in zip(sources, targets, found, strict=True):
        rows, _ = by_hand(any_model, source, any_model.target_symbols.encode(target))
        assert best == any_model.target_symbols.tokens(rows[:-1].argmax(1).tolist())
        assert len(best) == len(target.split())
    assert any_model.teacher_forced(sources[:1], targets[:1]) == found[:1]


# Ensembles


def test_an_ensemble_averages_probabilities() -> None:
    alone = [half_trained(name) for name in ("full additive", "mean", "gru, bridge")]
    first = alone[0]
    networks = [network for model in alone for network in model.networks]
    ensemble = Model(first.config, first.source_symbols, first.target_symbols, networks)
    sources = words(6, seed=11)
    found = ensemble.predict(sources, nbest=3)
    assert any(found[i][0].text != model.predict([sources[i]])[0][0].text for i in range(6) for model in alone)
    for source, predictions in zip(sources, found, strict=True):
        for p in predictions:
            ids = ensemble.target_symbols.encode(p.text)
            rows, _ = by_hand(ensemble, source, ids)
            single = torch.stack([by_hand(model, source, ids)[0].exp() for model in alone]).mean(0).log()
            torch.testing.assert_close(rows, single, atol=1e-9, rtol=0)
            wanted = [float(row[symbol]) for row, symbol in zip(rows, [*ids, EOS], strict=True)]
            assert p.symbol_log_probs == pytest.approx(wanted, abs=TOLERANCE)
            assert ensemble.score([source], [p.text]) == pytest.approx([sum(wanted)], abs=TOLERANCE * len(wanted))
            assert p.attention is not None  # mean over the members with attention
            np.testing.assert_allclose(p.attention.sum(1), 1, atol=TOLERANCE)
    targets = [predictions[0].text for predictions in found]
    for source, target, best in zip(sources, targets, ensemble.teacher_forced(sources, targets), strict=True):
        rows, _ = by_hand(ensemble, source, ensemble.target_symbols.encode(target))
        assert best == ensemble.target_symbols.tokens(rows[:-1].argmax(1).tolist())


def test_an_ensemble_of_one_model_twice_is_that_model(toy: Model, toy_file: Path) -> None:
    twice = peephole.load(toy_file, toy_file)
    for sources in (["cab"], ["한😀", "deadbe"]):
        for got, wanted in zip(twice.predict(sources, nbest=4), toy.predict(sources, nbest=4), strict=True):
            assert_same(got, wanted)


@pytest.mark.parametrize("side", ["source_symbols", "target_symbols"])
def test_an_ensemble_of_different_symbols_is_refused(side: str, toy_file: Path, tmp_path: Path) -> None:
    other, path = peephole.load(toy_file), tmp_path / "other.safetensors"
    setattr(other, side, CharacterSymbols(list("gfedcba"), "NFC"))  # as many symbols as the toy model has
    other.save(path)
    with pytest.raises(ModelFileError) as caught:
        peephole.load(toy_file, path)
    assert str(caught.value) == f"{path}: its {side} differ from those of {toy_file}; an ensemble needs the same"


def test_an_ensemble_cannot_be_saved(toy_file: Path, tmp_path: Path) -> None:
    with pytest.raises(PeepholeError, match="its members are saved one by one"):
        peephole.load(toy_file, toy_file).save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


# Sampling


def test_samples_are_determined_by_the_seed_and_the_index_of_the_source(any_model: Model) -> None:
    sources = words(7, seed=12)
    found = any_model.predict(sources, temperature=1.0, nbest=3, seed=5)
    for batch_size in (1, 3):
        again = any_model.predict(sources, temperature=1.0, nbest=3, seed=5, batch_size=batch_size)
        for got, wanted in zip(again, found, strict=True):
            assert_same(got, wanted)
    assert_same(any_model.predict(sources[4:5], temperature=1.0, nbest=3, seed=5, first_index=4)[0], found[4])
    other = any_model.predict(sources, temperature=1.0, nbest=3, seed=6)
    assert [p.text for ps in other for p in ps] != [p.text for ps in found for p in ps]
    twins = any_model.predict(["abcd"] * 6, temperature=2.0, seed=5)
    assert len({best.text for [best] in twins}) > 1  # equal sources at different indices draw different samples


def test_log_prob_of_a_sample_equals_its_score(any_model: Model) -> None:
    [found] = any_model.predict(["abc"], temperature=0.7, top_k=5, top_p=0.95, nbest=12)
    assert len(found) == 12
    finished = [p for p in found if p.finished]
    assert finished
    scores = any_model.score(["abc"] * len(finished), [p.text for p in finished])
    for score, p in zip(scores, finished, strict=True):
        assert score == pytest.approx(p.log_prob, abs=TOLERANCE * len(p.symbol_log_probs))


def test_frequencies_of_samples_match_their_probabilities(toy: Model) -> None:
    count = 4000
    [found] = toy.predict(["cb"], temperature=1.0, nbest=count)
    frequency = Counter(p.text for p in found)
    for p in toy.predict(["cb"], nbest=3)[0]:
        rows = by_hand(toy, "cb", toy.target_symbols.encode(p.text))[0].exp()
        never = rows[:, [PAD, BOS, UNK]].sum(1)  # excluded from sampling, and the rest renormalised
        probability = math.exp(p.log_prob) / float((1 - never).prod())
        deviation = math.sqrt(count * probability * (1 - probability))
        assert abs(frequency[p.text] - count * probability) < 4.5 * deviation  # fails by chance with probability 1e-5


@pytest.mark.parametrize(
    "sharp", [{"temperature": 0.001}, {"temperature": 1, "top_k": 1}, {"temperature": 1, "top_p": 0.0001}]
)
def test_sampling_at_the_sharpest_settings_is_greedy_search(any_model: Model, sharp: dict[str, float]) -> None:
    sources = words(5, seed=13)
    for got, wanted in zip(any_model.predict(sources, **sharp), any_model.predict(sources, beam_size=1), strict=True):
        assert_same(got, wanted)


# load and save


def test_a_saved_model_predicts_the_same(any_model: Model, tmp_path: Path) -> None:
    any_model.save(tmp_path / "m.safetensors")
    loaded = peephole.load(str(tmp_path / "m.safetensors"))
    assert loaded.config == any_model.config
    networks = [deepcopy(network).float() for network in any_model.networks]
    saved = Model(any_model.config, any_model.source_symbols, any_model.target_symbols, networks)
    for name, weight in networks[0].state_dict().items():
        assert torch.equal(loaded.networks[0].state_dict()[name], weight)
    sources = words(5, seed=14)
    for got, wanted in zip(loaded.predict(sources, nbest=2), saved.predict(sources, nbest=2), strict=True):
        assert_same(got, wanted)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_loading_and_predicting_do_not_use_the_global_random_generator(toy_file: Path) -> None:
    before = torch.get_rng_state()
    model = peephole.load(toy_file)
    model.predict(["abc"], temperature=1.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(network.training for network in model.networks)


# Without the engine


def test_without_the_engine_the_definition_predicts_with_a_warning(toy_file: Path, monkeypatch) -> None:
    wanted = peephole.load(toy_file).predict(["abc"])[0][0]
    monkeypatch.setattr("peephole.engine.abi.library_path", lambda: None)
    model = peephole.load(toy_file)
    text = "without its engine: prediction runs in PyTorch"
    with pytest.warns(SlowSearchWarning, match=text):
        first = model.predict(["abc"])[0][0]
    notices = Notices()
    second = model.predict(["abc"], notices=notices)[0][0]
    assert notices == Notices(slow_search="peephole was installed without its engine")
    for found in (first, second):
        assert (found.text, found.log_prob) == (wanted.text, pytest.approx(wanted.log_prob, abs=1e-5))
    with pytest.warns(SlowSearchWarning, match=text):
        assert model.score(["abc"], [wanted.text]) == pytest.approx([wanted.log_prob], abs=1e-5)
    model.predict(["abc"], engine="off")  # requested by the caller: no warning


CALLS = """
import sys
import warnings

import peephole
from peephole.engine import abi

model = peephole.load(sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.predict(["axbx"])
    model.score(["ab"], ["never_seen"])
    abi.library_path = lambda: None
    peephole.load(sys.argv[1]).predict(["abc"])
for warning in caught:
    print(warning.category.__name__, warning.filename, warning.lineno)
"""


def test_warnings_name_the_line_of_the_caller(toy_file: Path, tmp_path: Path) -> None:
    """Run in a new process, without the type checker, whose wrappers would add frames to the call stack."""
    script = tmp_path / "calls.py"
    script.write_text(CALLS)
    done = subprocess.run([sys.executable, script, toy_file], capture_output=True, text=True, check=True)
    wanted = [("UnknownSymbolWarning", 11), ("UnknownSymbolWarning", 12), ("SlowSearchWarning", 14)]
    assert done.stdout.splitlines() == [f"{name} {script} {line}" for name, line in wanted]
