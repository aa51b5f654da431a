"""Tests of pages without a browser: their data, their sizes, bad input."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from page_data import data_of
from random_models import random_model

import peephole
from peephole.errors import PeepholeError
from peephole.inspect import decode_array, make_page
from peephole.inspect.assemble import join_modules, read_page_file, script_json
from peephole.inspect.views import trace_for_page

MOST_BYTES = 150_000  # of a page without engine, model and data


def test_the_files_of_a_page_are_small(toy_file: Path) -> None:
    made = make_page(peephole.load(toy_file), "cab").to_html(with_models=False)
    assert len(made.encode()) - len(script_json(data_of(made)).encode()) < MOST_BYTES
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", made)


def test_it_shows_the_prediction_and_its_runner_up(toy_file: Path) -> None:
    model = peephole.load(toy_file)
    best, *others = model.predict(["cab"], nbest=5)[0]
    made = make_page(model, "cab")
    [view] = data_of(made.to_html())["views"]
    assert view["trace"]["target"]["text"] == best.text
    rival = view["rival"]["trace"]["target"]["text"]
    [second] = [found for found in others if found.text == rival]
    assert f"<p>cab → {best.text}" in made.to_html()
    assert made._repr_html_().startswith("<iframe srcdoc=")
    step = next(t for t, (a, b) in enumerate(zip(best.tokens, [*second.tokens, ""], strict=False)) if a != b)
    found = decode_array(view["rival"]["saliency"])[0]
    one, other = (peephole.inspect.saliency(model, "cab", found.tokens)[step] for found in (best, second))
    np.testing.assert_allclose(found, one - other, atol=2e-3 * np.abs(one - other).max())  # float16


def test_a_wrong_prediction_is_contrasted_with_its_reference(toy_file: Path) -> None:
    model = peephole.load(toy_file)
    [view] = make_page(model, "cab", reference="K B B").views
    assert (view["rival"]["label"], view["rival"]["trace"]["target"]["text"]) == ("Expected", "K B B")
    [view] = make_page(model, "cab", reference="K AH B", why_not="D D").views
    assert (view["rival"]["label"], view["rival"]["trace"]["target"]["text"]) == ("In question", "D D")
    [view] = make_page(model, "cab", reference="K AH B").views
    assert view["rival"]["label"] == "Runner-up of the search"


def test_two_sources_or_two_models_are_beside_each_other(toy_file: Path) -> None:
    model = peephole.load(toy_file)
    made = make_page(model, "cab", compare="bad")
    assert [(view["source"], view["model"]) for view in made.views] == [("cab", 0), ("bad", 0)]
    other = make_page(model, "cab", other=random_model())
    assert [(view["source"], view["model"]) for view in other.views] == [("cab", 0), ("cab", 1)]
    assert [one["name"] for one in data_of(other.to_html())["models"]] == [toy_file.name, "model in memory"]
    with pytest.raises(PeepholeError, match="make_page: wanted a second source or a second model, got both: 'bad'"):
        make_page(model, "cab", compare="bad", other=model)


def test_bad_input_is_named(toy_file: Path) -> None:
    model = peephole.load(toy_file)
    with pytest.raises(PeepholeError, match="trace: source 0 is empty; wanted at least one symbol"):
        make_page(model, "")
    with pytest.raises(PeepholeError, match=r"make_page: .*: wanted one model, got an ensemble of 2"):
        make_page(peephole.load(toy_file, toy_file), "cab")


def test_of_a_long_source_gates_are_means() -> None:
    model = random_model(hidden_size=64)
    trace = model.trace("ab" * 20)
    assert trace_for_page(trace, 100_000)["means"] == {}
    raw = trace_for_page(trace, 10_000)
    found = {name: decode_array(array) for name, array in raw["arrays"].items()}
    assert raw["means"]["encoder.0.0.i"] == trace["encoder.0.0.i"].shape[1] == 32
    np.testing.assert_allclose(found["encoder.0.0.i"][:, 0], trace["encoder.0.0.i"].mean(1), atol=1e-3)
    own, all_ = np.abs(trace["encoder.0.0.peephole_i"]), trace["encoder.0.0.pre_i"]
    share = own.sum(1) / (own.sum(1) + np.abs(all_ - trace["encoder.0.0.peephole_i"]).sum(1))
    np.testing.assert_allclose(
        found["encoder.0.0.peephole_i"][:, 0] / found["encoder.0.0.pre_i"][:, 0], share, atol=2e-3
    )


def test_modules_refuse_an_unknown_import() -> None:
    with pytest.raises(KeyError, match=r"b\.js"):
        join_modules("a.js", {"a.js": 'import { x } from "./b.js";\n'})
    assert 'id="data"' in read_page_file("page.html")


def test_a_page_needs_no_package_of_the_onnx_export() -> None:
    program = "import sys; sys.modules['onnx'] = None; from peephole.inspect import make_page"
    subprocess.run([sys.executable, "-c", program], check=True)
