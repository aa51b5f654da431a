"""Build command-line options from the config, so that each setting is declared once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from peephole.cli.lines import print_note
from peephole.config import Config, describe
from peephole.consistency import check_given_search
from peephole.errors import ConfigError, describe_value
from peephole.model import Model, load
from peephole.values import default_text

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(*names: str) -> Callable[[Command], Command]:
    """Add an option for each setting named `section.key`, or for all of a section named `section.*`.

    The command receives them as keyword arguments `section__key`, None if not given; `given` collects them.
    """

    def add(command: Command) -> Command:
        for full, kind, default, help in reversed(list(describe())):
            section, key = full.split(".")
            if full in names or f"{section}.*" in names:
                usual = default_text(default) if section == "train" else "the model's"
                shown = "" if default is None else f"  [default: {usual}]"
                option = click.option(
                    f"--{key.replace('_', '-')}", f"{section}__{key}", metavar=kind.upper(), help=help + shown
                )
                command = option(command)
        return command

    return add


def given(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings given on the command line, as `section.key` → text.

    >>> given({"search__beam_size": "3", "search__nbest": None})
    {'search.beam_size': '3'}
    """
    return {name.replace("__", "."): value for name, value in options.items() if value is not None}


def given_settings(model: Model, options: dict[str, Any], **fixed: Any) -> dict[str, Any]:
    """Return the search settings that were given, as key → text.

    Args:
        model: the model whose settings the options change.
        options: of the command, as `setting_options` names them.
        fixed: search settings that the command itself changes.

    Raises:
        ConfigError: one of them is impossible for the model, or has no effect on it.
    """
    settings = {name: value for name, value in given(options).items() if name.startswith("search.")}
    check_given_search(model.config.model, [name.removeprefix("search.") for name in settings])
    model.config.with_values({f"search.{name}": value for name, value in fixed.items()} | settings, "command line")
    return {name.removeprefix("search."): value for name, value in settings.items()}


def load_models(names: str, options: Mapping[str, Any] | None = None) -> Model:
    """Load a model file, or several with commas between them as an ensemble; a name may itself hold commas.

    Prints notes on stderr about unused settings in the files.

    Args:
        names: of the files.
        options: of the command, as `setting_options` names them; those of section `data` change the model's settings.

    Raises:
        ConfigError: one of these has a wrong value.
    """
    model = load(*file_names(names))
    data = {name: value for name, value in given(options or {}).items() if name.startswith("data.")}
    model.config = model.config.with_values(data, "command line")
    for note in model.notes:
        print_note(note)
    return model


def file_names(names: str) -> list[str]:
    """Return the files that an argument names: itself, or several with commas between them."""
    return [names] if os.path.exists(names) else names.split(",")


def parse_assignments(assignments: tuple[str, ...]) -> dict[str, str]:
    """Read the `KEY=VALUE` of --set.

    >>> parse_assignments(("model.hidden_size=64", "minutes=2"))
    {'model.hidden_size': '64', 'minutes': '2'}
    """
    values = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set: wanted KEY=VALUE, got {describe_value(assignment)}")
        values[key.strip()] = value.strip()
    return values


def build_config(
    path: str | None, assignments: tuple[str, ...], options: dict[str, Any], base: Config | None = None
) -> Config:
    """Return the settings of a TOML file, overridden by --set and by the options; `base` has all others."""
    base = base or Config()
    config = base if path is None else Config.from_toml(path, base)
    # One call, because some settings are valid only together.
    return config.with_values(parse_assignments(assignments) | given(options), "command line")


def settings_text() -> str:
    """Return all settings with type, default and help, for the end of a help text."""
    lines = ["\b", "Settings, for --set, --config and peephole.train(...):"]
    for name, kind, default, help in describe():
        lines.append(f"  {name} = {default_text(default)}   ({kind})")
        lines.append(f"      {help}")
    return "\n".join(lines)
