"""Tests load and save: a saved model, and several models loaded as an ensemble, against step-by-step loops."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

import peephole
from model.stepwise import TOLERANCE, assert_same, by_hand, half_trained, words
from peephole.errors import ModelFileError, PeepholeError
from peephole.model import Model
from peephole.symbols import EOS, CharacterSymbols


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
