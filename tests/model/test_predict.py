"""Tests Model.predict: beams and samples against step-by-step loops, order, batches, lengths, and settings."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peephole
from model.stepwise import LETTERS, TOLERANCE, assert_same, by_hand, greedy_by_hand, half_trained, words
from models.make import MODEL
from peephole.errors import ConfigError, PeepholeError
from peephole.model import Model
from peephole.symbols import BOS, EOS, PAD, UNK


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
