"""Tests that a session of a model returns what `Model.predict` and `Model.score` return for each source alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import peephole
from models.make import MODEL, toy_words
from peephole import engine
from peephole.config import Config
from peephole.engine.session import PackedSession
from peephole.errors import ArgumentError, ConfigError, PeepholeError, PrefixError
from peephole.model import Model, Notices
from peephole.model.calibrated import divide_scores
from peephole.model.session import Session
from peephole.storage.model_file import ModelFile, load_model, save_model

pytestmark = pytest.mark.skipif(not engine.available(), reason="the engine was not built")

WORDS = [*toy_words(16, seed=4), "", "zzza", "cab" * 400]  # empty, unknown symbols, truncated
SETTINGS: list[dict[str, Any]] = [
    {},
    {"beam_size": 1},
    {"beam_size": 7, "nbest": 4, "length_penalty": 0.6},
    {"beam_size": 4, "diverse_groups": 2, "nbest": 4},
    {"beam_size": 3, "no_repeat_ngram": 2, "min_length": 3},
    {"beam_size": 2, "coverage_penalty": 0.3, "length_reward": 0.2},
    {"temperature": 0.8, "nbest": 3, "seed": 5},
    {"temperature": 1.3, "top_k": 4, "top_p": 0.8},
    {"threads": 1, "batch_size": 3, "max_length_factor": 0.5, "max_length_extra": 3},
]
More = dict[str, Any]


def predict_alone(model: Model, word: str, settings: More, index: int, more: More) -> Any:
    """Return what a call for the word alone returns, for the arguments of `Session.add`."""
    given = dict(more)
    if "prefix" in given:
        given["prefixes"] = [given.pop("prefix")]
    if "must_contain" in given:
        given["must_contain"] = [given["must_contain"]]
    [found] = model.predict([word], first_index=index, notices=Notices(), **given, **settings)
    return found


def check(model: Model, seed: int, choices: list[More], **session_settings: Any) -> None:
    """Add all words with settings drawn at random, in a random order between steps, and compare the results."""
    rng, wanted, got = random.Random(seed), {}, {}
    with Session(model, **session_settings) as session:
        for index in rng.sample(range(len(WORDS)), len(WORDS)):
            word, settings, more = WORDS[index], rng.choice(SETTINGS), dict(rng.choice(choices))
            if settings.get("temperature") or settings.get("diverse_groups") or settings.get("no_repeat_ngram"):
                more.pop("must_contain", None)
            if rng.random() < 0.2 and word:
                ticket = session.add_pair(word, "EH K")
                wanted[ticket] = model.score([word], ["EH K"], notices=Notices())[0]
            else:
                ticket = session.add(word, settings, index=index, **more)
                wanted[ticket] = predict_alone(model, word, settings, index, more)
            for _ in range(rng.choice([0, 1, 4])):
                got.update(session.step())
        while session.active or session.waiting:
            got.update(session.step())
        assert session.step() == []
        assert session.free == session.places
    assert got == wanted


CHOICES: list[More] = [{}, {"attention": False}, {"prefix": "EH K"}, {"prefix": ""}, {"must_contain": ["B", "K K"]}]


@pytest.mark.parametrize(("places", "threads"), [(7, 1), (30, 2)])
def test_results_are_those_of_predict(places: int, threads: int | None) -> None:
    check(peephole.load(MODEL), places, CHOICES, places=places, threads=threads)


def test_ensembles_language_models_and_calibrated_models(tmp_path: Path) -> None:
    flat, language = tmp_path / "flat.safetensors", tmp_path / "lm.safetensors"
    save_model(flat, divide_scores(load_model(MODEL), 3.0))
    texts = tmp_path / "texts.txt"
    texts.write_text("EH K EH\nK K B EH\nB K\nB B\nEH EH B\nK EH K\n" * 10)
    peephole.train(
        texts,
        out=language,
        quiet=True,
        steps=3,
        **{
            "model.input": "none",
            "symbols.of": str(MODEL),
            "hidden_size": 8,
            "embedding_size": 4,
            "data.targets_only": True,
        },
    )
    guide = peephole.load(language)
    check(peephole.load(MODEL, flat), 2, [*CHOICES, {"language_model": guide}, {"language_model": language}], places=20)
    file = load_model(flat)
    calibrated = tmp_path / "calibrated.safetensors"
    config = file.config.with_values({"search.calibration": 1.7})
    save_model(calibrated, ModelFile(file.tensors, config, file.source_symbols, file.target_symbols))
    check(peephole.load(calibrated), 3, CHOICES, places=20)
    with Session(guide, places=10) as session:
        ticket = session.add("EH", {"nbest": 2})
        assert finish(session, ticket) == guide.predict(["EH"], nbest=2)[0]


def finish(session: Session, ticket: int) -> Any:
    while True:
        found = dict(session.step())
        if ticket in found:
            return found[ticket]


def test_networks_are_those_of_the_opening() -> None:
    loaded = peephole.load(MODEL)
    model = Model(loaded.config, loaded.source_symbols, loaded.target_symbols, loaded.networks)
    before = model.predict(["cab"])[0]
    with Session(model, places=10) as session:
        for weight in loaded.networks[0].parameters():
            weight.data.zero_()
        assert finish(session, session.add("cab")) == before
    assert model.predict(["cab"])[0] != before


def test_cancelled_sources_are_not_answered() -> None:
    model = peephole.load(MODEL)
    with Session(model, places=10) as session:
        kept, empty, gone, waiting = (session.add(word) for word in ("cab", "", "deadbe", "bead"))
        assert (session.active, session.waiting, session.free) == (0, 4, 10)
        session.cancel(empty)
        session.step()
        assert (session.active, session.waiting, session.free) == (2, 1, 0)
        session.cancel(gone)
        session.cancel(waiting)
        session.cancel(12345)
        assert (session.active, session.waiting, session.free) == (1, 0, 5)
        assert finish(session, kept) == model.predict(["cab"])[0]
        assert session.step() == []


def test_notices_are_collected_and_nothing_is_warned_of() -> None:
    with Session(peephole.load(MODEL), places=10) as session:
        notices = Notices()
        session.add("zzza", notices=notices)  # warnings are errors in these tests
        assert notices.unknown == {"z": 3}
        session.add_pair("zza", "EH")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"settings": {"beam": 3}}, ConfigError, r"unknown key .search.beam.; did you mean"),
        ({"settings": {"nbest": 9}}, ConfigError, r"nbest"),
        (
            {"settings": {"beam_size": 11}},
            PeepholeError,
            r"^session: beam_size: wanted at most the session's places, 10",
        ),
        ({"settings": {"engine": "off"}}, ConfigError, r"^add: wanted search.engine=auto in a session, got 'off'$"),
        ({"settings": {"calibration": 2.0}}, ConfigError, r"^add: wanted search.calibration=1, that of the .*, got 2$"),
        ({"settings": 3}, ArgumentError, r"^settings: wanted a table of settings, got 3$"),
        ({"source": 3}, ArgumentError, r"^sources: wanted texts, got 3 at index 0$"),
        ({"prefix": "EH " * 100}, PrefixError, r"wanted a prefix of fewer than"),
        ({"must_contain": ["x"]}, PeepholeError, r"^must_contain\[0\]: wanted texts of symbols seen in training"),
        ({"attention": 1}, ArgumentError, r"^attention: wanted True or False"),
        ({"index": -1}, PeepholeError, r"^index: wanted at least 0, got -1$"),
        ({"language_model": 4}, ArgumentError, r"^language_model"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_wrong_arguments_are_the_users_errors(given: More, error: type[Exception], message: str) -> None:
    with Session(peephole.load(MODEL), places=10) as session:
        good = session.add("cab")
        with pytest.raises(error, match=message):
            session.add(**{"source": "cab"} | given)
        assert (session.active, session.waiting) == (0, 1)
        assert finish(session, good)


def test_wrong_pairs_and_closed_sessions_are_refused() -> None:
    model = peephole.load(MODEL)
    session = Session(model, places=10)
    with pytest.raises(PeepholeError, match=r"^add_pair: source 0 is empty; wanted at least one symbol$"):
        session.add_pair("", "EH")
    with pytest.raises(ConfigError, match=r"^add_pair: unknown setting 'beam_size'"):
        session.add_pair("cab", "EH", {"beam_size": 3})
    session.close()
    for call in (
        session.step,
        lambda: session.add("cab"),
        lambda: session.add(""),
        lambda: session.add_pair("cab", "EH"),
    ):
        with pytest.raises(PeepholeError, match=r"^session: it is closed$"):
            call()
    session.close()


@pytest.mark.parametrize("add", [lambda s: s.add("cab"), lambda s: s.add_pair("cab", "EH")], ids=["source", "pair"])
def test_a_session_that_is_closed_while_a_source_is_added(
    add: Callable[[Session], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another thread may close it, after `add` has taken a ticket."""
    session = Session(peephole.load(MODEL), places=10)
    for name in ("add", "add_target"):
        function = getattr(PackedSession, name)

        def closing(*arguments: Any, function: Callable[..., Any] = function, **named: Any) -> Any:
            session.close()
            return function(*arguments, **named)

        monkeypatch.setattr(PackedSession, name, closing)
    with pytest.raises(PeepholeError, match=r"^session: it is closed$"):
        add(session)


@pytest.mark.usefixtures("annotations_unchecked")
def test_models_that_the_engine_does_not_search_are_refused() -> None:
    model = peephole.load(MODEL)
    tables = (model.source_symbols, model.target_symbols)
    double = Model(model.config, *tables, [copy.deepcopy(model.networks[0]).double()])
    off = Model(model.config.with_values({"search.engine": "off"}), *tables, files=model.files)
    for wrong, message in (
        (double, r"its networks are on a GPU, or in float64"),
        (off, r"wanted search.engine=auto, got 'off'"),
        (Model(Config().with_values({"cell": "gru"}), *tables, model.networks), r"the network has"),
    ):
        with pytest.raises(PeepholeError, match=rf"^session: .*{message}"):
            Session(wrong, places=10)
    for given in ({"places": 0}, {"places": "3"}, {"places": 5, "threads": 0}, {"places": 5, "threads": 2.5}):
        with pytest.raises(PeepholeError, match=r"places|threads"):
            Session(model, **given)
    with pytest.raises(ArgumentError, match=r"^model: wanted a Model"):
        Session("model.safetensors", places=3)  # type: ignore[arg-type]  # a user's mistake
