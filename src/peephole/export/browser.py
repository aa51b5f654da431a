"""The folder of a model that predicts in a browser: a page, the module and its worker, the engine, and the model.

`index.html` works from any static server, also under a strict content-security policy, and from the disk (`file://`),
where a browser lets a page read no other files: there it loads `embedded.js`, a classic script with everything in it.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from peephole.engine.kinds import PREDICTION_KINDS, missing_kind
from peephole.errors import ModelFileError, check_path
from peephole.export.files import write_files
from peephole.model import load
from peephole.nn.schema import Architecture
from peephole.storage.header import read_content

WEB = files("peephole.export") / "web"
BUILDS = ("simd", "plain")
"""The engine's builds: with 128-bit vectors, which nearly all browsers have, and without."""
SCRIPTS = ("checks.js", "symbols.js", "trace.js", "engine.js", "model.js", "api.js")
"""The parts of the module, each importing only those before it."""
COPIED = (*SCRIPTS, "peephole.js", "peephole.d.ts", "worker.js", "page.js", "page.css")


def export_web(names: Sequence[str | Path], out: str | Path | None = None) -> list[Path]:
    """Write a folder that predicts in a browser without a server.

    Args:
        names: the model file, or several files of an ensemble.
        out: the folder, made if there is none; by default the first model's name with the ending `.web`. Files in it
            are replaced.

    Returns:
        The files written.

    Raises:
        ModelFileError: a file is not a model, is damaged, or has a kind that cannot run in a browser.
        ConfigError: a file would replace one of the models.
        RunError: the folder cannot be written.
        ArgumentError: a name is not one.
    """
    for name in names:
        check_path("path", name)
    if out is not None:
        check_path("out", out)
    contents = _read_models(names)
    folder = Path(names[0]).with_suffix(".web") if out is None else Path(out)
    return write_files(folder, folder_contents(Path(names[0]).stem, contents), names)


def _read_models(names: Sequence[str | Path]) -> list[bytes]:
    model = load(*names)
    if model.config.model.predicts_vectors:
        raise ModelFileError(f"{names[0]}: wanted a model that predicts symbols for --to web, got one of series")
    for name, member in zip(names, model.members, strict=True):
        missing = missing_kind(Architecture.of(member.config.model).kinds(), PREDICTION_KINDS)
        if missing is not None:
            raise ModelFileError(f"{name}: --to web: the engine {missing}")
    return [read_content(name) for name in names]


def folder_contents(title: str, models: Sequence[bytes]) -> dict[str, bytes]:
    """Return the files of the folder by name.

    Args:
        title: the heading of the page, and the end of the package's name.
        models: the contents of the model files.
    """
    named = dict(zip(_model_names(len(models)), models, strict=True))
    page = _text("index.html").replace("{title}", html.escape(title)).replace("{models}", " ".join(named))
    package = json.loads(_text("package.json"))
    package["name"] = "peephole-" + (re.sub("[^a-z0-9]+", "-", title.lower()).strip("-") or "model")
    package["description"] = f"{title}, a sequence-to-sequence model that predicts in the browser"
    return {
        "index.html": page.encode(),
        "package.json": (json.dumps(package, indent=2, ensure_ascii=False) + "\n").encode(),
        **{name: _text(name).encode() for name in COPIED},
        "embedded.js": embedded_script(models).encode(),
        **{f"{build}.wasm": _build(build) for build in BUILDS},
        **named,
    }


def embedded_script(models: Sequence[bytes]) -> str:
    """Return a classic script that needs no other file: it sets `peephole`, with `load`, and `peephole.models`.

    It is its own worker: a browser runs its text as one.
    """
    body = "\n".join(_without_modules(_text(name)) for name in SCRIPTS)
    builds = json.dumps({build: base64.b64encode(_build(build)).decode() for build in BUILDS})
    contents = json.dumps([base64.b64encode(model).decode() for model in models])
    return f"""// The module, the engine and the model in one script, for pages that may read no other files.
(() => {{
const program = () => {{
"use strict";
{body}
return {{ EngineStopped, Model, PeepholeError, decodeBase64, load, place, serve }};
}};
const peephole = (globalThis.peephole = program());
peephole.place.builds = {builds};
peephole.models = {contents}.map(peephole.decodeBase64);
peephole.place.startWorker = () => {{
  const text = `(${{program}})().serve(self);`;
  const url = URL.createObjectURL(new Blob([text], {{ type: "text/javascript" }}));
  const worker = new Worker(url);
  URL.revokeObjectURL(url);
  return worker;
}};
}})();
"""


def _model_names(count: int) -> list[str]:
    return ["model.safetensors", *(f"model-{i}.safetensors" for i in range(2, count + 1))]


def _without_modules(script: str) -> str:
    """Return a module's text as a part of a script: without imports, and what it exports as plain declarations."""
    script = re.sub(r"^import [^;]*;\n", "", script, flags=re.MULTILINE)
    script = re.sub(r"^export \{[^}]*\};\n", "", script, flags=re.MULTILINE)
    return re.sub(r"^export ", "", script, flags=re.MULTILINE)


def _text(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _build(name: str) -> bytes:
    return (WEB / f"{name}.wasm").read_bytes()
