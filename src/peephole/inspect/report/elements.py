"""Build HTML and SVG as trees of elements, so that no text of the data can become markup.

The trees are those of `xml.etree`, which escapes every text and attribute when it writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element, tostring

from peephole.errors import printable

Children = Element | str | None | Iterable[Any]
"""An element, a text, None, or an iterable of these."""


def element(tag: str, *children: Children, **attributes: object) -> Element:
    """Return an element of HTML or SVG.

    Args:
        tag: its name.
        children: elements and texts, also in lists; None is left out. In texts and attributes characters that cannot be
            seen, or that change the direction of the text around them, become escapes.
        attributes: `_` stands for `-`, and one at the end is dropped, as in `class_` and `aria_label`; None or False
            leaves an attribute out, True has no value.

    >>> text_of(element("p", "a < b & ", element("b", "<i>"), class_="x"))
    '<p class="x">a &lt; b &amp; <b>&lt;i&gt;</b></p>'
    """
    node = Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            node.set(name.rstrip("_").replace("_", "-"), "" if value is True else printable(str(value)))
    append(node, *children)
    return node


def append(node: Element, *children: Children) -> None:
    """Add children to an element; see `element`."""
    for child in children:
        if isinstance(child, Element):
            node.append(child)
        elif isinstance(child, str):
            _append_text(node, printable(child))
        elif child is not None:
            append(node, *child)


def raw_text(tag: str, text: str, **attributes: object) -> Element:
    """Return a `style` or `script` element, whose text browsers read as it is: the program's own, or `script_json`."""
    node = element(tag, **attributes)
    node.text = text
    return node


def text_of(node: Element) -> str:
    """Return the HTML of an element."""
    return tostring(node, encoding="unicode", method="html")


def _append_text(node: Element, text: str) -> None:
    if len(node):
        node[-1].tail = (node[-1].tail or "") + text
    else:
        node.text = (node.text or "") + text
