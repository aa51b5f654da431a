"""Tests several processes that share a port: answers, metrics, deaths, shutdown."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peephole.model import Model, Notices

from .conftest import Answer, Server, is_open, serving, wait_for

WORDS = ["dan", "ande", "nad", "dean"]


def log_probs(answer: Answer) -> list[float]:
    """Return log p of each source's best target."""
    assert answer.status == 200
    return [one["predictions"][0]["log_prob"] for one in answer.json["results"]]


def listening(server: Server) -> list[int]:
    """Return the processes that listen or have listened, in the order of their starts."""
    return [log["process"] for log in server.logs if log["event"] == "listening"]


def metric(server: Server, name: str) -> float:
    """Return the value of a metric, 0 if it is missing."""
    lines = server.call("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.fixture
def pair(toy_file: Path) -> Iterator[Server]:
    """Start a server of two processes."""
    with serving(toy_file, "--processes", 2) as server:
        wait_for(lambda: len(listening(server)) == 2)
        yield server


@pytest.fixture(scope="module")
def wanted(toy: Model) -> list[float]:
    """Return log p as the model predicts it in this process."""
    return [found[0].log_prob for found in toy.predict(WORDS, notices=Notices())]


def test_all_processes_answer_and_their_metrics_are_added_up(pair: Server, wanted: list[float]) -> None:
    for _ in range(40):
        assert log_probs(pair.post("/v1/predict", {"sources": WORDS})) == wanted
    wait_for(lambda: sum(log["event"] == "request" for log in pair.logs) == 40)
    assert {log["process"] for log in pair.logs if log["event"] == "request"} == set(listening(pair))
    for _ in range(8):  # whichever process is asked
        assert metric(pair, 'peephole_requests_total{route="/v1/predict",status="200"}') == 40
        assert metric(pair, "peephole_sources_total") == 40 * len(WORDS)
    assert metric(pair, "peephole_model{") == 2
    assert pair.notes == [f"peephole: http://127.0.0.1:{pair.port}/  (lstm_v1)"]


def test_a_killed_process_is_started_again_while_the_others_answer(pair: Server, wanted: list[float]) -> None:
    for _ in range(20):
        pair.post("/v1/predict", {"sources": WORDS})
    first, second = listening(pair)
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: any(log["level"] == "error" for log in pair.logs))
    answered = 0
    while len(listening(pair)) == 2:
        assert log_probs(pair.post("/v1/predict", {"sources": WORDS})) == wanted
        answered += 1
    assert answered > 1
    [error] = [log for log in pair.logs if log["level"] == "error"]
    assert error["event"] == "a process ended, another one is started"
    assert (error["child"], error["reason"]) == (second, "SIGKILL")
    third = listening(pair)[2]
    for _ in range(40):
        assert log_probs(pair.post("/v1/predict", {"sources": WORDS})) == wanted
    wait_for(lambda: sum(log["event"] == "request" for log in pair.logs) == 60 + answered)
    assert {log["process"] for log in pair.logs[-40:]} == {first, third}
    assert metric(pair, 'peephole_requests_total{route="/v1/predict"') == 60 + answered  # also those of the killed one
    wait_for(lambda: metric(pair, "peephole_model{") == 2)
    assert pair.stop() == 0


def test_accepted_requests_are_answered_after_sigterm(pair: Server, wanted: list[float]) -> None:
    answers: list[Answer] = []

    def send() -> None:
        while True:
            try:
                answer = pair.post("/v1/predict", {"sources": WORDS * 8})
            except OSError:  # the port is closed
                return
            answers.append(answer)
            if answer.status == 503:
                return

    clients = [threading.Thread(target=send) for _ in range(8)]
    for client in clients:
        client.start()
    time.sleep(1.0)
    pair.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(60)
    assert pair.process.wait(60) == 0
    good = [answer for answer in answers if answer.status == 200]
    assert len(good) >= 8
    assert all(log_probs(answer) == wanted * 8 for answer in good)
    assert all(answer.error == "the server is shutting down" for answer in answers if answer not in good)
    wait_for(lambda: len(answered(pair)) >= len(good))
    assert len(answered(pair)) == len(good)  # no client lost an answer that the server gave
    assert len({log["process"] for log in answered(pair)}) == 2


def answered(server: Server) -> list[object]:
    """Return the log's lines of requests that were answered."""
    return [log for log in server.logs if log["event"] == "request" and log["status"] == 200]


def test_ctrl_c_ends_all_processes_without_a_traceback(pair: Server) -> None:
    """A terminal sends SIGINT to parent and children."""
    for process in [*listening(pair), pair.process.pid]:
        os.kill(process, signal.SIGINT)
    assert pair.process.wait(60) == 0
    assert len(pair.notes) == 1


def test_processes_without_their_parent_end(pair: Server) -> None:
    pair.process.kill()
    wait_for(lambda: not is_open(pair.port))
    wait_for(lambda: [log["event"] for log in pair.logs].count("draining") == 2)


@pytest.mark.slow
def test_processes_that_die_again_and_again_end_the_server(toy_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    shutil.copy(toy_file, path)
    with serving(path, "--processes", 2) as server:
        wait_for(lambda: len(listening(server)) == 2)
        path.write_bytes(b"damaged")
        os.kill(listening(server)[0], signal.SIGKILL)
        assert server.process.wait(120) == 1
        wait_for(lambda: len(server.notes) == 2)
    reasons = [log["reason"] for log in server.logs if log["event"].startswith("a process ended")]
    assert reasons[0] == "SIGKILL"
    assert len(reasons) == 5
    assert server.notes[1].startswith("peephole: 5 processes in succession ended soon after their start")
    assert str(path) in server.notes[1]


def run_serve(*arguments: object) -> tuple[int, str]:
    """Run a server that does not start; return its exit code and what it printed."""
    command = [sys.executable, "-m", "peephole", "serve", "--processes", "2", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def test_the_parent_imports_no_web_framework() -> None:
    """It only waits, and would take twice the memory."""
    program = "import sys, peephole.serve.processes\nprint(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"fastapi", "uvicorn", "starlette", "pydantic"} & set(done.stdout.split())


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "missing.safetensors"
    assert run_serve(path, "--port", 0) == (1, f"peephole: {path}: no such file\n")


def test_a_port_in_use_is_one_line(pair: Server, toy_file: Path) -> None:
    line = f"peephole: 127.0.0.1:{pair.port}: cannot listen: Address already in use\n"
    assert run_serve(toy_file, "--port", pair.port) == (1, line)
    assert run_serve(toy_file, "--port", pair.port, "--processes", 1) == (1, line)


@pytest.mark.parametrize(("processes", "given", "threads"), [(2, None, 4), (2, 7, 7), (3, None, 2), (16, None, 1)])
def test_cores_are_divided_by_the_processes(
    processes: int, given: int | None, threads: int, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from peephole.cli.serve import command
    from peephole.serve import processes as module

    found = []

    class Recorder:
        def __init__(self, setup: object, *others: object) -> None:
            found.append(setup)

        def run(self) -> None:
            pass

    monkeypatch.setattr(module, "_Processes", Recorder)
    monkeypatch.setattr(module, "start_logging", lambda **options: None)
    monkeypatch.setattr(module, "usable_cores", lambda: 8)
    more = [] if given is None else ["--threads", str(given)]
    done = CliRunner().invoke(command, [str(toy_file), "--port", "0", "--processes", str(processes), *more])
    assert done.exception is None
    assert [setup.options.threads for setup in found] == [threads]
