"""Bearer tokens: read from a file, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from peephole.errors import ConfigError, check_path

SHORTEST = 16  # characters: shorter ones can be guessed


class Tokens:
    """The tokens of a file, one a line; lines that begin with # are comments.

    A client sends `Authorization: Bearer TOKEN`; a browser may send the token as the password of Basic authentication,
    whatever the user's name.

    Args:
        path: the file.

    Raises:
        ConfigError: the file cannot be read, has no token, or one of fewer than 16 characters.
    """

    def __init__(self, path: str | Path) -> None:
        check_path("token_file", path)
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "wanted UTF-8"
            raise ConfigError(f"{path}: cannot be read as a file of tokens: {reason}") from error
        tokens = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not tokens:
            raise ConfigError(f"{path}: wanted a token in each line, got none")
        for number, token in enumerate(tokens, 1):
            if len(token) < SHORTEST:
                raise ConfigError(f"{path}, token {number}: wanted at least {SHORTEST} characters, got {len(token)}")
        self._digests = [_digest(token.encode()) for token in tokens]

    def client_of(self, token: bytes) -> str | None:
        """Return a name for the client that sends a token; None if the token is not in the file.

        Every token is compared, and always the digests of both, so that the time tells neither which one nor how much
        of it was right.
        """
        given, found = _digest(token), None
        for number, digest in enumerate(self._digests, 1):
            if hmac.compare_digest(given, digest):
                found = f"token {number}"
        return found


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def token_of(authorization: bytes) -> bytes | None:
    """Return the token of an Authorization header; None if it has none.

    >>> token_of(b"Bearer abc"), token_of(b"Basic dXNlcjphYmM="), token_of(b"Digest x")
    (b'abc', b'abc', None)
    """
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return None
    return None
