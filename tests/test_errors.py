"""Tests of the texts of errors: what a terminal would interpret is escaped, and any value can be described."""

from __future__ import annotations

import ast
import unicodedata

import pytest

from peephole.errors import describe_value, printable, quote

SHOWN = [
    *(
        "값은 3 °C",
        "가족 👨\u200d👩\u200d👧\u200d👦, 👩\u200d💻, ❤\ufe0f, 🇰🇷, 🏴\U000e0067\U000e0062\U000e007f",
        "e\u0301 각",
    ),
    *(
        "שלום עולם",
        "مرحبا بالعالم",
        "\u200fشكرا\u200e",
        "می\u200cخواهم",
        "क्\u200dष",
        "back\\slash 'quote'",
        "\U0010ffff\ue000",
    ),
]


@pytest.mark.parametrize("text", SHOWN)
def test_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_everything_that_controls_a_terminal_is_escaped() -> None:
    controls = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")]
    assert len(controls) == 65 + 2048 + 2
    for control in [*controls, *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]:
        shown = printable(f"a{control}b")
        assert shown.isascii()
        assert shown.isprintable()
        assert shown.startswith("a\\")
        assert shown.endswith("b")
    assert printable("\x1b]0;title\x07\r\n\udc80") == r"\x1b]0;title\x07\r\n\x80"


@pytest.mark.parametrize("text", [*SHOWN, *"\x1b\n'\"\\", "a\\u200d", "\\\u200c", "\u2028\u200d"])
def test_a_quoted_text_can_be_read_back_and_keeps_its_joiners(text: str) -> None:
    quoted = quote(text)
    assert ast.literal_eval(quoted) == text
    assert all(joiner in quoted for joiner in set(text) & set("\u200c\u200d\U000e0067"))


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\nb", r"'a\nb'"), (10**5000, "a value of type int"), ("x" * 99, "'" + "x" * 78 + "…"), ([], "[]")],
    ids=["break", "digits", "long", "list"],
)
def test_any_value_is_described_on_one_line(value: object, text: str) -> None:
    assert describe_value(value) == text


def test_a_value_whose_repr_fails_is_named_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert describe_value(Broken()) == "a value of type Broken"
