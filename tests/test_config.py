"""Tests values of settings: types, ranges, and values that must fit each other; errors name the wanted and given."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from every_setting import COMPANIONS, FIELDS, another_value, get, inner_type
from peephole.config import Config, describe
from peephole.errors import ConfigError


def test_only_kinds_with_one_name_have_no_other_value() -> None:
    assert [name for name in FIELDS if another_value(name) == FIELDS[name][1].default] == []


@pytest.mark.parametrize("name", [name for name, (hint, _) in FIELDS.items() if isinstance(hint, types.UnionType)])
@pytest.mark.parametrize("none", ["none", None])
def test_an_optional_setting_can_be_reset_to_none(name: str, none: str | None) -> None:
    config = Config().with_values({name: another_value(name), **COMPANIONS.get(name, {})})
    assert get(config.with_values({name: none}), name) is None


def test_none_is_refused_for_a_required_setting() -> None:
    with pytest.raises(ConfigError, match=r"^--set, model\.hidden_size: wanted a whole number, got 'none'$"):
        Config().with_values({"model.hidden_size": "none"})


def test_the_defaults_are_valid_and_complete() -> None:
    assert Config.from_dict({}) == Config()
    assert Config.from_dict(Config().to_dict()) == Config()
    assert Config().with_values({}) == Config()
    assert [*FIELDS] == [f"{section}.{key}" for section, keys in Config().to_dict().items() for key in keys]


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().model.hidden_size = 3


def test_every_setting_has_a_one_line_description() -> None:
    described = list(describe())
    assert [name for name, *_ in described] == [*FIELDS]
    for name, kind, default, help in described:
        hint, field = FIELDS[name]
        assert len(help) > 10
        assert "\n" not in help
        assert default == field.default
        assert kind == "|".join(
            "none" if part is type(None) else getattr(part, "__name__", part)
            for part in typing.get_args(hint) or [hint]
        )


def test_choosing_gru_turns_peepholes_off() -> None:
    gru = Config().with_values({"cell": "gru"})
    assert gru.model.peephole == "none"
    assert Config.from_dict({"model": {"cell": "gru"}}) == gru
    assert Config.from_dict(gru.to_dict()) == gru
    assert Config().with_values({"peephole": "diagonal"}).with_values({"cell": "gru"}) == gru
    assert gru.with_values({"hidden_size": 8}).model.peephole == "none"
    assert gru.with_values({"cell": "lstm"}) == Config()
    diagonal = Config().with_values({"peephole": "diagonal"})
    assert diagonal.with_values({"cell": "lstm"}) == diagonal
    assert diagonal.with_values({"hidden_size": 8}).model.peephole == "diagonal"


def test_a_config_knows_whether_the_peepholes_of_a_gru_were_given() -> None:
    gru, given = {"cell": "gru"}, {"cell": "gru", "peephole": "none"}
    alone = Config().with_values(gru)
    for implied in (alone, Config.from_dict({"model": gru}), alone.with_values({"minutes": 3})):
        assert implied.peephole_implied
    lstm = alone.with_values({"cell": "lstm"})
    asked = (Config().with_values(given), Config.from_dict({"model": given}), alone.with_values({"peephole": "none"}))
    for other in (Config(), lstm, lstm.with_values(given), *asked, Config.from_dict(alone.to_dict())):
        assert not other.peephole_implied


@pytest.mark.parametrize("peephole", ["full", "diagonal"])
def test_explicit_peepholes_for_a_gru_are_refused(peephole: str) -> None:
    message = f"^model.cell='gru' has no cell state: wanted model.peephole='none', got '{peephole}'$"
    gru = Config().with_values({"cell": "gru"})
    for call in (
        lambda: Config().with_values({"cell": "gru", "peephole": peephole}),
        lambda: Config.from_dict({"model": {"cell": "gru", "peephole": peephole}}),
        lambda: gru.with_values({"peephole": peephole}),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            {"modle": {}},
            "x: unknown section 'modle'; wanted one of data, frames, symbols, model, train, search; "
            "did you mean 'model'?",
        ),
        ({"model": 3}, "x, model: wanted a table of keys, got 3"),
        (
            {"hidden_size": 3},
            "x: unknown section 'hidden_size'; wanted one of data, frames, symbols, model, train, search",
        ),
        ({"model": {"hiddensize": 3}}, "x, model: unknown key 'hiddensize'; did you mean 'hidden_size'?"),
        ({"train": {"hidden_size": 3}}, "x, train: unknown key 'hidden_size'"),
    ],
)
def test_the_error_for_a_wrong_table_names_its_location(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(tree, where="x")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.hidden_size", "big", "wanted a whole number, got 'big'"),
        ("model.hidden_size", 1.5, "wanted a whole number, got 1.5"),
        ("model.hidden_size", "1.0", "wanted a whole number, got '1.0'"),
        ("model.hidden_size", True, "wanted a whole number, got True"),
        ("model.hidden_size", [3], "wanted a whole number, got [3]"),
        ("model.hidden_size", 0, "wanted a number from 1 to 65536, got 0"),
        ("model.hidden_size", 10**9, "wanted a number from 1 to 65536, got 1000000000"),
        ("model.encoder_size", 0, "wanted a number from 1 to 65536, got 0"),
        ("model.encoder_layers", 10**6, "wanted a number from 1 to 64, got 1000000"),
        ("model.dropout", "0.96", "wanted a number from 0 to 0.95, got '0.96'"),
        ("model.dropout", -1, "wanted a number from 0 to 0.95, got -1"),
        ("model.dropout", "nan", "wanted a finite number, got 'nan'"),
        ("train.learning_rate", "inf", "wanted a finite number, got 'inf'"),
        ("model.bidirectional", "yes", "wanted true or false, got 'yes'"),
        ("model.bidirectional", 1, "wanted true or false, got 1"),
        ("model.cell", "ltsm", "wanted lstm|gru, got 'ltsm'; did you mean 'lstm'?"),
        ("model.attention", None, "wanted additive|dot|general|location|coverage|multihead, got None"),
        ("model.forget_bias", 101, "wanted a number from -100 to 100, got 101"),
        ("train.minutes", "inf", "wanted a finite number, got 'inf'"),
        ("train.minutes", 10**400, "wanted a number or none, got 1"),
        ("train.seed", 2**63, "wanted a number from 0 to 9223372036854775807, got 9223372036854775808"),
        ("train.device", "gpu", "wanted auto|cpu|cuda|mps, got 'gpu'; did you mean 'cpu'?"),
        ("data.source", 3, "wanted text, got 3"),
        ("search.top_p", 1.1, "wanted a number from 0.0001 to 1, got 1.1"),
        ("search.temperature", 0, "wanted a number from 0.0001 to 1000000, got 0"),
    ],
)
def test_the_error_for_a_wrong_value_names_the_wanted_type_or_range(name: str, value: Any, message: str) -> None:
    section, key = name.split(".")
    for call in (
        lambda: Config().with_values({name: value}, "x"),
        lambda: Config.from_dict({section: {key: value}}, "x"),
    ):
        with pytest.raises(ConfigError, match=f"^{re.escape(f'x, {name}: {message}')}") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"train.coverage_loss": 0.5},
            r"train\.coverage_loss: wanted model\.attention='coverage', or 0; got 0\.5 with .*attention='additive'",
        ),
        (
            {"train.coverage_loss": 1, "attention": "coverage", "context": "mean"},
            r"train\.coverage_loss: .* got 1 with model\.context='mean' and model\.attention='coverage'",
        ),
        ({"attention": "location", "location_width": 4}, r"model\.location_width: wanted an odd number, .* got 4"),
        (
            {"attention": "multihead", "attention_heads": 3},
            r"model\.attention_heads: wanted a divisor of hidden_size = 256 and encoder_size = 256, got 3",
        ),
        (
            {"attention": "multihead", "encoder_size": 6},
            r"model\.attention_heads: wanted a divisor of hidden_size = 256 and encoder_size = 6, got 4",
        ),
    ],
)
def test_settings_of_attention_must_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Config().with_values(values)
    without = {name: value for name, value in values.items() if name not in ("attention", "train.coverage_loss")}
    assert Config().with_values(without).model.attention == "additive"  # which has no such settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"consistency_loss": 2, "output": "copy", "symbols.shared": True},
            r"train\.consistency_loss: wanted model\.output='symbols', or 0; got 2 with model\.output='copy'",
        ),
        ({"keep": "last", "patience": 3}, r"train\.patience: wanted none with train\.keep='last', got 3"),
    ],
)
def test_settings_of_a_training_must_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Config().with_values(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"context": "mean"}, "wanted model.context='attention', got 'mean'"),
        ({"model.input": "frames", "input_size": 3}, "wanted model.input='symbols', got 'frames'"),
        ({"encoder_layers": 2, "encoder_pyramid": 1}, "wanted model.encoder_pyramid=0, got 1"),
        ({"model.ctc": True}, "wanted model.ctc=False, got True"),
    ],
)
def test_copying_needs_attention_to_symbols(values: dict[str, Any], message: str) -> None:
    copies = "model.output='copy' copies the symbols that attention chooses: "
    with pytest.raises(ConfigError, match=f"^{re.escape(copies + message)}$"):
        Config().with_values({"model.output": "copy", **values})


@pytest.mark.parametrize("name", [name for name, (hint, _) in FIELDS.items() if inner_type(hint) in (int, float)])
def test_a_range_includes_exactly_its_bounds(name: str) -> None:
    hint, field = FIELDS[name]
    step = 1 if inner_type(hint) is int else 1e-6
    companions = COMPANIONS.get(name, {})
    for end, beyond in ((field.metadata["low"], -step), (field.metadata["high"], step)):
        assert end is not None
        assert get(Config().with_values({name: end, **companions}), name) == end
        with pytest.raises(ConfigError, match="wanted a number"):
            Config().with_values({name: end + beyond, **companions})


ODD_VALUES = [
    *(2**63, 2**64, 10**30, 10**5000, -1, 0, 0.5, math.nan, math.inf, -math.inf, 1e300, True, False, None, b"1", [3]),
    *("", " ", "true", "Infinity", "nan", "1e3", "1e400", "1_000", "０", "１２", "9" * 5000, "0x10", "\udcff", "-0"),
    *("\x1b[31m", "+5", "1.", "None", "none", "a\nb", "한", object(), {}, np.float32(1.5), np.int64(7), np.zeros(2)),
    Fraction(1, 2),
]


@pytest.mark.parametrize("name", FIELDS)
def test_any_value_is_usable_or_refused_in_one_line(name: str) -> None:
    """A usable value has the declared type and range, and can be stored as JSON."""
    hint, field = FIELDS[name]
    usable = refused = 0
    for value in ODD_VALUES:
        try:
            config = Config().with_values({name: value, **COMPANIONS.get(name, {})})
        except ConfigError as error:
            message = str(error)
            refused += "wanted " in message and "\n" not in message and len(message) < 400
            continue
        usable += 1
        found = get(config, name)
        if found is None:
            assert isinstance(hint, types.UnionType)
        elif inner_type(hint) in (int, float):
            assert type(found) is inner_type(hint)
            assert field.metadata["low"] <= found <= field.metadata["high"] <= 2**63 - 1
        json.dumps(config.to_dict(), ensure_ascii=False).encode()
    assert usable + refused == len(ODD_VALUES)
    assert refused > 5


@pytest.mark.parametrize(("name", "value"), [("top_k", 3), ("top_p", 0.9)])
def test_limits_of_sampling_need_a_temperature(name: str, value: float) -> None:
    message = f"^search.{name} limits sampling: wanted search.temperature with it, such as 1, got none$"
    for call in (
        lambda: Config().with_values({name: value}),
        lambda: Config.from_dict({"search": {name: value}}),
        lambda: Config().with_values({name: value, "temperature": 1}).with_values({"temperature": None}),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cell": "gru", "peephole": "full"}, "wanted model.peephole='none', got 'full'"),
        ({"hidden_size": 5}, "model.hidden_size: wanted an even number, half of it for each direction; got 5"),
        ({"encoder_size": 7}, "got 7"),
        ({"attention": "dot", "encoder_size": 128}, "wanted encoder_size = hidden_size = 256, got 128"),
        ({"minutes": 1, "steps": 5}, "train: wanted one of minutes, epochs, steps; got minutes and steps; all but one"),
        ({"minutes": 1, "epochs": 2, "steps": 5}, "got minutes and epochs and steps"),
        ({"nbest": 6}, "search.nbest: wanted at most beam_size = 5, got 6"),
        ({"beam_size": 2, "nbest": 3}, "wanted at most beam_size = 2, got 3"),
    ],
)
def test_incompatible_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config().with_values(values)


@pytest.mark.parametrize(
    "values",
    [
        {"cell": "gru", "peephole": "none"},
        {"hidden_size": 5, "bidirectional": False},
        {"attention": "dot", "encoder_size": 256},
        {"attention": "dot", "encoder_size": 128, "context": "mean"},
        {"nbest": 6, "temperature": 1.0},  # samples need no beam
        {"minutes": 1, "epochs": None, "steps": None},
    ],
)
def test_compatible_settings_are_accepted_together(values: dict[str, Any]) -> None:
    assert Config().with_values(values) != Config()


def test_resetting_one_budget_to_none_allows_another() -> None:
    config = Config().with_values({"epochs": 3})
    assert config.with_values({"epochs": "none", "minutes": "2"}).train.minutes == 2.0
