"""The user's handle on a trained model: load, predict, score, save."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from peephole.config import Config, SearchConfig
from peephole.errors import ModelFileError, PeepholeError
from peephole.model_file import ModelFile, load_model, save_model
from peephole.nn import Seq2Seq, Seq2SeqStepper, build_seq2seq
from peephole.search import EnsembleStepper, Hypothesis, Stepper, beam_search, force, greedy_search, sample
from peephole.symbols import EOS, PAD, UNK, Symbols


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
    """Attention weights α, (16), shape (U, T), each row summing to 1; None for a model with a fixed context."""


class UnknownSymbolWarning(UserWarning):
    """Some source symbols were not seen in training; the model reads <unk> in their place."""


class TruncatedSourceWarning(UserWarning):
    """Some sources were longer than `data.max_length`; the model reads their beginning."""


class Model:
    """A trained model, or an ensemble of models with the same symbols.

    Args:
        config: the settings it was trained with.
        source_symbols: the source's symbol table.
        target_symbols: the target's symbol table.
        networks: one Seq2Seq, or several whose probabilities are averaged.
    """

    def __init__(
        self, config: Config, source_symbols: Symbols, target_symbols: Symbols, networks: Sequence[Seq2Seq]
    ) -> None:
        self.config = config
        self.source_symbols = source_symbols
        self.target_symbols = target_symbols
        self.networks = tuple(networks)
        self._stepper: Stepper[Any] = (
            Seq2SeqStepper(self.networks[0])
            if len(self.networks) == 1
            else EnsembleStepper([Seq2SeqStepper(network) for network in self.networks])
        )

    def predict(
        self,
        sources: Sequence[str],
        *,
        progress: Callable[[int], None] | None = None,
        first_index: int = 0,
        **search: Any,
    ) -> list[list[Prediction]]:
        """Predict the targets of some sources; without settings, the single best of a beam search.

        Args:
            sources: source texts. An empty one has the empty target as its only prediction, with probability 1.
            progress: called after each batch with the number of sources done in it.
            first_index: number of the first source in the caller's whole work, where that comes in parts: the
                random numbers that a source is sampled with follow from the seed and its number.
            search: settings of `peephole.config.SearchConfig`: beam_size, nbest, length_penalty, temperature, …

        Returns:
            For each source its predictions, best first; `nbest` of them, or fewer if the search found fewer.

        Raises:
            ConfigError: an unknown or impossible search setting.

        A source symbol that was not seen in training is read as <unk>, a source longer than `data.max_length` up to
        that length; each is warned of, with the number of cases.
        """
        config = self.config.with_values({f"search.{k}": v for k, v in search.items()}, "predict").search
        encoded = self._encode(sources)
        results: list[list[Prediction]] = [
            [Prediction("", [], 0.0, [], True, [], np.zeros((0, 0), np.float32))] for _ in sources
        ]
        # Sources of like length share a batch; the results do not depend on who shares it.
        order = sorted((index for index, ids in enumerate(encoded) if ids), key=lambda index: len(encoded[index]))
        for first in range(0, len(order), config.batch_size):
            rows = order[first : first + config.batch_size]
            source, lengths = self._pad([encoded[index] for index in rows])
            for index, found in zip(rows, self._search(source, lengths, rows, first_index, config), strict=True):
                tokens = self.source_symbols.split(sources[index])[: len(encoded[index])]
                results[index] = [self._prediction(hypothesis, tokens) for hypothesis in found]
            if progress is not None:
                progress(len(rows))
        return results

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
        """Return log p(Y | X), (11), of each target given its source, natural logarithms, </s> included.

        Raises:
            PeepholeError: not as many targets as sources, or an empty source.
        """
        if len(sources) != len(targets):
            raise PeepholeError(f"score: wanted as many targets as sources, got {len(targets)} and {len(sources)}")
        encoded = self._encode(sources)
        for index, ids in enumerate(encoded):
            if not ids:
                raise PeepholeError(f"score: source {index} is empty; wanted at least one symbol")
        scores = np.zeros(len(sources))
        order = sorted(range(len(sources)), key=lambda index: len(encoded[index]))
        size = self.config.search.batch_size
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            source, lengths = self._pad([encoded[index] for index in rows])
            forced = force(self._stepper, source, lengths, [self.target_symbols.encode(targets[i]) for i in rows])
            scores[rows] = [hypothesis.log_prob for hypothesis in forced]
        return [float(score) for score in scores]

    @torch.no_grad()
    def teacher_forced(self, sources: Sequence[str], targets: Sequence[str]) -> list[list[str]]:
        """Return the most probable symbol at each position of each target, the model being fed the target, (13).

        Args:
            sources: source texts, none empty.
            targets: one target text a source.

        Returns:
            For each target as many symbols as it has; </s> and <unk> may stand among them as wrong answers.
        """
        pairs = [
            (source, [*self.target_symbols.encode(target), EOS])
            for source, target in zip(self._encode(sources), targets, strict=True)
        ]
        found: list[list[str]] = [[]] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda index: (len(pairs[index][1]), len(pairs[index][0])))
        size = self.config.search.batch_size
        for first in range(0, len(order), size):
            rows = order[first : first + size]
            source, source_lengths = self._pad([pairs[index][0] for index in rows])
            target, target_lengths = self._pad([pairs[index][1] for index in rows])
            probs = sum(torch.softmax(network(source, source_lengths, target), -1) for network in self.networks)
            assert isinstance(probs, Tensor)
            for index, ids, length in zip(rows, probs.argmax(-1).tolist(), target_lengths.tolist(), strict=True):
                found[index] = self.target_symbols.tokens(ids[: length - 1])
        return found

    def save(self, path: str | Path) -> None:
        """Write the model to one .safetensors file.

        Raises:
            RunError: the file cannot be written.
            PeepholeError: this is an ensemble: its members are saved each in its own file.
        """
        if len(self.networks) != 1:
            raise PeepholeError("save: an ensemble has no file of its own; its members are saved one by one")
        tensors = {name: t.detach().float().cpu().numpy() for name, t in self.networks[0].state_dict().items()}
        save_model(path, ModelFile(tensors, self.config, self.source_symbols, self.target_symbols))

    def unknown_symbols(self, sources: Sequence[str], targets: Sequence[str] = ()) -> Counter[str]:
        """Count the symbols that were not seen in training on their side."""
        unknown: Counter[str] = Counter()
        for symbols, texts in ((self.source_symbols, sources), (self.target_symbols, targets)):
            for text in texts:
                ids = symbols.encode(text)
                if UNK in ids:
                    unknown.update(s for s, i in zip(symbols.split(text), ids, strict=True) if i == UNK)
        return unknown

    def _pad(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return what `pad` returns, on the device of the weights."""
        device = next(self.networks[0].parameters()).device
        padded, lengths = pad(sequences)
        return padded.to(device), lengths.to(device)

    def _encode(self, sources: Sequence[str]) -> list[list[int]]:
        if isinstance(sources, str):
            raise PeepholeError(f"sources: wanted a list of texts, got one text, {sources!r}; write [{sources!r}]")
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

    def _search(
        self, source: Tensor, lengths: Tensor, rows: list[int], first_index: int, config: SearchConfig
    ) -> list[list[Hypothesis]]:
        max_lengths = (lengths * config.max_length_factor).long() + config.max_length_extra
        if config.temperature is not None:
            return sample(
                self._stepper,
                source,
                lengths,
                max_lengths=max_lengths,
                num_samples=config.nbest,
                temperature=config.temperature,
                top_k=config.top_k,
                top_p=config.top_p,
                seed=config.seed,
                examples=[first_index + row for row in rows],
            )
        if config.beam_size == 1:
            return [[best] for best in greedy_search(self._stepper, source, lengths, max_lengths=max_lengths)]
        return beam_search(
            self._stepper,
            source,
            lengths,
            beam_size=config.beam_size,
            nbest=config.nbest,
            max_lengths=max_lengths,
            length_penalty=config.length_penalty,
        )

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
    first = load_model(path)
    networks = [_network(path, first)]
    for another in more:
        file = load_model(another)
        for side in ("source_symbols", "target_symbols"):
            if getattr(file, side).to_json() != getattr(first, side).to_json():
                raise ModelFileError(f"{another}: its {side} differ from those of {path}; an ensemble needs the same")
        networks.append(_network(another, file))
    return Model(first.config, first.source_symbols, first.target_symbols, networks)


def _network(path: str | Path, file: ModelFile) -> Seq2Seq:
    with torch.device("meta"), _NoInitialValues():  # shapes alone: compared before anything is allocated
        network = build_seq2seq(file.config.model, len(file.source_symbols), len(file.target_symbols))
    wanted = {name: f"float32 {tuple(tensor.shape)}" for name, tensor in network.state_dict().items()}
    got = {name: f"{tensor.dtype} {tensor.shape}" for name, tensor in file.tensors.items()}
    for name in sorted(wanted.keys() | got.keys()):
        if wanted.get(name) != got.get(name):
            raise ModelFileError(f"{path}, tensor {name}: wanted {wanted.get(name)}, got {got.get(name)}")
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in file.tensors.items()}, assign=True)
    return network.eval()


class _NoInitialValues(TorchFunctionMode):
    """Leave out drawing weights, which on the meta device means nothing and yet imports a thousand modules."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init" or func is Tensor.normal_:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def pad(sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return the sequences as one padded tensor (B, T), and their lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    padded = torch.full((len(sequences), int(lengths.max())), PAD)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = torch.tensor(sequence)
    return padded, lengths
