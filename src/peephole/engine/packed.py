"""Models packed by the C++ engine, and its search over them: what `peephole.search` does, without PyTorch.

Nothing here imports NumPy unless attention or samples are wanted: a program that predicts one word starts at once.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, NoReturn

from peephole import engine
from peephole.config import SearchConfig
from peephole.engine import structures
from peephole.engine.enums import SearchKind, Status
from peephole.errors import ModelFileError, PeepholeError
from peephole.search.hypothesis import Hypothesis
from peephole.storage.header import read_content
from peephole.symbols import EOS

MESSAGE_BYTES = 1000
BEAM_SETTINGS = (
    *("beam_size", "length_penalty", "length_reward", "coverage_penalty"),
    *("diverse_groups", "diversity"),
)
"""The settings of section `search` that a request for beam search holds under the same names."""


class PackedModel:
    """A model file's weights, packed for this processor; they are never changed.

    A pickled address would be one of another process, so pickling is refused: a `Model` is pickled with its file.

    Args:
        file: path of a model file, or all of its bytes.
        instruction_set: one of `engine.instruction_sets()`; None: the best.
        name: names the bytes in messages.

    Raises:
        ModelFileError: it is not a whole model file.
    """

    def __init__(
        self, file: str | Path | bytes, instruction_set: str | None = None, *, name: str | Path = "model"
    ) -> None:
        content, name = (file, name) if isinstance(file, bytes) else (read_content(file), file)
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        chosen = None if instruction_set is None else instruction_set.encode()
        library = engine.library()
        address = library.peephole_model_open(content, len(content), chosen, message, MESSAGE_BYTES)
        if address is None:
            raise ModelFileError(f"{name}: {message.value.decode(errors='replace')}")
        self.address: int = address
        """The `peephole_model *`."""
        close = weakref.finalize(self, library.peephole_model_close, address)
        close.atexit = False  # another thread may still search with it

    def __copy__(self) -> PackedModel:
        return self

    def __deepcopy__(self, memo: object) -> PackedModel:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PackedModel is memory of this process and cannot be pickled; pickle its Model or its file")


Source = Any
"""Symbol ids, for models that copy with the id of each one's copy; or frames as a NumPy array (T, F) of float32."""


Call = Callable[[str, Any, ctypes.Structure, Any], None]
"""Calls a function of the library: begins messages, the function, what it is given, where it writes its result."""


class PackedSearch:
    """Search over one packed model, or over several whose probabilities are averaged.

    Args:
        models: the models.
        guides: language models, and the weights of their log-probabilities beside the models'.
    """

    def __init__(self, models: Sequence[PackedModel], guides: Sequence[tuple[PackedModel, float]] = ()) -> None:
        self.models, self.guides = tuple(models), tuple(guides)
        self._frame_size = engine.library().peephole_model_frame_size(self.models[0].address)  # 0: symbols
        self._copies = bool(engine.library().peephole_model_copies(self.models[0].address))

    def find(
        self,
        sources: Sequence[Source],
        max_lengths: Sequence[int],
        config: SearchConfig,
        *,
        prefixes: Sequence[Sequence[int]] | None = None,
        phrases: Sequence[Sequence[Sequence[int]]] | None = None,
        examples: Sequence[int] = (),
        attention: bool = True,
    ) -> list[list[Hypothesis]]:
        """Search or sample, as `config` says, the targets of some sources.

        Args:
            sources: symbol ids of each, or its frames, none empty.
            max_lengths: most symbols of each target, </s> included.
            config: the search.
            prefixes: symbol ids that each target begins with.
            phrases: for each source the phrases, symbol ids, that its targets must contain.
            examples: for sampling, the number of each source in the caller's whole work.
            attention: whether hypotheses have their attention.

        Returns:
            For each source its hypotheses, best first; samples in the order drawn.
        """
        settings = search_fields(config, max_lengths, prefixes, phrases)
        if config.temperature is not None:
            settings |= generators(config.seed, examples)
        found: list[list[Hypothesis]] = [[] for _ in sources]
        with self._run(sources, config, settings, attention) as result:
            for source, hypothesis in self.hypotheses(result, sources):
                found[source].append(hypothesis)
        return found

    def force(
        self, sources: Sequence[Source], targets: Sequence[Sequence[int]], config: SearchConfig
    ) -> list[Hypothesis]:
        """Score a given target, symbol ids without </s>, for each source."""
        with self._run(sources, config, {"kind": SearchKind.FORCE} | joined("target", targets), True) as result:
            return [hypothesis for _, hypothesis in self.hypotheses(result, sources)]

    def alternatives(
        self, sources: Sequence[Source], targets: Sequence[Sequence[int]], config: SearchConfig, count: int
    ) -> list[tuple[Any, Any]]:
        """Return the most probable symbols at each place of each target, </s> included, the target being fed, (13).

        Args:
            sources: as in `find`.
            targets: symbol ids of each, without </s>.
            config: its threads and batch_size are used.
            count: K, from 1 to the number of symbols.

        Returns:
            For each target the ids (U, K) in int32 and their log p (U, K) in float32, most probable first.
        """
        import numpy as np

        settings = {"kind": SearchKind.FORCE, "num_alternatives": count} | joined("target", targets)
        with self._run(sources, config, settings, False) as result:
            offsets = _numbers(ctypes.c_int64, result.offsets, len(targets) + 1)
            size = 4 * count * offsets[-1]
            ids, log_probs = (ctypes.string_at(found, size) for found in (result.top_symbols, result.top_log_probs))
        symbols = np.frombuffer(ids, np.int32).reshape(-1, count)
        scores = np.frombuffer(log_probs, np.float32).reshape(-1, count)
        return [(symbols[first:end], scores[first:end]) for first, end in pairwise(offsets)]

    def _source_fields(self, sources: Sequence[Source]) -> dict[str, Any]:
        """Return the fields of a request with the sources."""
        if self._copies:
            pairs = [tuple(zip(*source, strict=True)) or ((), ()) for source in sources]
            copies = array("i", chain.from_iterable(copied for _, copied in pairs))
            return joined("source", [ids for ids, _ in pairs]) | {"copies": copies}
        if not self._frame_size:
            return joined("source", sources)
        import numpy as np

        for index, frames in enumerate(sources):
            if frames.ndim != 2 or frames.shape[1] != self._frame_size:
                wanted = f"wanted frames of {self._frame_size} numbers, got shape {frames.shape}"
                raise PeepholeError(f"source {index}: {wanted}")
        numbers = array("f", np.concatenate(sources, dtype=np.float32).tobytes())
        return {"source_offsets": array("q", accumulate(map(len, sources), initial=0)), "frames": numbers}

    def _places(self, source: Source) -> int:
        """Return the number of places of a source that the first model attends to."""
        found: int = engine.library().peephole_model_places(self.models[0].address, len(source))
        return found

    def hypotheses(
        self, result: structures.Result, sources: Sequence[Source], attends: Sequence[bool] | None = None
    ) -> Iterator[tuple[int, Hypothesis]]:
        """Yield each target found with the number of its source.

        Args:
            result: the engine's result.
            sources: the sources.
            attends: for each source whether its hypotheses have their attention; None: all, if the result has any.
        """
        count = result.num_targets
        offsets = _numbers(ctypes.c_int64, result.offsets, count + 1)
        symbols = _numbers(ctypes.c_int32, result.symbols, offsets[-1])
        scores = _numbers(ctypes.c_float, result.symbol_log_probs, offsets[-1])
        places = _numbers(ctypes.c_int64, result.attention_offsets, count + 1)
        columns = zip(
            _numbers(ctypes.c_int64, result.source, count),
            _numbers(ctypes.c_double, result.log_probs, count),
            pairwise(offsets),
            places,
            strict=False,
        )
        for source, log_prob, (first, end), place in columns:
            finished = symbols[end - 1] == EOS
            ids = tuple(symbols[first : end - finished])
            attention = None
            if result.attention and (attends is None or attends[source]):
                attention = _attention(result.attention + 4 * place, len(ids), self._places(sources[source]))
            yield source, Hypothesis(ids, log_prob, tuple(scores[first:end]), finished, attention)

    @contextmanager
    def _run(
        self, sources: Sequence[Source], config: SearchConfig, settings: dict[str, Any], attention: bool
    ) -> Iterator[structures.Result]:
        library = engine.library()
        result = ctypes.POINTER(structures.Result)()
        try:
            with self.request(sources, config, settings, attention=attention) as (request, call):
                call("search", library.peephole_search, request, result)
            yield result.contents
        finally:
            if result:
                library.peephole_result_release(result)

    @contextmanager
    def request(
        self, sources: Sequence[Source], config: SearchConfig, settings: dict[str, Any], *, attention: bool
    ) -> Iterator[tuple[structures.Request, Call]]:
        """Return a request, valid inside the block, and what calls a function of the library with it.

        Args:
            sources: symbol ids of each, or its frames.
            config: threads, batch_size and ctc_weight.
            settings: the other fields.
            attention: whether hypotheses have their attention.
        """
        addresses = (ctypes.c_void_p * len(self.models))(*(model.address for model in self.models))
        guides = (ctypes.c_void_p * len(self.guides))(*(model.address for model, _ in self.guides))
        weights = (ctypes.c_double * len(self.guides))(*(weight for _, weight in self.guides))
        interruption = Interruption()
        fields = settings | self._source_fields(sources)  # holds the arrays while the engine reads them
        request = structures.Request(
            threads=config.threads or usable_cores(),
            with_attention=attention,
            num_models=len(self.models),
            models=ctypes.addressof(addresses),
            num_guides=len(self.guides),
            guides=ctypes.addressof(guides),
            guide_weights=ctypes.addressof(weights),
            num_sources=len(sources),
            batch_size=config.batch_size,
            ctc_weight=config.ctc_weight or 0.0,
            should_stop=interruption.callback,
            **{name: field.buffer_info()[0] if isinstance(field, array) else field for name, field in fields.items()},
        )

        def call(name: str, function: Any, given: ctypes.Structure, result: Any) -> None:
            message = ctypes.create_string_buffer(MESSAGE_BYTES)
            status = function(ctypes.byref(given), ctypes.byref(result), message, MESSAGE_BYTES)
            interruption.raise_caught()
            if status != Status.OK:
                raise PeepholeError(f"{name}: {message.value.decode(errors='replace')}")

        try:
            yield request, call
        finally:
            interruption.close()


class Interruption:
    """Lets Python handle signals, such as Ctrl-C, during a call of the engine.

    The engine calls `callback` now and then. An exception that a signal handler raises there stops the call, and
    `raise_caught` raises it afterwards.
    """

    def __init__(self) -> None:
        self._caught: list[BaseException] = []
        self._watch = self._let_handlers_run()
        next(self._watch)
        # Python runs signal handlers when it begins or resumes a function. A new function would not be inside its `try`
        # yet, and ctypes would drop the exception; a generator resumes inside.
        self.callback = structures.ShouldStop(self._watch.send)

    def _let_handlers_run(self) -> Generator[int, object, None]:
        """Yield whether the engine is to stop, each time that it asks."""
        while True:
            try:
                yield int(bool(self._caught))
            except GeneratorExit:
                return
            except BaseException as error:
                self._caught.append(error)

    def raise_caught(self) -> None:
        """Raise the exception of a signal handler, if there was one."""
        if self._caught:
            raise self._caught[0]

    def close(self) -> None:
        """End the generator, which refers to this object."""
        self._watch.close()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def search_fields(
    config: SearchConfig,
    max_lengths: Sequence[int],
    prefixes: Sequence[Sequence[int]] | None = None,
    phrases: Sequence[Sequence[Sequence[int]]] | None = None,
) -> dict[str, Any]:
    """Return the fields of a request for a search, without random number generators; see `PackedSearch.find`."""
    settings: dict[str, Any] = {"max_lengths": array("q", max_lengths)}
    settings |= {name: getattr(config, name) for name in ("nbest", "min_length", "no_repeat_ngram")}
    if config.temperature is None:
        settings |= {"kind": SearchKind.BEAM} | {name: getattr(config, name) for name in BEAM_SETTINGS}
    else:
        settings |= {"kind": SearchKind.SAMPLE, "temperature": config.temperature}
        settings |= {"top_k": config.top_k or 0, "top_p": config.top_p or 1.0}
    if prefixes is not None:
        settings |= joined("target", prefixes)
    if phrases is not None:
        symbols = joined("phrase", [phrase for own in phrases for phrase in own])
        settings |= {"phrase_symbol_offsets": symbols["phrase_offsets"], "phrases": symbols["phrases"]}
        settings |= {"phrase_offsets": array("q", accumulate(map(len, phrases), initial=0))}
    return settings


def joined(name: str, sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return sequences of ids one after the other, and where each begins."""
    return {
        f"{name}_offsets": array("q", accumulate(map(len, sequences), initial=0)),
        f"{name}s": array("i", chain.from_iterable(sequences)),
    }


def generators(seed: int, examples: Sequence[int]) -> dict[str, Any]:
    """Return the random number generator of every source, those that `peephole.search.sample` draws with."""
    import numpy as np

    words = array("Q")
    for example in examples:
        state = np.random.PCG64((seed, example)).state["state"]
        words.extend(half for number in (state["state"], state["inc"]) for half in divmod(number, 2**64))
    return {"generators": words}


def _numbers(kind: Any, address: int | None, count: int) -> Any:
    """Return numbers of the engine as a list."""
    return (kind * count).from_address(address)[:] if count and address else []


def _attention(address: int, num_symbols: int, num_places: int) -> Any:
    import numpy as np

    content = ctypes.string_at(address, 4 * num_symbols * num_places)
    return np.frombuffer(content, np.float32).reshape(num_symbols, num_places)
