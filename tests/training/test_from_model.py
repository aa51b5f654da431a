"""Tests of runs that go on with a finished model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import peephole
from peephole import Model
from peephole.config import Config
from peephole.data import KnownSymbols, prepare
from peephole.errors import ConfigError, ModelFileError, RunError
from peephole.nn import build_seq2seq
from peephole.nn.schema import Architecture
from peephole.storage.model_file import ModelFile, load_model, read_tensors
from peephole.symbols import CharacterSymbols, learn_symbols
from peephole.training.cpu_threads import cpu_threads
from peephole.training.from_model import set_first_weights
from peephole.training.start import config_of_model, read_start

from .toy import CAPITALS, LETTERS, TINY, set_options, words, write_pairs

MORE_LETTERS = CharacterSymbols([*LETTERS.to_json()["symbols"], "é", "ß"], "NFC")
MORE_CAPITALS = CharacterSymbols([*CAPITALS.to_json()["symbols"], "É"], "NFC")
ARCHITECTURES = [
    {},
    {"peephole": "diagonal", "encoder_layers": 2, "decoder_layers": 2, "attention": "general", "encoder_size": 8},
    {"cell": "gru", "context": "mean"},
    {"peephole": "none", "context": "last", "bidirectional": False, "decoder_layers": 3},
]
QUICK = {"steps": 6, "evaluations": 3, "checkpoint_seconds": 0, "threads": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return a folder with a trained model, a.safetensors, its run and its data."""
    folder = tmp_path_factory.mktemp("base")
    pairs = write_pairs(folder / "a.tsv", 120)
    settings = TINY | {"steps": 30, "evaluations": 2, "dropout": 0.3, "precision": "32-true"}
    peephole.train(pairs, out=folder / "a.safetensors", quiet=True, **settings)
    return folder


@pytest.fixture
def project(base, tmp_path, monkeypatch):
    """Return a copy of that folder, as the working directory; b.tsv has other words, with new symbols."""
    folder = shutil.copytree(base, tmp_path / "project")
    lines = [f"{word}é\t{word[::-1].upper()}{'ÉX'[i % 2]}\n" for i, word in enumerate(words(80, seed=3))]
    (folder / "b.tsv").write_text("".join(lines), encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def grown_model(settings, seed=4):
    """Return a model with random weights, and one that goes on with it after the tables have grown."""
    config = Config().with_values({"hidden_size": 12, "embedding_size": 6, **settings})
    network = build_seq2seq(config.model, len(LETTERS), len(CAPITALS), torch.Generator().manual_seed(1))
    model = Model(config, LETTERS, CAPITALS, [network.eval()])
    sizes = (len(MORE_LETTERS), len(MORE_CAPITALS))
    grown = build_seq2seq(config.model, *sizes, torch.Generator().manual_seed(seed)).eval()
    tensors = {name: weight.numpy() for name, weight in network.state_dict().items()}
    weights = {name: weight.numpy() for name, weight in grown.state_dict().items()}  # the network's memory
    set_first_weights(weights, ModelFile(tensors, config, LETTERS, CAPITALS))
    return model, Model(config, MORE_LETTERS, MORE_CAPITALS, [grown])


@pytest.mark.parametrize("settings", ARCHITECTURES, ids=str)
def test_old_symbols_keep_their_weights_and_new_ones_have_initial_weights(settings) -> None:
    model, grown = grown_model(settings)
    fresh = build_seq2seq(
        grown.config.model, len(MORE_LETTERS), len(MORE_CAPITALS), torch.Generator().manual_seed(4)
    ).state_dict()
    after, grew = grown.networks[0].state_dict(), []
    for name, old in model.networks[0].state_dict().items():
        assert torch.equal(after[name][: len(old)], old), name
        assert torch.equal(after[name][len(old) :], fresh[name][len(old) :]), name
        if len(after[name]) > len(old):
            grew.append(name)
    output = ["decoder.output.weight", "decoder.output.bias"]
    assert grew == ["frontend.embedding.weight", "decoder.embedding.weight", *output]


@pytest.mark.parametrize("engine", ["auto", "off"])
@pytest.mark.parametrize("settings", ARCHITECTURES, ids=str)
def test_predictions_with_old_symbols_are_the_same_bits_before_any_step(settings, engine) -> None:
    """A new target symbol takes a share of the probability; without it all numbers are those of the model."""
    model, grown = grown_model(settings)
    with torch.no_grad():
        grown.networks[0].decoder.output.bias[len(CAPITALS) :] = -1e30
    sources, search = words(3), {"engine": engine, "beam_size": 2, "nbest": 2}
    with cpu_threads(1):
        predictions = zip(grown.predict(sources, **search), model.predict(sources, **search), strict=True)
    for found, wanted in predictions:
        assert [(p.text, p.log_prob, p.symbol_log_probs) for p in found] == [
            (p.text, p.log_prob, p.symbol_log_probs) for p in wanted
        ]


def test_new_data_with_new_symbols(project, capsys) -> None:
    model = peephole.train("b.tsv", out="b.safetensors", from_model="a.safetensors", **QUICK)
    printed = capsys.readouterr().err
    assert "goes on with a.safetensors: its weights, symbols and settings" in printed
    assert "source symbols: characters, the model's 12 and 1 new: 'é' (72); 13 with the specials" in printed
    assert "target symbols: characters, the model's 12 and 2 new: 'X' (" in printed
    before = load_model("a.safetensors")
    assert model.source_symbols.tokens(range(13)) == [*before.source_symbols.tokens(range(12)), "é"]
    assert model.target_symbols.tokens(range(12)) == before.target_symbols.tokens(range(12))
    assert sorted(model.target_symbols.tokens([12, 13])) == ["X", "É"]
    assert model.config.model == before.config.model
    assert model.config.train.steps == 6
    assert load_model("b.safetensors").made["training"]["from"] == "a.safetensors"
    assert log(project / "b.run")[0]["step"] == 0
    assert f"step 0: dev loss {log(project / 'b.run')[0]['dev']['loss']:.3f}" in printed


def test_a_model_with_one_table_for_both_sides_goes_on_with_one(project) -> None:
    settings = TINY | QUICK | {"quiet": True, "precision": "32-true"}
    peephole.train("a.tsv", out="s.safetensors", **settings, **{"symbols.shared": True, "model.output": "copy"})
    model = peephole.train("b.tsv", out="t.safetensors", from_model="s.safetensors", quiet=True, **QUICK)
    before = load_model("s.safetensors")
    assert before.source_symbols.to_json() == before.target_symbols.to_json()
    assert model.source_symbols.to_json() == model.target_symbols.to_json()
    assert model.source_symbols.tokens(range(20)) == before.source_symbols.tokens(range(20))
    assert set(model.source_symbols.tokens(range(20, len(model.source_symbols)))) == {"é", "É", "X"}
    lines = str(peephole.info("t.safetensors")).splitlines()
    assert sum(line.startswith("  both sides      23 characters (NFC): ") for line in lines) == 1
    assert not any(line.startswith(("  source symbols", "  target symbols")) for line in lines)
    assert model.predict(["abé"])[0][0].text == peephole.load("t.safetensors").predict(["abé"])[0][0].text


def test_the_first_score_is_that_of_the_model(project) -> None:
    peephole.train(from_model="a.safetensors", out="b.safetensors", quiet=True, **QUICK)
    first, last = log(project / "b.run")[0], log(project / "a.run")[-1]
    assert (first["step"], first["best"]) == (0, True)
    assert first["dev"] == last["dev"]  # the same dev set: the data and settings of the model's run


def test_a_run_never_ends_with_worse_weights_than_it_began_with(project) -> None:
    values = {"learning_rate": 10.0, "weight_decay": 10.0, "dev_metric": "loss"}
    peephole.train(from_model="a.safetensors", out="b.safetensors", quiet=True, **QUICK, **values)
    assert [entry["best"] for entry in log(project / "b.run") if "dev" in entry] == [True, False, False, False]
    before, after = load_model("a.safetensors").tensors, load_model("b.safetensors").tensors
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_average_starts_from_the_weights_of_the_model(project) -> None:
    """With a decay of almost 1 and a learning rate of 0 the average would show any other beginning."""
    settings = {"learning_rate": 0.0, "weight_decay": 0.0, "dev_metric": "loss"}
    peephole.train(from_model="a.safetensors", out="b.safetensors", quiet=True, **QUICK, **settings)
    average, _ = read_tensors("b.run/checkpoint/checkpoint.safetensors")
    for name, weight in load_model("a.safetensors").tensors.items():
        np.testing.assert_allclose(average[f"average/{name}"], weight, rtol=1e-6)


def test_settings_are_those_of_the_model_except_budget_and_machine(project) -> None:
    config = config_of_model("a.safetensors")
    assert (config.model.hidden_size, config.model.dropout, config.data.dev_fraction) == (16, 0.3, 0.1)
    assert (config.train.steps, config.train.threads, config.train.precision) == (None, None, "auto")
    assert config.train.evaluations == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 32}, "model.hidden_size: wanted 16, as a.safetensors has it, got 32"),
        ({"cell": "gru"}, "model.cell: wanted lstm, as a.safetensors has it, got gru"),
        ({"attention": "dot"}, "model.attention: wanted additive, as a.safetensors has it, got dot"),
        ({"symbols.target": "bpe"}, "symbols.target: wanted characters, as a.safetensors has it, got bpe"),
        ({"normalize": "NFKC"}, "symbols.normalize: wanted NFC, as a.safetensors has it, got NFKC"),
        ({"symbols.shared": True}, "symbols.shared: wanted False, as a.safetensors has it, got True"),
    ],
    ids=str,
)
def test_settings_that_contradict_the_model_are_refused(project, settings, message) -> None:
    for given in ({"config": None, **settings}, {"config": config_of_model("a.safetensors").with_values(settings)}):
        with pytest.raises(ConfigError) as error:
            peephole.train("b.tsv", out="b.safetensors", from_model="a.safetensors", **given)
        assert str(error.value).startswith(message)
    assert not (project / "b.run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "none.safetensors: no such file"),
        ("a.safetensors,again.safetensors", "wanted one model to go on with, got an ensemble of 2"),
        ("cut.safetensors", "cut.safetensors: not a whole safetensors file"),
        ("flipped.safetensors", "flipped.safetensors: damaged"),
        ("b.tsv", "b.tsv: not a whole safetensors file"),
    ],
)
def test_a_missing_or_damaged_model_is_refused(project, name, message) -> None:
    content = bytearray((project / "a.safetensors").read_bytes())
    (project / "again.safetensors").write_bytes(content)
    (project / "cut.safetensors").write_bytes(content[:-9])
    content[-9] ^= 4
    (project / "flipped.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        peephole.train("b.tsv", out="b.safetensors", from_model=name, **QUICK)
    assert not (project / "b.run").exists()


def test_without_the_run_of_the_model_its_data_are_asked_for(project) -> None:
    shutil.rmtree("a.run")
    with pytest.raises(RunError, match=r"a.safetensors: there is no a.run beside it that names its data: give TRAIN"):
        peephole.train(from_model="a.safetensors", out="b.safetensors", **QUICK)
    with pytest.raises(peephole.PeepholeError, match="train: wanted the name of a file, got None"):
        peephole.train(out="b.safetensors", **QUICK)


@pytest.mark.parametrize(("to", "stored"), [("int8", "int8"), ("bf16", "bfloat16")])
def test_a_quantised_model_is_trained_as_float32_with_a_note(project, capsys, to, stored) -> None:
    peephole.quantize("a.safetensors", to, "q.safetensors")
    peephole.train("a.tsv", out="b.safetensors", from_model="q.safetensors", **QUICK)
    assert f"q.safetensors stores {stored}: its rounded weights are trained" in capsys.readouterr().err
    assert load_model("b.safetensors").stored == "float32"


def test_subwords_stay_and_unknown_characters_are_counted(tmp_path) -> None:
    table = learn_symbols("bpe", ["low lower lowest"] * 9, vocabulary_size=20, min_count=1, normalize="NFC")
    (tmp_path / "new.tsv").write_text("".join(f"low{'é' * i}er\t{'ab'[i % 2]}ß\n" for i in range(1, 6)))
    prepared = prepare(
        tmp_path / "new.tsv", tmp_path / "new.tsv", Config(), tmp_path / "data", KnownSymbols(table, LETTERS)
    )
    assert prepared.source_symbols.to_json() == table.to_json()
    assert (
        f"source symbols: bpe, the model's {len(table)}; {len(table)} with the specials; 1 unknown, 15 times in all, "
        "are read as <unk> (subwords do not grow): 'é' (15)"
    ) in prepared.report
    assert f"target symbols: characters, the model's {len(LETTERS)} and 1 new: 'ß' (5); 13 with the specials" in (
        prepared.report
    )


def test_prepared_data_of_other_known_symbols_are_not_reused(tmp_path) -> None:
    write_pairs(tmp_path / "a.tsv", 30)
    arguments = (tmp_path / "a.tsv", None, Config(), tmp_path / "data")
    tables = [
        prepare(*arguments, known).source_symbols.to_json()["symbols"]
        for known in (None, KnownSymbols(MORE_LETTERS, CAPITALS), KnownSymbols(LETTERS, CAPITALS))
    ]
    assert tables[1] == MORE_LETTERS.to_json()["symbols"]
    assert tables[2] == LETTERS.to_json()["symbols"] != tables[0]


def test_pairs_in_the_folder_of_the_models_run_are_not_lost(project) -> None:
    """A training on pairs from Python keeps them in its run's folder."""
    pairs = [(word, word.upper()) for word in words(20)]
    peephole.train(pairs, out="p.safetensors", quiet=True, **TINY | QUICK)
    with pytest.raises(RunError, match="is in the folder that the new run would replace"):
        peephole.train(from_model="p.safetensors", out="p.safetensors", overwrite=True, **QUICK)
    peephole.train(from_model="p.safetensors", out="q.safetensors", quiet=True, **QUICK)
    assert (project / "p.run/train.jsonl").exists()


KILLS = [
    ("start.safetensors", 1, "half written"),
    ("prepared.json", 1, "before"),
    ("checkpoint.safetensors", 1, "before"),
    ("checkpoint.safetensors", 1, "after"),
    ("checkpoint.safetensors", 4, "after"),
]


def test_a_killed_run_ends_in_the_same_bits_without_the_model(project, launcher, tmp_path) -> None:
    """The model is deleted, and replaced by another one, after the first process was killed."""
    common = set_options(**QUICK, average_last=2)
    arguments = ["train", "b.tsv", "--from", "a.safetensors", "--out", "b.safetensors", *common]
    whole = shutil.copytree(project, tmp_path / "whole")
    assert launcher.run(*arguments, cwd=whole)[0] == 0
    for number, (replaced, count, moment) in enumerate(KILLS):
        folder = shutil.copytree(project, tmp_path / f"killed{number}")
        code, output = launcher.run(*arguments, cwd=folder, replaced=replaced, count=count, moment=moment)
        assert code == -9, output
        if (folder / "b.run/run.json").exists():
            (folder / "a.safetensors").unlink()
            if number % 2:
                shutil.copy(folder / "b.tsv", folder / "a.safetensors")
            code, output = launcher.run("train", "--resume", "b.run", cwd=folder)
        else:
            code, output = launcher.run(*arguments, cwd=folder)
        assert code == 0, output
        assert (folder / "b.safetensors").read_bytes() == (whole / "b.safetensors").read_bytes(), (replaced, moment)
        assert [(entry["step"], entry.get("dev")) for entry in log(folder / "b.run")] == [
            (entry["step"], entry.get("dev")) for entry in log(whole / "b.run")
        ], (replaced, moment)


def test_a_missing_or_damaged_copy_of_the_model_is_refused(project) -> None:
    peephole.train("b.tsv", out="b.safetensors", from_model="a.safetensors", quiet=True, **QUICK)
    copy = project / "b.run/start.safetensors"
    content = bytearray(copy.read_bytes())
    content[-9] ^= 4
    copy.write_bytes(content)
    with pytest.raises(RunError, match="damaged: wanted the copy of a"):
        peephole.resume("b.run")
    copy.unlink()
    with pytest.raises(RunError, match="cannot be read: No such file or directory; the run began with it"):
        peephole.resume("b.run")


def test_a_model_that_changes_while_it_is_read_is_refused(project) -> None:
    start, _ = read_start("a.safetensors")
    (project / "a.safetensors").write_bytes(b"other")
    with pytest.raises(RunError, match="has changed while it was read"):
        start.copy_to(project)


def write_series(path):
    path.write_text("load\n" + "".join(f"{100 + 10 * np.sin(i / 4) + i % 3:.3f}\n" for i in range(200)))
    return path


def write_tables(folder):
    """Write a manifest of tables of two columns with their labels."""
    (folder / "tables").mkdir()
    for i in range(20):
        rows = (f"{(i + t) % 5},{i % 3}\n" for t in range(4 + i % 3))
        (folder / f"tables/{i}.csv").write_text("".join(rows))
    (folder / "manifest.tsv").write_text("".join(f"tables/{i}.csv\tlabel {'abc'[i % 3]}\n" for i in range(20)))
    return folder / "manifest.tsv"


@pytest.mark.parametrize(("write", "how"), [("series", {"horizon": 4}), ("tables", {"dev_metric": "loss"})])
def test_series_and_files_go_on(project, write, how):
    data = write_series(project / "series.csv") if write == "series" else write_tables(project)
    small = {"hidden_size": 6, "embedding_size": 4, **QUICK}
    old = peephole.train(data, out="old.safetensors", quiet=True, **small, **how)
    peephole.train(data, out="new.safetensors", from_model="old.safetensors", quiet=True, **QUICK)
    assert Architecture.of(load_model("new.safetensors").config.model) == Architecture.of(old.config.model)
    first = next(entry["dev"]["loss"] for entry in log(project / "new.run") if "dev" in entry)
    assert first == pytest.approx(
        min(entry["dev"]["loss"] for entry in log(project / "old.run") if "dev" in entry), rel=1e-5
    )


def test_files_and_series_need_a_model_that_reads_them(project):
    for data, how in ((write_tables(project), {}), (write_series(project / "series.csv"), {"horizon": 4})):
        with pytest.raises(ConfigError, match=r"model.input: wanted symbols, as a.safetensors has it, got frames"):
            peephole.train(data, out="c.safetensors", from_model="a.safetensors", **QUICK, **how)
        assert not (project / "c.run").exists()
