"""The errors a user can cause. Each message says what, where, wanted and got, in one line.

The command line prints the message and exits with code 1, as it does where the system refuses a file that it names;
anything else is our own mistake and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable


class PeepholeError(Exception):
    """Base of every error caused by what the user gave."""


class ConfigError(PeepholeError, ValueError):
    """A configuration key is unknown, or its value has the wrong type or range."""


class DataError(PeepholeError, ValueError):
    """A data file is missing, unreadable, or a line of it is not what it should be."""


class ModelFileError(PeepholeError, ValueError):
    """A file is not a peephole model, is damaged, or is of a newer format."""


class ShapeError(PeepholeError, ValueError):
    """A tensor's shape disagrees with what the callee was built for."""


class RunError(PeepholeError, RuntimeError):
    """A training run cannot start, go on or be saved."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the known name closest to a misspelt one, or an empty string.

    >>> nearest("hiden_size", ["hidden_size", "dropout"])
    "; did you mean 'hidden_size'?"
    >>> nearest("zzz", ["hidden_size"])
    ''
    """
    import difflib  # here, because only a mistake needs it

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
