"""Defines a toy task for tiny models: reverse a word and capitalise it."""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from lightning_fabric import Fabric

from peephole.config import Config, TrainConfig
from peephole.data import Corpus, Pair, Report
from peephole.nn import build_seq2seq
from peephole.symbols import CharacterSymbols
from peephole.training.executor import copy_weights
from peephole.training.loop import Hooks, Step, fit
from peephole.training.state import TrainState
from peephole.training.torch_executor import TorchExecutor

LETTERS = CharacterSymbols(list("abcdefgh"), "NFC")
CAPITALS = CharacterSymbols(list("ABCDEFGH"), "NFC")
TINY = {
    "hidden_size": 16,
    "embedding_size": 8,
    "batch_symbols": 100,
    "dev_fraction": 0.1,
    "dev_pairs": 20,
    "threads": 1,
}
"""Settings of a model that makes some progress on the toy task within seconds."""


def words(number, seed=0):
    """Return `number` distinct words of 2 to 7 letters, sorted."""
    rng = random.Random(seed)
    found = set()
    while len(found) < number:
        found.add("".join(rng.choice("abcdefgh") for _ in range(rng.randint(2, 7))))
    return sorted(found)


def write_pairs(path, number=300, seed=0):
    """Write pairs of the toy task to a TSV file; return its path."""
    path.write_text("".join(f"{word}\t{word[::-1].upper()}\n" for word in words(number, seed)), encoding="utf-8")
    return path


def write_hopeless_pairs(path, number=30, seed=3):
    """Write pairs whose target symbols no training pair has, so that training makes their loss larger."""
    path.write_text("".join(f"{word}\tzzz\n" for word in words(number, seed)), encoding="utf-8")
    return path


def set_options(**settings):
    """Return settings as arguments of the command line."""
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


def make_corpus(folder, sources):
    """Return a prepared corpus of the toy task with these sources."""
    pairs = [Pair(word, word[::-1].upper(), line) for line, word in enumerate(sources, 1)]
    return Corpus.build(pairs, LETTERS, CAPITALS, folder, max_length=100, report=Report("toy"))


def make_config(**settings):
    """Return the config of a tiny model without dropout."""
    return Config().with_values({"hidden_size": 16, "embedding_size": 8, "dropout": 0.0} | settings, "toy")


def make_network(seed=0, **settings):
    """Return a tiny network with the initial weights of a seed."""
    torch.manual_seed(seed)
    return build_seq2seq(make_config(**settings).model, len(LETTERS), len(CAPITALS))


def make_executor(network, config, dropout=0.0):
    """Return PyTorch's executor of a network on the CPU."""
    return TorchExecutor(Fabric(accelerator="cpu", devices=1), network, config, dropout)


@dataclass
class Training:
    """Runs a training with a simulated clock and given dev metrics, and records its steps and evaluations."""

    corpus: Corpus
    config: TrainConfig
    model: dict = field(default_factory=dict)  # settings
    dropout: float = 0.0
    batch_symbols: int = 60
    values: list = field(default_factory=list)  # dev metric of each evaluation; the last value repeats
    seconds_per_step: float = 1.0
    seconds_per_evaluation: float | list[float] = 0.0
    stop_after: int | None = None
    stopped_evaluation: int | None = None  # the number of an evaluation that a stop ends, once

    def __post_init__(self):
        self.network = make_network(**self.model)
        self.state = TrainState(make_executor(self.network, self.config, self.dropout))
        self.other_seconds = 0.0  # not of updates
        self.steps: list[Step] = []
        self.weights = []  # after each step
        self.measured = []  # the weights of each evaluation
        self.measured_at = []  # and its step
        self.found_best = []
        self.saved_at = []

    def run(self):
        hooks = Hooks(
            self.seconds,
            self._stop_requested,
            self._on_step,
            nullcontext,
            self._evaluate,
            self._on_evaluation,
            self._save,
        )
        fit(self.state, self.corpus, self.config, batch_symbols=self.batch_symbols, hooks=hooks)
        return self

    def seconds(self):
        return self.state.position.step * self.seconds_per_step + self.other_seconds

    def _stop_requested(self):
        return len(self.steps) == self.stop_after

    def _on_step(self, step):
        self.steps.append(step)
        self.weights.append(copy_weights(self.state.executor.weights))

    def _evaluate(self, weights):
        if len(self.measured) == self.stopped_evaluation:
            self.stopped_evaluation = None
            return None
        if isinstance(self.seconds_per_evaluation, list):  # the last value repeats
            number = min(len(self.measured), len(self.seconds_per_evaluation) - 1)
            self.other_seconds += self.seconds_per_evaluation[number]
        else:
            self.other_seconds += self.seconds_per_evaluation
        self.measured_at.append(self.state.position.step)
        value = self.values[min(len(self.measured), len(self.values) - 1)] if self.values else 0.0
        self.measured.append(copy_weights(weights))
        return {self.config.dev_metric: value}

    def _on_evaluation(self, values, is_best):
        self.found_best.append(is_best)

    def _save(self):
        self.saved_at.append(self.state.position.step)


def same(a, b):
    """Return whether two sets of weights are equal bit for bit."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
