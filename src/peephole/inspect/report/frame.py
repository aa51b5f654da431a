"""A page of HTML in one file: no request leaves it, and it can be read without scripts, with a keyboard and aloud."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any
from xml.etree.ElementTree import Element

from peephole import __version__
from peephole.inspect.assemble import join_modules, read_page_file, read_scripts, script_json
from peephole.inspect.report.elements import Children, element, raw_text, text_of

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The content-security policy: whatever is in the page, the browser sends no request."""


class Page:
    """A page under construction.

    Args:
        title: its title, a text.
        subtitle: a line below it.
    """

    def __init__(self, title: str, subtitle: Children = ()) -> None:
        self._title, self._subtitle = title, subtitle
        self._sections: list[tuple[str, str, Element]] = []
        self._views: list[Mapping[str, Any]] = []
        self._ids = count(1)

    def add(self, heading: str, *children: Children) -> None:
        """Add a section."""
        name = re.sub("[^a-z]+", "-", heading.lower())
        heading_id = f"{name}-heading"
        content = element(
            "section", element("h2", heading, id=heading_id), *children, id=name, aria_labelledby=heading_id
        )
        self._sections.append((name, heading, content))

    def figure(self, caption: str, picture: Element, table: Element, note: Children = ()) -> Element:
        """Return a picture with its caption, and with the table of its numbers behind it."""
        name = f"figure-{next(self._ids)}"
        picture.set("role", "img")
        picture.set("aria-labelledby", name)
        return element(
            "figure",
            element("figcaption", caption, id=name),
            element("div", picture, class_="scroll", tabindex="0", role="group", aria_label=f"{caption}, picture"),
            element("p", note, class_="note") if note else None,
            element("details", element("summary", "Numbers of this picture"), table),
            class_="panel",
        )

    def view_button(self, view: Mapping[str, Any]) -> Element:
        """Add a recorded prediction, as `peephole.inspect.views.make_view` returns it; return the button that opens it.

        The button is hidden where scripts do not run.
        """
        self._views.append(view)
        name = f"Look inside: {view['source']}"
        return element(
            "button",
            "Look inside",
            type="button",
            class_="small",
            data_view=len(self._views) - 1,
            hidden=True,
            aria_label=name,
        )

    def html(self) -> str:
        """Return the whole page."""
        links = [element("li", element("a", heading, href=f"#{name}")) for name, heading, _ in self._sections]
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", self._title),
            element("link", rel="icon", href="data:,"),
            raw_text("style", "".join(map(read_page_file, ("base.css", "view.css", "report.css")))),
        )
        body = element(
            "body",
            element("a", "To the content", href="#main", class_="skip"),
            element(
                "header",
                element("h1", self._title),
                element("button", "Dark", type="button", id="theme", class_="small", hidden=True),
                element("p", self._subtitle, class_="note"),
            ),
            element("nav", element("ul", links), aria_label="Sections"),
            element("main", *(content for *_, content in self._sections), id="main", tabindex="-1"),
            element("footer", element("p", f"Made by peephole {__version__}.")),
            raw_text("script", script_json(self._views), type="application/json", id="views"),
            raw_text("script", f"(() => {{\n{join_modules('report.js', read_scripts())}\n}})();"),
        )
        return "<!doctype html>\n" + text_of(element("html", head, body, lang="en")) + "\n"


def table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Children]],
    *,
    numbers: Sequence[int] = (),
    sortable: bool = False,
) -> Element:
    """Return a table that scrolls in its own box if it is wide.

    Args:
        caption: what it holds.
        headings: of the columns.
        rows: the cells; the first of each row is its heading.
        numbers: the columns that hold numbers.
        sortable: each heading is a button that sorts by its column.
    """
    head = [
        element(
            "th", element("button", text, type="button") if sortable else text, scope="col", class_=_class(i, numbers)
        )
        for i, text in enumerate(headings)
    ]
    body = [
        element(
            "tr",
            element("th", row[0], scope="row", class_=_class(0, numbers)),
            (element("td", cell, class_=_class(i, numbers)) for i, cell in enumerate(row[1:], start=1)),
        )
        for row in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", head)),
            element("tbody", body),
            class_="sortable" if sortable else None,
        ),
        class_="scroll",
        tabindex="0",
        role="group",
        aria_label=caption,
    )


def text(value: str, **attributes: object) -> Element:
    """Return a text of the data, whose direction, left to right or right to left, does not change that around it."""
    return element("bdi", value, **attributes)


def facts(rows: Sequence[tuple[str, Children]]) -> Element:
    """Return a list of names with their values."""
    return element("dl", [part for name, value in rows for part in (element("dt", name), element("dd", value))])


def paragraph(*children: Children, **attributes: object) -> Element:
    """Return a paragraph."""
    return element("p", *children, **attributes)


def details(summary: str, *children: Children) -> Element:
    """Return content that is shown on request."""
    return element("details", element("summary", summary), *children)


Column = tuple[str | None, str | None]


def aligned(columns: Sequence[Column], first: str = "predicted", second: str = "reference") -> Element:
    """Return an alignment of two lists of symbols as a table of two rows; differences are marked.

    Args:
        columns: (symbol above, symbol below); None where a side has none.
        first: heading of the upper row.
        second: heading of the lower row.
    """

    def row(heading: str, side: int) -> Element:
        cells = []
        for column in columns:
            symbol, wrong = column[side], column[0] != column[1]
            shown = "·" if symbol is None else "␣" if symbol == " " else symbol
            cells.append(element("td", text(shown), class_="wrong" if wrong else None))
        return element("tr", element("th", heading, scope="row"), cells)

    return element(
        "div",
        element("table", row(first, 0), row(second, 1), class_="aligned"),
        class_="scroll",
        tabindex="0",
        role="group",
        aria_label="alignment",
    )


def _class(index: int, numbers: Sequence[int]) -> str | None:
    return "number" if index in numbers else None
