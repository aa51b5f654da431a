"""Tests the settings that are chosen from the minutes of a training and the amount of its data."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import pytest

from peephole import load
from peephole.config import DEFAULT_EPOCHS, Config, ModelConfig
from peephole.data import prepare
from peephole.training import plan, resume, train
from peephole.training.budget_settings import (
    FEW_DATA,
    FEW_DEV,
    FEW_DEV_SOURCES,
    FEW_PASSES,
    FEW_UPDATES,
    LEAST_UPDATES,
    MANY_PASSES,
    MORE_UPDATES,
    SHORT,
    TRIGRAMS,
    suit_budget,
)
from peephole.training.estimate import Estimate
from peephole.training.run_file import read_run

from .toy import write_pairs

FEW = {"minutes": 0.0001, "max_length": 20}  # a fraction of an update
ALL = {**SHORT, **TRIGRAMS}
OF_FEW = {**FEW_DATA, **FEW_DEV}
CHOSEN = "batch_symbols=300, attention_symbol=true, hidden_size=192, dropout=0, ngram_rows=4096"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "train.tsv", 200)
    return prepare(folder / "train.tsv", None, Config(), folder / "prepared")


@pytest.fixture(autouse=True)
def unaligned(monkeypatch):
    """Let CTC align no pair, unless a test says how many it cannot."""

    def set_number(number):
        monkeypatch.setattr("peephole.training.budget_settings.count_unalignable", lambda corpus, kind: number)

    set_number(10**9)
    return set_number


def values(config, names=ALL):
    tree = config.to_dict()
    return {name: tree[name.partition(".")[0]][name.partition(".")[2]] for name in names}


def test_few_passes_get_another_recipe(prepared):
    config, line = suit_budget(Config().with_values(FEW), prepared)
    assert values(config) == ALL
    assert line is not None
    assert line.startswith("with the defaults 0.0001 minutes are about 0.")
    assert line.endswith(f" updates; chosen for that: {CHOSEN}")


def test_sources_of_many_symbols_get_no_trigrams(prepared, monkeypatch):
    monkeypatch.setattr("peephole.training.budget_settings.MOST_LETTERS", len(prepared.source_symbols) - 1)
    config, line = suit_budget(Config().with_values(FEW), prepared)
    assert values(config) == {**SHORT, "model.ngram_rows": 0}
    assert "ngram_rows" not in line


@pytest.mark.parametrize("kind", [{"attention": "dot"}, {"context": "mean"}], ids=str)
def test_attention_that_cannot_read_the_symbol_does_not(prepared, kind):
    config, line = suit_budget(Config().with_values({**FEW, **kind}), prepared)
    assert values(config) == {**ALL, "model.attention_symbol": False}
    assert "attention_symbol" not in line


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0.1},
        {"steps": 1},
        {"device": "cuda"},
        {**FEW, "device": "cuda"},
        {**FEW, **ALL},
    ],
    ids=str,
)
def test_other_budgets_devices_and_complete_settings_stay(prepared, settings, monkeypatch):
    monkeypatch.setattr("peephole.training.budget_settings.training_device", lambda config: config.device)
    config = Config().with_values({"device": "cpu", **settings})
    assert suit_budget(config, prepared) == (config, None)


def test_given_settings_stay_even_with_the_value_of_the_default(prepared):
    given = {"dropout": 0.2, "hidden_size": 64}
    for config in (
        Config().with_values({**FEW, **given}),
        Config.from_dict({"model": given, "train": {"minutes": 0.0001}}),
        Config.from_dict({"model": {"dropout": 0.2}}, base=Config(model=ModelConfig(hidden_size=64))).with_values(FEW),
    ):
        chosen, line = suit_budget(config, prepared)
        assert values(chosen) == {**ALL, "model.dropout": 0.2, "model.hidden_size": 64}
        assert line is not None
        assert line.endswith(" updates; chosen for that: batch_symbols=300, attention_symbol=true, ngram_rows=4096")


@pytest.mark.parametrize(
    ("passes", "updates", "expected"),
    [
        (FEW_PASSES - 0.01, FEW_UPDATES + 100, {}),
        (FEW_PASSES - 0.01, FEW_UPDATES - 100, ALL),
        (FEW_PASSES + 0.01, FEW_UPDATES - 100, MORE_UPDATES),
        (FEW_PASSES + 0.01, FEW_UPDATES + 100, {}),
        (MANY_PASSES + 0.01, FEW_UPDATES - 100, OF_FEW),
        (MANY_PASSES + 0.01, FEW_UPDATES + 100, OF_FEW),
    ],
)
def test_passes_and_updates_decide(prepared, passes, updates, expected, monkeypatch):
    found = Estimate({}, round(updates / passes), 60.0)
    monkeypatch.setattr("peephole.training.budget_settings.estimate", lambda config, prepared: found)
    names = (*ALL, "train.keep")
    chosen = values(suit_budget(Config().with_values({"minutes": passes}), prepared)[0], names)
    assert chosen == {**values(Config(), names), **expected}


@pytest.mark.parametrize("name", ["encoder_size", "attention_heads"])
def test_a_size_that_was_given_keeps_the_hidden_size_that_it_has_to_fit(prepared, name):
    chosen, _ = suit_budget(Config().with_values({**FEW, name: 64}), prepared)
    assert values(chosen) == {**ALL, "model.hidden_size": Config().model.hidden_size}


def least_symbols(batch_symbols):
    """Return the target symbols with which the default number of passes has just enough updates."""
    return LEAST_UPDATES * batch_symbols // DEFAULT_EPOCHS


@pytest.mark.parametrize(
    ("symbols", "given", "expected"),
    [
        (10, {}, {**OF_FEW, "train.steps": LEAST_UPDATES}),
        (least_symbols(150) - 1, {}, {**OF_FEW, "train.steps": LEAST_UPDATES}),
        (least_symbols(150), {}, OF_FEW),
        (least_symbols(1000) - 1, {}, OF_FEW),
        (least_symbols(1000), {}, {}),
        (
            10,
            {"model.dropout": 0.2, "data.batch_symbols": 1000},
            {"train.steps": 3000, "model.attention_symbol": True, **FEW_DEV},
        ),
        (least_symbols(400), {"data.batch_symbols": 400}, {}),
        (least_symbols(400) - 1, {**OF_FEW, "data.batch_symbols": 400}, {"train.steps": LEAST_UPDATES}),
        (10, {"train.patience": 3}, {**FEW_DATA, "train.steps": LEAST_UPDATES}),
        (10, {"model.attention": "dot"}, {**OF_FEW, "train.steps": 3000, "model.attention_symbol": False}),
    ],
)
def test_few_data_get_their_settings_and_enough_updates(prepared, symbols, given, expected, monkeypatch):
    monkeypatch.setattr(type(prepared.train), "num_target_symbols", symbols)
    config = Config().with_values(given)
    chosen, line = suit_budget(config, prepared)
    names = ("train.steps", *OF_FEW)
    assert values(chosen, names) == {**values(config, names), **expected}
    assert chosen.train.epochs is None
    assert (line is None) == (not expected)
    assert line is None or line.startswith(f"{len(prepared.train)} pairs are few and no budget was given: ")


def test_many_dev_sources_select_the_weights(prepared, monkeypatch):
    for count, expected in ((FEW_DEV_SOURCES - 1, "last"), (FEW_DEV_SOURCES, "best")):
        many = replace(prepared, dev_pairs=prepared.dev_pairs[:1] * count)
        assert suit_budget(Config(), many)[0].train.keep == expected


@pytest.mark.parametrize("budget", [{}, {"minutes": 600}])
def test_few_data_of_letters_that_ctc_can_align_get_it(prepared, unaligned, budget, monkeypatch):
    def chosen(**settings):
        return suit_budget(Config().with_values(budget | settings), prepared)[0].model.ctc

    found = Estimate({}, 10, 1.0)
    monkeypatch.setattr("peephole.training.budget_settings.estimate", lambda config, prepared: found)
    most = len(prepared.train) // 20
    for number, expected in ((0, True), (most, True), (most + 1, False)):
        unaligned(number)
        assert chosen() == expected
    unaligned(0)
    assert not chosen(ctc=False)
    assert not chosen(output="copy")
    assert not chosen(**{"train.ctc_weight": 0})
    monkeypatch.setattr("peephole.training.budget_settings.MOST_LETTERS", len(prepared.target_symbols) - 1)
    assert not chosen()


@pytest.mark.parametrize(("times", "expected"), [(1, True), (2, False)])
def test_ctc_is_chosen_by_the_lengths_of_the_pairs(tmp_path, monkeypatch, times, expected):
    monkeypatch.undo()  # counts the pairs that CTC cannot align
    words = ["".join(letters) for letters in permutations("abcdef", 4)]  # no equal neighbours
    (tmp_path / "train.tsv").write_text("".join(f"{word}\t{word.upper() * times}\n" for word in words))
    prepared = prepare(tmp_path / "train.tsv", None, Config(), tmp_path / "prepared")
    assert suit_budget(Config(), prepared)[0].model.ctc == expected


def test_a_model_of_few_data_is_trained_long_enough(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("peephole.training.budget_settings.LEAST_UPDATES", 7)
    write_pairs(tmp_path / "train.tsv", 40)
    train("train.tsv", out="m.safetensors", hidden_size=16, embedding_size=8, batch_symbols=2000)
    said = capsys.readouterr().err
    assert " pairs are few and no budget was given: attention_symbol=true, dropout=0.4, keep=last, steps=7\n" in said
    assert "\nm.safetensors: last dev symbol error rate " in said
    assert "(best)" not in said  # no evaluation is
    assert read_run(tmp_path / "m.run").config.train.steps == 7
    train("train.tsv", out="n.safetensors", from_model="m.safetensors", minutes=0.0001)  # keeps its settings
    stored = load("n.safetensors").config
    assert (stored.model, stored.data.batch_symbols, stored.train.minutes) == (
        load("m.safetensors").config.model,
        2000,
        0.0001,
    )


def test_a_run_stores_what_was_chosen_and_goes_on_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "train.tsv", 200)
    assert CHOSEN in "\n".join(plan("train.tsv", **FEW).report)
    train("train.tsv", out="m.safetensors", hidden_size=16, **FEW)
    assert "attention_symbol=true, dropout=0, ngram_rows=4096\n" in capsys.readouterr().err
    stored = json.loads((tmp_path / "m.run" / "run.json").read_text())["config"]
    assert (stored["data"]["batch_symbols"], stored["model"]["hidden_size"]) == (300, 16)
    assert values(read_run(tmp_path / "m.run").config) == {**ALL, "model.hidden_size": 16}
    assert values(load("m.safetensors").config) == {**ALL, "model.hidden_size": 16}
    resume("m.run")
    assert "chosen for that" not in capsys.readouterr().err
    # A run from a model keeps the model's settings
    train("train.tsv", out="n.safetensors", from_model="m.safetensors", **{**FEW, "dropout": 0.1})
    assert values(read_run(tmp_path / "n.run").config) == {**ALL, "model.hidden_size": 16, "model.dropout": 0.1}
