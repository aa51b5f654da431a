"""Tests the protocols of others with their own clients, unchanged from PyPI."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
from libretranslatepy import LibreTranslateAPI

from peephole.errors import ConfigError
from peephole.model import Model, Notices
from peephole.serve.languages import detect_language, parse_languages
from peephole.serve.refusal import RefusalError
from peephole.serve.tensors import read_infer_request

from .conftest import Server, serving

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def translating(toy_file: Path, tmp_path_factory) -> Iterator[Server]:
    """Start a server that translates from dd to hh, and from dd to uu, with a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(TOKEN)
    models = (f"one={toy_file}", f"two={toy_file}", "--languages", "one=dd:hh", "--languages", "two=en:hh")
    with serving(*models, "--token-file", tokens, "--max-batch", 20) as started:
        yield started


@pytest.fixture(scope="module")
def client(translating: Server) -> LibreTranslateAPI:
    """Return the client of PyPI's libretranslatepy."""
    return LibreTranslateAPI(f"http://127.0.0.1:{translating.port}", TOKEN)


def targets(model: Model, *sources: str) -> list[str]:
    """Return the best target of each source."""
    return [found[0].text for found in model.predict(sources, notices=Notices())]


def test_libretranslate_client(client: LibreTranslateAPI, toy: Model) -> None:
    assert client.translate("dan", "dd", "hh") == targets(toy, "dan")[0]
    assert client.translate("dan\n\n ande ", "dd", "hh") == "\n\n".join(targets(toy, "dan", "ande"))
    assert client.languages() == [
        {"code": "dd", "name": "dd", "targets": ["hh"]},
        {"code": "en", "name": "English", "targets": ["hh"]},
    ]
    assert client.detect("dan") == [
        {"confidence": 50.0, "language": "dd"},
        {"confidence": 50.0, "language": "en"},
    ]


def test_libretranslate_client_is_told_about_errors(translating: Server, client: LibreTranslateAPI) -> None:
    with pytest.raises(HTTPError) as failed:
        client.translate("dan", "dd", "xx")
    assert failed.value.code == 400
    assert json.loads(failed.value.read()) == {"error": "dd to xx is not supported; wanted one of: dd to hh, en to hh"}
    stranger = LibreTranslateAPI(f"http://127.0.0.1:{translating.port}", "wrong")
    for call in (lambda: stranger.translate("dan", "dd", "hh"), lambda: stranger.detect("dan")):
        with pytest.raises(HTTPError) as failed:
            call()
        assert (failed.value.code, json.loads(failed.value.read())) == (403, {"error": "Invalid API key"})
    assert stranger.languages()


def test_translate_takes_lists_and_alternatives(translating: Server, toy: Model) -> None:
    body = {"q": ["dan", "ande"], "source": "dd", "target": "hh", "alternatives": 2}
    answer = translating.post("/translate", body, {"Authorization": f"Bearer {TOKEN}"})
    found = toy.predict(["dan", "ande"], nbest=3, notices=Notices())
    assert answer.json == {
        "translatedText": [one[0].text for one in found],
        "alternatives": [[other.text for other in one[1:]] for one in found],
    }


def test_translate_detects_the_language(translating: Server, toy: Model) -> None:
    form = urlencode({"q": "dan", "source": "auto", "target": "hh", "api_key": TOKEN})
    answer = translating.post("/translate", form, {"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.json == {
        "translatedText": targets(toy, "dan")[0],
        "detectedLanguage": {"confidence": 50.0, "language": "dd"},
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"q": "dan"}, "source: Field required"),
        ({"q": "dan", "source": "dd", "target": "hh", "format": "html"}, "format: Input should be 'text'"),
        ({"q": ["dan"] * 21, "source": "dd", "target": "hh"}, "q: wanted 1 to 20 texts (max_batch), got 21"),
        ({"q": [], "source": "dd", "target": "hh"}, "q: wanted 1 to 20 texts"),
        ({"q": "x" * 2001, "source": "dd", "target": "hh"}, "at most 2000 characters"),
        (b"{", "Invalid JSON"),
    ],
)
def test_wrong_translations(translating: Server, body, message: str) -> None:
    answer = translating.post("/translate", body, {"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status, message in answer.error) == (400, True), answer


def test_libretranslate_health_needs_no_token(translating: Server) -> None:
    assert translating.call("GET", "/health").json == {"status": "ok"}


def test_languages_are_told_apart_by_symbols(toy: Model) -> None:
    tables = {"letters": [toy.source_symbols], "phones": [toy.target_symbols]}
    [first, second] = detect_language("bad", tables)
    assert (first[0], second[0]) == ("letters", "phones")
    assert first[1] + second[1] == pytest.approx(1)
    assert [name for name, _ in detect_language("D EH HAN", tables)] == ["phones", "letters"]


@pytest.mark.parametrize("texts", [["en"], ["en:"], ["x=en:it"], ["a=en:it", "b=en:it"], ["en:it"]])
def test_wrong_languages(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="languages: wanted"):
        parse_languages(texts, ["a", "b"])


TRITON = """
import json, sys
import numpy as np
from tritonclient.http import InferenceServerClient, InferenceServerException, InferInput, InferRequestedOutput
client = InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("toy")
assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
described = client.get_model_metadata("toy")
assert client.get_model_metadata("toy", described["versions"][0]) == described
assert [(one["name"], one["datatype"]) for one in described["inputs"]] == [("source", "BYTES"), ("prefix", "BYTES")]
found = []
words = np.array(sys.argv[2:], dtype=np.object_)
for binary_in in (True, False):
    for outputs in (None, [InferRequestedOutput("log_prob", binary_data=False), InferRequestedOutput("target")]):
        source = InferInput("source", [len(words)], "BYTES")
        source.set_data_from_numpy(words, binary_data=binary_in)
        prefix = InferInput("prefix", [len(words), 1], "BYTES")
        prefix.set_data_from_numpy(np.array([["D"]] * len(words), dtype=np.object_), binary_data=binary_in)
        result = client.infer("toy", [source, prefix], outputs=outputs, request_id="seven", parameters={"nbest": 2})
        assert result.get_response()["id"] == "seven"
        texts = result.as_numpy("target")
        assert texts.shape == result.as_numpy("log_prob").shape == (len(words), 2)
        texts = [[one.decode() if isinstance(one, bytes) else one for one in row] for row in texts.tolist()]
        found.append([texts, result.as_numpy("log_prob").tolist()])
wrong = InferInput("source", [1], "FP32")
wrong.set_data_from_numpy(np.zeros(1, np.float32))
for model, inputs in (("toy", [wrong]), ("none", [source])):
    try:
        client.infer(model, inputs)
    except InferenceServerException as error:
        found.append([error.status(), error.message()])
print(json.dumps(found))
"""


def test_triton_client(server: Server, toy: Model) -> None:
    words = ["dan", "ande", "값🙂"]
    command = [sys.executable, "-W", "ignore", "-c", TRITON, f"127.0.0.1:{server.port}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    *results, wrong, missing = json.loads(done.stdout)
    found = toy.predict(words, nbest=2, prefixes=["D"] * 3, notices=Notices())
    expected = [[[one.text for one in row] for row in found], [[one.log_prob for one in row] for row in found]]
    assert results == [expected] * 4
    assert wrong == ["400", "input 'source': wanted datatype BYTES, got 'FP32'"]
    assert missing == ["404", "model: wanted one of toy, other, got 'none'"]


def tensor(**changes) -> bytes:
    """Return a request with one input, some of its fields changed."""
    return json.dumps(
        {"inputs": [{"name": "source", "datatype": "BYTES", "shape": [1], "data": ["a"]} | changes]}
    ).encode()


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (b"[]", None, "body: wanted an object"),
        (b"{", None, "body: wanted JSON"),
        (b'{"inputs": 3}', None, "inputs: wanted a list"),
        (tensor(shape=[2]), None, r"wanted 2 texts for shape \[2\], got 1"),
        (tensor(shape=[True]), None, r"wanted a shape such as \[2\]"),
        (tensor(shape=[-1]), None, r"wanted a shape such as \[2\]"),
        (tensor(shape=[]), None, r"wanted a shape such as \[2\]"),
        (tensor(data=[3]), None, "wanted texts, got 3"),
        (tensor(data=["\ud800"]), None, "half of a surrogate pair"),
        (tensor(name=3), None, "name: wanted a text, got 3"),
        (tensor(name="x" * 101), None, "name: wanted at most 100 characters, got 101"),
        (tensor(parameters={"binary_data_size": 5}), None, "wanted the binary_data_size of what follows, got 5"),
        (tensor(parameters={"binary_data_size": 3}) + b"\x01\x00\x00", "all", "the length of an element in 4 bytes"),
        (tensor(parameters={"binary_data_size": 5}) + b"\x02\x00\x00\x00x", "all", "an element of 2 bytes, got 1"),
        (tensor(parameters={"binary_data_size": 5}) + b"\x01\x00\x00\x00\xff", "all", "wanted UTF-8"),
        (tensor() + b"rest", "all", "4 bytes belong to no input"),
        (tensor(), "99999", "wanted a number up to"),
        (tensor(), "-1", "wanted a number up to"),
    ],
)
def test_malformed_tensors(body: bytes, length: str | None, message: str) -> None:
    header = str(body.index(b"}]}") + 3) if length == "all" else length
    with pytest.raises(RefusalError, match=message) as refused:
        read_infer_request(body, header, 100)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"inputs": []}, 400, "inputs: wanted source with at least one text"),
        (tensor(name="text"), 400, "inputs: wanted source and prefix, got 'text'"),
        (tensor(shape=[101], data=["a"] * 101), 413, "source: wanted at most 100 texts"),
        (tensor(data=["a" * 2001]), 413, "inputs: wanted texts of at most 2000 characters"),
        (tensor()[:-1] + b', "parameters": {"beam": 2}}', 400, "beam: Extra inputs are not permitted"),
        (tensor()[:-1] + b', "parameters": {"temperature": NaN}}', 400, "temperature: Input should be a finite number"),
        (tensor()[:-1] + b', "parameters": {"seed": 1e400}}', 400, "seed: Input should be a"),
        (tensor()[:-1] + b', "parameters": {"model": "other"}}', 400, "model: Extra inputs are not permitted"),
        (tensor()[:-1] + b', "parameters": {"attention": true}}', 400, "attention: Extra inputs are not permitted"),
        (b'{"inputs": [' + b",".join([b"{}"] * 17) + b"]}", 400, "inputs: wanted at most 16, got 17"),
        (tensor()[:-1] + b', "outputs": [{"name": "x"}]}', 400, "outputs: wanted some of target, log_prob, got 'x'"),
    ],
)
def test_wrong_inferences(server: Server, body, status: int, message: str) -> None:
    answer = server.post("/v2/models/toy/infer", body)
    assert (answer.status, message in answer.error) == (status, True), answer
    assert server.post("/v2/models/toy/versions/0/infer", body).status == 404


def test_more_lines_than_the_queue_holds_are_refused(toy_file: Path, toy: Model) -> None:
    """Not with 429, which tells the client to send them again; blank lines are not searched."""
    with serving(toy_file, "--languages", "dd:hh", "--max-queue", 20, "--max-batch", 10) as server:
        refused = server.post("/translate", {"q": ["dan\n" * 10] * 2, "source": "dd", "target": "hh"})
        answer = server.post("/translate", {"q": ["dan\n" * 9, "\n" * 8], "source": "dd", "target": "hh"})
    assert (refused.status, refused.error) == (400, "q: wanted at most 20 lines (max_queue), got 22")
    assert answer.json == {"translatedText": [f"{targets(toy, 'dan')[0]}\n" * 9, "\n" * 8]}
