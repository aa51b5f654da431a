"""Logs as lines of JSON on stderr: one for each request, without its texts unless they are asked for."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """Writes a record as an object: time in UTC, level, event, and what was passed as `extra`.

    Args:
        with_process: whether the object also has the process's number.
    """

    def __init__(self, *, with_process: bool) -> None:
        super().__init__()
        self._with_process = with_process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if self._with_process:
            line["process"] = record.process
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def start_logging(*, with_process: bool = False) -> None:
    """Send all records to stderr as lines of JSON; with the process's number, if asked for.

    Those of other libraries are at least warnings; Python's warnings are among them. A malformed form, which
    python-multipart warns of, is told to its client.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(with_process=with_process))
    logging.captureWarnings(True)
    for name in ("python_multipart", "multipart"):  # new and old name
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name, level in (("peephole.serve", logging.INFO), ("uvicorn", logging.WARNING), ("root", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
