"""Tests the settings: every one can be set in every way, and a wrong one is refused with the wanted and given value."""

from __future__ import annotations

import json
import math
import os
import re
import types
import typing
from dataclasses import FrozenInstanceError, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from peephole.config import Config, describe
from peephole.errors import ConfigError, PeepholeError

FIELDS = {
    f"{section.name}.{field.name}": (typing.get_type_hints(kind)[field.name], field)
    for section in fields(Config)
    if section.name not in ("peephole_implied", "given")
    for kind in [typing.get_type_hints(Config)[section.name]]
    for field in fields(kind)
}
# Further settings that a non-default value requires
COMPANIONS = {
    "data.targets_only": {"model.input": "none"},
    "symbols.of": {"model.input": "none"},
    "model.cell": {"model.peephole": "none"},
    "model.hidden_size": {"model.bidirectional": False},
    "model.encoder_size": {"model.bidirectional": False},
    "model.encoder_pyramid": {"model.encoder_layers": 9},
    "search.nbest": {"search.beam_size": 10**6},
    "train.coverage_loss": {"model.attention": "coverage"},
    "search.diverse_groups": {"search.beam_size": 10**6},
    "search.top_k": {"search.temperature": 1.0},
    "search.top_p": {"search.temperature": 1.0},
    "search.ctc_weight": {"model.ctc": True},
}


def inner_type(hint: Any) -> Any:
    """Return the type of a setting, without None for an optional one."""
    if isinstance(hint, types.UnionType):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return hint


def another_value(name: str) -> Any:
    """Return a valid value other than the default; the default of a kind that has only one name so far."""
    hint, field = FIELDS[name]
    hint, low, high = inner_type(hint), field.metadata["low"], field.metadata["high"]
    if typing.get_origin(hint) is Literal:
        return next((value for value in typing.get_args(hint) if value != field.default), field.default)
    if hint is bool:
        return not field.default
    if hint is str:
        return "a name, with 'quotes' and 한"
    if hint is int:
        return (field.default or low or 1) + 1
    return (low + high) / 2 + 0.001 if high is not None else (field.default or 0.0) + 1.25


def get(config: Config, name: str) -> Any:
    """Return the value of a setting given by its full name."""
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


def toml(tree: dict[str, dict[str, Any]]) -> str:
    """Return a config as TOML; None becomes the text 'none', since TOML has no null."""

    def literal(value: Any) -> str:
        return json.dumps("none" if value is None else value, ensure_ascii=False)

    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {literal(value)}\n" for key, value in keys.items())
        for section, keys in tree.items()
    )


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_only_kinds_with_one_name_have_no_other_value() -> None:
    assert [name for name in FIELDS if another_value(name) == FIELDS[name][1].default] == []


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_be_set_from_dict_json_toml_and_text(name: str, tmp_path: Path) -> None:
    value, companions = another_value(name), COMPANIONS.get(name, {})
    assert value != FIELDS[name][1].default
    config = Config().with_values({name: value, **companions})
    assert get(config, name) == value
    assert type(get(config, name)) is type(value)
    changed = {key for key in FIELDS if get(config, key) != get(Config(), key)}
    assert changed == {name, *companions}

    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    path = tmp_path / "config.toml"
    path.write_text(toml(config.to_dict()), encoding="utf-8")
    assert Config.from_toml(path) == config
    texts = {key: as_text(option) for key, option in {name: value, **companions}.items()}
    assert Config().with_values(texts) == config


@pytest.mark.parametrize("name", [name for name, (hint, _) in FIELDS.items() if isinstance(hint, types.UnionType)])
@pytest.mark.parametrize("none", ["none", None])
def test_an_optional_setting_can_be_reset_to_none(name: str, none: str | None) -> None:
    config = Config().with_values({name: another_value(name), **COMPANIONS.get(name, {})})
    assert get(config.with_values({name: none}), name) is None


def test_a_whole_number_may_be_written_as_a_float_in_toml_and_json() -> None:
    size = Config.from_dict({"model": {"hidden_size": 64.0}}).model.hidden_size
    assert (size, type(size)) == (64, int)


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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hiden_size": 3}, "--set: unknown key 'hiden_size'; did you mean 'hidden_size'?"),
        ({"model.hiden_size": 3}, "--set: unknown key 'model.hiden_size'; did you mean 'model.hidden_size'?"),
        ({"modle.hidden_size": 3}, "--set: unknown key 'modle.hidden_size'; did you mean 'model.hidden_size'?"),
        ({"minuts": 3}, "--set: unknown key 'minuts'; did you mean 'minutes'?"),
        ({"qqqq": 3}, "--set: unknown key 'qqqq'; `peephole train --help` lists all keys"),
        ({"source": "x"}, "--set: 'source' is in several sections; wanted one of data.source, symbols.source"),
    ],
)
def test_the_error_for_a_misspelt_key_suggests_the_nearest(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().with_values(values)
    assert str(caught.value) == message


SHARED = {"threads", "seed", "engine", "ctc_weight"}


def test_a_unique_short_name_is_accepted() -> None:
    keys = [name.split(".")[1] for name in FIELDS]
    assert {key for key in keys if keys.count(key) > 1} == SHARED | {"source", "target"}
    for name in FIELDS:
        key = name.split(".")[1]
        value = {name: another_value(name)} | COMPANIONS.get(name, {})
        if keys.count(key) == 1:
            short = {key if full == name else full: option for full, option in value.items()}
            assert Config().with_values(short) == Config().with_values(value)
        elif key not in SHARED:
            with pytest.raises(ConfigError, match="several sections; wanted one of ") as caught:
                Config().with_values({key: value[name]})
            assert name in str(caught.value)


@pytest.mark.parametrize("key", sorted(SHARED))
def test_a_short_name_shared_by_train_and_search_sets_both(key: str) -> None:
    value = another_value(f"train.{key}")
    needed = COMPANIONS.get(f"search.{key}", {})
    both = Config().with_values({f"train.{key}": value, f"search.{key}": value, **needed})
    assert Config().with_values({key: value, **needed}) == both
    assert Config().with_values({key: as_text(value), **needed}) == both
    other = FIELDS[f"train.{key}"][1].default
    for order in ((key, f"search.{key}"), (f"search.{key}", key)):  # the full name wins in either order
        found = Config().with_values(needed | {name: value if name == key else other for name in order})
        assert (get(found, f"train.{key}"), get(found, f"search.{key}")) == (value, other)
    message = f"--set, train.{key}: wanted "
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        Config().with_values({key: [3]})


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


def test_a_toml_file_may_hold_settings_without_their_section(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('hidden_size = 64\ncell = "gru"\nthreads = 2\n[search]\nthreads = 4\n[model]\ninput_size = 3\n')
    config = Config.from_toml(path)
    assert (config.model.hidden_size, config.model.input_size, config.model.peephole) == (64, 3, "none")
    assert (config.train.threads, config.search.threads) == (2, 4)
    assert {"model.hidden_size", "train.threads"} <= config.given
    for text, message in {
        "hiddensize = 64": "unknown key 'hiddensize'; did you mean 'hidden_size'?",
        'source = "a"': "'source' is in several sections; wanted one of data.source, symbols.source",
        "hidden_size = 'x'": ", model.hidden_size: wanted a whole number, got 'x'",
        "model = 3\nhidden_size = 4": ", model: wanted a table of keys, got 3",
        "[modle]\nhidden_size = 4": "unknown section 'modle'",
    }.items():
        path.write_text(text)
        with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}.*{re.escape(message)}"):
            Config.from_toml(path)


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
        ({"hidden_size": 5}, "model.encoder_size: wanted an even number, half of it for each direction; got 5"),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[model\n", "cannot be read as TOML: "),
        (b"[model]\nhidden_size = \xff\n", "cannot be read as TOML: 'utf-8' codec can't decode"),
        (b"[model]\nhidden_size = " + b"9" * 5000, "cannot be read as TOML: "),
        (b"x = " + b"[" * 100_000, "cannot be read as TOML: "),
        (b"[model]\nhiden_size = 3\n", "unknown key 'hiden_size'; did you mean 'hidden_size'?"),
        (b"[model]\nhidden_size = '3.5'\n", "model.hidden_size: wanted a whole number, got '3.5'"),
        (
            b"[modell]\n",
            "unknown section 'modell'; wanted one of data, frames, symbols, model, train, search; "
            "did you mean 'model'?",
        ),
    ],
)
def test_the_error_for_a_bad_toml_file_names_it(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}.*{re.escape(message)}") as caught:
        Config.from_toml(path)
    assert "\n" not in str(caught.value)


def test_the_error_for_a_missing_toml_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(PeepholeError, match=r"no\.toml: cannot be read as TOML: .*No such file"):
        Config.from_toml(tmp_path / "no.toml")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "large"])
def test_a_config_that_is_no_small_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "odd.toml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.write_text("#" * (2**20 + 1))
    wanted = "wanted at most 1,048,576 bytes" if kind == "large" else "wanted a regular file, got another kind of file"
    with pytest.raises(ConfigError) as caught:
        Config.from_toml(path)
    assert str(caught.value) == f"{path}: cannot be read as TOML: {wanted}"


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf[model]\r\nhidden_size = 64\r\n")
    assert Config.from_toml(path).model.hidden_size == 64
