"""Tests uploaded files: their predictions are those of `peephole predict` for the same files."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import peephole
from peephole.config import Config
from peephole.data.frames import read_frames
from peephole.errors import ConfigError, DataError, PeepholeError
from peephole.model import Model, Notices
from peephole.nn import build_seq2seq
from peephole.symbols import CharacterSymbols, FrameSymbols

from .conftest import Server, serving, wait_for

BOUNDARY = "b0undary"
TABLE = "0.5,-1,2\n1,0,0.25\n-2,1,1\n"


def multipart(files: dict[str, bytes], settings: str | None = None) -> bytes:
    """Return a form with files and settings."""
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"file"; filename="{name}"\r\n\r\n'.encode() + content for name, content in files.items()]
    parts += [] if settings is None else [f'{head}"settings"\r\n\r\n{settings}'.encode()]
    return b"\r\n".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def save_model(path: Path, how: FrameSymbols) -> Path:
    """Write an untrained model of frames, whose targets have at most six letters."""
    values = {"model.hidden_size": 6, "model.input": "frames", "model.input_size": how.size, "frames.kind": how.kind}
    config = Config().with_values(values | {"search.max_length_factor": 0, "search.max_length_extra": 6})
    letters = CharacterSymbols(list("abcd"), "none")
    network = build_seq2seq(config.model, how.size, len(letters), torch.Generator().manual_seed(1))
    Model(config, how, letters, [network.eval()]).save(path)
    return path


def test_uploaded_files(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.safetensors", FrameSymbols("numbers", size=3))
    names = [tmp_path / "one.csv", tmp_path / "two.csv"]
    names[0].write_text(TABLE)
    names[1].write_text(TABLE + TABLE)
    found = peephole.load(path).predict(list(map(str, names)), nbest=2, attention=False, notices=Notices())
    wanted = [[one.to_dict() for one in row] for row in found]
    form = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    with serving(path, "--max-batch", 2) as server:
        files = {f"folder/{name.name}": name.read_bytes() for name in names}
        answer = server.post("/v1/predict", multipart(files, json.dumps({"nbest": 2})), form)
        assert [one["source"] for one in answer.json["results"]] == ["one.csv", "two.csv"]
        assert [one["predictions"] for one in answer.json["results"]] == wanted
        for body, status, message in (
            (multipart({"a.wav": b"x"}), 422, "a.wav: wanted a file of numbers (.npy, .csv)"),
            (multipart({"a.parquet": b"PAR1"}), 422, "a.parquet: wanted a file of numbers (.npy, .csv)"),
            (multipart({"a.csv": b"1,2\n"}), 422, "a.csv: wanted frames of 3 numbers, got 2"),
            (multipart({"a.npy": b"\x93NUMPY"}), 422, "a.npy: cannot be read as numbers"),
            (multipart({"a.csv": b"", "b.csv": b"", "c.csv": b""}), 413, "file: wanted at most 2 files (max_batch)"),
            (multipart({}), 422, "wanted files in the field file"),
            (multipart({"a.csv": b"1,2,3"}, '{"beam": 2}'), 422, "beam: Extra inputs are not permitted"),
            (b"nothing", 422, ""),
        ):
            refused = server.post("/v1/predict", body, form)
            assert (refused.status, refused.error.startswith(message)) == (status, True), refused
        texts = server.post("/v1/predict", {"sources": ["a"]})
        assert (texts.status, texts.error) == (
            422,
            "model m: wanted files of numbers, as multipart/form-data, got texts",
        )


@pytest.mark.parametrize("processes", [1, 2])
def test_languages_of_a_model_of_frames_are_refused(tmp_path: Path, processes: int) -> None:
    """LibreTranslate's texts would be names of files."""
    from click.testing import CliRunner

    from peephole.cli.serve import command

    path = save_model(tmp_path / "m.safetensors", FrameSymbols("numbers", size=3))
    arguments = [str(path), "--port", "0", "--languages", "en:it", "--processes", str(processes)]
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, ConfigError if processes == 1 else PeepholeError)
    assert "languages: wanted models of texts, got m, which reads files of numbers" in str(done.exception)


def test_no_text_of_a_request_is_opened_as_a_file(toy_file: Path, tmp_path: Path) -> None:
    """A model of texts with languages is replaced by one of frames while the server runs."""
    secret = tmp_path / "secret.csv"
    secret.write_text("0.5,password,2\n")
    path = tmp_path / "m.safetensors"
    shutil.copy(toy_file, path)
    with serving(path, "--languages", "en:it") as server:
        version = server.call("GET", "/v1/models").json["models"][0]["version"]
        assert server.post("/translate", {"q": "dan", "source": "auto", "target": "it"}).status == 200
        os.replace(save_model(tmp_path / "new", FrameSymbols("numbers", size=3)), path)
        wait_for(lambda: server.call("GET", "/v1/models").json["models"][0]["version"] != version)
        check_no_file_is_opened(server, str(secret))


def check_no_file_is_opened(server: Server, path: str) -> None:
    """Send a path as every text that a request can have."""
    tensor = {"name": "source", "datatype": "BYTES", "shape": [1], "data": [path]}
    for answer in (
        server.post("/translate", {"q": path, "source": "en", "target": "it"}),
        server.post("/translate", {"q": path, "source": "auto", "target": "it"}),
        server.post("/detect", {"q": path}),
        server.post("/v1/predict", {"sources": [path]}),
        server.post("/v1/predict", {"sources": [path], "stream": True}),
        server.post("/v1/score", {"sources": [path], "targets": ["a"]}),
        server.post("/v1/trace", {"source": path}),
        server.post("/v2/models/m/infer", {"inputs": [tensor]}),
        server.call("GET", f"/?source={path}"),
    ):
        assert answer.status in (400, 422)
        assert answer.error == "model m: wanted files of numbers, as multipart/form-data, got texts"


def test_only_known_formats_of_images_are_decoded(tmp_path: Path) -> None:
    """For a PostScript file, whatever its name, pillow would run Ghostscript."""
    path = save_model(tmp_path / "m.safetensors", FrameSymbols("image", height=8))
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    with serving(path) as server:
        form = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        refused = server.post("/v1/predict", multipart({"a.png": content}), form)
    assert refused.status == 422
    assert refused.error == "a.png: wanted an image, one of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"


def test_hostile_uploads_print_no_warning(tmp_path: Path) -> None:
    """Every line after the first notes is JSON."""
    path = save_model(tmp_path / "m.safetensors", FrameSymbols("numbers", size=3))
    form = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    np.save(tmp_path / "large.npy", np.array([[1, 2, 3], [1, 1e39, 2]]))
    with serving(path) as server:
        notes = list(server.notes)
        large = server.post("/v1/predict", multipart({"large.npy": (tmp_path / "large.npy").read_bytes()}), form)
        malformed = server.post("/v1/predict", b"--b0undarX\r\n\r\n", form)
        server.stop()
    assert (large.status, large.error) == (422, "large.npy: holds a number that is not finite, in frame 2")
    assert malformed.status == 422
    assert server.notes == notes
    assert all(note.startswith("peephole: ") for note in notes)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [1e39, -1e300, float("inf"), float("nan")])
def test_numbers_beyond_float32_are_refused(tmp_path: Path, value: float) -> None:
    """Without a warning, in files and in arrays."""
    model = peephole.load(save_model(tmp_path / "m.safetensors", FrameSymbols("numbers", size=3)))
    array = np.array([[1, 2, 3], [1, value, 2]])
    np.save(tmp_path / "large.npy", array)
    (tmp_path / "large.csv").write_text(f"1,2,3\n1,{value},2\n")
    for source in (array, tmp_path / "large.npy", tmp_path / "large.csv"):
        with pytest.raises(DataError, match="holds a number that is not finite, in frame 2"):
            model.predict([source])
    assert model.predict([array[:1]], notices=Notices())[0]


@pytest.mark.parametrize("value", [1e38, float("inf")])
def test_samples_that_overflow_are_refused(tmp_path: Path, value: float) -> None:
    soundfile.write(tmp_path / "loud.wav", np.array([value, -value] * 4000, np.float32), 16000, subtype="FLOAT")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(DataError, match=r"loud\.wav: "):
            read_frames(tmp_path / "loud.wav", FrameSymbols("sound"), 100)
    assert not caught
