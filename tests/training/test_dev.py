"""Tests the dev loss and the dev metrics."""

from __future__ import annotations

import math

import pytest
import torch

from peephole import engine, load
from peephole.errors import RunError
from peephole.model import Model
from peephole.nn import build_seq2seq
from peephole.training import train
from peephole.training.dev import HIGHER_IS_BETTER, mean_loss, measure

from .toy import CAPITALS, LETTERS, TINY, make_config, make_network, write_pairs

DEV = [("abc", ("CBA",)), ("hg", ("GH", "HHHHH")), ("deadbeef", ("FEEBDAED",)), ("a", ("A",))]


@pytest.fixture(scope="module")
def model():
    return Model(make_config(), LETTERS, CAPITALS, [make_network().eval()])


def test_loss_is_the_mean_per_symbol_over_the_first_references(model):
    scores = model.score([source for source, _ in DEV], [references[0] for _, references in DEV])
    symbols = sum(len(references[0]) + 1 for _, references in DEV)
    for batch_size in (1, 3, 64):
        assert mean_loss(model, DEV, batch_size) == pytest.approx(-sum(scores) / symbols, rel=1e-5)


@pytest.mark.skipif(not engine.available(), reason="built without the engine")
@pytest.mark.parametrize("settings", [{}, {"encoder_layers": 2, "encoder_pyramid": 1, "dropout": 0.3}], ids=str)
def test_a_file_has_the_losses_of_its_network(settings, tmp_path):
    """That of CTC too, where some targets have no path."""
    config = make_config().with_values({"ctc": True, **settings}, "test")
    network = build_seq2seq(config.model, len(LETTERS), len(CAPITALS), torch.Generator().manual_seed(3))
    made = Model(config, LETTERS, CAPITALS, [network.eval()])
    made.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    for ctc_weight in (0, 0.4, 1.0):
        wanted = mean_loss(made, DEV, ctc_weight=ctc_weight)
        for batch_size in (1, 3, 64):
            assert mean_loss(loaded, DEV, batch_size, ctc_weight=ctc_weight) == pytest.approx(wanted, rel=1e-5)
    assert measure(loaded, DEV)["ctc_loss"] == pytest.approx(measure(made, DEV)["ctc_loss"], rel=1e-5)


def test_metrics_are_computed_from_greedy_predictions(model):
    found = [best[0].text for best in model.predict([source for source, _ in DEV], beam_size=1)]
    right = [(source, (*references, text)) for (source, references), text in zip(DEV, found, strict=True)]
    values = measure(model, right)
    assert (values["exact_match"], values["symbol_error_rate"]) == (100, 0)
    assert values["chrf"] == pytest.approx(100)
    worse = measure(model, [*right[:3], DEV[3]])
    assert found[3] != "A"
    assert worse["exact_match"] == 75
    assert worse["symbol_error_rate"] > 0
    assert worse["chrf"] < 100
    assert list(values) == list(HIGHER_IS_BETTER)


def test_a_source_of_unknown_symbols_is_measured_without_a_warning(model):
    assert measure(model, [*DEV, ("xyz", ("A",))])["loss"] > 0


def test_predictions_are_greedy_for_any_search_settings_of_the_model(model):
    settings = {"temperature": 5.0, "beam_size": 3, "nbest": 3}
    sampling = Model(make_config().with_values(settings, "test"), LETTERS, CAPITALS, model.networks)
    assert [found[0].text for found in sampling.predict(["abc", "hg"])] != [
        found[0].text for found in model.predict(["abc", "hg"], beam_size=1)
    ]
    assert measure(sampling, DEV) == measure(model, DEV)


def test_a_dev_metric_that_is_never_a_number_writes_no_model(tmp_path, monkeypatch):
    write_pairs(tmp_path / "train.tsv")
    monkeypatch.setattr("peephole.training.run.measure", lambda *_: dict.fromkeys(HIGHER_IS_BETTER, math.nan))
    message = r"m\.safetensors: is not written: dev symbol error rate was nan at all evaluations"
    with pytest.raises(RunError, match=message):
        train(tmp_path / "train.tsv", out=tmp_path / "m.safetensors", quiet=True, steps=2, evaluations=2, **TINY)
    assert not (tmp_path / "m.safetensors").exists()
