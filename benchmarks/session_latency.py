"""Measure how long short requests take among long ones: sources that join a session at any step, or wait for a batch.

    python benchmarks/session_latency.py [--threads N] [--rounds N] [--wall]

Both systems get the same requests at the same times, drawn as a Poisson process. `batches` predicts all sources that
wait, at most 64, in one call of `Model.predict`, and answers when the call returns, as a server does that batches
requests around a model. `session` adds each source as soon as it arrives. A load of 1 is the rate at which `batches`
does nothing else, with all requests there at once.

Time is processor time, so that other work on the machine does not count: an idle server's clock jumps to the next
arrival. With several threads it is wall time (`--wall`), on a machine without other work.
"""

import argparse
import platform
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import median
from typing import Any, NamedTuple

import torch

from peephole import engine
from peephole.config import Config
from peephole.model import Model, Prediction
from peephole.model.session import Session
from peephole.nn import build_seq2seq
from peephole.symbols import EOS, CharacterSymbols

LETTERS = CharacterSymbols(list("abcdefghijklmnopqrstuvwxyz"), "NFC")
SHORT, LONG = (5, 20), (200, 600)  # symbols
LONG_SHARE = 0.1
BATCH, PLACES = 64, 320  # the same number of hypotheses
SEARCH: dict[str, Any] = {"beam_size": 5, "attention": False}
LOADS = (0.5, 0.8)


class Request(NamedTuple):
    text: str
    arrival: float

    @property
    def is_short(self) -> bool:
        return len(self.text) <= SHORT[1]


class Served(NamedTuple):
    """What became of the requests, in their order."""

    seconds: list[float]
    found: list[list[Prediction]]


def make_model(hidden_size: int, threads: int) -> Model:
    """Return a model with random weights whose targets are about as long as their sources: it never ends one itself."""
    torch.manual_seed(1)
    settings = {
        "hidden_size": hidden_size,
        "encoder_size": hidden_size,
        "embedding_size": 128,
        "search.threads": threads,
    }
    settings |= {"search.max_length_factor": 1.0, "search.max_length_extra": 1}
    config = Config().with_values(settings)
    network = build_seq2seq(config.model, len(LETTERS), len(LETTERS)).eval()
    with torch.no_grad():
        network.decoder.output.bias[EOS] = -50
    return Model(config, LETTERS, LETTERS, [network])


def make_requests(count: int, rate: float, seed: int) -> list[Request]:
    """Return requests of which one in ten is long, at `rate` a second; infinity: all at once."""
    rng = random.Random(seed)
    lengths = [rng.randint(*(LONG if rng.random() < LONG_SHARE else SHORT)) for _ in range(count)]
    gaps = [rng.expovariate(1) / rate for _ in lengths]
    texts = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(length)) for length in lengths]
    return [Request(text, arrival) for text, arrival in zip(texts, accumulate(gaps), strict=True)]


def serve_batches(model: Model, requests: Sequence[Request], clock: Callable[[], float]) -> Served:
    """Predict what waits in one call, again and again."""
    now, waiting, seconds, found = 0.0, deque(requests), [], []
    while waiting:
        now = max(now, waiting[0].arrival)
        batch = []
        while waiting and waiting[0].arrival <= now and len(batch) < BATCH:
            batch.append(waiting.popleft())
        started = clock()
        found += model.predict([request.text for request in batch], **SEARCH)
        now += clock() - started
        seconds += [now - request.arrival for request in batch]
    return Served(seconds, found)


def serve_session(model: Model, requests: Sequence[Request], clock: Callable[[], float]) -> Served:
    """Let each source join the session when it arrives."""
    search = {name: value for name, value in SEARCH.items() if name != "attention"}
    now, waiting = 0.0, deque(enumerate(requests))
    seconds, found, inside = [0.0] * len(requests), [[]] * len(requests), {}
    with Session(model, places=PLACES) as session:
        while waiting or inside:
            if not inside:
                now = max(now, waiting[0][1].arrival)
            started = clock()
            while waiting and waiting[0][1].arrival <= now:
                index, request = waiting.popleft()
                inside[session.add(request.text, search, attention=SEARCH["attention"])] = index
            answers = session.step()
            now += clock() - started
            for ticket, predictions in answers:
                index = inside.pop(ticket)
                seconds[index], found[index] = now - requests[index].arrival, predictions
    return Served(seconds, found)


SYSTEMS = {"batches": serve_batches, "session": serve_session}


def percentile(numbers: Sequence[float], share: float) -> float:
    """Return the smallest number that at least this share of all does not exceed."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with other requests (default: 3)")
    parser.add_argument("--requests", type=int, default=600, help="requests in a round (default: 600)")
    parser.add_argument("--hidden-size", type=int, default=256, help="units of the model (default: 256)")
    parser.add_argument("--wall", action="store_true", help="measure wall time instead of processor time")
    options = parser.parse_args()
    if options.threads > 1 and not options.wall:
        parser.error("several threads need --wall, because processor time is that of all together")
    clock = time.perf_counter if options.wall else time.process_time
    model = make_model(options.hidden_size, options.threads)
    print(f"{platform.processor() or platform.machine()}, {engine.instruction_sets()[0]}, {options.threads} threads")
    at_once = [Request(request.text, 0.0) for request in make_requests(options.requests, 1.0, seed=0)]
    busy = {name: max(serve(model, at_once, clock).seconds) for name, serve in SYSTEMS.items()}
    for name, seconds in busy.items():
        print(f"{name}: {len(at_once) / seconds:.0f} requests a second, all there at once")
    rate = len(at_once) / busy["batches"]
    print("load  system   short, ms: p50   p99   long, ms: p50   p99")
    for load in LOADS:
        measured: dict[str, list[list[float]]] = {name: [] for name in SYSTEMS}
        for turn in range(options.rounds):
            requests = make_requests(options.requests, load * rate, seed=1 + turn)
            served = {name: serve(model, requests, clock) for name, serve in SYSTEMS.items()}
            assert served["session"].found == served["batches"].found, "the same bits"
            for name, result in served.items():
                kinds = [
                    [1000 * s for s, request in zip(result.seconds, requests, strict=True) if request.is_short is kind]
                    for kind in (True, False)
                ]
                measured[name].append([percentile(kind, share) for kind in kinds for share in (0.5, 0.99)])
        for name, rounds in measured.items():
            numbers = [median(column) for column in zip(*rounds, strict=True)]
            print(
                f"{load:4}  {name:8} {numbers[0]:13.1f} {numbers[1]:7.1f} {numbers[2]:15.1f} {numbers[3]:7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
