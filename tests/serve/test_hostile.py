"""Tests clients that are slow, silent, many, or wrong: the others do not notice."""

from __future__ import annotations

import http.client
import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from peephole.model import Model, Notices
from peephole.serve.sockets import open_socket

from .conftest import Server, serving

WORDS = ["dan", "ande", "nad", "dean"]
BODY = json.dumps({"sources": WORDS}).encode()
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
LONGEST_WAIT = 5.0  # seconds: generous, because the tests share the machine; an answer takes milliseconds


@pytest.fixture(scope="module")
def guarded(toy_file: Path) -> Iterator[Server]:
    """Start a server that waits two seconds for its clients."""
    with serving(f"toy={toy_file}", "--max-seconds", 2, "--max-queue", 300) as started:
        yield started


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def check_others(server: Server, toy: Model) -> None:
    """Check that a usual client gets its answer, and how soon."""
    wanted = [found[0].text for found in toy.predict(WORDS, notices=Notices())]
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20, source_address=("127.0.0.2", 0))
    connection.request("POST", "/v1/predict", BODY)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert time.monotonic() - started < LONGEST_WAIT
    assert [one["predictions"][0]["text"] for one in answer["results"]] == wanted


def read_all(client: socket.socket) -> bytes:
    content = b""
    try:
        while part := client.recv(1 << 16):
            content += part
    except ConnectionResetError:
        pass
    return content


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/pre",
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        HEAD % len(BODY) + BODY[:-1],
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    ],
)
def test_a_request_that_does_not_end_is_given_up(guarded: Server, toy: Model, sent: bytes) -> None:
    with connect(guarded) as client:
        client.sendall(sent)
        check_others(guarded, toy)
        started = time.monotonic()
        content = read_all(client)
        assert time.monotonic() - started < 15
    assert content == b"" or content.startswith(b"HTTP/1.1 408 ")
    assert (b"408" in content) == (b"\r\n\r\n" in sent)


def test_a_thousand_idle_connections(guarded: Server, toy: Model) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4000, hard), hard))
    idle = [connect(guarded) for _ in range(1000)]
    try:
        check_others(guarded, toy)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: check_others(guarded, toy), range(16)))
    finally:
        for client in idle:
            client.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_malformed_http(guarded: Server, toy: Model, sent: bytes) -> None:
    with connect(guarded) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        content = read_all(client)
    if content:
        head, _, body = content.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4")
        assert b"content-type: application/json" in head
        assert json.loads(body).keys() == {"error"}
    check_others(guarded, toy)


@pytest.mark.parametrize("start", [b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\n"])
def test_a_head_without_end_is_refused(server: Server, start: bytes) -> None:
    """Its connection ends long before the time limit, after 16 KiB and what one piece of data may hold."""
    more = b"y" * 1000 if start != b"GET / HTTP/1.1\r\n" else b"X: " + b"y" * 100 + b"\r\n"
    with connect(server) as client:
        client.sendall(start)
        started, content = time.monotonic(), b""
        client.settimeout(0.01)
        while time.monotonic() - started < LONGEST_WAIT and not content:
            try:
                client.sendall(more)
                content = client.recv(1 << 16)
            except TimeoutError:
                continue
        client.settimeout(LONGEST_WAIT)
        content += read_all(client)
    assert content.startswith(b"HTTP/1.1 400 "), content
    error = json.loads(content.partition(b"\r\n\r\n")[2])["error"]
    assert error in ("The head of the request is too large.", "Invalid HTTP request received.")


def test_pipelined_requests_are_answered_in_their_order(server: Server, toy: Model) -> None:
    """Eight requests in one piece, each with a large head, of which no single one is too large."""
    words = [word * 3 for word in WORDS * 2]
    head = HEAD.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"z" * 10_000 + b"\r\n\r\n")
    bodies = [json.dumps({"sources": [word]}).encode() for word in words]
    with connect(server) as client:
        client.sendall(b"".join(head % len(body) + body for body in bodies[:-1]))
        last = (head % len(bodies[-1])).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        client.sendall(last + bodies[-1])
        content = read_all(client).decode()
    answers = [json.loads(part.partition("\r\n\r\n")[2]) for part in content.split("HTTP/1.1 200 OK\r\n")[1:]]
    found = [one["results"][0]["predictions"][0]["text"] for one in answers]
    assert found == [predictions[0].text for predictions in toy.predict(words, notices=Notices())]


def test_a_client_that_does_not_read_is_given_up(guarded: Server, toy: Model) -> None:
    """Its answer is larger than the buffers of the sockets; the server holds a few sources of it."""
    body = json.dumps({"sources": ["dan" * 300] * 800, "stream": True, "attention": True}).encode()
    with connect(guarded) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(HEAD % len(body) + body)
        assert client.recv(10) == b"HTTP/1.1 2"
        for _ in range(4):
            time.sleep(0.5)
            client.recv(1)
            check_others(guarded, toy)
        ends = time.monotonic() + 20
        while b'active_sources{model="toy"} 0.0' not in guarded.call("GET", "/metrics").body:
            assert time.monotonic() < ends
            time.sleep(0.1)


def test_a_client_that_leaves_ends_its_work(guarded: Server) -> None:
    body = json.dumps({"sources": ["dan" * 300] * 5000, "stream": True}).encode()
    with connect(guarded) as client:
        client.sendall(HEAD % len(body) + body)
        client.recv(1000)
    ends = time.monotonic() + 20
    while b'active_sources{model="toy"} 0.0' not in guarded.call("GET", "/metrics").body:
        assert time.monotonic() < ends
        time.sleep(0.1)
    text = guarded.call("GET", "/metrics").body.decode()
    [sources] = [float(line.split()[1]) for line in text.splitlines() if line.startswith("peephole_sources_total")]
    assert sources < 5000


def test_more_than_the_queue_holds_is_refused_and_the_rest_is_right(guarded: Server, toy: Model) -> None:
    """Ten times what fits: every request is answered rightly, or told to come back."""
    words = [WORDS[i % 4] * 20 for i in range(60)]
    wanted = [found[0].log_prob for found in toy.predict(words, notices=Notices())]
    with ThreadPoolExecutor(48) as pool:
        answers = list(pool.map(lambda _: guarded.post("/v1/predict", {"sources": words}), range(200)))
    statuses = {answer.status for answer in answers}
    assert statuses <= {200, 429}
    assert 429 in statuses
    for answer in answers:
        if answer.status == 200:
            assert [one["predictions"][0]["log_prob"] for one in answer.json["results"]] == wanted
        else:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert guarded.process.poll() is None


def test_long_sources_of_one_client_do_not_shut_out_others(toy_file: Path, toy: Model, tmp_path: Path) -> None:
    """One client fills all places with its longest sources and largest beams; another one sends words."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{'a' * 16}\n{'b' * 16}\n")
    greedy, usual = ({"Authorization": f"Bearer {letter * 16}"} for letter in "ab")
    long = {"sources": ["dande" * 400] * 32, "beam_size": 32, "nbest": 32}
    with serving(f"toy={toy_file}", "--token-file", tokens) as server:

        def send() -> None:
            with suppress(OSError, http.client.HTTPException):  # the server is killed before its answer
                server.post("/v1/predict", long, greedy)

        sending = threading.Thread(target=send)
        sending.start()
        ends = time.monotonic() + 20
        while b'active_sources{model="toy"} 10.0' not in server.call("GET", "/metrics", None, usual).body:
            assert time.monotonic() < ends
        seconds = []
        for word in WORDS:
            started = time.monotonic()
            answer = server.post("/v1/predict", {"sources": [word]}, usual)
            seconds.append(time.monotonic() - started)
            assert (
                answer.json["results"][0]["predictions"][0]["text"] == toy.predict([word], notices=Notices())[0][0].text
            )
        assert b'active_sources{model="toy"} 10.0' in server.call("GET", "/metrics", None, usual).body
        server.process.kill()
        sending.join(20)
    assert max(seconds) < LONGEST_WAIT


def test_long_targets_do_not_spoil_the_estimate_of_a_wait(toy_file: Path) -> None:
    with serving(f"toy={toy_file}") as server:
        pairs = {"sources": ["d"] * 256, "targets": [["D"] * 2000] * 256}
        assert server.post("/v1/score", pairs).status == 200
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: server.post("/v1/predict", {"sources": ["dan" * 10] * 128}), range(6)))
    assert [answer.status for answer in answers] == [200] * 6, [answer.body[:100] for answer in answers]


def test_sigterm_ends_idle_and_slow_connections(toy_file: Path) -> None:
    with serving(toy_file) as server:
        idle, slow = connect(server), connect(server)
        slow.sendall(HEAD % len(BODY) + BODY[:-1])
        time.sleep(0.3)
        waiting = threading.Thread(target=server.process.wait, args=(20,))
        server.process.send_signal(signal.SIGTERM)
        waiting.start()
        waiting.join(20)
        assert server.process.poll() == 0
        idle.close()
        slow.close()


def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    """Without TCP_NODELAY, which asyncio sets for sockets that name their protocol, each answer takes 40 ms more."""
    with open_socket("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
