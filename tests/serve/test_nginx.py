"""Runs nginx with the example's configuration before two servers, one of which is shut down and one is killed."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peephole.model import Model, Notices

from .conftest import is_open, serving, wait_for

CONFIG = Path(__file__).parents[2] / "examples/serve/nginx.conf"
WORDS = ["dan", "ande", "nad", "dean"]

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None or shutil.which("openssl") is None or not CONFIG.exists(),
    reason="needs nginx, openssl and the examples",
)


def free_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def balancing(folder: Path, first: int, second: int) -> Iterator[int]:
    """Run nginx before two ports; yield its own."""
    port = free_port()
    text = CONFIG.read_text()
    for usual, ours in ((8001, first), (8002, second), (8443, port)):
        assert f"127.0.0.1:{usual}" in text
        text = text.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{ours}")
    (folder / "nginx.conf").write_text(text)
    key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    more = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*key, *more], cwd=folder, check=True, capture_output=True)
    process = subprocess.Popen(["nginx", "-p", folder, "-c", "nginx.conf"], cwd=folder)
    try:
        wait_for(lambda: is_open(port))
        yield port
    finally:
        process.terminate()
        process.wait(20)


def test_clients_do_not_notice_that_servers_are_shut_down_and_killed(
    toy_file: Path, toy: Model, tmp_path: Path
) -> None:
    wanted = [found[0].log_prob for found in toy.predict(WORDS, notices=Notices())]
    statuses: Counter[int] = Counter()
    wrong: list[object] = []
    killed, stopped = threading.Event(), threading.Event()

    def send(port: int) -> None:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
        while not stopped.is_set():
            try:
                connection.request("POST", "/v1/predict", json.dumps({"sources": WORDS}))
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not killed.is_set() or not isinstance(error, http.client.IncompleteRead):  # its answer had begun
                    wrong.append(error)
                continue
            statuses[answer.status] += 1
            found = json.loads(body)
            if answer.status != 200 or [one["predictions"][0]["log_prob"] for one in found["results"]] != wanted:
                wrong.append(body)
        connection.close()

    with serving(toy_file) as first, serving(toy_file) as second, balancing(tmp_path, first.port, second.port) as port:
        clients = [threading.Thread(target=send, args=(port,)) for _ in range(6)]
        for client in clients:
            client.start()
        time.sleep(1)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(30) == 0
        time.sleep(1)
        with serving(toy_file, "--port", first.port) as third:
            time.sleep(2)  # more than fail_timeout
            killed.set()
            second.process.kill()
            time.sleep(1)
            stopped.set()
            for client in clients:
                client.join(60)
    served = [
        sum(log["event"] == "request" and log["status"] == 200 for log in one.logs) for one in (first, second, third)
    ]
    assert wrong == []
    assert statuses.keys() == {200}
    assert all(count > 10 for count in served), served
