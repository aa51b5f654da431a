"""Tests bodies that are as large as allowed, and made to keep the server busy: other clients do not wait for them."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Server, serving

LONGEST_WAIT = 10.0  # seconds: generous, because other tests share the machine; on an idle one it is at most about 1
SHORT_WAIT = 5.0  # where the server has almost nothing to do
MOST = 7_900_000  # bytes of a body
BOUNDARY = "b0undary"


@pytest.fixture(scope="module")
def plain(toy_file: Path) -> Iterator[Server]:
    """Start a server with the usual limits."""
    with serving(f"toy={toy_file}", "--languages", "en:it") as started:
        yield started


def items(first: str, item: str, last: str) -> bytes:
    """Return a body that repeats an item of a list as often as it may."""
    count = (MOST - len(first) - len(last)) // (len(item) + 1)
    return (first + ",".join([item] * count) + last).encode()


def fields(first: str, last: str) -> bytes:
    return (first + ",".join(f'"{number}":1' for number in range(500_000)) + last).encode()


def tensor(data: str, count: int, parameters: str = "{}") -> bytes:
    head = '{"inputs":[{"name":"source","datatype":"BYTES",'
    return f'{head}"shape":[{count}],"parameters":{parameters}{data}}}]}}'.encode()


def empty_elements() -> bytes:
    content = struct.pack("<I", 0) * (MOST // 4)
    return tensor("", len(content) // 4, f'{{"binary_data_size":{len(content)}}}') + content


def form(content: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'.encode()
    return head + content + f"\r\n--{BOUNDARY}--\r\n".encode()


JSON: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "numbers as sources": ("/v1/predict", lambda: items('{"sources":[', "1", "]}"), 422),
    "numbers in a stream": ("/v1/predict", lambda: items('{"stream":true,"sources":[', "1", "]}"), 422),
    "too many sources": ("/v1/predict", lambda: items('{"sources":[', '""', "]}"), 413),
    "empty lists": ("/v1/predict", lambda: items('{"sources":["a"],"must_contain":[', "[]", "]}"), 422),
    "numbers as prefixes": ("/v1/predict", lambda: items('{"sources":["a"],"prefixes":[', "1", "]}"), 422),
    "unknown fields": ("/v1/predict", lambda: fields('{"sources":["a"],', "}"), 422),
    "unknown fields within": ("/v1/trace", lambda: fields('{"source":"a","bend":{"step":0,"weights":[1],', "}}"), 422),
    "targets": ("/v1/score", lambda: items('{"sources":["a"],"targets":[', "1", "]}"), 422),
    "tokens": ("/v1/score", lambda: items('{"sources":["a"],"targets":[[', '"D"', "]]}"), 413),
    "required texts": ("/v1/predict", lambda: items('{"sources":["a"],"must_contain":[[', '"D"', "]]}"), 413),
    "lines": (
        "/translate",
        lambda: json.dumps({"q": ["\n" * 2000] * 250, "source": "en", "target": "it"}).encode(),
        400,
    ),
    "texts": ("/translate", lambda: items('{"source":"en","target":"it","q":[', '""', "]}"), 400),
    "long texts": (
        "/translate",
        lambda: json.dumps({"q": ["d n" * 600] * 250, "source": "auto", "target": "x"}).encode(),
        400,
    ),
    "inputs": ("/v2/models/toy/infer", lambda: items('{"inputs":[', "{}", "]}"), 400),
    "outputs": ("/v2/models/toy/infer", lambda: items('{"inputs":[],"outputs":[', '{"name":"target"}', "]}"), 400),
    "data": ("/v2/models/toy/infer", lambda: tensor(items(',"data":[', '""', "]").decode(), 2), 400),
    "data of a large shape": (
        "/v2/models/toy/infer",
        lambda: tensor(items(',"data":[', '""', "]").decode(), 10**9),
        413,
    ),
    "surrogates": ("/v2/models/toy/infer", lambda: tensor(f',"data":["{"a" * MOST}"]', 1), 413),
    "parameters": (
        "/v2/models/toy/infer",
        lambda: fields(
            '{"inputs":[{"name":"source","datatype":"BYTES","shape":[1],"data":["a"]}],"parameters":{', "}}"
        ),
        400,
    ),
}


@pytest.mark.parametrize(("path", "body", "status"), JSON.values(), ids=JSON)
def test_a_large_body_does_not_stop_the_server(
    plain: Server, path: str, body: Callable[[], bytes], status: int
) -> None:
    check_others_do_not_wait(plain, path, body(), status)


def test_elements_of_a_tensor_do_not_stop_the_server(plain: Server) -> None:
    body = empty_elements()
    length = str(body.index(b"}]}") + 3)
    headers = {"Inference-Header-Content-Length": length}
    check_others_do_not_wait(plain, "/v2/models/toy/infer", body, 413, headers, SHORT_WAIT)


@pytest.mark.parametrize(
    "content", [b"X: " + b"y" * MOST + b"\r\n\r\n", b"\r\n" * (MOST // 2), b"\r\n" + b"\r-" * (MOST // 2)]
)
def test_a_large_form_does_not_stop_the_server(plain: Server, content: bytes) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    check_others_do_not_wait(plain, "/v1/predict", form(content), 422, headers)


def test_a_long_stream_does_not_stop_the_server(plain: Server) -> None:
    """Its sources become work as they are needed; the client leaves after the first lines."""
    body = json.dumps({"sources": ["dan"] * 300_000, "stream": True}).encode()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with healthz_seconds(plain) as seconds, socket.create_connection(("127.0.0.1", plain.port), timeout=30) as client:
        client.sendall(head + body)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    assert max(seconds) < SHORT_WAIT


def check_others_do_not_wait(
    server: Server,
    path: str,
    body: bytes,
    status: int,
    headers: dict[str, str] | None = None,
    longest: float = LONGEST_WAIT,
) -> None:
    """Send a body and check its status, and that /healthz answers meanwhile."""
    with healthz_seconds(server) as seconds:
        answer = server.post(path, body, headers)
    assert answer.status == status, answer.body[:1000]
    assert len(answer.error) < 300
    assert max(seconds) < longest


@contextmanager
def healthz_seconds(server: Server) -> Iterator[list[float]]:
    """Call /healthz until the end of the block; give the seconds of each answer."""
    seconds: list[float] = []
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            started = time.monotonic()
            assert server.call("GET", "/healthz").status == 200
            seconds.append(time.monotonic() - started)
            ended.wait(0.02)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield seconds
    finally:
        ended.set()
        caller.join(60)
