"""Write docs/settings.md from the types, defaults and help texts of the configuration.

python docs/make_settings.py
"""

from pathlib import Path

from peephole.config import describe
from peephole.values import default_text

HEAD = """# Settings

Every setting of a run, made by `python docs/make_settings.py` from `src/peephole/sections.py`. On the command line:
`--set model.hidden_size=512`; in a TOML file for `--config`: `[model]` and `hidden_size = 512`; in Python:
`peephole.train(..., hidden_size=512)`. The section may be left out where the name is unique (in a TOML file before all
tables); `threads`, `seed`, `engine` and `ctc_weight` without a section are set in both `train` and `search`. The table
`[search_space]` of the same file names the settings that `peephole train --search` tries; see
[the guide](guide.md#search-settings).

| setting | type | default | what it does |
|---|---|---|---|
"""


def settings_page() -> str:
    """Return the text of docs/settings.md."""
    rows = []
    for name, kind, default, help in describe():
        kind_text = kind.replace("|", " \\| ")
        rows.append(f"| `{name}` | {kind_text} | {default_text(default)} | {help.replace('<', '&lt;')} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (Path(__file__).parent / "settings.md").write_text(settings_page(), encoding="utf-8")
