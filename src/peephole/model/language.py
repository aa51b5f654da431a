"""Language models: what they continue, and how they guide the search of another model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from peephole.config import SearchConfig
from peephole.errors import PeepholeError, check_type, describe_value
from peephole.model.reading import Notices, Source, check_texts, longest_target, read_prefixes
from peephole.symbols import EOS, Symbols

if TYPE_CHECKING:
    from peephole.model.handle import Model

ANY_SOURCE = Source([EOS], [], (), False)
"""What a search is given as the source of a language model, which does not read it."""


def read_beginnings(
    symbols: Symbols, texts: object, config: SearchConfig, notices: Notices, first_index: int
) -> tuple[list[Source], list[list[int]], list[int]]:
    """Read the texts that a language model continues, which may be empty.

    Returns:
        For each a source that is not read, the ids of its text, and the most symbols of its target.

    Raises:
        ArgumentError: these are not texts.
        PrefixError: a text is as long as its target may be.
    """
    beginnings = check_texts("sources", texts)
    read = [Source(symbols.encode(text), [], (), False) for text in beginnings]
    found = read_prefixes(
        symbols, beginnings, read, config, notices, first_index=first_index, places=lambda source: len(source.ids)
    )
    most = [longest_target(len(ids), config) for ids in found]
    return [ANY_SOURCE] * len(beginnings), found, most


def find_language_model(model: Model, given: object, config: SearchConfig) -> Model | None:
    """Return the language model that guides the search of a model; None if none is given, or its weight is 0.

    Args:
        model: the model that searches.
        given: the argument `language_model`: a model, or the name of its file; None: that of the settings.
        config: the settings.

    Raises:
        ArgumentError: the argument is something else.
        ModelFileError: there is no such model file.
        PeepholeError: it is not one language model, or has other target symbols.
    """
    from peephole.model.handle import Model
    from peephole.model.loading import load

    given = config.language_model if given is None else given
    if given in (None, "none") or not config.language_model_weight:
        return None
    if model.config.model.output == "copy":
        raise PeepholeError(
            "language_model: wanted none for a model that copies, because it has no probability for a copied text"
        )
    check_type("language_model", given, (Model, str, os.PathLike), "a Model or the name of its file")
    if isinstance(given, (str, os.PathLike)):
        name = os.fspath(given)
        if name not in model.language_models:
            model.language_models[name] = load(name)
        given = model.language_models[name]
    assert isinstance(given, Model)
    if given.config.model.input != "none" or len(given.members) > 1:
        raise PeepholeError(
            f"language_model: wanted one language model (model.input=none), got {describe_value(given)}"
        )
    if given.target_symbols.to_json() != model.target_symbols.to_json():
        raise PeepholeError(
            "language_model: wanted the target symbols of the model that it guides, got others; train it with "
            "symbols.of=MODEL"
        )
    return given
