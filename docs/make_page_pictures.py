"""Write docs/page.png, docs/terminal.png and docs/notebook.png: what a model and a source look like, in Chromium.

python docs/make_page_pictures.py spell.safetensors hipothetical
"""

import html
import shutil
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console

import peephole
from peephole.cli.explain import Explainer
from peephole.cli.sources import Task
from peephole.inspect import make_page

DOCS = Path(__file__).parent
STYLE = "body { margin: 0.8rem; font: 15px/1.35 'DejaVu Sans', sans-serif; width: max-content } pre { margin: 0 }"


def terminal(model: peephole.Model, source: str) -> str:
    """Return what `peephole predict --explain` prints, in colours, as HTML."""
    explainer = Explainer()
    explainer.console = Console(record=True, file=StringIO(), force_terminal=True, width=100, highlight=False)
    with redirect_stdout(StringIO()):
        explainer("stdin", Task(1, source), model.predict([source])[0])
    inside = explainer.console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
    return f"<pre>$ echo {html.escape(source)} | peephole predict model.safetensors --explain</pre>{inside}"


def notebook(model: peephole.Model, source: str) -> str:
    """Return what Jupyter shows of a prediction: the cell, and the prediction's own HTML."""
    shown = model.predict([source])[0][0]._repr_html_()
    return f"<pre>In [1]: model.predict([{html.escape(repr(source))}])[0][0]</pre>{shown}"


def main(model_path: str, source: str) -> None:
    """Draw all pictures."""
    model = peephole.load(model_path)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        file = Path(folder) / "page.html"
        make_page(model, source).save(file)
        page = browser.new_page(viewport={"width": 1000, "height": 1000})
        page.goto(file.as_uri())
        page.locator("html[data-live=yes]").wait_for()
        page.locator(".strip >> nth=0 >> .symbol >> nth=1").click()
        page.screenshot(path=DOCS / "page.png")
        for name, body in (("terminal", terminal(model, source)), ("notebook", notebook(model, source))):
            page = browser.new_page(device_scale_factor=1.5)
            page.set_content(f"<!DOCTYPE html><meta charset=utf-8><style>{STYLE}</style>{body}")
            page.locator("body").screenshot(path=DOCS / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
