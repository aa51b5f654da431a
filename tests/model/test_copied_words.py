"""Tests a model that copies, from training to text: it says words that no training pair has."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import peephole
from peephole.errors import ConfigError
from peephole.model import Model, Notices
from peephole.training import train

VERBS = ["sees", "hears", "greets"]
SETTINGS: dict[str, Any] = {
    "model.output": "copy",
    "model.attention": "coverage",
    "train.coverage_loss": 0.1,
    "symbols.source": "whitespace",
    "symbols.target": "whitespace",
    "min_count": 2,
    "hidden_size": 24,
    "embedding_size": 12,
    "peephole": "none",
    "dropout": 0.0,
    "steps": 80,
    "learning_rate": 0.02,
    "evaluations": 1,
    "train.threads": 1,
    "search.threads": 1,
}


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Return pairs `a sees b` and `b is not seen`, in which each name occurs once."""
    rng = random.Random(seed)
    names = iter("".join(rng.choices("abcdefghijklmnop", k=8)) for _ in range(2 * count))
    pairs = []
    for _ in range(count):
        one, other, verb = next(names), next(names), rng.choice(VERBS)
        pairs.append((f"{one} {verb} {other}", f"{other} {verb} not {one}"))
    return pairs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("copying")
    return peephole.train(
        write(folder / "train.tsv", sentences(200, seed=1)),
        dev=write(folder / "dev.tsv", sentences(10, seed=2)),
        out=folder / "m.safetensors",
        quiet=True,
        **SETTINGS,
    )


def write(path: Path, pairs: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return path


TEST = sentences(40, seed=3)
SOURCES, TARGETS = (list(side) for side in zip(*TEST, strict=True))


def test_names_that_were_never_seen_are_copied(model: Model) -> None:
    notices = Notices()
    found = [best[0] for best in model.predict(SOURCES, notices=notices)]
    assert [best.text for best in found] == TARGETS
    assert [best.tokens for best in found] == [target.split() for target in TARGETS]
    assert [best.unknown for best in found] == [(source.split()[0], source.split()[2]) for source in SOURCES]
    assert model.made["training"]["dev_scores"]["exact_match"] == 100
    assert model.made["training"]["dev_scores"]["loss"] < 0.5


def test_scores_are_those_of_the_predictions(model: Model) -> None:
    found = [best for bests in model.predict(SOURCES[:5], nbest=3, notices=Notices()) for best in bests]
    repeated = [source for source in SOURCES[:5] for _ in range(3)]
    for targets in ([best.tokens for best in found], [best.text for best in found]):
        notices = Notices()
        scores = model.score(repeated, targets, notices=notices)
        assert scores == pytest.approx([best.log_prob for best in found], abs=1e-4)
        assert all(notice.side == "source" for notice in notices.texts)  # copied symbols of a target are not unknown
    wrong = model.score(SOURCES[:1], ["somebody sees not nobody"], notices=(notices := Notices()))
    assert wrong[0] < found[0].log_prob - 5
    assert [notice.unknown for notice in notices.texts if notice.side == "target"] == [("somebody", "nobody")]


def test_prefixes_and_samples_copy(model: Model) -> None:
    prefixes = [source.split()[0] for source in SOURCES]  # the wrong name
    found = model.predict(SOURCES, prefixes=prefixes, notices=Notices())
    assert all(best[0].tokens[0] == prefix for best, prefix in zip(found, prefixes, strict=True))
    drawn = model.predict(SOURCES, temperature=0.5, notices=Notices())
    assert sum(best[0].text == target for best, target in zip(drawn, TARGETS, strict=True)) > 35


def test_a_model_that_was_saved_predicts_the_same(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "again.safetensors")
    again = peephole.load(tmp_path / "again.safetensors")
    assert again.config.model.output == "copy"
    assert again.predict(SOURCES, notices=Notices()) == model.predict(SOURCES, notices=Notices())
    assert ", copying," in repr(again)


def test_the_batch_does_not_change_the_results(model: Model) -> None:
    found = model.predict(SOURCES, notices=Notices(), beam_size=3)
    for size in (1, 7):
        again = model.predict(SOURCES, notices=Notices(), beam_size=3, batch_size=size)
        assert [best[0].text for best in again] == [best[0].text for best in found]
        for one, other in zip(again, found, strict=True):
            assert one[0].log_prob == pytest.approx(other[0].log_prob, abs=1e-5)


def test_evaluation_counts_copied_symbols_as_right(model: Model) -> None:
    evaluation = peephole.evaluate(model, TEST)
    assert evaluation.scores["exact_match"].value == 100
    assert evaluation.exposure_gap is not None
    assert evaluation.exposure_gap.teacher_forced == 100


def test_tables_of_different_kinds_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", sentences(20, seed=4))
    wanted = "wanted symbols.source and symbols.target of one kind, got 'whitespace' and 'characters'"
    with pytest.raises(ConfigError, match=f"^model.output='copy' copies symbols: {wanted}$"):
        train(path, out=tmp_path / "m.safetensors", quiet=True, **SETTINGS | {"symbols.target": "characters"})


def test_prepared_data_are_not_shared_with_a_model_that_does_not_copy(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", sentences(20, seed=4))
    settings = SETTINGS | {"steps": 1, "model.attention": "additive", "train.coverage_loss": 0.0}
    for output in ("copy", "symbols", "copy"):
        given = settings | {"model.output": output}
        made = train(path, out=tmp_path / "m.safetensors", quiet=True, overwrite=True, **given)
        assert made.config.model.output == output
