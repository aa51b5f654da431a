"""Check the settings of a run against each other; what each may be alone is in `sections.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING

from peephole.errors import ConfigError
from peephole.sections import SearchConfig

if TYPE_CHECKING:
    from peephole.sections import DataConfig, FramesConfig, ModelConfig, SymbolsConfig, TrainConfig


ADDITIVE = ("additive", "location", "coverage", "multihead")  # the kinds of attention with energies vᵀ tanh(…)


def check_language_model(data: DataConfig, symbols: SymbolsConfig, model: ModelConfig, search: SearchConfig) -> None:
    """Raise ConfigError if settings of a language model are mixed with those of a model with sources."""
    if model.input == "none":
        if model.ctc or search.coverage_penalty:
            name = "model.ctc" if model.ctc else "search.coverage_penalty"
            raise ConfigError(f"{name}: wanted a model with sources, got model.input='none'")
        return
    for name, value in (("data.targets_only", data.targets_only), ("symbols.of", symbols.of)):
        if value:
            raise ConfigError(f"{name}: wanted model.input='none' with it, got {model.input!r}")


def check_shared_symbols(data: DataConfig, frames: FramesConfig, symbols: SymbolsConfig, model: ModelConfig) -> None:
    """Raise ConfigError if one table of symbols is asked for where there are not texts of one kind on both sides."""
    if not symbols.shared:
        return
    wanted = {
        "model.input": (model.input, model.input == "symbols"),
        "model.output": (model.output, not model.predicts_vectors),
        "frames.kind": (frames.kind, frames.kind in ("auto", "text")),
        "data.horizon": (data.horizon, data.horizon is None),
    }
    for name, (value, is_text) in wanted.items():
        if not is_text:
            raise ConfigError(f"symbols.shared: wanted texts on both sides, got {name}={value!r}")
    given = [kind for kind in (symbols.source, symbols.target) if kind != "auto"]
    if len(set(given)) > 1:
        raise ConfigError(
            f"symbols.shared: wanted symbols.source and symbols.target of one kind, got {given[0]!r} and {given[1]!r}"
        )


def check_consistency(
    data: DataConfig, frames: FramesConfig, model: ModelConfig, train: TrainConfig, search: SearchConfig
) -> None:
    """Raise ConfigError if settings contradict each other."""
    if model.cell == "gru" and model.peephole != "none":
        raise ConfigError(f"model.cell='gru' has no cell state: wanted model.peephole='none', got {model.peephole!r}")
    if model.cell == "gru" and model.zoneout_cell:
        raise ConfigError(
            f"model.cell='gru' has no cell state: wanted model.zoneout_cell=0, got {model.zoneout_cell:g}"
        )
    _check_first_weights(model)
    _check_frames(frames, model, train)
    if model.input_size is not None and model.input_size % model.input_planes:
        raise ConfigError(
            f"model.input_planes: wanted a divisor of input_size = {model.input_size}, got {model.input_planes}"
        )
    if model.ngram_rows and model.input != "symbols":
        raise ConfigError(
            f"model.ngram_rows: wanted 0 for a source without symbols, got {model.ngram_rows} for "
            f"model.input={model.input!r}"
        )
    encoder_size = model.encoder_size or model.hidden_size
    if model.bidirectional and encoder_size % 2:
        own = "hidden_size" if model.encoder_size is None else "encoder_size"
        raise ConfigError(f"model.{own}: wanted an even number, half of it for each direction; got {encoder_size}")
    if model.encoder_pyramid >= model.encoder_layers:
        raise ConfigError(
            f"model.encoder_pyramid: wanted fewer than encoder_layers = {model.encoder_layers}, "
            f"got {model.encoder_pyramid}"
        )
    if model.context == "attention":
        _check_attention(model, encoder_size)
    if model.attention_symbol and not may_read_symbol(model):
        found = repr(model.attention) if _attends(model) else "none"
        raise ConfigError(f"model.attention_symbol: wanted model.attention={'|'.join(ADDITIVE)} with it, got {found}")
    if model.output == "copy":
        _check_copying(model)
    if model.predicts_vectors:
        if model.input == "symbols" and data.horizon is None:  # else a table sets it
            raise ConfigError(f"model.output={model.output!r}: wanted model.input='frames', or data.horizon for tables")
        _check_vectors(model, train)
    if train.coverage_loss and (model.context, model.attention) != ("attention", "coverage"):
        raise ConfigError(
            f"train.coverage_loss: wanted model.attention='coverage', or 0; got {train.coverage_loss:g} with "
            f"model.context={model.context!r} and model.attention={model.attention!r}"
        )
    if train.consistency_loss and model.output != "symbols":
        raise ConfigError(
            f"train.consistency_loss: wanted model.output='symbols', or 0; got {train.consistency_loss:g} with "
            f"model.output={model.output!r}"
        )
    if train.teacher is not None and model.output != "symbols":
        raise ConfigError(
            f"train.teacher: wanted model.output='symbols' with it, or none; got {train.teacher!r} with "
            f"model.output={model.output!r}"
        )
    if search.ctc_weight and not model.ctc:
        raise ConfigError(f"search.ctc_weight: wanted model.ctc=true, or 0; got {search.ctc_weight:g} without CTC")
    if model.ctc and not train.ctc_weight:
        raise ConfigError("train.ctc_weight: wanted a number above 0 with model.ctc=true, got 0")
    if train.patience is not None and train.keep == "last":
        raise ConfigError(f"train.patience: wanted none with train.keep='last', got {train.patience}")
    budgets = [name for name in ("minutes", "epochs", "steps") if getattr(train, name) is not None]
    if len(budgets) > 1:
        raise ConfigError(
            f"train: wanted one of minutes, epochs, steps; got {' and '.join(budgets)}; all but one can be none"
        )
    _check_search(model, search)


def may_read_symbol(model: ModelConfig) -> bool:
    """Return whether attention can read the symbol fed, (67): whether there is attention, with additive energies."""
    return _attends(model) and model.attention in ADDITIVE


def _attends(model: ModelConfig) -> bool:
    return model.input != "none" and model.context == "attention"


def _check_first_weights(model: ModelConfig) -> None:
    """Raise ConfigError if a weight's first values are set in two ways."""
    for name in ("embedding_std", "forget_bias"):
        if model.initial_range and getattr(model, name) != 1:
            raise ConfigError(
                f"model.{name}: wanted 1, the default, with model.initial_range = {model.initial_range:g}, which draws "
                f"these weights, too; got {getattr(model, name):g}"
            )


def _check_search(model: ModelConfig, search: SearchConfig) -> None:
    """Raise ConfigError if settings of a search contradict each other or the model."""
    if search.nbest > search.beam_size and search.temperature is None:
        raise ConfigError(f"search.nbest: wanted at most beam_size = {search.beam_size}, got {search.nbest}")
    limits = [name for name in ("top_k", "top_p") if getattr(search, name) is not None]
    if limits and search.temperature is None:
        raise ConfigError(f"search.{limits[0]} limits sampling: wanted search.temperature with it, such as 1, got none")
    rankings = ("length_reward", "coverage_penalty")
    used = [name for name in rankings if getattr(search, name)] + ["diverse_groups"] * (search.diverse_groups > 1)
    if used and search.temperature is not None:
        raise ConfigError(
            f"search.{used[0]} is for beam search: wanted search.temperature=none with it, got {search.temperature:g}"
        )
    if search.coverage_penalty and model.context != "attention":
        raise ConfigError(
            f"search.coverage_penalty: wanted model.context='attention', or 0; got {search.coverage_penalty:g} with "
            f"{model.context!r}"
        )
    if search.beam_size % search.diverse_groups:
        raise ConfigError(
            f"search.diverse_groups: wanted a divisor of beam_size = {search.beam_size}, got {search.diverse_groups}"
        )


FORECASTING = ("samples", "steps_ahead")
"""The search settings that only a model of series uses."""
OF_ANY_SEARCH = ("seed", "batch_size", "threads", "engine")
"""The search settings that a model of series uses like any other."""


def check_given_search(model: ModelConfig, names: Iterable[str]) -> None:
    """Raise ConfigError if a search setting is given that has no effect on this kind of model.

    Args:
        model: the settings of the model.
        names: the settings of section `search` that were given; unknown names are left to `Config.with_values`.
    """
    known = {field.name for field in fields(SearchConfig)}
    for name in names:
        if model.predicts_vectors and name in known and name not in (*FORECASTING, *OF_ANY_SEARCH):
            raise ConfigError(f"search.{name}: wanted a model that predicts symbols with it, got one of series")
        if not model.predicts_vectors and name in FORECASTING:
            raise ConfigError(f"search.{name}: wanted a model of series with it, got one that predicts symbols")


def _check_vectors(model: ModelConfig, train: TrainConfig) -> None:
    """Raise ConfigError if settings contradict real vectors as output."""
    if model.input == "none":
        raise ConfigError(f"model.input: wanted frames for model.output={model.output!r}, got 'none'")
    if model.ctc:
        raise ConfigError(f"model.ctc: wanted false for model.output={model.output!r}, which has no symbols")
    if model.scaling == "source" and not model.continues:
        raise ConfigError("model.continues: wanted true for model.scaling='source', which gives the target its units")
    given, wanted = model.input_size, model.output_size
    if model.continues and given is not None and wanted is not None and wanted > given:
        raise ConfigError(f"model.continues: wanted output_size at most input_size = {given}, got {wanted}")
    if train.scheduled_sampling != "none":
        raise ConfigError(f"train.scheduled_sampling: wanted none for model.output={model.output!r}")
    if train.coverage_loss:
        raise ConfigError(
            f"train.coverage_loss: wanted 0 for model.output={model.output!r}, got {train.coverage_loss:g}"
        )


def _check_frames(frames: FramesConfig, model: ModelConfig, train: TrainConfig) -> None:
    """Raise ConfigError if settings of frames contradict the others; frames.kind='auto' is decided later."""
    if frames.kind == "text" and model.input != "symbols":
        raise ConfigError(f"model.input={model.input!r} reads frames: wanted a frames.kind of files, got 'text'")
    if frames.speeds != "one" and frames.kind in ("text", "numbers"):
        raise ConfigError(
            f"frames.speeds: wanted 'one', except for sound and images; got {frames.speeds!r} for {frames.kind}"
        )
    masks = [name for name in ("time_masks", "feature_masks") if getattr(train, name)]
    if masks and frames.kind == "text":
        raise ConfigError(f"train.{masks[0]}: wanted 0 for text, which has no frames; got {getattr(train, masks[0])}")


def _check_attention(model: ModelConfig, encoder_size: int) -> None:
    """Raise ConfigError if the sizes do not fit the kind of attention."""
    if model.attention == "dot" and encoder_size != model.hidden_size:
        raise ConfigError(
            f"model.attention='dot' compares states of one size: wanted encoder_size = hidden_size = "
            f"{model.hidden_size}, got {encoder_size}"
        )
    if model.attention == "location" and model.location_width % 2 == 0:
        raise ConfigError(
            f"model.location_width: wanted an odd number, so that a filter has a centre; got {model.location_width}"
        )
    heads = model.attention_heads
    if model.attention == "multihead" and (model.hidden_size % heads or encoder_size % heads):
        raise ConfigError(
            f"model.attention_heads: wanted a divisor of hidden_size = {model.hidden_size} and encoder_size = "
            f"{encoder_size}, got {heads}"
        )


def _check_copying(model: ModelConfig) -> None:
    """Raise ConfigError if attention does not choose from the source's symbols, which alone can be copied."""
    wanted = {"input": "symbols", "context": "attention", "encoder_pyramid": 0, "ctc": False}
    for name, value in wanted.items():
        if getattr(model, name) != value:
            raise ConfigError(
                f"model.output='copy' copies the symbols that attention chooses: wanted model.{name}={value!r}, "
                f"got {getattr(model, name)!r}"
            )
