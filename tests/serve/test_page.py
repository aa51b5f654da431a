"""Tests the front page, alive against the server, and the traces that it draws."""

from __future__ import annotations

import json

from browsing import Browser
from peephole.inspect.views import PAGE_LIMITS, trace_for_page
from peephole.model import Model, Notices

from .conftest import Server


def test_traces_are_those_of_the_model(server: Server, toy: Model) -> None:
    wanted = trace_for_page(toy.trace("cab", prefix="K", beam_size=3, notices=Notices()), PAGE_LIMITS.numbers)
    for prefix in ("K", ["K"]):
        answer = server.post("/v1/trace", {"source": "cab", "prefix": prefix, "beam_size": 3})
        assert answer.json == json.loads(json.dumps(wanted))


def test_wrong_traces_are_told_why(server: Server) -> None:
    for body, message in (
        ({"source": ""}, "source: String should have at least 1 character"),
        ({"source": "cab", "bend": {"step": 0, "weights": [1.0]}}, "wanted"),
        ({"source": "cab", "top": 9}, "top: Extra inputs are not permitted"),
    ):
        answer = server.post("/v1/trace", body)
        assert (answer.status, message in answer.error) == (422, True), answer


def test_the_page_decodes_by_the_server(server: Server, toy: Model, browser: Browser) -> None:
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.port}/?source=cab&model=other")
    page.locator("html[data-live=yes]").wait_for()
    [[first], [second]] = toy.predict(["cab", "dead😀한"], notices=Notices())
    assert page.inner_text(".answer .to") == first.text
    page.get_by_label("Source", exact=True).fill("dead😀한")
    page.locator("[role=status]", has_text="Decoded").first.wait_for()
    assert page.inner_text(".answer .to") == second.text
    page.get_by_label("The answer begins with", exact=True).fill("K")
    page.locator("[role=status]", has_text="beginning given").first.wait_for()
    [[begun]] = toy.predict(["dead😀한"], prefixes=["K"], notices=Notices())
    assert page.inner_text(".answer .to") == begun.text
    page.close()
    assert problems == []
