"""Tests the server as a process: health, tokens, logs, changed files, shutdown."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import peephole
from peephole.model import Model, Notices

from .conftest import Answer, Server, serving

OTHER = Path(__file__).parent.parent / "models" / "lstm_v3_int8.safetensors"
TOKEN, SECOND = "correct-horse-battery", "staple-staple-staple"


def test_health_and_metrics(server: Server) -> None:
    for path in ("/healthz", "/readyz"):
        assert (server.call("GET", path).status, server.call("GET", path).json) == (200, {"status": "ok"})
    server.post("/v1/predict", {"sources": ["dan", "ande"]})
    server.call("GET", "/openapi.json")
    text = server.call("GET", "/metrics").body.decode()
    assert 'route="/openapi.json"' in text
    assert 'peephole_requests_total{route="/v1/predict",status="200"}' in text
    assert 'peephole_waiting_sources{model="toy"} 0.0' in text
    assert "process_resident_memory_bytes" in text


def test_no_answer_and_no_log_has_a_path_or_a_text(toy_file: Path) -> None:
    with serving(toy_file) as server:
        answers = [
            server.call("GET", "/v1/models"),
            server.call("GET", "/openapi.json"),
            server.post("/v1/predict", {"sources": ["secretword"]}),
            server.post("/v1/predict", {"sources": ["secretword"], "nbest": 9}),
            server.call("GET", "/secretword"),
        ]
        assert server.stop() == 0
    folder = str(toy_file.parent)
    assert not any(folder in answer.body.decode() for answer in answers)
    assert [log["event"] for log in server.logs].count("request") == 5
    assert "secretword" not in json.dumps(server.logs)
    assert server.logs[3]["sources"] == 1


def test_texts_are_logged_if_asked_for(toy_file: Path) -> None:
    with serving(toy_file, "--log-texts") as server:
        server.post("/v1/predict", {"sources": ["secretword"]})
        server.stop()
    assert [log["texts"] for log in server.logs if "texts" in log] == [["secretword"]]


def test_tokens(toy_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# of two clients\n{TOKEN}\n\n{SECOND}\n")
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    body = {"sources": ["dan"]}
    with serving(toy_file, "--token-file", file) as server:
        assert server.post("/v1/predict", body).status == 401
        for wrong in (f"Bearer {TOKEN}x", "Bearer ", f"Token {TOKEN}", "Basic !", "x"):
            refused = server.post("/v1/predict", body, {"Authorization": wrong})
            assert refused.status == 401
            assert "Bearer" in refused.headers["www-authenticate"]
        for right in (f"Bearer {TOKEN}", f"bearer {SECOND}", f"Basic {basic}"):
            assert server.post("/v1/predict", body, {"Authorization": right}).status == 200
        assert server.call("GET", "/metrics").status == server.call("GET", "/openapi.json").status == 401
        assert server.call("GET", "/readyz").status == 200
        server.stop()
    assert {log["client"] for log in server.logs if log.get("status") == 200} == {"token 1", "token 2", "127.0.0.1"}


def test_the_address_is_printed_when_requests_are_answered(toy_file: Path) -> None:
    command = [sys.executable, "-m", "peephole", "serve", "--port", "0", str(toy_file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = re.search(r":(\d+)/", process.stderr.readline())
        try:
            assert port is not None
            socket.create_connection(("127.0.0.1", int(port[1])), timeout=20).close()
        finally:
            process.kill()


def test_another_address_than_loopback_is_warned_about(toy_file: Path) -> None:
    with serving(toy_file, "--host", "0.0.0.0") as server:
        assert server.call("GET", "/healthz").status == 200
    [warning, _] = server.notes
    assert warning == (
        "peephole: listening at 0.0.0.0: everyone who can reach this machine can use the models, and the connection "
        "is not encrypted"
    )


def test_a_port_in_use_is_one_line(server: Server, toy_file: Path) -> None:
    from click.testing import CliRunner

    from peephole.cli.serve import command

    done = CliRunner().invoke(command, [str(toy_file), "--port", str(server.port)])
    assert str(done.exception) == f"127.0.0.1:{server.port}: cannot listen: Address already in use"


def test_a_changed_file_is_loaded_while_requests_are_answered(toy_file: Path, tmp_path: Path, toy: Model) -> None:
    path = tmp_path / "model.safetensors"
    shutil.copy(toy_file, path)
    words = ["dan", "ande", "nad"]
    known = {}
    for file in (toy_file, OTHER):
        model = peephole.load(file)
        known[file] = [found[0].log_prob for found in model.predict(words, notices=Notices())]
    assert known[toy_file] != known[OTHER]
    seen: dict[str, list[float]] = {}
    replaced = False
    with serving(path) as server:
        ends = time.monotonic() + 20
        while len(seen) < 2 and time.monotonic() < ends:
            answer = server.post("/v1/predict", {"sources": words})
            assert answer.status == 200
            seen[answer.json["version"]] = [one["predictions"][0]["log_prob"] for one in answer.json["results"]]
            if not replaced:
                shutil.copy(OTHER, tmp_path / "new")
                os.replace(tmp_path / "new", path)
                replaced = True
        path.write_bytes(b"damaged")
        ends = time.monotonic() + 20
        while not any(log["level"] == "error" for log in server.logs) and time.monotonic() < ends:
            time.sleep(0.05)
        assert server.post("/v1/predict", {"sources": words}).json["version"] == list(seen)[1]
    assert list(seen.values()) == [known[toy_file], known[OTHER]]
    [error] = [log for log in server.logs if log["level"] == "error"]
    assert error["event"] == "the changed file is not loaded"


def test_accepted_requests_are_answered_after_sigterm(toy_file: Path, toy: Model) -> None:
    """Clients send without a pause over kept connections; each request is answered, or told that the server ends."""
    words = ["dan", "ande", "nad", "dean"] * 8
    wanted = [found[0].log_prob for found in toy.predict(words, notices=Notices())]
    body = json.dumps({"sources": words})
    answers, failures = [], []
    with serving(toy_file, "--max-queue", 1000) as server:

        def send() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            try:
                while True:
                    is_kept = connection.sock is not None
                    connection.request("POST", "/v1/predict", body)
                    found = connection.getresponse()
                    answers.append(Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read()))
            except OSError:  # refused by the closed port, or waiting in its backlog when it was closed
                failures.append(is_kept)

        clients = [threading.Thread(target=send) for _ in range(8)]
        for client in clients:
            client.start()
        time.sleep(0.7)
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(30)
        assert server.process.wait(30) == 0
    good = [answer for answer in answers if answer.status == 200]
    assert len(good) >= 8
    for answer in good:
        assert [one["predictions"][0]["log_prob"] for one in answer.json["results"]] == wanted
    assert failures == [False] * len(clients)  # no connection was closed under a request
    assert {answer.status for answer in answers} <= {200, 503}
    assert all(answer.error == "the server is shutting down" for answer in answers if answer.status == 503)
    answered = [log for log in server.logs if log["event"] == "request" and log["status"] == 200]
    assert len(answered) == len(good)  # no client lost an answer that the server gave


def test_a_streamed_answer_is_finished_after_sigterm(toy_file: Path) -> None:
    words = ["dan", "ande"] * 2000
    body = json.dumps({"sources": words, "stream": True}).encode()
    with serving(toy_file) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        content = client.recv(1000)
        server.process.send_signal(signal.SIGTERM)
        while part := client.recv(1 << 16):
            content += part
        assert server.process.wait(30) == 0
    assert content.count(b'"predictions"') == len(words)
    assert content.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.safetensors"], "missing.safetensors: no such file"),
        (["a b={toy}"], "name of a model: wanted letters"),
        (["{toy}", "{toy}"], "wanted each name once"),
        (["{toy}", "--max-batch", "0"], "max_batch: wanted"),
        (["{toy}", "--max-batch", "9999"], "max_batch: wanted at most max_queue=2048, got 9999"),
        (["{toy}", "--token-file", "missing"], "missing: cannot be read as a file of tokens: No such file"),
    ],
)
def test_wrong_arguments_are_one_line(toy_file: Path, arguments: list[str], message: str) -> None:
    from click.testing import CliRunner

    from peephole.cli.serve import command

    done = CliRunner().invoke(command, [text.format(toy=toy_file) for text in arguments])
    assert message in str(done.exception)


def test_a_fault_of_the_server_is_told_as_json(toy_file: Path, tmp_path: Path) -> None:
    """A server whose description of models fails."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'serve' in sys.argv:\n"
        "    from peephole.serve.models import Models\n"
        "    Models.all = lambda self: 1 / 0\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        with serving(toy_file) as server:
            failed = server.call("GET", "/v1/models")
            server.stop()
    assert (failed.status, failed.error) == (500, "the server failed; its log has the reason")
    assert failed.headers["content-type"] == "application/json"
    assert any("ZeroDivisionError" in log.get("traceback", "") for log in server.logs)
    [request] = [log for log in server.logs if log["event"] == "request"]
    assert request["status"] == 500
