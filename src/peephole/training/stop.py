"""Ctrl-C and SIGTERM as a polite request: the step at hand is finished and saved, then training ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether, and by which signal, the training was asked to stop."""

    signal_number: int | None = None


@contextmanager
def listen_for_stop() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second one acts as if nobody listened.

    Signals can be caught in the main thread only; elsewhere no request ever comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        signal.signal(number, before[signal.Signals(number)])

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])
