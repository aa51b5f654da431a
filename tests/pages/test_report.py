"""Tests of `peephole.report`: numbers against the library's own, runs that lack a part, texts that are markup."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hostile_texts import HOSTILE
from page_data import data_of, toy_pairs

import peephole
from peephole.cli.inspect import command as inspect_verb
from peephole.cli.report import command
from peephole.errors import ConfigError, DataError, RunError
from peephole.inspect.assemble import script_json
from peephole.inspect.report import RunReport, measured, recorded
from peephole.inspect.report.errors import inspect_command
from peephole.inspect.report.measured import MODEL_ERROR, SEARCH_ERROR, score_errors
from peephole.inspect.views import Limits
from rejection import rejected_by_comparison

LARGEST = 150_000  # bytes of a page, without its tables, charts and recorded views, which are data
MOST_OF_VIEWS = 4_000_000  # bytes


class Content(HTMLParser):
    """Collects the texts, tags and attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._inside.pop() if self._inside and self._inside[-1] == tag else None

    def handle_data(self, data: str) -> None:
        if not self._inside or self._inside[-1] not in ("style", "script"):
            self.texts.append(data)


@pytest.fixture(scope="module")
def page(report: RunReport) -> str:
    return Path(str(report.out)).read_text(encoding="utf-8")


def test_the_numbers_are_those_of_evaluate(report: RunReport, run: Path, page: str) -> None:
    model = run.with_suffix(".safetensors")
    wanted = peephole.evaluate(model, run.with_name("test.tsv"))
    dev, test = report.sets
    assert (dev.name, test.name) == ("dev", "test")
    assert test.evaluation.scores == wanted.scores
    assert test.exposure_gap == wanted.exposure_gap
    text = " ".join(Content(page).texts)
    for score in wanted.scores.values():
        assert f"{score.value:.2f}" in text
        assert f"{score.low:.2f} to {score.high:.2f}" in text
    found = peephole.calibrate(model, run.with_name("test.tsv"), run.with_name("calibrated.safetensors"))
    assert (test.symbols, test.predictions) == (found.symbols_before, found.predictions_before)
    assert f"{test.predictions.ece.value:.2f} [" in text
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in report.facts.updates] == [e["step"] for e in log if "loss" in e]
    assert [entry["dev"] for entry in report.facts.evaluations] == [e["dev"] for e in log if "dev" in e]
    for line in report.facts.prepared.report:  # type: ignore[union-attr]  # there are data
        assert line.split(";")[0] in text


def test_kinds_of_errors_compare_log_probabilities(run: Path) -> None:
    """The best of ten predictions against the worst: each as the prediction, and the other as the reference."""
    model = peephole.load(run.with_suffix(".safetensors"))
    words, split = [source for source, _ in toy_pairs(60)], model.target_symbols.split
    searched = zip(words, model.predict(words, nbest=10, beam_size=10), strict=True)
    # A reference is a text: the symbols of a prediction can join to one that splits into others
    kept = {word: [p for p in found if p.finished and split(p.text) == p.tokens] for word, found in searched}
    sources = [word for word, found in kept.items() if len(found) > 1][:3]
    assert len(sources) == 3
    found = [kept[source] for source in sources]
    best, worst = [p[0] for p in found], [p[-1] for p in found]
    for predictions, others, kind in ((best, worst, MODEL_ERROR), (worst, best, SEARCH_ERROR)):
        references = [(other.text,) for other in others]
        for temperature in (1.0, 0.5):
            model.config = model.config.with_values({"search.calibration": temperature})
            scores = score_errors(model, sources, predictions, references, [0, 2])
            assert [score.kind for score in scores.values()] == [kind, kind]
            assert list(scores) == [0, 2]
            for row, score in scores.items():
                assert score.prediction == pytest.approx(predictions[row].log_prob, abs=1e-5)
                assert score.reference == pytest.approx(others[row].log_prob, abs=1e-5)
    both = score_errors(model, sources, worst, [(w.text, b.text) for w, b in zip(worst, best, strict=True)], [0])
    assert both[0].kind == SEARCH_ERROR  # one of two references


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("SEARCH_ERROR", MODEL_ERROR), ("max", lambda *scores: scores[0]), ("max", min)],
    ids=["one kind only", "the last reference", "the lowest reference"],
)
def test_wrong_kinds_are_rejected(monkeypatch: pytest.MonkeyPatch, run: Path, name: str, wrong: Any) -> None:
    monkeypatch.setattr(measured, name, wrong, raising=False)
    if name == "max" and wrong is not min:
        monkeypatch.setattr(measured, name, lambda score, before: before)
    with rejected_by_comparison():
        test_kinds_of_errors_compare_log_probabilities(run)


def test_texts_of_the_data_are_shown_and_never_markup(report: RunReport, page: str) -> None:
    content = Content(page)
    text = "".join(content.texts)
    shown = [case.mistake.source for measured in report.sets for case in measured.worst]
    for source, _ in HOSTILE:
        assert source in shown, "wanted a report with hostile texts among the worst predictions"
        assert source.replace("\u202e", "\\u202e") in text
    assert content.tags.count("script") == 2  # data, and the page's own
    assert not {"img", "b", "iframe", "object"} & set(content.tags)
    assert not [name for name, _ in content.attributes if name.startswith("on")]
    assert "toy <b>.run" in text
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)
    assert "\\u202e" in text
    for _, value in content.attributes:
        assert "//" not in (value or ""), "wanted no address"
    assert {name: value for name, value in content.attributes if name == "lang"} == {"lang": "en"}
    page = page.replace(script_json(data_of(page, "views")), "")
    for tag in ("table", "svg"):
        page = re.sub(rf"<{tag}\b.*?</{tag}>", "", page, flags=re.DOTALL)
    assert len(page.encode()) < LARGEST


def test_each_error_has_the_command_that_looks_into_it(report: RunReport, page: str, tmp_path: Path) -> None:
    text = "".join(Content(page).texts)
    [case] = [case for case in report.sets[1].worst if case.mistake.source == HOSTILE[0][0]]
    line = inspect_command(report.facts.run.out, case.mistake)
    assert line in text
    program, verb, *arguments = shlex.split(line)
    assert (program, verb) == ("peephole", "inspect")
    arguments[arguments.index("page.html")] = str(tmp_path / "page.html")
    done = CliRunner().invoke(inspect_verb, [*arguments[:-3], "--without-model", *arguments[-3:]])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "page.html").stat().st_size > 1000


def test_the_worst_predictions_are_recorded(report: RunReport, run: Path, page: str) -> None:
    model = peephole.load(run.with_suffix(".safetensors"))
    views = data_of(page, "views")
    assert len(script_json(views).encode()) <= MOST_OF_VIEWS
    cases = [case for found in report.sets for case in found.worst]
    assert len(cases) == len(views) > len(HOSTILE)
    pressed = [value for name, value in Content(page).attributes if name == "data-view"]
    assert pressed == [str(i) for i in range(len(views))]
    for case, view in zip(cases, views, strict=True):
        trace, wanted = view["trace"], model.trace(case.mistake.source, notices=peephole.model.Notices())
        assert (view["source"], view["reference"]) == (case.mistake.source, case.mistake.reference)
        assert trace["target"]["text"] == wanted.text == case.mistake.prediction
        assert trace["target"]["log_prob"] == pytest.approx(wanted.log_prob, abs=1e-6)
        assert view["rival"]["trace"]["target"]["is_given"]
        assert case.scores is not None
        assert view["diagnosis"]["kind"] in (case.scores.kind, "impossible")


def test_views_of_large_models_hold_means(monkeypatch: pytest.MonkeyPatch, report: RunReport, run: Path) -> None:
    model = peephole.load(run.with_suffix(".safetensors"))
    monkeypatch.setattr(recorded, "VIEW_LIMITS", Limits(numbers=1_000, saliency=10))
    first = replace(report.sets[0], worst=report.sets[0].worst[:1])
    [[view]] = recorded.record_worst(model, [first], [])
    assert view is not None
    trace = model.trace(first.worst[0].mistake.source, notices=peephole.model.Notices())
    means = view["trace"]["means"]
    assert "decoder.0.i" in means
    assert all(units == trace[name].shape[1] > 1 for name, units in means.items())
    assert view["saliency"] is None
    assert "too long" in view["saliency_note"]


def test_views_that_would_make_the_page_too_large_are_left_out(
    monkeypatch: pytest.MonkeyPatch, report: RunReport, run: Path, page: str
) -> None:
    sizes = [len(script_json(view).encode()) for view in data_of(page, "views")]
    dev, _ = (len(found.worst) for found in report.sets)
    monkeypatch.setattr(recorded, "MOST_BYTES", sizes[0] + sizes[dev])
    missing: list[str] = []
    sets = [replace(found, worst=found.worst[:3]) for found in report.sets]  # each takes a second to record
    found = recorded.record_worst(peephole.load(run.with_suffix(".safetensors")), sets, missing)
    assert [views[0] is not None for views in found] == [True, True], "wanted the worst prediction of each set"
    left_out = sum(view is None for views in found for view in views)
    assert left_out == 4
    [line] = missing
    assert line.startswith(f"{left_out} of the worst predictions from the inside")


def test_ids_are_unique_and_links_lead_to_them(page: str) -> None:
    attributes = Content(page).attributes
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for name, value in attributes if name == "href" and value and value.startswith("#")}
    targets |= {value for name, value in attributes if name == "aria-labelledby" and value}
    assert targets <= set(ids)


def copy_of(run: Path, folder: Path) -> Path:
    """Copy a run and its model to another folder."""
    shutil.copytree(run, folder / "toy.run")
    shutil.copy(run.with_suffix(".safetensors"), folder / "toy.safetensors")
    return folder / "toy.run"


def test_runs_that_lack_a_part_are_reported(run: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path)
    log = folder / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    cut = "".join(lines[:2]) + lines[2][:9]
    log.write_text(cut)  # killed while it wrote a line
    folder.with_suffix(".safetensors").unlink()
    found = peephole.report(folder, out=tmp_path / "1.html")
    assert not found.facts.is_finished
    assert found.sets == []
    assert any("no model: " in line and "no such file" in line for line in found.missing)
    shutil.rmtree(folder / "data")
    log.unlink()
    found = peephole.report(folder, out=tmp_path / "2.html")
    assert [line.split(":")[0] for line in found.missing] == ["no log", "no model", "no data"]
    text = " ".join(Content((tmp_path / "2.html").read_text()).texts)
    assert "no update is logged yet" in text
    for line in found.missing:
        assert line in text


def test_a_damaged_model_is_named(run: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path)
    model = folder.with_suffix(".safetensors")
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    [line] = [line for line in peephole.report(folder).missing if "no model" in line]
    assert "damaged" in line or "checksum" in line


def test_the_command_writes_a_page_or_json(run: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path)
    done = CliRunner().invoke(command, [str(folder)])
    assert done.exit_code == 0
    assert f"wrote {tmp_path / 'toy.report.html'}" in done.stderr
    assert (tmp_path / "toy.report.html").stat().st_size > 10_000
    as_json = CliRunner().invoke(command, [str(folder), "--json", "--test", str(run.with_name("test.tsv"))])
    entry = json.loads(as_json.stdout)
    assert entry["out"] is None
    assert [measured["name"] for measured in entry["sets"]] == ["dev", "test"]
    assert entry["sets"][0]["calibration"]["symbols"]["ece"].keys() == {"value", "low", "high"}
    assert entry["finished"] is True
    assert math.isclose(entry["updates"][-1]["progress"], 1)


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none\.run: no such folder$"):
        peephole.report(tmp_path / "none.run")
    (tmp_path / "empty.run").mkdir()
    with pytest.raises(RunError, match="holds no run"):
        peephole.report(tmp_path / "empty.run")
    (tmp_path / "empty.run").rmdir()
    with pytest.raises(DataError, match="no such file"):
        peephole.report(run, tmp_path / "none.tsv")
    folder = copy_of(run, tmp_path)
    folder.with_suffix(".safetensors").unlink()  # a report without predictions is made at once
    with pytest.raises(RunError, match=r"page\.html: no such folder: "):
        peephole.report(folder, out=tmp_path / "no" / "page.html")


def test_runs_of_files_and_of_series_are_reported(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"hidden_size": 8, "embedding_size": 4, "steps": 2, "threads": 1, "quiet": True}
    lines, lengths = [], [2 + number % 3 for number in range(12)]
    for number, length in enumerate(lengths):
        np.savetxt(tmp_path / f"{number}.csv", np.full((length, 2), number % 3), delimiter=",")
        lines.append(f"{number}.csv\t{'abc'[number % 3]}\n")
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("".join(lines), encoding="utf-8")
    peephole.train(manifest, manifest, tmp_path / "files.safetensors", **settings)
    found = peephole.report(tmp_path / "files.run", manifest, tmp_path / "files.html")
    assert [measured.name for measured in found.sets] == ["dev", "test"]
    html, model = (tmp_path / "files.html").read_text(encoding="utf-8"), peephole.load(tmp_path / "files.safetensors")
    assert "peephole inspect" not in html
    for one in found.sets:
        groups = [(g.shortest, g.longest, g.count) for g in one.lengths]
        assert groups == [(length, length, lengths.count(length)) for length in sorted(set(lengths))]
        wrong = 12 - round(12 * one.evaluation.scores["exact_match"].value / 100)
        assert sum(one.errors.values()) == wrong == len(one.worst) > 0
        for case in one.worst:
            assert case.scores is not None
            [log_prob] = model.score([case.mistake.source], [case.mistake.reference])
            assert case.scores.reference == pytest.approx(log_prob, abs=1e-4)
    assert len(data_of(html, "views")) == sum(len(one.worst) for one in found.sets), "wanted a view of each error"
    assert "source frames" in html
    assert score_errors(model, [], [], [], []) == {}
    peephole.train(manifest, out=tmp_path / "held.safetensors", **settings)
    found = peephole.report(tmp_path / "held.run")
    [(of_dev, num_dev)] = [(measured.evaluation, measured.num_all) for measured in found.sets]
    assert num_dev == len({case.mistake.source for case in found.sets[0].worst}) == 1, "one source is held out"
    assert of_dev.scores["exact_match"].value == found.facts.evaluations[-1]["dev"]["exact_match"]
    Path(found.sets[0].worst[0].mistake.source).unlink()
    [line] = [line for line in peephole.report(tmp_path / "held.run").missing if "no metrics on dev" in line]
    assert re.fullmatch(r"no metrics on dev: .*[0-9]\.csv: no such file", line)
    peephole.train(np.sin(np.arange(80.0)), out=tmp_path / "series.safetensors", horizon=2, **settings)
    found = peephole.report(tmp_path / "series.run", out=tmp_path / "series.html")
    assert found.sets == []
    html = (tmp_path / "series.html").read_text(encoding="utf-8")
    assert [unit in html for unit in ("loss a number", "steps a second")] == [True, True]
    assert [unit in html for unit in ("nats a symbol", "symbols a second", "symbols or frames")] == [
        False,
        False,
        False,
    ]
    assert [line.partition(":")[0] for line in found.missing] == ["no metrics of predictions"]
    with pytest.raises(ConfigError, match=r"test: .*a model of series.*`peephole evaluate` measures it on none\.csv"):
        peephole.report(tmp_path / "series.run", "none.csv")
