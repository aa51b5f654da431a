"""Tests the names of settings: short ones, those shared by two sections, and misspelt ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from every_setting import COMPANIONS, FIELDS, another_value, as_text, get
from peephole.config import Config
from peephole.errors import ConfigError


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
