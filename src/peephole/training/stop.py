"""Signals as requests to stop (Ctrl-C, SIGTERM, SIGHUP): training leaves what changes no state, saves and ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one when the terminal is closed


class Stopping(BaseException):
    """A stop signal ended work that is repeated when the training resumes; not an Exception, which libraries catch."""


class StopRequest:
    """The signal that requested a stop; None before one does."""

    signal_number: int | None = None
    raises = False  # whether a signal raises Stopping

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise Stopping in the block as soon as a stop is requested, also if one was requested before."""
        self.raises = True
        try:
            if self.signal_number is not None:
                raise Stopping
            yield
        finally:
            self.raises = False


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turn the first of `SIGNALS` into a request; a second one has its usual effect.

    Signals can be caught in the main thread only; in other threads no request is ever set. A signal that the process
    was started to ignore (`nohup`, a background job of a script) stays ignored.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    caught = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]  # None: one in C

    def note(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        signal.signal(number, before[signal.Signals(number)])
        if request.raises:
            raise Stopping

    for number in caught:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number in caught:
            signal.signal(number, before[number])
