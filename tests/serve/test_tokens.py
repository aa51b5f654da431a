"""Tests the file of access tokens of a server's clients."""

from __future__ import annotations

import hmac

import pytest

from peephole.errors import ConfigError
from peephole.serve.tokens import Tokens


def test_every_token_is_compared_whole(tmp_path, monkeypatch) -> None:
    file = tmp_path / "tokens"
    file.write_text("a" * 16 + "\n" + "b" * 20 + "\n")
    tokens = Tokens(file)
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or compare(a, b))
    assert tokens.client_of(b"a" * 16) == "token 1"
    assert tokens.client_of(b"") is None
    assert compared == [(32, 32)] * 4


@pytest.mark.parametrize("content", ["", "# none\n", "short\n", None])
def test_a_wrong_token_file_is_refused(tmp_path, content: str | None) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError):
        Tokens(file)
