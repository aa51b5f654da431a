"""Assemble pages from their files in `web/`: HTML files that load nothing."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|class|const|let) (\w+))", re.MULTILINE)
_EXPORT_LIST = re.compile(r"^export \{([^}]*)\};\n", re.MULTILINE)
_ESCAPED = re.compile("[<\u202a-\u202e\u2066-\u2069]")


def read_page_file(name: str) -> str:
    """Return the text of a file in `web/`."""
    return files("peephole.inspect").joinpath("web", name).read_text(encoding="utf-8")


def read_scripts() -> dict[str, str]:
    """Return the text of each script in `web/` by its name."""
    folder = files("peephole.inspect").joinpath("web")
    return {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".js")}


def fill_template(template: str, parts: Mapping[str, str]) -> str:
    """Return a template with its parts in the places of `@NAME@`; parts are not filled in themselves.

    >>> fill_template("<p>@A@ @B@", {"A": "@B@", "B": "b"})
    '<p>@B@ b'
    """
    return re.sub(r"@([A-Z]+)@", lambda found: parts.get(found[1], found[0]), template)


def join_modules(first: str, sources: Mapping[str, str]) -> str:
    """Return ES modules as one script: each becomes a function that returns what it exports.

    Args:
        first: the name of the module that imports the others.
        sources: the text of each module by its name.

    >>> print(join_modules("b.js", {"a.js": "export const x = 1;", "b.js": 'import { x } from "./a.js";\\nf(x);'}))
    "use strict";
    const modules = {};
    modules["a.js"] = (() => {
    const x = 1;
    return { x };
    })();
    modules["b.js"] = (() => {
    const { x } = modules["a.js"];
    f(x);
    return {  };
    })();
    """
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        text = sources[name]
        for found in _IMPORT.finditer(text):
            add(found[2])
        exported = [found[2] for found in _EXPORT.finditer(text)]
        for found in _EXPORT_LIST.finditer(text):
            exported += [part.strip() for part in found[1].split(",")]
        text = _EXPORT_LIST.sub("", _EXPORT.sub(r"\1", text))
        text = _IMPORT.sub(lambda found: f'const {{{found[1].replace(" as ", ": ")}}} = modules["{found[2]}"];\n', text)
        done[name] = f'modules["{name}"] = (() => {{\n{text.strip()}\nreturn {{ {", ".join(exported)} }};\n}})();'

    add(first)
    return "\n".join(['"use strict";', "const modules = {};", *done.values()])


def script_json(value: Any) -> str:
    """Return a value as JSON that can stand in a `<script>` element, whatever texts are in it.

    Characters that change the direction of the text around them are escaped, too.

    >>> script_json("</script><b>\\u202e")
    '"\\\\u003c/script>\\\\u003cb>\\\\u202e"'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def assemble_page(title: str, about: str, plain: str, data: Mapping[str, Any], engine: str) -> str:
    """Return the page.

    Args:
        title: a text.
        about: a text below it.
        plain: HTML for readers without JavaScript.
        data: what the scripts draw, as JSON values.
        engine: the script of the engine and the models, as `peephole.export.browser.embedded_script` returns it; empty
            for a page that only shows what was recorded.
    """
    return fill_template(
        read_page_file("page.html"),
        {
            "TITLE": html.escape(title),
            "ABOUT": html.escape(about),
            "PLAIN": plain,
            "STYLE": read_page_file("base.css") + read_page_file("view.css"),
            "DATA": script_json(data),
            "ENGINE": engine,
            "SCRIPT": join_modules("main.js", read_scripts()),
        },
    )
