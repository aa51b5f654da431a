"""The data inside a page."""

from __future__ import annotations

import json
import re
from typing import Any


def data_of(html: str, name: str = "data") -> Any:
    """Return the JSON of the `<script>` with this id."""
    [found] = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    return json.loads(found)
