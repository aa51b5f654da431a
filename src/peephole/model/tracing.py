"""Make a trace of one prediction, or of one given target: a method of `Model`, in a file of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from peephole.config import SearchConfig
from peephole.errors import ConfigError, EmptySourceError, PeepholeError, check_type, describe_value
from peephole.memory import check_memory
from peephole.model.calibrated import divided_weights
from peephole.model.language import find_language_model
from peephole.model.phrases import read_phrases
from peephole.model.reading import Notices, Source, issue_warnings, new_notices
from peephole.model.search_choice import slow_search_reason
from peephole.nn.schema import Architecture
from peephole.search.recorded import TraceOptions
from peephole.symbols import EOS, copied_tokens

if TYPE_CHECKING:
    from peephole.model.handle import Model
    from peephole.model.trace import Trace
    from peephole.model.weights import Weights
    from peephole.search.recorded import Recorded

MOST_ALTERNATIVES = 1000


class Work(NamedTuple):
    """What a trace is made of: one source, and a given target or how one is searched."""

    source: Source
    config: SearchConfig
    target: list[int] | None
    max_length: int
    prefix: Sequence[int]
    phrases: list[list[int]] | None
    bend: tuple[int, list[float]] | None
    top: int


class Constraint(NamedTuple):
    """What the caller wants of the target: the target itself, or its beginning and what it contains."""

    target: str | Sequence[str] | None = None
    prefix: str | None = None
    must_contain: Iterable[str] | None = None


def trace(  # noqa: D417  # a method
    self: Model,
    source: Any,
    target: str | Sequence[str] | None = None,
    *,
    prefix: str | None = None,
    must_contain: Iterable[str] | None = None,
    bend: tuple[int, Sequence[float]] | None = None,
    top: int = 5,
    notices: Notices | None = None,
    **search: Any,
) -> Trace:
    """Return everything of one prediction, or of a given target: gates, states, attention, and the search.

    Args:
        source: one source, as in `predict`; not empty.
        target: a text, or a list of tokens such as `Prediction.tokens`, that is fed to the decoder, (13); None: the
            best target that a search finds.
        prefix: a text that the target begins with.
        must_contain: texts that the target must contain.
        bend: a step, from 0, and attention weights that it has in place of computed ones: one for each place of the
            source, at least 0; they are divided by their sum.
        top: alternatives recorded of each step, and extensions of each hypothesis of the search.
        notices: collects unknown symbols and a truncated source; None: Python warnings are issued for them.
        search: settings of `peephole.config.SearchConfig` for a beam search, as in `predict`; with a target threads,
            batch_size or engine.

    Raises:
        ConfigError: an unknown or impossible setting, such as sampling or a language model that guides the search.
        PeepholeError: an ensemble, a language model or a model of series, an empty source, attention weights that do
            not fit the source, or arguments of other types.
    """
    check_can_be_traced(self, "trace")
    check_type("top", top, int, "a whole number")
    if not 1 <= top <= MOST_ALTERNATIVES:
        raise ConfigError(f"top: wanted 1 to {MOST_ALTERNATIVES}, got {top}")
    collected = new_notices(notices)
    for name, given in (("prefix", prefix), ("must_contain", must_contain)):
        if target is not None and given is not None:
            raise PeepholeError(f"trace: wanted no {name} with a given target, got {describe_value(given)}")
    how = Constraint(target, prefix, must_contain)
    work = read_work(self, "trace", source, collected, search, how)
    if notices is None:
        issue_warnings(collected, 1, stacklevel=2)
    places = self.num_places(work.source)
    work = work._replace(bend=_read_bend(self, bend, places), top=top)
    _check_size(self, work, places)
    return trace_of(self, work, record(self, work))


def check_can_be_traced(model: Model, call: str) -> None:
    """Raise PeepholeError unless this is one model of texts with a source."""
    name = model.name or "model"
    if model.config.model.predicts_vectors:
        raise PeepholeError(f"{call}: {name}: wanted a model whose targets are texts, got one of series")
    if model.is_language_model:
        raise PeepholeError(f"{call}: {name}: wanted a model with a source, got a language model")
    if len(model.members) > 1:
        got = f"got an ensemble of {len(model.members)}; its `members` are single models"
        raise PeepholeError(f"{call}: {name}: wanted one model, {got}")


def read_work(
    model: Model,
    call: str,
    source: Any,
    notices: Notices,
    search: Mapping[str, Any],
    how: Constraint,
) -> Work:
    """Return what a call is to trace: a search, or a given target."""
    target, prefix, must_contain = how
    if target is not None:
        config, [(read, ids)] = model._read_pairs(call, [source], [target], notices, search)
        return Work(read, config, ids, len(ids) + 1, (), None, None, 0)
    config = model._search_config(call, search)
    if config.temperature is not None:
        raise ConfigError(f"{call}: wanted a beam search, got search.temperature={config.temperature:g}")
    if find_language_model(model, None, config) is not None:
        raise ConfigError(f"{call}: wanted search.language_model=none, got {config.language_model!r}")
    prefixes = None if prefix is None else [prefix]
    [read], begin, longest = model._read_for_search([source], prefixes, config, notices, 0)
    if not len(read.ids):
        raise EmptySourceError(call, 0)
    phrases = None
    if must_contain is not None:
        [phrases] = read_phrases(model.target_symbols, [must_contain], config, longest, begin)
    notices.slow_search = slow_search_reason(model._weights, model.config, config)
    return Work(read, config, None, longest[0], begin[0] if begin else (), phrases, None, 0)


def _are_numbers(given: object) -> bool:
    """Return whether something is a series of real numbers, of Python or NumPy; True and False are none."""
    return isinstance(given, Iterable) and all(isinstance(one, Real) and not isinstance(one, bool) for one in given)


def _read_bend(model: Model, bend: object, places: int) -> tuple[int, list[float]] | None:
    """Return the step and its weights, of sum 1."""
    if bend is None:
        return None
    if model.config.model.context != "attention":
        raise PeepholeError(f"bend: wanted a model with attention, got a {model.config.model.context} context")
    check_type("bend", bend, (tuple, list), "a step and attention weights")
    assert isinstance(bend, (tuple, list))
    if len(bend) != 2 or type(bend[0]) is not int or bend[0] < 0 or not _are_numbers(bend[1]):
        raise PeepholeError(f"bend: wanted a step from 0 and attention weights, got {describe_value(bend)}")
    weights = [float(weight) for weight in bend[1]]
    if len(weights) != places:
        raise PeepholeError(f"bend: wanted {places} weights, one for each place of the source, got {len(weights)}")
    if not all(0 <= weight < math.inf for weight in weights) or not 0 < sum(weights) < math.inf:
        raise PeepholeError(f"bend: wanted weights from 0, not all 0, got {describe_value(weights)}")
    return bend[0], [weight / sum(weights) for weight in weights]


def _check_size(model: Model, work: Work, places: int) -> None:
    """Raise MemoryLimitError if the attention of the longest target, and the states, need more memory than there is."""
    shape = model.config.model
    attention = places * work.max_length * (2 + shape.attention_heads) if shape.context == "attention" else 0
    layers = places * shape.encoder_layers + work.max_length * shape.decoder_layers
    needed = 4 * (attention + 13 * layers * max(shape.hidden_size, shape.encoder_size or 0))
    check_memory(f"source of {len(work.source.ids)} symbols or frames", "this trace", needed)


def record(model: Model, work: Work) -> Recorded:
    """Return what a model computes, by the engine where it can; of a calibrated one with the probabilities of (63)."""
    weights, temperature = model._weights, work.config.calibration
    if temperature == 1:
        return _record(model, weights, work)
    scaled = divided_weights(weights, model._description(), temperature)
    if work.target is not None:
        return _record(model, scaled, work)
    found = _record(model, weights, work)
    finished = found.symbols[-1] == EOS
    target = list(found.symbols[:-1] if finished else found.symbols)
    return calibrated(found, _record(model, scaled, work._replace(target=target)))


def _record(model: Model, weights: Weights, work: Work) -> Recorded:
    options = TraceOptions(work.top, work.bend, work.prefix, work.phrases)
    ids, reason = work.source.ids, slow_search_reason(weights, model.config, work.config)
    if weights.fit_engine() and work.config.engine == "auto" and reason is None:
        from peephole.engine.trace import trace_search, trace_target

        [packed] = weights.packed(model._description())
        if work.target is not None:
            return trace_target(packed, ids, work.target, options)
        return trace_search(packed, ids, work.max_length, work.config, options)
    from peephole.search import torch_trace

    network = weights.search_networks()[0]
    if work.target is not None:
        return torch_trace.trace_target(network, ids, work.target, options)
    return torch_trace.trace_search(network, ids, work.max_length, work.config, options)


def calibrated(found: Recorded, scored: Recorded) -> Recorded:
    """Return what a search found with the probabilities of another set of weights; the beam keeps its own."""
    steps = len(found.symbols)
    names = ("log_probs", "ranks", "top_symbols", "top_log_probs")
    probabilities = {name: getattr(scored, name)[:steps] for name in names}
    return replace(found, **probabilities)


def trace_of(model: Model, work: Work, recorded: Recorded) -> Trace:
    """Return what was recorded with the texts of its symbols."""
    from peephole.model.trace import Trace

    symbols, beam, copied = recorded.symbols, recorded.beam, work.source.copied
    finished = bool(symbols) and symbols[-1] == EOS
    shown = {*symbols, *recorded.top_symbols.flatten().tolist(), *(() if beam is None else beam.symbol.tolist())}
    names = dict(zip(sorted(shown), copied_tokens(sorted(shown), copied, model.target_symbols), strict=True))
    tokens = [names[symbol] for symbol in symbols]
    return Trace(
        architecture=Architecture.of(model.config.model).to_dict(),
        source_tokens=work.source.tokens,
        tokens=tokens,
        text=model.target_symbols.join(tokens[:-1] if finished else tokens),
        symbols=symbols,
        is_given=work.target is not None,
        finished=finished,
        log_prob=float(recorded.log_probs.sum()),
        log_probs=recorded.log_probs,
        ranks=recorded.ranks,
        top_symbols=recorded.top_symbols,
        top_log_probs=recorded.top_log_probs,
        arrays=recorded.arrays,
        beam=beam,
        token_names=names,
        unknown=work.source.unknown,
        truncated=work.source.truncated,
    )
