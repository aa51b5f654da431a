"""A real browser for tests: Chromium without a network, whose pages must neither log errors nor request anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser that is installed on this machine."""
    assert CHROMIUM is not None, "wanted Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, file: Path, **context: Any) -> Iterator[Page]:
    """Open a file as a page; at the end check that it logged no error, showed no dialog and requested nothing else.

    Args:
        browser: from `chromium`.
        file: an HTML file.
        context: arguments of `Browser.new_context`, such as `color_scheme`.
    """
    with_page = browser.new_context(offline=True, **context)
    page = with_page.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
    address = file.as_uri()
    page.on("request", lambda request: None if _is_inside(request.url, address) else problems.append(request.url))
    page.goto(address)
    try:
        yield page
        assert not problems, problems
    finally:
        with_page.close()


def _is_inside(url: str, address: str) -> bool:
    return url == address or url.startswith(("data:", "blob:"))


def accessibility_findings(page: Page, part: str | None = None, options: dict[str, Any] | None = None) -> list[str]:
    """Return what axe-core finds in a page, or in a part of it, by all its rules, or by those that its options name."""
    found = Axe().run(page, context=part, options=options).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def open_all(page: Page) -> None:
    """Open every folded part of a page of a prediction."""
    page.evaluate("document.querySelectorAll('details.panel').forEach((part) => (part.open = true))")
    page.evaluate("new Promise((done) => setTimeout(done, 50))")


def table_rows(page: Page, title: str) -> list[str]:
    """Open the folded table whose title holds a text, and return its rows, cells with tabs between them."""
    table = page.locator(f"details:has(> summary:has-text('{title}'))")
    table.locator("> summary").click()
    rows = table.locator("tbody tr")
    rows.first.wait_for()
    return rows.all_inner_texts()
