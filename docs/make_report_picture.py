"""Write docs/report.png, the curves of a report, and docs/report-view.png, one of its errors from the inside.

peephole report RUN -o report.html && python docs/make_report_picture.py report.html
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZE = {"width": 1000, "height": 860}


def main(page_path: str) -> None:
    """Draw the page of this file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]  # width and height
        page.goto(Path(page_path).resolve().as_uri())
        page.locator("#training .figures").first.screenshot(path=str(Path(__file__).with_name("report.png")))
        page.locator("button[data-view]").first.click()
        page.screenshot(path=str(Path(__file__).with_name("report-view.png")))
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
