"""Tests configs read from TOML and JSON: every setting, settings without their section, and unreadable files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from every_setting import COMPANIONS, FIELDS, another_value, as_text, get
from peephole.config import Config
from peephole.errors import ConfigError, PeepholeError


def toml(tree: dict[str, dict[str, Any]]) -> str:
    """Return a config as TOML; None becomes the text 'none', since TOML has no null."""

    def literal(value: Any) -> str:
        return json.dumps("none" if value is None else value, ensure_ascii=False)

    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {literal(value)}\n" for key, value in keys.items())
        for section, keys in tree.items()
    )


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


def test_a_whole_number_may_be_written_as_a_float_in_toml_and_json() -> None:
    size = Config.from_dict({"model": {"hidden_size": 64.0}}).model.hidden_size
    assert (size, type(size)) == (64, int)


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
        "hidden_size = 16\n[model]\nhidden_size = 32": (
            ", model.hidden_size: wanted one value, got 16 before the tables and 32 in [model]"
        ),
    }.items():
        path.write_text(text)
        with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}.*{re.escape(message)}"):
            Config.from_toml(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[model\n", "cannot be read as TOML: "),
        (b"a = " + b"[" * 5000, "cannot be read as TOML: brackets are nested too deeply"),
        (b"hidden_size = " + b"1" * 5000, "cannot be read as TOML: a number has more than 4,300 digits"),
        (b"[model]\nhidden_size = \xff\n", "cannot be read as TOML: wanted UTF-8, got byte 0xff at position 23"),
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
