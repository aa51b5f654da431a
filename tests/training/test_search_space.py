"""Tests what a search of settings may try: the default space, a TOML file's table, and the limits of both."""

from __future__ import annotations

import pytest

from peephole.config import SECTIONS, Config
from peephole.errors import ConfigError
from peephole.training.tuning.space import (
    DEFAULT_SPACE,
    SEARCHABLE,
    Choices,
    Range,
    check_search,
    default_space,
    first_settings,
    read_space,
    stored_space,
)


def test_settings_change_and_extend_the_default_space():
    space = read_space(
        {
            "hidden_size": [64, "128"],
            "train.learning_rate": {"low": 1, "high": 2},
            "model": {"decoder_layers": {"low": 1, "high": 3}, "bidirectional": [True, False]},
        },
        ["model.dropout"],
        Config(),
    )
    assert space["model.hidden_size"] == Choices((64, 128))
    assert space["train.learning_rate"] == Range(1.0, 2.0)
    assert not space["train.learning_rate"].is_whole
    assert space["model.decoder_layers"] == Range(1, 3)
    assert space["model.decoder_layers"].is_whole
    assert space["model.bidirectional"] == Choices((True, False))
    assert not space["model.bidirectional"].ordered
    assert space.keys() == DEFAULT_SPACE.keys() - {"model.dropout"} | {"model.decoder_layers", "model.bidirectional"}


def test_a_space_is_read_again_as_it_was_stored():
    space = read_space(
        {"schedule": ["linear", "cosine"], "clip_norm": {"low": 1, "high": 5, "log": True}}, [], Config()
    )
    assert stored_space({name: found.to_json() for name, found in space.items()}, "run.json") == space


def test_the_default_space_holds_the_default_settings():
    """The first trial has them, and whole sizes stay valid together."""
    values = first_settings(DEFAULT_SPACE, Config())
    assert Config().with_values(values) == Config()
    for size in DEFAULT_SPACE["model.hidden_size"].values:
        for kind in DEFAULT_SPACE["model.attention"].values:
            Config().with_values({"hidden_size": size, "attention": kind})


def test_the_default_space_is_around_the_settings_from_which_a_search_starts():
    """So the first trial has these, whatever they are."""
    assert default_space(Config()) == DEFAULT_SPACE
    given = {"hidden_size": 160, "encoder_layers": 4, "attention": "location", "dropout": 0.5, "learning_rate": 0.0005}
    base = Config().with_values({**given, "batch_symbols": 1})
    space = default_space(base)
    assert Config().with_values(first_settings(space, base)) == Config().with_values({**given, "batch_symbols": 1})
    assert space["model.hidden_size"] == Choices((128, 160, 192, 256, 384))
    assert space["model.encoder_layers"] == Choices((1, 2, 4))
    assert space["model.attention"] == Choices(("additive", "dot", "general", "location"))
    assert space["model.dropout"] == Range(0.1, 0.5)
    assert space["train.learning_rate"] == Range(0.0005, 0.008, log=True)
    assert space["data.batch_symbols"] == Choices((1, 2))
    assert default_space(Config().with_values({"learning_rate": 0}))["train.learning_rate"].low == 0.001


def test_a_given_space_stays_as_it_is():
    base = Config().with_values({"hidden_size": 448, "dropout": 0.5})
    space = read_space({"hidden_size": [128, 256], "dropout": {"low": 0.1, "high": 0.2}}, [], base)
    assert space["model.hidden_size"] == Choices((128, 256))
    assert space["model.dropout"] == Range(0.1, 0.2)


def test_the_first_settings_are_the_nearest_ones():
    base = Config().with_values({"hidden_size": 100, "dropout": 0.9, "attention": "location", "encoder_layers": 2})
    space = {
        "model.hidden_size": Choices((64, 128, 256)),
        "model.dropout": Range(0.1, 0.5),
        "model.attention": Choices(("dot", "general")),
        "model.encoder_layers": Choices((3, 1)),
        "model.encoder_size": Range(2, 8),
    }
    assert list(first_settings(space, base).values()) == [128, 0.5, "dot", 3, 2]


def test_settings_that_change_nothing_are_not_searched():
    gru = read_space({}, [], Config().with_values({"cell": "gru"}))
    assert "model.peephole" not in gru
    assert "model.attention" in gru
    fixed_context = read_space({}, [], Config().with_values({"context": "mean"}))
    assert "model.attention" not in fixed_context
    reads_symbol = read_space({}, [], Config().with_values({"attention_symbol": True}))
    assert "model.attention" not in reads_symbol  # dot and general cannot


def test_what_is_fixed_is_not_searched_under_any_of_its_names():
    config, space = check_search(None, {"hidden_size": [8, 16]}, {"hidden_size": "32", "minutes": 1, "dropout": 0})
    assert config.model.hidden_size == 32
    assert not {"model.hidden_size", "model.dropout"} & space.keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hiden_size": [1]}, "unknown key 'hiden_size'; did you mean 'hidden_size'?"),
        ({"hidden_size": 64}, "model.hidden_size: wanted a list of values, or a table of low and high; got 64"),
        ({"hidden_size": []}, "model.hidden_size: wanted at least one value, got none"),
        ({"hidden_size": [64, 0]}, "model.hidden_size: wanted a number from 1 to 65536, got 0"),
        ({"hidden_size": ["big"]}, "wanted a whole number, got 'big'"),
        ({"attention": ["dott"]}, "got 'dott'; did you mean 'dot'?"),
        ({"encoder_size": [None]}, "model.encoder_size: wanted a value, got none"),
        ({"dropout": {"low": 0.1}}, "model.dropout: wanted a value, got none"),
        ({"dropout": {"low": 0.5, "high": 0.1}}, "model.dropout: wanted low ≤ high; got low = 0.5 and high = 0.1"),
        ({"dropout": {"low": 0, "high": 0.1, "log": True}}, "wanted 0 < low ≤ high, since log is true; got low = 0 "),
        ({"dropout": {"low": 0, "high": 0.1, "step": 1}}, "model.dropout: unknown key 'step'; wanted low, high"),
        ({"dropout": {"low": 0, "high": 0.1, "log": "yes"}}, "model.dropout, log: wanted true or false, got 'yes'"),
        ({"attention": {"low": "dot", "high": "general"}}, "model.attention, low: wanted a number, got 'dot'"),
        ({"bidirectional": {"low": False, "high": True}}, "model.bidirectional, low: wanted a number, got False"),
        ({"symbols.source": ["bpe"]}, "symbols.source cannot be searched"),
        ({"search": {"beam_size": [1, 5]}}, "search.beam_size cannot be searched"),
        ({"train": {"minutes": [1, 5]}}, "train.minutes cannot be searched"),
        ({"train.seed": [1, 5]}, "train.seed cannot be searched"),
        ({"source": ["a"]}, "'source' is in several sections"),
    ],
)
def test_a_wrong_space_is_one_line(given, message):
    with pytest.raises(ConfigError) as caught:
        read_space(given, [], Config(), "f.toml, search_space")
    assert str(caught.value).startswith("f.toml, search_space")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_space_of_fixed_settings_is_refused():
    with pytest.raises(ConfigError, match="nothing is left to search: all settings are fixed or have one value"):
        read_space({"hidden_size": [64]}, DEFAULT_SPACE.keys() - {"model.hidden_size"}, Config())


def test_only_settings_that_exist_are_searchable():
    for name in SEARCHABLE:
        section, key = name.split(".")
        assert key in SECTIONS[section].__dataclass_fields__
    assert set(SEARCHABLE) >= DEFAULT_SPACE.keys()
