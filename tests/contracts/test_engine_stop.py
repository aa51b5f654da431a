"""Tests that a search stops when a signal handler raises, and that its memory does not grow with what it may find."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from peephole import engine
from peephole.config import Config, SearchConfig
from peephole.engine.packed import PackedModel, PackedSearch
from peephole.nn import Seq2Seq, build_seq2seq
from peephole.search.torch import DefinitionSearch
from peephole.storage.model_file import ModelFile, encode_model
from peephole.symbols import EOS, CharacterSymbols
from process_memory import peak_bytes, reads_proc, reset_peak

pytestmark = [
    pytest.mark.skipif(not engine.available(), reason="the engine was not built"),
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers that send signals"),
]
SYMBOLS = CharacterSymbols(list("abcdefg"), "NFC")
CONFIG = Config().with_values({"hidden_size": 32, "embedding_size": 8})
FOREVER = 10**6  # symbols: a minute for the smallest model
SOONER = 20.0  # seconds, on a machine with other work; without a stop the searches below take minutes


class Alarm(Exception):
    """What the signal handlers of these tests raise."""


def make_network(end: float) -> Seq2Seq:
    """Return a network whose scores of </s> are raised by a number."""
    torch.manual_seed(1)
    network = build_seq2seq(CONFIG.model, len(SYMBOLS), len(SYMBOLS)).eval()
    with torch.no_grad():
        network.decoder.output.bias[EOS] = end
    return network


def pack(network: Seq2Seq) -> PackedModel:
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return PackedModel(encode_model(ModelFile(tensors, CONFIG, SYMBOLS, SYMBOLS)))


@pytest.fixture(scope="module")
def endless() -> PackedSearch:
    """Return the search over a model that hardly ever predicts </s>."""
    return PackedSearch([pack(make_network(end=-50))])


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[..., object]], None]]:
    """Return a function that sets the handler of a signal which comes in a tenth of a second."""
    before = signal.getsignal(signal.SIGALRM)

    def begin(handler: Callable[..., object]) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)

    yield begin
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def raise_alarm(*_: object) -> None:
    raise Alarm


LONG_SEARCHES = {
    "greedy": SearchConfig(beam_size=1, threads=1),
    "beam": SearchConfig(beam_size=3, threads=2),
    "samples": SearchConfig(nbest=2, temperature=1.0, threads=2),
    "a large batch": SearchConfig(beam_size=50, batch_size=5000, threads=2),
}


@pytest.mark.parametrize("name", LONG_SEARCHES)
def test_a_signal_handlers_exception_ends_a_search(name: str, endless: PackedSearch, alarm) -> None:
    count = 3000 if name == "a large batch" else 3
    alarm(raise_alarm)
    started = time.monotonic()
    with pytest.raises(Alarm):
        endless.find([[4, 5, 6]] * count, [FOREVER] * count, LONG_SEARCHES[name], examples=range(count))
    assert time.monotonic() - started < SOONER
    [[found]] = endless.find([[4, 5]], [3], SearchConfig())  # the engine works on
    assert len(found.ids) == 3


def test_scoring_stops(endless: PackedSearch, alarm) -> None:
    target = [4, 5, 6, 7] * (FOREVER // 4)
    for score in (endless.force, partial(endless.alternatives, count=8)):
        alarm(raise_alarm)
        started = time.monotonic()
        with pytest.raises(Alarm):
            score([[4, 5, 6]], [target], SearchConfig(threads=2))
        assert time.monotonic() - started < SOONER


def test_a_handler_that_returns_does_not_end_the_search(endless: PackedSearch, alarm) -> None:
    """It may even search itself, on the same thread."""
    inner: list[object] = []
    config = SearchConfig(beam_size=3, threads=2)
    wanted = endless.find([[4, 5, 6], [7, 8]], [3000, 3000], config)

    def search(*_: object) -> None:
        inner.append(endless.find([[4, 5, 6]], [20], config))

    alarm(search)
    while not inner:
        assert endless.find([[4, 5, 6], [7, 8]], [3000, 3000], config) == wanted
    assert inner == [endless.find([[4, 5, 6]], [20], config)]


def test_an_exception_sent_to_another_thread_ends_its_search(endless: PackedSearch) -> None:
    caught: list[BaseException] = []

    def search() -> None:
        try:
            endless.find([[4, 5, 6]], [FOREVER], SearchConfig(beam_size=2))
        except Alarm as error:
            caught.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    time.sleep(0.2)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Alarm))
    thread.join(SOONER)
    assert [type(error) for error in caught] == [Alarm]


@reads_proc
@pytest.mark.parametrize("kind", ["engine", "definition"])
def test_memory_grows_with_what_is_found(kind: str) -> None:
    """Samples of at most a million symbols need random numbers for the few symbols that they have."""
    network = make_network(end=3.0)
    searching = PackedSearch([pack(network)]) if kind == "engine" else DefinitionSearch([network])
    reset_peak()
    before = peak_bytes()
    [found] = searching.find([[4, 5]], [FOREVER], SearchConfig(nbest=50, temperature=1.0), examples=[0])
    assert max(len(hypothesis.ids) for hypothesis in found) < 100
    assert peak_bytes() - before < 200e6  # the random numbers of all possible symbols alone are 400 MB
