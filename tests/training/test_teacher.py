"""Tests of trainings that learn from other models beside the gold symbols, (69)."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import peephole
from peephole.config import Config
from peephole.data import batches, open_prepared
from peephole.errors import ConfigError, ModelFileError
from peephole.model.forced import most_probable
from peephole.nn import use_engine
from peephole.storage.model_file import load_model, read_tensors
from peephole.training.planning import plan
from peephole.training.run_file import read_run
from peephole.training.taught import NUM_TAUGHT, TaughtCorpus

from .short_runs import break_at, one_line
from .toy import TINY, words, write_pairs

TAUGHT = TINY | {"steps": 6, "evaluations": 2, "precision": "32-true", "quiet": True}
TEACHERS = "a.safetensors,b.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return a folder with pairs and two models with the same symbols, a.safetensors and b.safetensors."""
    folder = tmp_path_factory.mktemp("base")
    pairs = write_pairs(folder / "train.tsv", 150)
    for seed, name in ((1, "a"), (2, "b")):
        settings = TINY | {"steps": 60, "evaluations": 1, "precision": "32-true", "train.seed": seed}
        peephole.train(pairs, out=folder / f"{name}.safetensors", quiet=True, **settings)
    return folder


@pytest.fixture
def project(base, tmp_path, monkeypatch):
    """Return a copy of that folder, as the working directory."""
    folder = shutil.copytree(base, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def learn(out="c.safetensors", **settings):
    return peephole.train("train.tsv", out=out, **(TAUGHT | {"train.teacher": TEACHERS} | settings))


def test_the_models_are_asked_about_every_pair(project):
    """Compared with the definition, one pair at a time."""
    learn()
    run = read_run(project / "c.run")
    corpus, taught = open_prepared(run.folder / "data").train, TaughtCorpus(run.folder)
    networks = [network for name in TEACHERS.split(",") for network in peephole.load(name).networks]
    seen = 0
    for batch in batches(corpus, seed=3, epoch=0, batch_symbols=100):
        given = taught.add_to(batch).taught
        assert given is not None
        assert given.symbols.shape == given.shares.shape == (*batch.target.shape, NUM_TAUGHT)
        for row, length in enumerate(batch.target_lengths):
            sides = batch.source[row, : batch.source_lengths[row]], batch.target[row, :length]
            source, target = (torch.from_numpy(side)[None] for side in sides)
            with torch.no_grad(), use_engine("off"):
                each = [torch.softmax(n(source, batch_length(source), target)[0], -1) for n in networks]
            best, symbols = torch.stack(each).mean(0).topk(NUM_TAUGHT)
            assert given.symbols[row, :length].tolist() == symbols.tolist()
            wanted = best / best.sum(1, keepdim=True)
            np.testing.assert_allclose(given.shares[row, :length], wanted.numpy(), rtol=0, atol=1e-5)
            assert not given.shares[row, length:].any()
            seen += 1
    assert seen == len(corpus)


def batch_length(source):
    return torch.tensor([source.shape[1]])


def test_the_student_has_their_symbols_and_names_them(project, capfd):
    model = learn(quiet=False)
    printed = capfd.readouterr().err
    assert "asking the teacher about 133 pairs\n" in printed
    assert "source symbols: characters, the teacher's 12 with the specials" in printed
    assert "target symbols: characters, the teacher's 12 with the specials" in printed
    assert model.target_symbols.to_json() == load_model("a.safetensors").target_symbols.to_json()
    assert load_model("c.safetensors").made["training"]["teacher"] == ["a.safetensors", "b.safetensors"]
    assert model.config.train.teacher == TEACHERS


def test_symbols_that_they_lack_are_unknown(project, capfd):
    pairs = "".join(f"{word}é\t{word[::-1].upper()}É\n" for word in words(60, seed=4))
    (project / "train.tsv").write_text(pairs, encoding="utf-8")
    model = learn(quiet=False)
    assert len(model.source_symbols) == len(load_model("a.safetensors").source_symbols)
    assert "read as <unk>: " in capfd.readouterr().err


def test_learning_from_a_teacher_alone_comes_closer_to_it_than_gold_symbols_do(project):
    teacher, sources = peephole.load("a.safetensors"), words(40, seed=9)
    targets = [found[0].text for found in teacher.predict(sources)]
    settings = {"steps": 150, "label_smoothing": 0, "teacher_weight": 1, "train.seed": 5}
    taught = learn(**settings, **{"train.teacher": "a.safetensors"})
    alone = learn("d.safetensors", **settings, **{"train.teacher": None})
    wanted = np.array(teacher.score(sources, targets))
    errors = [np.abs(np.array(model.score(sources, targets)) - wanted).mean() for model in (taught, alone)]
    assert errors[0] < 0.8 * errors[1]


def test_a_run_goes_on_with_the_same_bits_when_the_models_are_gone(project, monkeypatch):
    learn("whole.safetensors")
    break_at(monkeypatch, 3, lambda: learn(checkpoint_seconds=0))
    for name in ("a.safetensors", "b.safetensors"):
        (project / name).unlink()
    peephole.training.resume("c.run", quiet=True)
    wanted, got = (read_tensors(f"{name}.safetensors")[0] for name in ("whole", "c"))
    assert all(np.array_equal(got[name], array) for name, array in wanted.items())


@pytest.mark.parametrize("damage", ["cut", "missing", "changed", "no stamp"])
def test_what_they_gave_is_asked_again_if_it_is_damaged(project, monkeypatch, damage):
    learn("whole.safetensors")
    break_at(monkeypatch, 3, lambda: learn(checkpoint_seconds=0))
    file = project / "c.run" / "teacher" / ("taught.json" if damage == "no stamp" else "taught.values.npy")
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-8])
    elif damage == "changed":
        file.write_bytes(content[:-8] + bytes(8))
    else:
        file.unlink()
    peephole.training.resume("c.run", quiet=True)
    wanted, got = (read_tensors(f"{name}.safetensors")[0] for name in ("whole", "c"))
    assert all(np.array_equal(got[name], array) for name, array in wanted.items())


def test_a_run_from_a_student_has_no_teacher(project):
    learn()
    settings = {"steps": 2, "evaluations": 1, "threads": 1, "quiet": True}
    model = peephole.train("train.tsv", out="d.safetensors", from_model="c.safetensors", **settings)
    assert model.config.train.teacher is None
    assert "teacher" not in json.loads((project / "d.run" / "run.json").read_text())


def test_a_model_goes_on_with_a_teacher(project):
    settings = {"steps": 2, "evaluations": 1, "threads": 1, "quiet": True, "train.teacher": "b.safetensors"}
    model = peephole.train("train.tsv", out="d.safetensors", from_model="a.safetensors", **settings)
    assert model.config.train.teacher == "b.safetensors"
    assert load_model("d.safetensors").made["training"]["from"] == "a.safetensors"
    (project / "train.tsv").write_text("".join(f"{word}é\t{word}É\n" for word in words(60)), encoding="utf-8")
    model = peephole.train("train.tsv", out="e.safetensors", from_model="a.safetensors", **settings)
    assert len(model.source_symbols) == len(load_model("a.safetensors").source_symbols)  # they do not grow


def test_a_run_that_ended_while_they_were_asked_begins_anew(project, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("peephole.training.run.ask", stop)
        with pytest.raises(KeyboardInterrupt):
            learn()
    assert (project / "c.run" / "teacher" / "2.safetensors").exists()
    learn()  # nothing is lost that `overwrite` would have to allow


def test_a_language_model_learns_from_one(project):
    (project / "texts.txt").write_text("".join(f"{word}\n" for word in words(100)), encoding="utf-8")
    settings = TAUGHT | {"model.input": "none"}
    peephole.train("texts.txt", out="l.safetensors", **settings)
    model = peephole.train("texts.txt", out="m.safetensors", **settings, **{"train.teacher": "l.safetensors"})
    assert model.is_language_model


def test_a_plan_uses_their_symbols(project):
    found = plan("train.tsv", config=Config().with_values(TINY | {"train.teacher": "a.safetensors"}))
    assert "target symbols: characters, the teacher's 12 with the specials" in found.report


def refuse(message, error=ConfigError, **settings):
    with pytest.raises(error, match=message) as raised:
        learn("e.safetensors", **settings)
    one_line(raised)


def test_teachers_that_cannot_teach_are_refused(project):
    refuse("nothing.safetensors: no such file", ModelFileError, **{"train.teacher": "nothing.safetensors"})
    (project / "text.safetensors").write_text("no model")
    refuse("text.safetensors: ", ModelFileError, **{"train.teacher": "text.safetensors"})
    (project / "cut.safetensors").write_bytes((project / "a.safetensors").read_bytes()[:-100])
    refuse(r"^cut\.safetensors: not a whole", ModelFileError, **{"train.teacher": "b.safetensors,cut.safetensors"})
    more = [f"{word}z\t{word.upper()}Z\n" for word in words(50)]
    (project / "more.tsv").write_text("".join(more), encoding="utf-8")
    peephole.train("more.tsv", out="z.safetensors", **TAUGHT)
    refuse(
        r"z\.safetensors: its source_symbols differ from those of a\.safetensors",
        ModelFileError,
        **{"train.teacher": "a.safetensors,z.safetensors"},
    )
    copying = {"symbols.shared": True, "model.output": "copy"}
    peephole.train("train.tsv", out="y.safetensors", **TAUGHT, **copying)
    refuse(
        r"wanted models with model\.output='symbols', y\.safetensors has 'copy'", **{"train.teacher": "y.safetensors"}
    )
    refuse(
        r"train\.teacher: wanted model\.output='symbols' with it, or none; got .* with model\.output='copy'", **copying
    )
    refuse(
        r"train\.teacher: wanted a language model, a\.safetensors is a model with sources",
        **{"model.input": "none", "train.teacher": "a.safetensors"},
    )
    refuse(
        r"symbols\.target: wanted characters, as the teacher a\.safetensors has it, got bpe",
        **{"symbols.target": "bpe", "train.teacher": "a.safetensors"},
    )
    refuse(
        r"train\.teacher: wanted the target symbols of a\.safetensors",
        **{"symbols.shared": True, "train.teacher": "a.safetensors"},
    )
    with pytest.raises(ConfigError, match=r"train\.teacher: wanted none in a search of settings, got 'a\.safetensors'"):
        peephole.tune("train.tsv", out="e.safetensors", minutes=1, **{"train.teacher": "a.safetensors"})
    assert not (project / "e.run").exists()


def test_probabilities_of_a_calibrated_model_are_those_before_calibration(project):
    model = peephole.load("a.safetensors")
    changed = model.config.with_values({"search.calibration": 2.0})
    calibrated = peephole.Model(changed, model.source_symbols, model.target_symbols, model.networks)
    pairs = [([4, 5, 6], [6, 5]), ([7], [4])]
    for got, wanted in zip(most_probable(calibrated, pairs, 8), most_probable(model, pairs, 8), strict=True):
        assert got[0].tolist() == wanted[0].tolist()
        np.testing.assert_array_equal(got[1], wanted[1])
    assert calibrated.score(["abc"], ["CBA"])[0] != pytest.approx(model.score(["abc"], ["CBA"])[0], abs=0.01)
