"""Several processes that share a port: started, started again after a death, ended together.

Each process has a socket of its own that is bound to the same address (SO_REUSEPORT), so the kernel spreads connections
by their addresses. Processes that accept from one common socket take whole bursts: the one that wakes first accepts all
connections that wait, so that of 64 connections opened at once one process of two got 12 and the other 52, with
sockets of their own 29 and 35.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from peephole.engine.packed import usable_cores
from peephole.errors import PeepholeError
from peephole.serve.logs import start_logging
from peephole.serve.options import Setup
from peephole.serve.sockets import reserve_port

FAILURES = 5  # processes in succession that die soon after their start, before the server gives up
FIRST_PAUSE = 0.5  # seconds before a process is started again after the first of these; twice as long after each other
STABLE_SECONDS = 10.0  # without a start, after which a death is none of these
log = logging.getLogger("peephole.serve")


def serve_together(setup: Setup, print_note: Callable[[str], None]) -> None:
    """Serve with `setup.options.processes` processes until SIGTERM or SIGINT.

    Args:
        setup: what each process serves; without a number of threads each takes its share of the cores.
        print_note: called with each note of the models and with the server's address; it must be picklable.

    Raises:
        PeepholeError: the address cannot be used, the models cannot be loaded, or processes die again and again.
    """
    reserved = reserve_port(setup.host, setup.port)
    address, port = reserved.getsockname()[:2]
    options = setup.options
    threads = options.threads or max(1, usable_cores() // options.processes)
    setup = replace(setup, host=address, port=port, options=replace(options, threads=threads))
    start_logging(with_process=True)
    resource_tracker.ensure_running()  # otherwise the first start would do it, and unblock SIGINT
    with reserved, _folder_of_metrics(), _signals() as signals:
        _Processes(setup, print_note, signals).run()


@dataclass(eq=False)
class _Child:
    """A process and what it reported."""

    process: SpawnProcess
    reports: Connection
    is_listening: bool = False
    failure: str | None = None

    @property
    def ending(self) -> str:
        """Return how the process ended."""
        code = self.process.exitcode or 0
        return self.failure or (signal.Signals(-code).name if code < 0 else f"exit code {code}")


class _Processes:
    """The loop of the parent: it starts what is missing, and waits for reports, deaths and signals."""

    def __init__(self, setup: Setup, print_note: Callable[[str], None], signals: socket.socket) -> None:
        self._setup, self._print_note, self._signals = setup, print_note, signals
        self._context = multiprocessing.get_context("spawn")
        self._children: list[_Child] = []
        self._wanted = 1  # until the first process has loaded the models
        self._draining = False
        self._failures = 0
        self._last_start = self._next_start = 0.0
        self._problem: str | None = None

    def run(self) -> None:
        """Return when all processes have ended after a signal; errors as in `serve_together`."""
        while self._children or not self._draining:
            while not self._draining and len(self._children) < self._wanted and time.monotonic() >= self._next_start:
                self._start()
            self._wait()
        if self._problem is not None:
            raise PeepholeError(self._problem)

    def _start(self) -> None:
        is_first = self._wanted == 1
        reports, sender = self._context.Pipe(duplex=False)
        arguments = (self._setup, self._print_note if is_first else None, sender)
        process = self._context.Process(target=_serve_in_child, args=arguments, daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the terminal sends it to all processes
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        sender.close()
        self._children.append(_Child(process, reports))
        self._last_start = time.monotonic()

    def _wait(self) -> None:
        pause = max(0.0, self._next_start - time.monotonic())
        is_missing = not self._draining and len(self._children) < self._wanted
        reports = {child.reports: child for child in self._children if not child.reports.closed}
        deaths = {child.process.sentinel: child for child in self._children}
        ready = wait([self._signals, *reports, *deaths], pause if is_missing else None)
        for found in ready:
            if isinstance(found, Connection):
                self._read_report(reports[found])
        for found in ready:
            if isinstance(found, int):
                self._bury(deaths[found])
        if self._signals in ready:
            for number in self._signals.recv(64):
                self._pass_on(number)

    def _read_report(self, child: _Child) -> None:
        """Read that a process listens, or why it cannot; or the end of its reports."""
        try:
            child.failure = child.reports.recv()
        except EOFError:
            child.reports.close()
            return
        if child.failure is None:
            child.is_listening = True
            self._wanted = self._setup.options.processes

    def _bury(self, child: _Child) -> None:
        """Take a process that has ended off the list, and decide when another one is started."""
        if not child.reports.closed:
            self._read_report(child)
        child.process.join()
        self._children.remove(child)
        mark_process_dead(child.process.pid)  # type: ignore[no-untyped-call]  # prometheus_client has no types there
        if self._draining:
            if child.process.exitcode not in (0, -signal.SIGTERM):
                self._problem = self._problem or f"a process ended before its requests were answered: {child.ending}"
            return
        if self._wanted == 1:
            self._drain(child.failure or f"the server did not start: {child.ending}")
            return
        log.error("a process ended, another one is started", extra={"child": child.process.pid, "reason": child.ending})
        was_stable = child.is_listening and time.monotonic() - self._last_start > STABLE_SECONDS
        self._failures = 0 if was_stable else self._failures + 1
        self._next_start = time.monotonic() + (FIRST_PAUSE * 2 ** (self._failures - 1) if self._failures else 0)
        if self._failures == FAILURES:
            self._drain(
                f"{FAILURES} processes in succession ended soon after their start, the last one by: {child.ending}"
            )

    def _drain(self, problem: str | None = None) -> None:
        """Let every process answer what it has accepted, and end."""
        self._draining, self._problem = True, problem
        for child in self._children:
            child.process.terminate()

    def _pass_on(self, number: int) -> None:
        """Begin to drain; a second SIGINT ends all processes at once, as each of them does by itself."""
        if not self._draining:
            log.info("draining", extra={"processes": len(self._children)})
            self._drain()
        elif number == signal.SIGINT:
            for pid in [child.process.pid for child in self._children]:
                assert pid is not None
                os.kill(pid, signal.SIGINT)


def _serve_in_child(setup: Setup, print_note: Callable[[str], None] | None, reports: Connection) -> None:
    """Serve; report that requests are answered, or why not."""
    import asyncio

    from peephole.serve.start import serve  # imports the web framework, which the parent does not need

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the server has its own handler: the parent sends SIGTERM
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    assert parent is not None

    def tell() -> None:
        loop = asyncio.get_running_loop()

        def end() -> None:
            loop.remove_reader(parent.sentinel)
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(parent.sentinel, end)  # which is readable when the parent has died
        reports.send(None)

    try:
        serve(setup, print_note, tell)
    except PeepholeError as error:
        reports.send(str(error))
        sys.exit(1)


@contextmanager
def _folder_of_metrics() -> Iterator[None]:
    """Name a new folder in the environment of the processes, for the files of `prometheus_client`."""
    name = "PROMETHEUS_MULTIPROC_DIR"
    try:
        folder = tempfile.TemporaryDirectory(prefix="peephole-metrics-")
    except OSError as error:
        raise PeepholeError(f"no temporary folder for /metrics of several processes: {error.strerror}") from error
    with folder:
        before, os.environ[name] = os.environ.get(name), folder.name
        try:
            yield
        finally:
            del os.environ[name]
            if before is not None:
                os.environ[name] = before


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket from which the number of each SIGTERM and SIGINT can be read."""
    reader, writer = socket.socketpair()
    numbers = (signal.SIGTERM, signal.SIGINT)
    with reader, writer:
        writer.setblocking(False)
        fd = signal.set_wakeup_fd(writer.fileno())
        before: list[Any] = [signal.signal(number, lambda *_: None) for number in numbers]
        try:
            yield reader
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
            signal.set_wakeup_fd(fd)
