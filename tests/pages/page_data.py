"""The pairs of a small run, and the data inside a page."""

from __future__ import annotations

import json
import re
from typing import Any


def data_of(html: str, name: str = "data") -> Any:
    """Return the JSON of the `<script>` with this id."""
    [found] = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    return json.loads(found)


def toy_pairs(count: int) -> list[tuple[str, str]]:
    """Return pairs of a word of letters and its reverse."""
    words = [f"{i:b}".replace("0", "a").replace("1", "b") for i in range(2, count + 2)]
    return [(word, word[::-1]) for word in words]
