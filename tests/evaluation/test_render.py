"""Tests of the terminal output: numbers, alignment for symbols of any width, escaped control characters."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from peephole.evaluation import compare, evaluate_predictions, render, render_comparison
from peephole.evaluation.alignment import align
from peephole.evaluation.render import aligned_lines
from peephole.symbols import CharacterSymbols

SYMBOLS = CharacterSymbols(["a"], "NFC")
SHOWN = ["K", "AE1", "가", "漢字", "👍🏽", "👩‍👩‍👧", "🇰🇷", "é", " ", "[red]", "\x1b[31m", "\n"]


def print_to_text(renderable, width=80):
    console = Console(width=width, file=io.StringIO(), force_terminal=False, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_the_table_shows_every_score_with_its_interval():
    found = evaluate_predictions(["x", "y", "z"], ["ab", "가나", "a"], [("ab",), ("가다", "나"), ("a",)], SYMBOLS)
    text = print_to_text(render(found), width=120)
    assert "3 sources, 4 references" in text
    for score in found.scores.values():
        (line,) = [line for line in text.splitlines() if line.strip().startswith(score.label)]
        assert f"{score.value:.2f}" in line
        assert f"{score.low:.2f} - {score.high:.2f}" in line
        assert ("↑" in line) == (score.better == "higher")
    assert "66.67 %" in text


def test_counts_of_one_are_in_the_singular():
    found = evaluate_predictions(["x"], ["ab"], [("ab", "a")], SYMBOLS)
    assert print_to_text(render(found)).split("\n")[0].strip() == "1 source, 2 references"
    both = compare(["x"], ["ab"], ["a"], [("ab",)], SYMBOLS)
    assert print_to_text(render_comparison(both)).split("\n")[0].strip() == "1 source"


def test_a_worst_prediction_is_two_aligned_lines_with_the_differences_marked():
    found = evaluate_predictions(["인사"], ["안넝 하세👋요"], [("안녕하세요",)], SYMBOLS)
    lines = [line.rstrip() for line in print_to_text(render(found)).splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("인사"))
    assert lines[start : start + 4] == [
        "인사  3 edits",
        "  predicted  안 넝 ␣ 하 세 👋 요",
        "  reference  안 녕 · 하 세 ·  요",
        "                ^^ ^       ^^",
    ]


def test_table_ends_the_output_when_all_predictions_are_right():
    assert "predicted" not in print_to_text(render(evaluate_predictions(["a"], ["a"], [("a",)], SYMBOLS)))


def text_from_cell(line):
    """Return the text that starts at each terminal cell; a wide symbol starts at its first cell."""
    return {cell_len(line[:i]): line[i:] for i in range(len(line) + 1)}


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(SHOWN), max_size=20),
    st.lists(st.sampled_from(SHOWN), max_size=20),
    st.integers(12, 60),
)
def test_marks_are_below_the_differences_in_every_block(predicted, reference, width):
    columns = align(predicted, reference)
    blocks = aligned_lines(columns, width)
    remaining = iter(columns)
    num_shown = 0
    for lines in blocks:
        plain = [line.plain for line in lines]
        assert max(map(cell_len, plain)) <= width
        assert all(text.isprintable() or "\u200d" in text for text in plain)
        starts, start = [], 0
        while start < max(map(cell_len, plain)):  # walk over the columns of this block
            left, right = next(remaining)
            num_shown += 1
            starts.append(start)
            for side, text in ((left, plain[0]), (right, plain[1])):
                rendered = {None: "·", " ": "␣", "\x1b[31m": r"\x1b[31m", "\n": r"\n"}.get(side, side)
                assert text_from_cell(text)[start].startswith(rendered)
            wide = max(
                cell_len({None: "·", " ": "␣", "\x1b[31m": r"\x1b[31m", "\n": r"\n"}.get(s, s)) for s in (left, right)
            )
            marks = plain[2].ljust(start + wide)[start : start + wide]
            assert marks == ("^" * wide if left != right else " " * wide)
            start += wide + 1
    assert num_shown == len(columns)


def test_symbol_wider_than_the_line_has_its_own_line():
    blocks = aligned_lines([("ab", "ab"), ("x" * 30, "y"), ("c", "c")], 10)
    assert [block[0].plain for block in blocks] == ["ab", "x" * 30, "c"]


def test_control_characters_and_markup_are_escaped():
    source = "[bold]x[/nonsense]\x1b[2J\x9b2J\u2028"
    found = evaluate_predictions([source], ["\x1b[31mred\r"], [("[/red]",)], SYMBOLS)
    text = print_to_text(render(found))
    assert "[bold]x[/nonsense]" in text
    assert not set(text) & {"\x1b", "\x9b", "\r", "\u2028"}


@pytest.mark.parametrize("width", [80, 200])
def test_a_comparison_fits_a_terminal(width):
    references = ["안녕하세요", "ab", "cd", "ef"] * 10
    better = [text if i % 7 else text + "x" for i, text in enumerate(references)]
    worse = ["z"] * 16 + references[16:]
    found = compare(references, worse, better, [(text,) for text in references], SYMBOLS, swaps=20_000)
    text = print_to_text(render_comparison(found, "run [1]", "other"), width)
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width
    (line,) = [line for line in lines if line.strip().startswith("exact match")]
    difference = found.differences["exact_match"]
    assert line.split() == [
        *("exact", "match", "↑", f"{difference.value_a:.2f}", f"{difference.value_b:.2f}"),
        *(f"{difference.difference:+.2f}", f"{difference.low:+.2f}", "…", f"{difference.high:+.2f}"),
        *(f"{p:.3f}" for p in (difference.p_bootstrap, difference.p_swaps, difference.p_mcnemar)),
    ]
    (line,) = [line for line in lines if line.strip().startswith("symbol error")]
    assert line.split()[-2:] == ["<.001", "<.001"]  # and no McNemar test
    assert "McNemar" in text
    assert "run [1]" in text
