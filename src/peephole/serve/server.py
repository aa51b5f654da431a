"""Run the application with uvicorn: sockets, signals, slow clients."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from peephole.errors import PeepholeError
from peephole.serve.gate import Gate
from peephole.serve.schema import json_bytes
from peephole.serve.sockets import allow_connections

LARGEST_HEAD = 16_384  # bytes of a request's line and headers
TOO_LARGE_HEAD = "The head of the request is too large."
IDLE_SECONDS = 60  # that a connection is kept after an answer
QUIET_SECONDS = 0.1  # without a request after the last answer, before kept connections are closed
FLUSH_SECONDS = 3  # in which clients may read the end of their answers after the last one is made
OBJECTS_BETWEEN_COLLECTIONS = 50_000  # 700 by default, with which a body of millions of lists takes three times as long
SWITCH_SECONDS = 0.0005  # in which a thread that runs Python yields: the engine's steps are as short
log = logging.getLogger("peephole.serve")


class Connection(HttpToolsProtocol):
    """A connection that ends if its client does not send a request, or does not read an answer, in time.

    A head, which is a request's line and headers, may be as large as LARGEST_HEAD; a larger one gets 400.
    """

    seconds: float
    """The longest time; `run` sets it in a subclass."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._reads_head = False
        self._head_bytes = 0  # in the line and the headers that are complete
        self._unread_bytes = 0  # received after the first data of a head that is not complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the class above it
        """Wait for the head of the first request."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.seconds, self._close_without_request)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, if it is not complete."""
        cycle, read_head = self.cycle, self._reads_head
        super().data_received(data)
        if self.cycle is not cycle:
            _cancel(self._head_timer)
            self._head_timer = None
        elif self._head_timer is None and (cycle is None or cycle.response_complete):
            self._head_timer = self.loop.call_later(self.seconds, self._close_without_request)
        self._unread_bytes = self._unread_bytes + len(data) if read_head and self._reads_head else 0
        if self._unread_bytes > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response(TOO_LARGE_HEAD)

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._reads_head, self._head_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's line."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """End a head."""
        self._reads_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP, with the body of every other error, and close the connection."""
        body = json_bytes({"error": msg})
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > LARGEST_HEAD:
            raise PeepholeError(TOO_LARGE_HEAD)  # the parser stops, and the client gets 400

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        _cancel(self._head_timer)
        _cancel(self._reading_timer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read: its answer fills the buffer."""
        super().pause_writing()
        _cancel(self._reading_timer)
        self._reading_timer = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        _cancel(self._reading_timer)
        super().resume_writing()

    def _close_without_request(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class Server(uvicorn.Server):
    """A server that answers the requests it has accepted before it ends.

    Args:
        config: of uvicorn.
        gate: the application.
        grace: seconds after SIGTERM in which accepted requests are answered.
        on_listening: called in the event loop when requests are answered.
    """

    def __init__(
        self, config: uvicorn.Config, gate: Gate, grace: float, on_listening: Callable[[], None] | None = None
    ) -> None:
        super().__init__(config)
        self._gate, self._grace, self._on_listening = gate, grace, on_listening
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models and listen."""
        await super().startup(sockets)
        if self.started and self._on_listening is not None:
            self._on_listening()
        for address in [listener.getsockname() for server in self.servers for listener in server.sockets]:
            log.info("listening", extra={"address": address[0], "port": address[1]})

    async def on_tick(self, counter: int) -> bool:
        """Begin to drain after a signal; end when it is done."""
        if self._gate.draining and self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new requests from now on; a second SIGINT ends at once."""
        if self._gate.draining and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True
        self._gate.draining = True

    async def _drain(self) -> None:
        """Wait for accepted requests; new ones get 503 meanwhile."""
        log.info("draining", extra={"running": self._gate.running})
        try:
            await asyncio.wait_for(self._gate.wait_until_idle(), self._grace)
        except asyncio.TimeoutError:
            log.error("requests are not answered within the grace", extra={"running": self._gate.running})
        for server in self.servers:
            server.close()  # refuses new connections; requests on open ones still get 503
        await self._gate.wait_until_quiet(QUIET_SECONDS, FLUSH_SECONDS)
        self.should_exit = True


def run(
    gate: Gate,
    listener: socket.socket,
    seconds: float,
    grace: float,
    on_listening: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        gate: the application.
        listener: the socket.
        seconds: the longest time to wait for a client that does not send or does not read.
        grace: seconds after the signal in which accepted requests are answered.
        on_listening: called in the event loop when requests are answered.

    Raises:
        PeepholeError: the application did not start; the log says why.
    """
    protocol = type("LimitedConnection", (Connection,), {"seconds": seconds})
    config = uvicorn.Config(
        gate,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=FLUSH_SECONDS,
        limit_concurrency=allow_connections(),
        backlog=2048,
    )
    server = Server(config, gate, grace, on_listening)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        server.run([listener])
    except SystemExit as error:
        raise PeepholeError("the server did not start") from error
    finally:
        sys.stderr.flush()
