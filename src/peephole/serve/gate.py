"""What every request passes: tokens, limits of its body, draining; and the log and the metrics of its answer."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from anyio import fail_after

from peephole.serve.limits import Limits
from peephole.serve.metrics import Metrics
from peephole.serve.refusal import RefusalError
from peephole.serve.request import ClientGoneError
from peephole.serve.schema import json_bytes
from peephole.serve.tokens import Tokens, token_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN = ("/healthz", "/readyz", "/health", "/v2/health/live", "/v2/health/ready")
"""The paths that need no token and are answered while the server drains."""
OTHER_TOKENS = ("/translate", "/detect", "/languages")
"""The paths of LibreTranslate, which may have the token in the body, where their functions read it, or need none."""
DISCARDED_SECONDS = 5.0  # in which the rest of a body that is too large is read, so that its client reads the answer
FAILURE = "the server failed; its log has the reason"
GONE = 499  # in the log, for a client that left before its answer
PROCESS = secrets.token_hex(6)
"""Begins the numbers of the requests of this process, which differ between processes."""
_numbers = itertools.count(1)
log = logging.getLogger("peephole.serve")


class Gate:
    """An ASGI application around another one.

    Args:
        app: the application.
        limits: of the server.
        metrics: counts answers.
        tokens: who may send requests; None: everybody.

    Attributes:
        draining: whether new requests get 503.
        running: requests that have arrived whole and have no answer.
    """

    def __init__(self, app: App, limits: Limits, metrics: Metrics, tokens: Tokens | None) -> None:
        self._app, self._limits, self._metrics, self._tokens = app, limits, metrics, tokens
        self.draining = False
        self.running = 0
        self._held = 0  # bytes of all bodies
        self._last_request = time.monotonic()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self)
        try:
            await self._answer(exchange, receive)
        except ClientGoneError:
            exchange.status = exchange.status or GONE
        except asyncio.CancelledError:
            exchange.status = exchange.status or GONE
            raise
        except Exception:  # a fault of the server: the client gets 500, the log the reason
            log.exception("a request failed", extra={"id": exchange.id, "path": exchange.route})
            if exchange.status is None:
                await exchange.send_error(500, FAILURE)
        finally:
            self._record(exchange)

    async def wait_until_idle(self) -> None:
        """Return when no request is without its answer."""
        while self.running:
            await asyncio.sleep(0.01)

    async def wait_until_quiet(self, seconds: float, longest: float) -> None:
        """Return when no request has come for some seconds, or after the longest time."""
        ends = time.monotonic() + longest
        while (now := time.monotonic()) < ends and now < self._last_request + seconds:
            await asyncio.sleep(0.01)

    async def _answer(self, exchange: _Exchange, receive: Receive) -> None:
        try:
            self._check_access(exchange)
            body = await self._read_body(exchange, receive)
        except RefusalError as refusal:
            rest = None if refusal.status == 408 else receive
            await exchange.send_error(refusal.status, refusal.message, refusal.headers, rest)
            return
        self.running += 1
        try:
            await self._app(exchange.scope, _with_body(body, receive), exchange.send)
        finally:
            self.running -= 1
            self._held -= len(body)

    def _check_access(self, exchange: _Exchange) -> None:
        """Find out who the client is.

        Raises:
            RefusalError: 401, it sends no token of the file; 503, the server drains.
        """
        scope = exchange.scope
        self._last_request = time.monotonic()
        exchange.scope["client_name"] = exchange.client = scope["client"][0] if scope.get("client") else "local"
        if scope["path"] in OPEN:
            return
        if self._tokens is not None and scope["path"] not in OTHER_TOKENS:
            given = token_of(exchange.header(b"authorization"))
            client = None if given is None else self._tokens.client_of(given)
            if client is None:
                raise RefusalError(401, "wanted Authorization: Bearer TOKEN with a token of this server")
            exchange.scope["client_name"] = exchange.client = client
        if self.draining:
            raise RefusalError(503, "the server is shutting down", 1)

    async def _read_body(self, exchange: _Exchange, receive: Receive) -> bytes:
        """Return the body of a request.

        Raises:
            RefusalError: 408 if it takes too long, 413 if it is too large, 415 if it is compressed, 503 if there is
                no room for it.
            ClientGoneError: the client left before it was complete.
        """
        encoding = exchange.header(b"content-encoding").strip().lower()
        if encoding not in (b"", b"identity"):
            raise RefusalError(415, "wanted a body without Content-Encoding")
        most = self._limits.max_body
        length = exchange.header(b"content-length")
        if length.isdigit() and int(length) > most:
            raise RefusalError(413, f"body: wanted at most {most} bytes (max_body), got {int(length)}")
        parts: list[bytes] = []
        size, seconds = 0, self._limits.max_seconds
        try:
            with fail_after(seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    part = message.get("body", b"")
                    parts.append(part)
                    size += len(part)
                    self._held += len(part)
                    if size > most:
                        raise RefusalError(413, f"body: wanted at most {most} bytes (max_body), got more")
                    if self._held > self._limits.max_bodies:
                        raise RefusalError(503, "the server holds too many bodies of requests (max_bodies)", 1)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except BaseException as error:
            self._held -= size
            if isinstance(error, TimeoutError):
                raise RefusalError(408, f"body: wanted within {seconds:g} seconds (max_seconds)") from None
            raise

    def _record(self, exchange: _Exchange) -> None:
        seconds = time.monotonic() - exchange.started
        status = exchange.status or 500
        self._metrics.requests.labels(exchange.route, str(status)).inc()
        self._metrics.seconds.labels(exchange.route).observe(seconds)
        details = exchange.scope.get("log_details", {})
        log.info(
            "request",
            extra={
                "id": exchange.id,
                "client": exchange.client,
                "method": exchange.scope["method"],
                "route": exchange.route,
                "status": status,
                "ms": round(1000 * seconds, 1),
                **details,
            },
        )


class _Exchange:
    """A request and what was sent of its answer."""

    def __init__(self, scope: MutableMapping[str, Any], send: Send, gate: Gate) -> None:
        self.scope, self._send, self._gate = scope, send, gate
        self.id = f"{PROCESS}-{next(_numbers)}"
        self.started = time.monotonic()
        self.status: int | None = None
        self.client = ""

    @property
    def route(self) -> str:
        """Return the pattern of the path, which has no names or texts of a user; `unknown` for paths without one."""
        return getattr(self.scope.get("route"), "path", None) or (
            self.scope["path"] if self.scope["path"] in OPEN else "unknown"
        )

    def header(self, name: bytes) -> bytes:
        """Return the last value of a header; empty if there is none."""
        found: bytes = dict(self.scope["headers"]).get(name, b"")
        return found

    async def send(self, message: Message) -> None:
        """Send a part of the answer, the first with the request's number; while the server drains, the last one."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            more = [(b"x-request-id", self.id.encode())]
            if self._gate.draining:
                more.append((b"connection", b"close"))  # the client's next request goes to another server
            message = {**message, "headers": [*message["headers"], *more]}
        await self._send(message)

    async def send_error(
        self, status: int, text: str, headers: dict[str, str] | None = None, rest: Receive | None = None
    ) -> None:
        """Send a refusal; then read, for a while, the rest of the body, which the client may be sending."""
        body = json_bytes({"error": text})
        fields = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        if status == 401:
            fields["www-authenticate"] = 'Bearer, Basic realm="peephole"'
        encoded = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        if status in (408, 413) and not self._gate.draining:  # the body may not have an end
            encoded.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body, "more_body": rest is not None})
        if rest is not None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_discard(rest), DISCARDED_SECONDS)
            await self.send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


def _with_body(body: bytes, receive: Receive) -> Receive:
    """Return a function that gives the whole body first, and then what follows: that the client has left."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receive_again
