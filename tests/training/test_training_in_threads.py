"""Tests that trainings in threads of one process are pure functions: what threads share decides nothing."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

import pytest
import torch

from peephole import train
from peephole.storage.model_file import load_model
from peephole.training.cpu_threads import cpu_threads
from peephole.training.report import Report

from .toy import TINY, write_pairs

PLAIN = TINY | {"steps": 8, "evaluations": 1, "dev_pairs": 4, "seed": 5, "precision": "32-true"}
BFLOAT16 = PLAIN | {"precision": "bf16-mixed", "threads": 2, "symbols.source": "bpe", "vocabulary_size": 30}
FLOAT64 = PLAIN | {"cell": "gru", "precision": "64-true", "train.engine": "off", "encoder_size": 8, "seed": 6}
AUTOCAST = FLOAT64 | {"precision": "bf16-mixed"}
CONFIGS = [PLAIN, PLAIN, PLAIN, BFLOAT16, AUTOCAST, AUTOCAST, FLOAT64, FLOAT64]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("threads") / "pairs.tsv", 120)


def train_one(pairs, out, settings):
    """Return the bytes of each tensor of the trained model."""
    train(pairs, out=out, quiet=True, **settings)
    return {name: tensor.tobytes() for name, tensor in load_model(out).tensors.items()}


@pytest.fixture(scope="module")
def alone(pairs, tmp_path_factory):
    """Return the weights of each config, trained one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    weights: dict[str, dict[str, bytes]] = {}
    for index, settings in enumerate(CONFIGS):
        if repr(settings) not in weights:
            weights[repr(settings)] = train_one(pairs, folder / f"{index}.safetensors", settings)
    return [weights[repr(settings)] for settings in CONFIGS]


class Draws:
    """Draws from PyTorch's global generator in a thread of its own until the block ends."""

    def __enter__(self):
        torch.manual_seed(0)
        self.number, self.over = 0, threading.Event()
        self.thread = threading.Thread(target=self._draw)
        self.thread.start()
        return self

    def _draw(self):
        while not self.over.wait(0.001):
            torch.rand(7)
            self.number += 1

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def test_trainings_at_the_same_time_give_the_bits_of_trainings_alone(pairs, alone, tmp_path) -> None:
    environment, threads = dict(os.environ), torch.get_num_threads()
    at_once = threading.Barrier(len(CONFIGS))

    def run(index):
        at_once.wait()
        return train_one(pairs, tmp_path / f"{index}.safetensors", CONFIGS[index])

    with Draws() as draws, ThreadPoolExecutor(len(CONFIGS)) as pool:
        found = list(pool.map(run, range(len(CONFIGS))))
    assert [weights == wanted for weights, wanted in zip(found, alone, strict=True)] == [True] * len(CONFIGS)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    for _ in range(draws.number):
        torch.rand(7)
    assert draws.number > 10
    assert torch.equal(after, torch.get_rng_state())  # the trainings drew nothing from the global generator
    assert torch.get_default_dtype() == torch.float32
    assert dict(os.environ) == environment
    assert torch.get_num_threads() == in_new_thread(torch.get_num_threads) == threads


def in_new_thread(call):
    """Return the result of a call in a thread that has not used PyTorch before."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_the_number_of_threads_of_a_training_is_its_own() -> None:
    before = torch.get_num_threads()
    with cpu_threads(before + 3):
        assert torch.get_num_threads() == before + 3
        assert in_new_thread(torch.get_num_threads) == before
        with cpu_threads(None):
            assert torch.get_num_threads() == before + 3
    assert torch.get_num_threads() == in_new_thread(torch.get_num_threads) == before


def test_only_the_main_thread_redirects_the_standard_streams(tmp_path, monkeypatch) -> None:
    """A bar of another thread could put back a stream that yet another bar had put there."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take stderr for a terminal

    def stdout_within() -> TextIO:
        with Report(tmp_path, 0, "loss", None):
            return sys.stdout

    stdout = sys.stdout
    assert stdout_within() is not stdout
    assert in_new_thread(stdout_within) is stdout
