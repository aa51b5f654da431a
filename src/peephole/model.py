"""The user's handle on a trained model: load, predict, score, save."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peephole import engine
from peephole.config import Config, SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.errors import ModelFileError, PeepholeError
from peephole.search.hypothesis import Hypothesis
from peephole.storage.header import read_header
from peephole.symbols import UNK, Symbols

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from peephole.nn import Seq2Seq
    from peephole.search.torch import DefinitionSearch

TOO_LONG_PREFIX = (
    "wanted a prefix of fewer than {most} symbols, the most of its target (search.max_length_factor, "
    "search.max_length_extra), got {length}"
)
BATCHES_A_CALL = 4
"""Batches searched before progress is told and a signal is heard."""


@dataclass(frozen=True)
class Prediction:
    """One target found for a source."""

    text: str
    tokens: list[str]
    """The target's symbols, U of them, without </s>."""
    log_prob: float
    """log p(Y | X), (11), natural logarithm, </s> included."""
    symbol_log_probs: list[float]
    """log p(y_t | y_1 … y_{t-1}, X) of each symbol; the last one is that of </s> if the prediction is finished."""
    finished: bool
    """False where the longest length allowed was reached before </s>."""
    source_tokens: list[str]
    """The source's symbols, T of them."""
    attention: npt.NDArray[np.float32] | None
    """Attention weights α, (16), shape (U, T), rows summing to 1; None for a fixed context, or if not asked for."""


class UnknownSymbolWarning(UserWarning):
    """Some source symbols were not seen in training; the model reads <unk> in their place."""


class TruncatedSourceWarning(UserWarning):
    """Some sources were longer than `data.max_length`; the model reads their beginning."""


class SlowSearchWarning(UserWarning):
    """The engine is missing; the definition does its work."""


class Model:
    """A trained model, or an ensemble of models with the same symbols.

    Where the engine can, it predicts. It needs no PyTorch (nor NumPy, for texts alone: neither is imported before it is
    needed). The definition does the same, slower: without the engine, with `engine="off"`, on a GPU and in float64.

    Args:
        config: the settings it was trained with.
        source_symbols: the source's symbol table.
        target_symbols: the target's symbol table.
        networks: one Seq2Seq, or several whose probabilities are averaged; their weights may change later.
        files: model files in their place.
    """

    def __init__(
        self,
        config: Config,
        source_symbols: Symbols,
        target_symbols: Symbols,
        networks: Sequence[Seq2Seq] = (),
        *,
        files: Sequence[str | Path] = (),
    ) -> None:
        self.config = config
        self.source_symbols = source_symbols
        self.target_symbols = target_symbols
        self._networks = tuple(networks)
        self._files = tuple(files)
        self._packed_files: list[PackedModel] = []

    @property
    def networks(self) -> tuple[Seq2Seq, ...]:
        """The networks in PyTorch; a model that was loaded builds them when they are first asked for.

        Those of a loaded model are a copy to look at: the model itself goes by its files. A model of changed weights is
        `Model(model.config, model.source_symbols, model.target_symbols, networks)`.
        """
        if not self._networks:
            from peephole.search.torch import build_network
            from peephole.storage.model_file import load_model

            self._networks = tuple(build_network(path, load_model(path)) for path in self._files)
        return self._networks

    def prepare(self) -> None:
        """Pack or build the weights now instead of at first use.

        Raises:
            ModelFileError: a file is damaged.
        """
        if engine.available():
            self._packed()
        else:
            _ = self.networks

    def predict(
        self,
        sources: Sequence[str],
        *,
        prefixes: Sequence[str] | None = None,
        attention: bool = True,
        progress: Callable[[int], None] | None = None,
        first_index: int = 0,
        **search: Any,
    ) -> list[list[Prediction]]:
        """Predict the targets of some sources by the search that the model's config, or `search`, asks for.

        Without either it is a beam search of 5 for the single best.

        Args:
            sources: source texts. An empty one has the empty target as its only prediction, with probability 1.
            prefixes: texts that the targets begin with, one a source; their symbols are scored like any other.
            attention: whether predictions have their attention weights.
            progress: called after each part of the work with the number of sources done in it.
            first_index: number of the first source in the caller's whole work, where that comes in parts: the
                random numbers that a source is sampled with follow from the seed and its number.
            search: settings of `peephole.config.SearchConfig`: beam_size, nbest, length_penalty, temperature, …

        Returns:
            For each source its predictions, best first; `nbest` of them, or fewer if the search found fewer.

        Raises:
            ConfigError: an unknown or impossible search setting.
            PeepholeError: not as many prefixes as sources, or one as long as its target may be.

        A source symbol that was not seen in training is read as <unk>, a source longer than `data.max_length` up to
        that length; each is warned of, with the number of cases.
        """
        config = self.config.with_values({f"search.{k}": v for k, v in search.items()}, "predict").search
        sources = _texts("sources", sources)
        encoded = self._encode(sources)
        attends = attention and self.config.model.context == "attention"
        results: list[list[Prediction]] = [[] if ids else [_empty_prediction(attends)] for ids in encoded]
        begin = self._encode_prefixes(prefixes, encoded, config)
        # Sources of like length share a batch; the results do not depend on who shares it.
        order = sorted((index for index, ids in enumerate(encoded) if ids), key=lambda index: len(encoded[index]))
        searching = self._searching(config)
        size = config.batch_size * BATCHES_A_CALL
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            found = searching.find(
                [encoded[index] for index in rows],
                [_longest(encoded[index], config) for index in rows],
                config,
                prefixes=None if begin is None else [begin[index] for index in rows],
                examples=[first_index + index for index in rows],
                attention=attention,
            )
            for index, hypotheses in zip(rows, found, strict=True):
                tokens = self.source_symbols.split(sources[index])[: len(encoded[index])]
                results[index] = [self._prediction(hypothesis, tokens) for hypothesis in hypotheses]
            if progress is not None:
                progress(len(rows))
        return results

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
        """Return log p(Y | X), (11), of each target given its source, natural logarithms, </s> included.

        Raises:
            PeepholeError: not as many targets as sources, or an empty source.
        """
        sources, targets = _texts("sources", sources), _texts("targets", targets)
        if len(sources) != len(targets):
            raise PeepholeError(f"score: wanted as many targets as sources, got {len(targets)} and {len(sources)}")
        encoded = self._encode(sources)
        for index, ids in enumerate(encoded):
            if not ids:
                raise PeepholeError(f"score: source {index} is empty; wanted at least one symbol")
        scores = [0.0] * len(sources)
        targets_of = [self.target_symbols.encode(target) for target in targets]
        order = sorted(range(len(sources)), key=lambda index: len(encoded[index]))
        found = self._searching(self.config.search).force(
            [encoded[index] for index in order], [targets_of[index] for index in order], self.config.search
        )
        for index, hypothesis in zip(order, found, strict=True):
            scores[index] = hypothesis.log_prob
        return scores

    def teacher_forced(self, sources: Sequence[str], targets: Sequence[str]) -> list[list[str]]:
        """Return the most probable symbol at each position of each target, the model being fed the target, (13).

        Args:
            sources: source texts, none empty.
            targets: one target text a source.

        Returns:
            For each target as many symbols as it has; </s> and <unk> may stand among them as wrong answers.

        Raises:
            PeepholeError: not as many targets as sources.
        """
        sources, targets = _texts("sources", sources), _texts("targets", targets)
        if len(sources) != len(targets):
            raise PeepholeError(f"wanted as many targets as sources, got {len(targets)} and {len(sources)}")
        pairs = list(zip(self._encode(sources), map(self.target_symbols.encode, targets), strict=True))
        found: list[list[str]] = [[]] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda index: (len(pairs[index][1]), len(pairs[index][0])))
        likeliest = self._searching(self.config.search).likeliest(
            [pairs[index][0] for index in order], [pairs[index][1] for index in order], self.config.search
        )
        for index, ids in zip(order, likeliest, strict=True):
            found[index] = self.target_symbols.tokens(ids[:-1])
        return found

    def save(self, path: str | Path) -> None:
        """Write the model to one .safetensors file.

        Raises:
            RunError: the file cannot be written.
            PeepholeError: this is an ensemble: its members are saved each in its own file.
        """
        if len(self._networks or self._files) != 1:
            raise PeepholeError("save: an ensemble has no file of its own; its members are saved one by one")
        from peephole.storage.model_file import ModelFile, load_model, save_model

        parts = (self.config, self.source_symbols, self.target_symbols)
        if self._files:
            stored = load_model(self._files[0])
            save_model(path, ModelFile(stored.tensors, *parts, stored.stored))
        else:
            save_model(path, ModelFile(_tensors(self._networks[0]), *parts))

    def longest_target(self, source: str, search: SearchConfig) -> int:
        """Return the most symbols, </s> included, that the targets of a source may have."""
        return _longest(self.source_symbols.encode(source)[: self.config.data.max_length], search)

    def unknown_symbols(self, sources: Sequence[str], targets: Sequence[str] = ()) -> Counter[str]:
        """Count the symbols that were not seen in training on their side."""
        unknown: Counter[str] = Counter()
        for symbols, texts in ((self.source_symbols, sources), (self.target_symbols, targets)):
            for text in texts:
                ids = symbols.encode(text)
                if UNK in ids:
                    unknown.update(s for s, i in zip(symbols.split(text), ids, strict=True) if i == UNK)
        return unknown

    def _encode(self, sources: Sequence[str]) -> list[list[int]]:
        limit = self.config.data.max_length
        encoded = [self.source_symbols.encode(text) for text in sources]
        too_long = sum(len(ids) > limit for ids in encoded)
        if too_long:
            text = f"{too_long} of {len(sources)} sources are longer than {limit} symbols; only their beginning is read"
            warnings.warn(TruncatedSourceWarning(text), stacklevel=3)
        unknown = sum(ids.count(UNK) for ids in encoded)
        if unknown:
            first = next(iter(self.unknown_symbols([t for t, ids in zip(sources, encoded, strict=True) if UNK in ids])))
            text = (
                f"{unknown} source symbols were not seen in training and are read as <unk>, the first of them {first!r}"
            )
            warnings.warn(UnknownSymbolWarning(text), stacklevel=3)
        return [ids[:limit] for ids in encoded]

    def _encode_prefixes(
        self, prefixes: Sequence[str] | None, encoded: list[list[int]], config: SearchConfig
    ) -> list[list[int]] | None:
        if prefixes is None:
            return None
        prefixes = _texts("prefixes", prefixes)
        if len(prefixes) != len(encoded):
            raise PeepholeError(f"prefixes: wanted a list of {len(encoded)}, one a source, got {len(prefixes)}")
        begin = [self.target_symbols.encode(prefix) for prefix in prefixes]
        for index, (ids, source) in enumerate(zip(begin, encoded, strict=True)):
            most = _longest(source, config)
            if source and len(ids) >= most:
                raise PeepholeError(f"prefix {index}: {TOO_LONG_PREFIX.format(most=most, length=len(ids))}")
        return begin

    def _searching(self, config: SearchConfig) -> PackedSearch | DefinitionSearch:
        if config.engine == "auto" and engine.available() and self._fits_engine():
            return PackedSearch(self._packed())
        if config.engine == "auto" and not engine.available():
            _warn_of_missing_engine()
        from peephole.search.torch import DefinitionSearch

        return DefinitionSearch(self.networks)

    def _fits_engine(self) -> bool:
        """Return whether the engine can pack the networks: on the CPU, in float32, all parts of the config's kinds."""
        if self._files or not self._networks:
            return True
        from peephole.nn import network_kinds

        kinds = network_kinds(self.config.model)
        return all(network.kinds() == kinds and _is_float32_on_cpu(network) for network in self._networks)

    def _packed(self) -> list[PackedModel]:
        if not self._files:  # weights of networks may change from call to call
            from peephole.storage.model_file import ModelFile, encode_model

            parts = (self.config, self.source_symbols, self.target_symbols)
            return [PackedModel(encode_model(ModelFile(_tensors(network), *parts))) for network in self._networks]
        if not self._packed_files:
            self._packed_files = [PackedModel(path) for path in self._files]
        return self._packed_files

    def _prediction(self, hypothesis: Hypothesis, source_tokens: list[str]) -> Prediction:
        return Prediction(
            text=self.target_symbols.decode(hypothesis.ids),
            tokens=self.target_symbols.tokens(hypothesis.ids),
            log_prob=hypothesis.log_prob,
            symbol_log_probs=list(hypothesis.symbol_log_probs),
            finished=hypothesis.finished,
            source_tokens=source_tokens,
            attention=hypothesis.attention,
        )


def load(path: str | Path, *more: str | Path) -> Model:
    """Load a model file; several files with the same symbols make an ensemble.

    Raises:
        ModelFileError: a file is missing, damaged, of a newer format, or its symbols differ from the first one's.
    """
    first = read_header(path)
    for another in more:
        header = read_header(another)
        for side in ("source_symbols", "target_symbols"):
            if getattr(header, side).to_json() != getattr(first, side).to_json():
                raise ModelFileError(f"{another}: its {side} differ from those of {path}; an ensemble needs the same")
    model = Model(first.config, first.source_symbols, first.target_symbols, files=(path, *more))
    model.prepare()  # what is wrong with the weights is said here
    return model


def _texts(name: str, given: Iterable[str]) -> list[str]:
    """Return what was given as a list of texts, or raise a PeepholeError if it is none."""
    if isinstance(given, str):
        raise PeepholeError(f"{name}: wanted a list of texts, got one text, {given!r}; write [{given!r}]")
    if not isinstance(given, Iterable):
        raise PeepholeError(f"{name}: wanted a list of texts, got {given!r}")
    texts = list(given)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise PeepholeError(f"{name}: wanted texts, got {text!r} at index {index}")
    return texts


def _is_float32_on_cpu(network: Seq2Seq) -> bool:
    weight = next(network.parameters())
    return weight.device.type == "cpu" and str(weight.dtype) == "torch.float32"


def _tensors(network: Seq2Seq) -> dict[str, Any]:
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in network.state_dict().items()}


def _empty_prediction(attends: bool) -> Prediction:
    """Return the target of an empty source."""
    weights = None
    if attends:
        import numpy as np

        weights = np.zeros((0, 0), np.float32)
    return Prediction("", [], 0.0, [], True, [], weights)


def _longest(source: Sequence[int], config: SearchConfig) -> int:
    """Return the most symbols, </s> included, of a source's target."""
    return int(len(source) * config.max_length_factor) + config.max_length_extra


@cache
def _warn_of_missing_engine() -> None:
    warnings.warn(
        SlowSearchWarning("peephole was installed without its engine: prediction runs in PyTorch, many times slower"),
        stacklevel=4,
    )
