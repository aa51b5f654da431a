"""Tests /v1: answers are those of `peephole predict`, in any mixture of requests."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from peephole.model import Model, Notices
from peephole.serve.native import _result

from .conftest import Server, finish, serving

WORDS = ["dan", "ande", "nad", "da", "e", "andnad", "", "dean", "xyz", "naaaad"]
SETTINGS = [
    {},
    {"nbest": 3},
    {"beam_size": 1},
    {"beam_size": 8, "nbest": 8, "length_penalty": 0.6},
    {"temperature": 1.0, "nbest": 4, "seed": 7},
    {"temperature": 0.7, "top_k": 3},
    {"diverse_groups": 2, "beam_size": 4, "nbest": 2},
    {"attention": True},
]


def expected(model: Model, sources: list[str], attention: bool = False, **how) -> list[dict]:
    """Return the results of a request, as `peephole predict --json` prints them."""
    found = model.predict(sources, attention=attention, notices=Notices(), **how)
    return [
        {"source": source, "predictions": [prediction.to_dict() for prediction in predictions]}
        for source, predictions in zip(sources, found, strict=True)
    ]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_results_are_those_of_predict(server: Server, toy: Model, settings: dict) -> None:
    answer = server.post("/v1/predict", {"sources": WORDS, **settings})
    assert answer.status == 200, answer.body
    assert answer.json["model"] == "toy"
    assert answer.json["results"] == expected(toy, WORDS, **settings)


def test_an_answer_has_the_bytes_of_predict(server: Server, toy_file, tmp_path, capsys) -> None:
    from peephole.cli.main import group

    lines = tmp_path / "words.txt"
    lines.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    group.main(["predict", str(toy_file), str(lines), "--json"], standalone_mode=False)
    printed = capsys.readouterr().out.splitlines()
    answer = server.post("/v1/predict", {"sources": WORDS, "attention": True, "stream": True})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.body.decode().splitlines() == printed


def test_an_answer_has_limited_attention(toy_file, toy: Model) -> None:
    sources = ["dan" * 10, "da", "dan" * 10]
    weights = [found[0].attention.size for found in toy.predict(sources, min_length=5, notices=Notices())]
    assert weights[1] < 100 < weights[0]
    asked = {"sources": sources, "attention": True, "min_length": 5}
    with serving(f"toy={toy_file}", "--max-attention", weights[0] + weights[1]) as server:
        refused = server.post("/v1/predict", asked)
        assert server.post("/v1/predict", {**asked, "sources": sources[:2]}).json["results"] == expected(
            toy, sources[:2], attention=True, min_length=5
        )
        assert server.post("/v1/predict", {"sources": sources}).status == 200
    assert refused.status == 413
    assert re.fullmatch(
        rf"attention: wanted at most {weights[0] + weights[1]} weights in an answer \(max_attention\), got \d+ or "
        "more; ask for fewer sources or a smaller nbest",
        refused.error,
    )
    with serving(f"toy={toy_file}", "--max-attention", weights[0] - 1) as server:
        lines = server.post("/v1/predict", {**asked, "stream": True}).body.splitlines()
    first, second, third = map(json.loads, lines)
    assert first == third == {"source": sources[0], "error": first["error"]}
    assert "(max_attention), got" in first["error"]
    assert [second] == expected(toy, sources[1:2], attention=True, min_length=5)


def test_others_are_answered_between_the_predictions_of_an_answer(toy: Model) -> None:
    [found] = toy.predict(["dan"], beam_size=8, nbest=8, notices=Notices())
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def write() -> bytes:
        counting = asyncio.create_task(count())
        written = await _result("dan", found)
        counting.cancel()
        return written

    assert json.loads(finish(write())) == expected(toy, ["dan"], True, beam_size=8, nbest=8)[0]
    assert turns >= 8


def test_prefixes_and_required_texts(server: Server, toy: Model) -> None:
    words = ["dan", "ande", "nad"]
    how = {"prefixes": ["D", "", "EH"], "must_contain": [[], ["HAN"], ["D", "EH"]], "nbest": 2}
    assert server.post("/v1/predict", {"sources": words, **how}).json["results"] == expected(toy, words, **how)


def test_concurrent_requests_of_different_settings_do_not_change_each_other(server: Server, toy: Model) -> None:
    requests = [(WORDS[i % 7 :] or WORDS, SETTINGS[i % len(SETTINGS)]) for i in range(48)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda one: server.post("/v1/predict", {"sources": one[0], **one[1]}), requests))
    for (words, settings), answer in zip(requests, answers, strict=True):
        assert answer.json["results"] == expected(toy, words, **settings)


def test_a_stream_may_have_more_sources_than_a_batch(server: Server, toy: Model) -> None:
    words = [WORDS[i % 6] for i in range(300)]
    answer = server.post("/v1/predict", {"sources": words, "stream": True})
    assert [json.loads(line) for line in answer.body.splitlines()] == expected(toy, words)


def test_a_source_that_fails_in_a_stream_has_an_error(server: Server) -> None:
    sources, prefixes = ["dan", "dan"], ["D " * 900, "D"]
    answer = server.post("/v1/predict", {"sources": sources, "prefixes": prefixes, "stream": True})
    first, second = [json.loads(line) for line in answer.body.splitlines()]
    assert "wanted a prefix of fewer than" in first["error"]
    assert second["predictions"][0]["text"].startswith("D")


def test_scores(server: Server, toy: Model) -> None:
    sources, targets = ["dan", "ande", "nad"], ["D HAN", ["HAN", "D"], "D"]
    answer = server.post("/v1/score", {"sources": sources, "targets": targets})
    assert answer.json["log_probs"] == toy.score(sources, targets, notices=Notices())


def test_models_are_chosen_by_name(server: Server) -> None:
    assert [model["name"] for model in server.call("GET", "/v1/models").json["models"]] == ["toy", "other"]
    assert server.post("/v1/predict", {"sources": ["dan"], "model": "other"}).json["model"] == "other"
    missing = server.post("/v1/predict", {"sources": ["dan"], "model": "none"})
    assert (missing.status, missing.error) == (404, "model: wanted one of toy, other, got 'none'")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"sources": ["dan", 3]}, 422, "sources.1: Input should be a valid string"),
        ({"sources": "dan"}, 422, "sources: Input should be a valid array"),
        ({"sources": []}, 422, "sources: List should have at least 1 item"),
        ({}, 422, "sources: Field required"),
        ({"sources": ["dan"], "beam": 3}, 422, "beam: Extra inputs are not permitted"),
        ({"sources": ["dan"], "beam_size": 0}, 422, "beam_size: Input should be greater than or equal to 1"),
        ({"sources": ["dan"], "beam_size": 33}, 422, "beam_size: Input should be less than or equal to 32"),
        ({"sources": ["dan"], "beam_size": 2, "nbest": 3}, 422, "nbest"),
        ({"sources": ["dan"], "prefixes": ["D", "D"]}, 422, "prefixes: wanted 1, one a source, got 2"),
        ({"sources": ["dan", "e"], "prefixes": ["", "D " * 900]}, 422, "source 1: wanted a prefix of fewer than"),
        ({"sources": ["dan"], "prefixes": ["D " * 1001]}, 413, "prefixes.0: String should have at most 2000"),
        (
            {"sources": ["dan", "e"], "must_contain": [["D"], ["?"]]},
            422,
            "source 1: must_contain: wanted texts of symbols seen in training, got '?'",
        ),
        (
            {"sources": ["dan"], "must_contain": [["D" * 1000] * 3]},
            413,
            "must_contain.0: wanted at most 2000 characters in all (max_length), got 3000",
        ),
        ({"sources": ["dan"], "must_contain": [[""] * 2001]}, 413, "must_contain.0: List should have at most 2000"),
        ({"sources": ["dan"], "a\nb" * 99: 1}, 422, "…: Extra inputs are not permitted"),
        ({"sources": ["x" * 2001]}, 413, "sources.0: String should have at most 2000 characters"),
        ({"sources": ["dan"] * 101}, 413, "sources: wanted at most 100 (max_batch) without stream, got 101"),
        (b'{"sources": ["\\ud800"]}', 422, "Invalid JSON"),
        (b"{", 422, "Invalid JSON"),
        (b"\xff", 422, "Invalid JSON"),
        (b'{"sources": ["' + b"x" * 200_000 + b'"]}', 413, "body: wanted at most 200000 bytes (max_body)"),
    ],
)
def test_wrong_requests_are_told_why(server: Server, body, status: int, message: str) -> None:
    answer = server.post("/v1/predict", body)
    assert (answer.status, message in answer.error) == (status, True), answer
    assert answer.headers["content-type"] == "application/json"


def test_too_many_chunks_and_compressed_bodies_are_refused(server: Server) -> None:
    answer = server.post("/v1/predict", b"x", {"Content-Encoding": "gzip"})
    assert answer.status == 415
    chunks = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    answer = server.post("/v1/predict", chunks * 8 + b"0\r\n\r\n", {"Transfer-Encoding": "chunked"})
    assert (answer.status, answer.error) == (413, "body: wanted at most 200000 bytes (max_body), got more")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/predict", 405), ("GET", "/nothing", 404)])
def test_other_paths_and_methods(server: Server, method: str, path: str, status: int) -> None:
    answer = server.call(method, path)
    assert answer.status == status
    assert answer.error


def test_files_are_refused_by_a_model_of_texts(server: Server) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nx\r\n--b--\r\n'
    answer = server.post("/v1/predict", body, {"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status, answer.error) == (422, "model toy: wanted texts, as JSON, got files")


@pytest.mark.parametrize(
    ("targets", "status", "message"),
    [
        (["D", 3], 422, "targets.1: Input should be a text or a list of texts"),
        (["D", ["D", 3]], 422, "targets.1.1: Input should be a valid string"),
        (["D", "D" * 2001], 413, "targets.1: String should have at most 2000 characters"),
        (["D", ["D" * 1001] * 2], 413, "targets.1: wanted at most 2000 characters in all (max_length), got 2002"),
        (["D", [""] * 2001], 413, "targets.1: List should have at most 2000 items after validation, not 2001"),
    ],
)
def test_wrong_targets_are_told_with_one_position(server: Server, targets: list, status: int, message: str) -> None:
    answer = server.post("/v1/score", {"sources": ["dan", "e"], "targets": targets})
    assert (answer.status, answer.error) == (status, message)


def test_an_empty_source_of_a_score_is_told_with_one_position(server: Server) -> None:
    answer = server.post("/v1/score", {"sources": ["dan", ""], "targets": ["D", "D"]})
    assert (answer.status, answer.error) == (422, "source 1: wanted at least one symbol, got an empty source")


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("D" * 2001, "prefix: String should have at most 2000 characters"),
        (["D" * 1001] * 2, "prefix: wanted at most 2000 characters in all (max_length), got 2002"),
    ],
)
def test_the_prefix_of_a_trace_has_a_limit(server: Server, prefix: str | list[str], message: str) -> None:
    answer = server.post("/v1/trace", {"source": "dan", "prefix": prefix})
    assert (answer.status, answer.error) == (413, message)
    assert server.post("/v1/trace", {"source": "dan", "prefix": ["D"]}).status == 200
