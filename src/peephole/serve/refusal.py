"""Refusals: the status and the one-line reason that a client gets instead of a result."""

from __future__ import annotations

import math
import re

from peephole.errors import PeepholeError, SourceError

_FOLDERS = re.compile(r"(?<![\w/.])/(?:[^/\s'\",:]+/)+")


class RefusalError(Exception):
    """A request that is refused.

    Attributes:
        status: the HTTP status.
        message: one line: what, wanted, got.
        retry_after: whole seconds after which the client may try again; None if trying again does not help.
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.retry_after = None if retry_after is None else max(1, min(60, math.ceil(retry_after)))

    @property
    def headers(self) -> dict[str, str]:
        """Return the header Retry-After, if there is one."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def refusal_of(error: Exception, subject: str = "") -> RefusalError | None:
    """Return how a client is told about an error of prediction; None for a defect of the server.

    Args:
        error: what was raised.
        subject: begins the message.
    """
    if isinstance(error, RefusalError):
        return error
    if isinstance(error, PeepholeError):
        reason = error.reason if isinstance(error, SourceError) else str(error)  # the index is that of a call's source
        return RefusalError(422, subject + without_folders(reason))
    return None


def without_folders(text: str) -> str:
    """Return a message with the folders of absolute paths left out: a client learns nothing of the machine.

    >>> without_folders("/srv/models/g2p.safetensors: cannot be read")
    'g2p.safetensors: cannot be read'
    """
    return _FOLDERS.sub("", text)
