"""Search over networks in PyTorch, used without the engine and on a GPU.

It has the methods of `peephole.engine.packed.PackedSearch`, whose results must equal those found here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from peephole.config import SearchConfig
from peephole.nn import Seq2Seq, Seq2SeqStepper, build_seq2seq
from peephole.nn.ctc_stepper import CTCStepper
from peephole.search import EnsembleStepper, Guide, Rules, Stepper, beam_search, force, greedy_search, sample
from peephole.search.hypothesis import Hypothesis
from peephole.search.phrases import Phrase
from peephole.storage.model_file import ModelFile
from peephole.symbols import EOS, PAD


class DefinitionSearch:
    """Search over one network, or over several whose probabilities are averaged; `guides` as in `PackedSearch`."""

    def __init__(self, networks: Sequence[Seq2Seq], guides: Sequence[tuple[Seq2Seq, float]] = ()) -> None:
        self.networks = tuple(networks)
        self._language_models = [Guide(Seq2SeqStepper(network), weight) for network, weight in guides]
        self._stepper = _mean([Seq2SeqStepper(network) for network in networks])

    def find(
        self,
        sources: Sequence[Any],
        max_lengths: Sequence[int],
        config: SearchConfig,
        *,
        prefixes: Sequence[Sequence[int]] | None = None,
        phrases: Sequence[Sequence[Phrase]] | None = None,
        examples: Sequence[int] = (),
        attention: bool = True,
    ) -> list[list[Hypothesis]]:
        """Return targets of some sources, searched or sampled by `config`; see `PackedSearch.find`."""
        found: list[list[Hypothesis]] = []
        rules, guides = Rules(config.min_length, config.no_repeat_ngram), self._guides(config)
        for part in _batch_slices(len(sources), config.batch_size):
            source, lengths = self._pad(sources[part])
            longest = torch.tensor(max_lengths[part])
            begin = None if prefixes is None else prefixes[part]
            given: dict[str, Any] = {"max_lengths": longest, "prefixes": begin, "rules": rules, "guides": guides}
            if config.temperature is not None:
                found += sample(
                    self._stepper,
                    source,
                    lengths,
                    num_samples=config.nbest,
                    temperature=config.temperature,
                    top_k=config.top_k,
                    top_p=config.top_p,
                    seed=config.seed,
                    examples=examples[part],
                    **given,
                )
            elif config.beam_size == 1 and phrases is None:
                found += [[best] for best in greedy_search(self._stepper, source, lengths, **given)]
            else:
                found += beam_search(
                    self._stepper,
                    source,
                    lengths,
                    beam_size=config.beam_size,
                    nbest=config.nbest,
                    length_penalty=config.length_penalty,
                    length_reward=config.length_reward,
                    coverage_penalty=config.coverage_penalty,
                    diverse_groups=config.diverse_groups,
                    diversity=config.diversity,
                    phrases=None if phrases is None else phrases[part],
                    **given,
                )
        if attention:
            return found
        return [[replace(hypothesis, attention=None) for hypothesis in hypotheses] for hypotheses in found]

    def force(self, sources: Sequence[Any], targets: Sequence[Sequence[int]], config: SearchConfig) -> list[Hypothesis]:
        """Score a given target, symbol ids without </s>, for each source."""
        found: list[Hypothesis] = []
        for part in _batch_slices(len(sources), config.batch_size):
            found += force(self._stepper, *self._pad(sources[part]), targets[part])
        return found

    @torch.no_grad()
    def alternatives(
        self, sources: Sequence[Any], targets: Sequence[Sequence[int]], config: SearchConfig, count: int
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Return the most probable symbols at each step of each target; see `PackedSearch.alternatives`."""
        found: list[tuple[NDArray[np.int32], NDArray[np.float32]]] = []
        for part in _batch_slices(len(sources), config.batch_size):
            source, source_lengths = self._pad(sources[part])
            target, target_lengths = self._pad([[*ids, EOS] for ids in targets[part]])
            probs = sum(torch.softmax(network(source, source_lengths, target), -1) for network in self.networks)
            assert isinstance(probs, Tensor)
            best, symbols = probs.div(len(self.networks)).sort(dim=-1, descending=True, stable=True)
            top = symbols[..., :count].cpu().numpy().astype(np.int32), best[..., :count].log().float().cpu().numpy()
            found += [
                (ids[:length], scores[:length])
                for ids, scores, length in zip(*top, target_lengths.tolist(), strict=True)
            ]
        return found

    def _guides(self, config: SearchConfig) -> list[Guide]:
        """Return the guides of a search: CTC, the mean of the networks that have it, and language models."""
        steppers = [CTCStepper(network) for network in self.networks if network.ctc is not None]
        if not steppers or not config.ctc_weight:
            return self._language_models
        return [Guide(_mean(steppers), config.ctc_weight, interpolates=True), *self._language_models]

    def _pad(self, sequences: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return the padded sequences and their lengths on the device of the weights."""
        device = next(self.networks[0].parameters()).device
        padded, lengths = pad(sequences)
        return padded.to(device), lengths.to(device)


def _mean(steppers: Sequence[Stepper[Any]]) -> Stepper[Any]:
    """Return the stepper that averages the probabilities of some."""
    return steppers[0] if len(steppers) == 1 else EnsembleStepper(steppers)


def _batch_slices(size: int, part: int) -> Iterator[slice]:
    return (slice(first, first + part) for first in range(0, size, part))


def pad(sequences: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Return sequences of symbols, or of frames, as one padded tensor (B, T) or (B, T, F), and their lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    rows = [torch.as_tensor(sequence) for sequence in sequences]
    padded = torch.full((len(rows), int(lengths.max()), *rows[0].shape[1:]), PAD, dtype=rows[0].dtype)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded, lengths


def build_network(file: ModelFile) -> Seq2Seq:
    """Build the network of a model file that was loaded."""
    with torch.device("meta"), _NoInitialValues():  # without memory and without drawing weights
        network = build_seq2seq(file.config.model, len(file.source_symbols), len(file.target_symbols))
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in file.tensors.items()}, assign=True)
    return network.eval()


class _NoInitialValues(TorchFunctionMode):
    """Skip the drawing of weights: it has no effect on the meta device, but makes PyTorch import a thousand modules."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init" or func is Tensor.normal_:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
