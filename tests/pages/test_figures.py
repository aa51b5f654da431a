"""Tests of what Jupyter shows, of figures, and of drawings in a terminal."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from random_models import random_model

import peephole
from peephole.errors import ArgumentError
from peephole.inspect import draw_attention, draw_trace
from peephole.inspect.figures import peephole_shares
from peephole.model import Notices
from peephole.symbols import WhitespaceSymbols


class Tags(HTMLParser):
    """Collects the tags of a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


def test_jupyter_shows_probabilities_and_attention(toy_file: Path) -> None:
    model = peephole.load(toy_file)
    [[best]] = model.predict(["cab"])
    trace = model.trace("cab")
    for shown, weights in ((best, best.attention), (trace, trace["attention"])):
        html = shown._repr_html_()
        assert "<caption><bdi>K AH B</bdi>, 67.8 %" in html
        assert weights is not None
        colours = [float(alpha) for alpha in re.findall(r"rgba\(255,160,0,([\d.]+)\)", html)]
        np.testing.assert_allclose(colours, weights.ravel(), atol=0.0051)
        shares = [float(share) for share in re.findall(r"<td>([\d.]+) %</td>", html)]
        np.testing.assert_allclose(shares, 100 * np.exp(best.symbol_log_probs), rtol=5e-3)


def test_jupyter_shows_markup_as_text_and_long_sources_without_attention() -> None:
    model = random_model()
    tags = {"table", "caption", "bdi", "thead", "tr", "th", "tbody", "td"}
    trace = model.trace("<img src=x>", "<script>window.hacked=1</script> </script> <b>bold</b>")
    assert Tags(trace._repr_html_()).tags == tags
    assert "rgba" not in model.trace("ab" * 40)._repr_html_()
    assert "rgba" not in random_model(context="last").predict(["abc"])[0][0]._repr_html_()


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_figure_has_attention_probabilities_and_gates(toy_file: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"figure.{ending}"
    trace = peephole.load(toy_file).trace("cab")
    draw_trace(trace, path)
    beginning = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(beginning)
    if ending == "svg":
        text = path.read_text(encoding="utf-8")
        assert all(word in text for word in ("attention", "p(symbol)", "forget gate", "the peepholes", "AH", ">c<"))


@pytest.mark.filterwarnings("ignore:Glyph")  # of fonts that are not installed
def test_names_of_attention_are_symbols_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    model = random_model(source=WhitespaceSymbols(["a"], "none"))
    [[best]] = model.predict(["a $x^2$ $\\wrong$"], min_length=2, notices=Notices())
    draw_attention([best], tmp_path / "attention.svg")
    assert ">$x^2$<" in (tmp_path / "attention.svg").read_text(encoding="utf-8")
    draw_trace(model.trace("a $x^2$ $\\wrong$", notices=Notices()), tmp_path / "trace.svg")
    assert best.attention is not None
    joined = dataclasses.replace(best, attention=best.attention[:, :2])  # as of an encoder that joins steps
    draw_attention([joined], tmp_path / "attention.svg")
    assert "x^2" not in (tmp_path / "attention.svg").read_text(encoding="utf-8"), "wanted no names of other columns"
    with pytest.raises(ArgumentError, match=r"wanted a name that ends in \.png, \.svg, \.pdf, got 'a\.bmp'"):
        draw_attention([best], "a.bmp")


def test_the_peepholes_part() -> None:
    trace = random_model(decoder_layers=2).trace("abc")
    own, pre = trace["decoder.1.peephole_f"], trace["decoder.1.pre_f"]
    wanted = [sum(abs(a)) / (sum(abs(a)) + sum(abs(b - a))) for a, b in zip(own, pre, strict=True)]
    np.testing.assert_allclose(peephole_shares(trace)["forget gate"], wanted, atol=1e-6)
    assert peephole_shares(random_model(layer_norm=True).trace("abc")) == {}
    assert peephole_shares(random_model(cell="gru", peephole="none").trace("abc")) == {}
