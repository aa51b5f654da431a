"""Tests uploaded files: their predictions are those of `peephole predict` for the same files."""

from __future__ import annotations

import json
from pathlib import Path

import torch

import peephole
from peephole.config import Config
from peephole.model import Model, Notices
from peephole.nn import build_seq2seq
from peephole.symbols import CharacterSymbols, FrameSymbols

from .conftest import serving

BOUNDARY = "b0undary"
TABLE = "0.5,-1,2\n1,0,0.25\n-2,1,1\n"


def multipart(files: dict[str, bytes], settings: str | None = None) -> bytes:
    """Return a form with files and settings."""
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"file"; filename="{name}"\r\n\r\n'.encode() + content for name, content in files.items()]
    parts += [] if settings is None else [f'{head}"settings"\r\n\r\n{settings}'.encode()]
    return b"\r\n".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def test_uploaded_files(tmp_path: Path) -> None:
    values = {"model.hidden_size": 6, "model.input": "frames", "model.input_size": 3, "frames.kind": "numbers"}
    config = Config().with_values(values | {"search.max_length_factor": 0, "search.max_length_extra": 6})
    letters = CharacterSymbols(list("abcd"), "none")
    network = build_seq2seq(config.model, 3, len(letters), torch.Generator().manual_seed(1))
    path = tmp_path / "m.safetensors"
    Model(config, FrameSymbols("numbers", size=3), letters, [network.eval()]).save(path)
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
