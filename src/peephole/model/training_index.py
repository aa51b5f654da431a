"""An index of training pairs by what the encoder makes of their sources, and of the errors on dev."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from peephole.errors import DataError, ModelFileError, PeepholeError, check_type
from peephole.evaluation.alignment import align
from peephole.model.diagnosis import DevErrors, Neighbour
from peephole.model.pairs import PairsArgument, iterate_pairs
from peephole.model.reading import Notices, Source
from peephole.model.search_choice import slow_search_reason
from peephole.model.tracing import check_can_be_traced
from peephole.storage.replace_file import replace_file

if TYPE_CHECKING:
    from peephole.model.handle import Model

FORMAT = "peephole-index"
VERSION = "1"
FILE_NAME = "index.safetensors"
SOURCES_PER_CALL = 512
MOST_PAIRS = 100_000


class TrainingIndex:
    """Training pairs with the mean of the encoder's outputs of each source, and the differences on dev.

    Args:
        pairs: source and target of each, N of them.
        vectors: (N, M) 1/S Σ_j h_j of each source, less the mean over all sources, of length 1.
        mean: (M,) the mean over all sources.
        errors: how often each pair (predicted symbol, reference symbol) differs on dev, None on a side that has none;
            None: unknown.
        model: SHA-256 of the model's file; "" for a model in memory.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        vectors: NDArray[np.floating],
        mean: NDArray[np.float32],
        errors: Counter[tuple[str | None, str | None]] | None,
        model: str,
    ) -> None:
        self.pairs, self.vectors, self.mean, self.errors, self.model = list(pairs), vectors, mean, errors, model

    def __repr__(self) -> str:
        return f"<TrainingIndex of {len(self.pairs)} pairs>"

    def nearest(self, model: Model, source: Source, count: int) -> tuple[Neighbour, ...]:
        """Return the training pairs whose sources have the most similar vectors, most similar first."""
        if not self.pairs:
            return ()
        [vector] = _unit(pooled(model, [source]) - self.mean)
        cosines = self.vectors.astype(np.float32) @ vector
        best: list[int] = np.argsort(-cosines, kind="stable")[:count].tolist()
        found = ((*self.pairs[index], round(float(cosines[index]), 4)) for index in best)
        return tuple(Neighbour(source, target, similarity) for source, target, similarity in found)

    def errors_like(self, predicted: Sequence[str], wanted: Sequence[str]) -> DevErrors | None:
        """Return how often dev has the first difference between two lists of symbols; None if it is unknown."""
        if self.errors is None:
            return None
        for pair in align(predicted, wanted):
            if pair[0] != pair[1]:
                kind = _kind(pair)
                of_kind = sum(count for other, count in self.errors.items() if _kind(other) == kind)
                return DevErrors(*pair, kind, self.errors[pair], of_kind, sum(self.errors.values()))
        return None

    def save(self, path: str | Path) -> None:
        """Write the index to a file.

        Raises:
            RunError: the file cannot be written.
        """
        errors = (
            None if self.errors is None else [[*pair, count] for pair, count in sorted(self.errors.items(), key=str)]
        )
        metadata = {"format": FORMAT, "version": VERSION, "model": self.model}
        metadata |= {
            "pairs": json.dumps(self.pairs, ensure_ascii=False),
            "errors": json.dumps(errors, ensure_ascii=False),
        }
        content = save({"vectors": self.vectors.astype(np.float16), "mean": self.mean}, metadata)
        with replace_file(path) as file:
            file.write(content)

    @classmethod
    def load(cls, path: str | Path) -> TrainingIndex:
        """Read an index from its file.

        Raises:
            ModelFileError: there is no such file, or it is no index.
        """
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
                    raise ModelFileError(
                        f"{path}: wanted an index of training pairs of version {VERSION}, got another file"
                    )
                errors = json.loads(metadata["errors"])
                counts = None if errors is None else Counter({(one, other): count for one, other, count in errors})
                pairs = [(source, target) for source, target in json.loads(metadata["pairs"])]
                vectors, mean = file.get_tensor("vectors"), file.get_tensor("mean")
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"{path}: is no index of training pairs: {error}") from error
        if len(vectors) != len(pairs) or vectors.shape[1:] != mean.shape:
            raise ModelFileError(f"{path}: wanted a vector for each of {len(pairs)} pairs, got shape {vectors.shape}")
        return cls(pairs, vectors, mean, counts, metadata["model"])


def build_index(
    model: Model,
    pairs: PairsArgument,
    *,
    dev: PairsArgument | None = None,
    out: str | Path | None = None,
    most: int = MOST_PAIRS,
) -> TrainingIndex:
    """Make an index of training pairs, which `Model.diagnose` finds if it is in the run's folder.

    Args:
        model: the model whose predictions are diagnosed.
        pairs: its training pairs: a file as `peephole.train` reads, or pairs of texts. Of more than `most`, as many are
            drawn at random; those with empty sources are left out.
        dev: pairs on which errors are counted; None: none are.
        out: the file to write; None: `index.safetensors` in the run's folder beside the model's file, if there is one.
        most: most pairs of the index.

    Raises:
        PeepholeError: an ensemble, a language model or a model of series.
        DataError: a pair cannot be read, or there is none.
        RunError: the file cannot be written.
    """
    check_can_be_traced(model, "build_index")
    check_type("most", most, int, "a whole number")
    chosen = _sample(((pair.source, pair.target) for pair in iterate_pairs(pairs, model)), most)
    if not chosen:
        raise DataError("build_index: wanted at least one pair, got none")
    kept: list[tuple[str, str]] = []
    rows = []
    for first in range(0, len(chosen), SOURCES_PER_CALL):
        part = chosen[first : first + SOURCES_PER_CALL]
        read = model._read_sources([source for source, _ in part], Notices())
        found = [(pair, source) for pair, source in zip(part, read, strict=True) if len(source.ids)]
        kept += [pair for pair, _ in found]
        rows.append(pooled(model, [source for _, source in found]))
    vectors = np.concatenate(rows)
    mean = vectors.mean(0) if len(vectors) else vectors.sum(0)
    errors = None if dev is None else count_errors(model, dev)
    index = TrainingIndex(kept, _unit(vectors - mean).astype(np.float16), mean, errors, _digest(model))
    path = run_index(model) if out is None else Path(out)
    if path is not None:
        index.save(path)
    return index


def count_errors(model: Model, dev: PairsArgument) -> Counter[tuple[str | None, str | None]]:
    """Count the pairs (predicted symbol, reference symbol) that differ in the alignments of predictions on dev."""
    counts: Counter[tuple[str | None, str | None]] = Counter()
    pairs = [(pair.source, pair.target) for pair in iterate_pairs(dev, model)]
    for first in range(0, len(pairs), SOURCES_PER_CALL):
        part = pairs[first : first + SOURCES_PER_CALL]
        predictions = model.predict([source for source, _ in part], attention=False, nbest=1, notices=Notices())
        for (_, target), [best] in zip(part, predictions, strict=True):
            wanted = model.target_symbols.segment(target)[1]
            ends = ["</s>"] if best.finished else []
            columns = align([*best.tokens, *ends], [*wanted, "</s>"])
            counts.update(column for column in columns if column[0] != column[1])
    return counts


def find_index(model: Model, given: object) -> TrainingIndex | None:
    """Return the index of a call, or that in the run's folder beside the model's file; None if there is none.

    Raises:
        ModelFileError: the file is no index.
        PeepholeError: it is an index of another model.
    """
    check_type("index", given, (type(None), TrainingIndex, str, Path), "an index or the name of its file")
    path = run_index(model) if given is None else given
    if path is None or (given is None and not Path(str(path)).exists()):
        return None
    index = path if isinstance(path, TrainingIndex) else TrainingIndex.load(Path(str(path)))
    if index.model != _digest(model):
        if given is None:
            return None  # the model was trained again
        raise PeepholeError("index: wanted one of this model, got one of another; make it anew with build_index")
    return index


def run_index(model: Model) -> Path | None:
    """Return the file of the index in the run's folder beside a model's file; None if there is no such folder."""
    if len(model.files) != 1:
        return None
    folder = model.files[0].with_suffix(".run")
    return folder / FILE_NAME if folder.is_dir() else None


def pooled(model: Model, sources: Sequence[Source]) -> NDArray[np.float32]:
    """Return 1/S Σ_j h_j of each source, (N, M), by the engine where it can."""
    config, weights = model.config.searching(), model._weights
    if weights.fit_engine() and slow_search_reason(weights, model.config, config) is None and config.engine == "auto":
        from peephole.engine.trace import encode

        [packed] = weights.packed(model._description())
        outputs: Iterable[NDArray[np.floating]] = (encode(packed, source.ids) for source in sources)
    else:
        from peephole.search.torch_trace import encode as encode_by_definition

        network = weights.search_networks()[0]
        outputs = (encode_by_definition(network, source.ids) for source in sources)
    rows = [output.mean(0) for output in outputs]
    size = model.config.model.encoder_size or model.config.model.hidden_size
    return np.array(rows, np.float32).reshape(len(rows), size)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _sample(pairs: Iterator[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    """Return up to `most` pairs, each with the same chance, always the same for the same pairs."""
    draw, chosen = random.Random(1), []
    for number, pair in enumerate(pairs):
        if number < most:
            chosen.append(pair)
        else:
            place = draw.randrange(number + 1)
            if place < most:
                chosen[place] = pair
    return chosen


def _kind(pair: tuple[str | None, str | None]) -> Any:
    """Return the kind of a difference (predicted, wanted)."""
    if pair[0] is None:
        return "deletion"
    return "insertion" if pair[1] is None else "substitution"


def _digest(model: Model) -> str:
    """Return the SHA-256 of a model's file; "" without one."""
    files = model._weights.files
    return hashlib.sha256(files[0].content).hexdigest() if files else ""
