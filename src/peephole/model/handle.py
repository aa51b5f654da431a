"""A trained model: load, predict, score, save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peephole.config import Config, SearchConfig
from peephole.consistency import check_given_search
from peephole.engine.packed import PackedSearch
from peephole.errors import ConfigError, EmptySourceError, PeepholeError, check_path, check_type, nearest
from peephole.model.batches import find_in_parts, read_work
from peephole.model.calibrated import CalibratedSearch
from peephole.model.diagnosing import diagnose
from peephole.model.language import ANY_SOURCE, find_language_model
from peephole.model.prediction import Prediction, empty_prediction, prediction_of
from peephole.model.reading import (
    Notices,
    Source,
    check_sources,
    check_targets,
    check_texts,
    count_unknown,
    issue_warnings,
    longest_target,
    new_notices,
    read_prefixes,
    read_sources,
    read_targets,
)
from peephole.model.search_choice import make_search, slow_search_reason
from peephole.model.tracing import trace
from peephole.model.weights import LoadedFile, Weights
from peephole.nn.schema import Architecture, num_places
from peephole.symbols import FrameSymbols, Symbols, copied_tokens

if TYPE_CHECKING:
    from peephole.nn import Seq2Seq
    from peephole.search.torch import DefinitionSearch
    from peephole.storage.model_file import ModelFile

FORCED_SETTINGS = ("batch_size", "threads", "engine", "calibration")
"""The search settings that apply to given targets."""


class Model:
    """A trained model, or an ensemble of models with the same symbols.

    The engine predicts where it can and needs no PyTorch (and no NumPy for texts without attention). PyTorch gives the
    same results, slower: without the engine, with `engine="off"`, on a GPU and in float64.

    Args:
        config: the settings it was trained with.
        source_symbols: the source's symbol table.
        target_symbols: the target's symbol table.
        networks: one Seq2Seq, or several whose probabilities are averaged; their weights may change later.
        files: model files, instead of networks; they are read now and not again.
        made: versions and the training that made it, which `save` writes; None: those in the first file.
        notes: settings in the files that are not used, one line each.

    A model can be copied, pickled and sent to another process, which gets the content of its files. A copy of a loaded
    model shares this content with it; networks are copied by `copy.deepcopy` only.
    """

    def __init__(
        self,
        config: Config,
        source_symbols: Symbols,
        target_symbols: Symbols,
        networks: Sequence[Seq2Seq] = (),
        *,
        files: Sequence[str | Path | LoadedFile] = (),
        made: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        check_type("config", config, Config, "a Config")
        check_type("source_symbols", source_symbols, Symbols, "a symbol table")
        check_type("target_symbols", target_symbols, Symbols, "a symbol table")
        check_type("made", made, (type(None), Mapping), "a table of versions")
        self.config = config
        self.source_symbols = source_symbols
        self.target_symbols = target_symbols
        self.notes = tuple(notes)
        self._weights = Weights(networks, files)
        self.language_models: dict[str, Model] = {}  # that have guided searches, by the names of their files
        self.made: dict[str, Any] = dict(self._weights.made() if made is None else made)

    def __repr__(self) -> str:
        sides = (("source", self.source_symbols), ("target", self.target_symbols))
        count = len(self._weights)
        parts = [
            Architecture.of(self.config.model).describe(),
            *(f"{len(symbols)} {side} symbols ({symbols.kind})" for side, symbols in sides),
            *([f"ensemble of {count}"] if count > 1 else []),
        ]
        return f"<Model {self.name or 'in memory'}: {', '.join(parts)}>"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the model was loaded from; none for a model made of networks."""
        return tuple(Path(file.name) for file in self._weights.files)

    @property
    def name(self) -> str | None:
        """The names of its files as given, with commas between them; None without files."""
        return ",".join(str(file.name) for file in self._weights.files) or None

    @property
    def members(self) -> tuple[Model, ...]:
        """Each model of an ensemble as a model of its own."""
        tables = (self.source_symbols, self.target_symbols)
        if len(self._weights) == 1:
            return (self,)
        if not self._weights.files:
            return tuple(type(self)(self.config, *tables, [network], made=self.made) for network in self.networks)
        read = ((file, file.header()) for file in self._weights.files)
        return tuple(type(self)(h.config, *tables, files=[file], made=h.made, notes=h.notes) for file, h in read)

    @property
    def is_language_model(self) -> bool:
        """Whether the model has no source, `model.input=none`: it predicts how texts go on."""
        return self.config.model.input == "none"

    @property
    def num_bytes(self) -> int:
        """The bytes of its files; 0 without files."""
        return sum(len(file.content) for file in self._weights.files)

    @property
    def networks(self) -> tuple[Seq2Seq, ...]:
        """The networks in PyTorch; a loaded model builds them when they are first read.

        Those of a loaded model are a copy: the model itself predicts from its files. A model with changed weights is
        `Model(model.config, model.source_symbols, model.target_symbols, networks)`.
        """
        return self._weights.networks

    def prepare(self) -> None:
        """Pack or build the weights now instead of at first use.

        Raises:
            ModelFileError: a file is damaged.
        """
        config = self.config.with_values({"search.engine": "auto"})
        if slow_search_reason(self._weights, config, config.search) is None:
            self._weights.packed(self._description())
        else:
            self._weights.search_networks()

    def predict(
        self,
        sources: Iterable[Any],
        *,
        prefixes: Iterable[str] | None = None,
        must_contain: Iterable[Iterable[str]] | None = None,
        language_model: Model | str | Path | None = None,
        attention: bool = True,
        progress: Callable[[int], None] | None = None,
        first_index: int = 0,
        notices: Notices | None = None,
        **search: Any,
    ) -> list[list[Prediction]]:
        """Predict the targets of some sources by the search that the model's config, or `search`, sets.

        Without either it is a beam search of 5 for the single best.

        Args:
            sources: source texts. An empty one has the empty target as its only prediction, with probability 1. For a
                model of sound, images or numbers: names of files, or arrays of frames (T, F). For a language model:
                what its targets begin with, which may be empty.
            prefixes: texts that the targets begin with, one a source; their symbols are scored like any other.
            must_contain: for each source the texts that its targets must contain, such as [["Berlin"], []]. The symbols
                of a text stand in the target one after the other; texts may overlap.
            language_model: a language model of the same target symbols, or the name of its file, whose log p times
                `search.language_model_weight` is added to choose and rank; None: that of the settings. Predictions
                report log p without it.
            attention: whether predictions have their attention weights.
            progress: called with 0 when all texts are read and `notices` is filled, and after each part of the search
                with the number of sources done since the last call.
            first_index: number of the first source in the whole input, if the caller passes it in parts: the
                seed and the number of a source determine its random numbers in sampling.
            notices: collects unknown symbols and truncated or empty sources; None: Python warnings are issued for them.
            search: settings of `peephole.config.SearchConfig`: beam_size, nbest, length_penalty, temperature, …

        Returns:
            For each source its predictions, best first; `nbest` of them, or fewer if the search found fewer.

        Raises:
            ConfigError: an unknown or impossible search setting.
            PrefixError: a prefix is as long as its target may be.
            PeepholeError: another argument is not as described.

        A source symbol that was not seen in training is read as <unk>, a source longer than `data.max_length` up to
        that length; see `Prediction.unknown` and `Prediction.truncated`.
        """
        config = self._search_config("predict", search)
        check_type("attention", attention, bool, "True or False")
        check_type("progress", progress, (type(None), Callable), "a function")  # type: ignore[arg-type]  # an ABC
        check_type("first_index", first_index, int, "a whole number")
        if first_index < 0:
            raise PeepholeError(f"first_index: wanted at least 0, got {first_index}")
        collected = new_notices(notices)
        work = read_work(self, sources, prefixes, must_contain, config, collected, first_index)
        read = work.sources
        guide = find_language_model(self, language_model, config)
        searching = self._make_search(config, collected, len(read), guide)
        if notices is None:
            issue_warnings(collected, len(read), stacklevel=2)
        attends = attention and self.config.model.context == "attention"
        results: list[list[Prediction]] = [[] if len(source.ids) else [empty_prediction(attends)] for source in read]
        report = progress or (lambda count: None)
        report(0)
        for part in find_in_parts(searching, work, config, attention=attention):
            for index, hypotheses in part:
                results[index] = [
                    prediction_of(hypothesis, read[index], self.target_symbols) for hypothesis in hypotheses
                ]
            report(len(part))
        return results

    def score(
        self,
        sources: Iterable[Any],
        targets: Iterable[str | Sequence[str]],
        *,
        notices: Notices | None = None,
        **search: Any,
    ) -> list[float]:
        """Return log p(Y | X), (11), of each target given its source, natural logarithms, </s> included.

        Args:
            sources: as in `predict`, none empty; a language model reads targets alone, and its sources may be anything.
            targets: one a source, each a text, or a list of tokens such as `Prediction.tokens`. A text is split into
                symbols as in training. With subwords a model may predict another segmentation of the same text,
                which has another probability; pass its tokens to score it.
            notices: collects unknown symbols and truncated or empty sources; None: Python warnings are issued for them.
            search: threads, batch_size or engine, as in `predict`.

        Raises:
            ConfigError: an unknown or impossible setting.
            PeepholeError: not as many targets as sources, an empty source, or arguments of other types.
        """
        config, pairs = self._read_pairs("score", sources, targets, notices, search)
        scores = [0.0] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda index: len(pairs[index][0].ids))
        found = self._make_search(config, Notices(), len(pairs)).force(
            [pairs[index][0].ids for index in order], [pairs[index][1] for index in order], config
        )
        for index, hypothesis in zip(order, found, strict=True):
            scores[index] = hypothesis.log_prob
        return scores

    def teacher_forced(
        self,
        sources: Sequence[Any],
        targets: Sequence[str | Sequence[str]],
        *,
        notices: Notices | None = None,
        **search: Any,
    ) -> list[list[str]]:
        """Return the most probable symbol at each position of each target, the model being fed the target, (13).

        Args:
            sources: as in `predict`, none empty.
            targets: one a source, as in `score`.
            notices: collects unknown symbols and truncated or empty sources; None: Python warnings are issued for them.
            search: threads, batch_size or engine, as in `predict`.

        Returns:
            For each target as many symbols as it has; </s> and <unk> may be among them as wrong answers.

        Raises:
            ConfigError: an unknown or impossible setting.
            PeepholeError: not as many targets as sources, an empty source, or arguments of other types.
        """
        config, pairs = self._read_pairs("teacher_forced", sources, targets, notices, search)
        found: list[list[str]] = [[]] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda index: (len(pairs[index][1]), len(pairs[index][0].ids)))
        likeliest = self._make_search(config, Notices(), len(pairs)).alternatives(
            [pairs[index][0].ids for index in order], [pairs[index][1] for index in order], config, 1
        )
        for index, (ids, _) in zip(order, likeliest, strict=True):
            found[index] = copied_tokens(ids[:-1, 0].tolist(), pairs[index][0].copied, self.target_symbols)
        return found

    trace, diagnose = trace, diagnose

    def unknown_symbols(self, sources: Sequence[Any], targets: Sequence[str] = ()) -> Counter[str]:
        """Count the symbols that were not seen in training on their side, also past `data.max_length`."""
        texts = check_sources(self.source_symbols, sources)
        unknown = (
            Counter() if isinstance(self.source_symbols, FrameSymbols) else count_unknown(self.source_symbols, texts)
        )
        return unknown + count_unknown(self.target_symbols, check_texts("targets", targets))

    def save(self, path: str | Path) -> None:
        """Write the model to one .safetensors file, in place of an older model or nothing.

        Raises:
            RunError: the file cannot be written.
            ConfigError: there is another file of this name, which is no model.
            PeepholeError: this is an ensemble; save its members one by one.
        """
        check_path("path", path)
        from peephole.storage.model_file import save_model
        from peephole.storage.outputs import check_output

        check_output(path, "any model", [])
        save_model(path, self.model_file("save"))

    def model_file(self, call: str = "model_file") -> ModelFile:
        """Return what `save` writes: all tensors, in float32, settings, symbols and how the model was made.

        Args:
            call: begins the error message.

        Raises:
            PeepholeError: this is an ensemble; save its `members` one by one.
            ModelFileError: the file it was loaded from was damaged.
        """
        if len(self._weights) != 1:
            raise PeepholeError(f"{call}: an ensemble has no file of its own; its members are saved one by one")
        return self._weights.model_file(self._description(), self.made)

    def _search_config(
        self, call: str, search: Mapping[str, Any], allowed: Collection[str] | None = None
    ) -> SearchConfig:
        """Return the model's search settings, changed by those of a call; `allowed` is None for any of them."""
        check_given_search(self.config.model, search)
        for name in search:
            if allowed is not None and name not in allowed:
                raise ConfigError(
                    f"{call}: unknown setting {name!r}; wanted {', '.join(allowed)}{nearest(name, allowed)}"
                )
        return self.config.with_values({f"search.{name}": value for name, value in search.items()}, call).searching()

    def _read_sources(self, texts: Sequence[Any], notices: Notices, first_index: int = 0) -> list[Source]:
        of_frames = isinstance(self.source_symbols, FrameSymbols)
        how: dict[str, Any] = {"target": self.target_symbols if self.config.model.output == "copy" else None}
        how["longest"] = self.config.frames.max_frames if of_frames else self.config.data.max_length
        return read_sources(self.source_symbols, texts, notices, first_index=first_index, **how)

    def num_places(self, source: Source) -> int:
        """Return the number of encoder outputs of a source that was read, from which attention chooses."""
        return int(num_places(Architecture.of(self.config.model), len(source.ids)))

    def _read_pairs(
        self,
        call: str,
        sources: Iterable[Any],
        targets: Iterable[str | Sequence[str]],
        notices: Notices | None,
        search: Mapping[str, Any],
    ) -> tuple[SearchConfig, list[tuple[Source, list[int]]]]:
        """Return the search settings of a call with given targets, each source and the ids of its target."""
        config = self._search_config(call, search, FORCED_SETTINGS)
        texts, wanted = check_sources(self.source_symbols, sources), check_targets(targets)
        if len(texts) != len(wanted):
            raise PeepholeError(f"{call}: wanted as many targets as sources, got {len(wanted)} and {len(texts)}")
        collected = new_notices(notices)
        read = self._read_sources(texts, collected) if not self.is_language_model else [ANY_SOURCE] * len(texts)
        lengths = [len(source.ids) for source in read]
        if 0 in lengths:
            raise EmptySourceError(call, lengths.index(0))
        target_ids = read_targets(self.target_symbols, wanted, read, collected)
        collected.slow_search = slow_search_reason(self._weights, self.config, config)
        if notices is None:
            issue_warnings(collected, len(texts), stacklevel=3)
        return config, list(zip(read, target_ids, strict=True))

    def _read_for_search(
        self, sources: Iterable[Any], prefixes: Iterable[str] | None, config: SearchConfig, notices: Notices, first: int
    ) -> tuple[list[Source], list[list[int]] | None, list[int]]:
        """Return the sources, the ids of the prefixes, and the most symbols of each target; 0 for an empty source."""
        read = self._read_sources(check_sources(self.source_symbols, sources), notices, first)
        begin = None
        if prefixes is not None:
            texts = check_texts("prefixes", prefixes)
            begin = read_prefixes(
                self.target_symbols, texts, read, config, notices, first_index=first, places=self.num_places
            )
        return read, begin, [longest_target(self.num_places(s), config) if len(s.ids) else 0 for s in read]

    def _make_search(
        self, config: SearchConfig, notices: Notices, count: int, guide: Model | None = None
    ) -> PackedSearch | DefinitionSearch | CalibratedSearch:
        guides = [] if guide is None else [(guide._weights, guide._description(), config.language_model_weight)]
        return make_search(self._weights, self._description(), config, notices, count, guides)

    def _description(self) -> tuple[Config, Symbols, Symbols]:
        return self.config, self.source_symbols, self.target_symbols
