"""Tests that a model stays what was loaded: whatever becomes of its file, in copies, pickles and other processes."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import peephole
from models.make import MODEL, STORED
from peephole.config import Config
from peephole.engine.packed import PackedModel
from peephole.model import Model, Notices, SlowSearchWarning
from peephole.nn import build_seq2seq
from peephole.symbols import CharacterSymbols, learn_symbols

WORDS = ["cab", "abcde", "deadbe"]
DEFINITION = {"beam_size": 1, "engine": "off"}
INT8 = STORED["3"][1]


def through_pickle(model: Model) -> Model:
    again: Model = pickle.loads(pickle.dumps(model))
    return again


COPIES: dict[str, Callable[[Model], Model]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": through_pickle,
}


def replace_by_rename(path: Path) -> None:
    other = path.with_name("other.safetensors")
    other.write_bytes(INT8.read_bytes())
    os.replace(other, path)


def overwrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(INT8.read_bytes())
        file.truncate()


def damage(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"\xff" * 100)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "replaced": replace_by_rename,
    "overwritten": overwrite,
    "damaged": damage,
    "truncated": lambda path: os.truncate(path, 100),
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": Path.unlink,
    "a folder": become_a_folder,
}


def results(model: Model) -> list[Any]:
    """Return all that a model computes, by the engine and by the definition."""
    return [
        model.predict(WORDS, nbest=3),
        model.predict(["cab"], **DEFINITION),
        model.score(WORDS, ["AH", "B", "K AH"]),
        [{name: weight.tolist() for name, weight in n.state_dict().items()} for n in model.networks],
    ]


@pytest.mark.parametrize("when", ["used before", "not used before"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_model_stays_what_was_loaded(change: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(word, best.text) for word, [best] in zip(WORDS, peephole.load(MODEL).predict(WORDS), strict=True)]
    source = peephole.load(MODEL)
    wanted = results(source)
    source.save(tmp_path / "wanted.safetensors")
    peephole.quantize(source, "int8", tmp_path / "wanted int8.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "m.safetensors"
    path.write_bytes(MODEL.read_bytes())
    monkeypatch.chdir(folder)
    model = peephole.load("m.safetensors")
    if when == "used before":
        results(model)
    CHANGES[change](path)
    monkeypatch.chdir(tmp_path)
    assert results(model) == wanted
    model.save("got.safetensors")
    assert Path("got.safetensors").read_bytes() == Path("wanted.safetensors").read_bytes()
    found = peephole.quantize(model, "int8", "got int8.safetensors", pairs=pairs)
    assert found.bytes_before == MODEL.stat().st_size
    assert found.before is not None
    assert found.before.scores["exact_match"].value == 100
    assert Path("got int8.safetensors").read_bytes() == Path("wanted int8.safetensors").read_bytes()
    for make in COPIES.values():
        assert results(make(model)) == wanted
    assert (model.name, model.files) == ("m.safetensors", (Path("m.safetensors"),))


def test_a_model_made_of_file_names_reads_them_at_once(tmp_path: Path) -> None:
    path, toy = tmp_path / "m.safetensors", peephole.load(MODEL)
    path.write_bytes(MODEL.read_bytes())
    model = Model(toy.config, toy.source_symbols, toy.target_symbols, files=[path])
    path.unlink()
    assert results(model) == results(toy)


def test_changed_networks_of_a_loaded_model_do_not_change_it() -> None:
    model, wanted = peephole.load(MODEL), peephole.load(MODEL).predict(WORDS, **DEFINITION)
    with torch.no_grad():
        for weight in model.networks[0].parameters():
            weight.zero_()
    assert model.predict(WORDS, **DEFINITION) == wanted
    assert copy.deepcopy(model).predict(WORDS, **DEFINITION) == wanted


@settings(deadline=None, max_examples=20)
@given(
    steps=st.lists(st.sampled_from(sorted(COPIES)), min_size=1, max_size=4),
    files=st.lists(st.sampled_from([*STORED["1"], *STORED["3"]]), min_size=1, max_size=2),
    used=st.booleans(),
)
def test_copies_of_copies_outlive_their_originals(steps: list[str], files: list[Path], used: bool) -> None:
    model = peephole.load(*files)
    wanted = peephole.load(*files).predict(WORDS, nbest=2)
    for step in steps:
        if used:
            model.predict(WORDS)
        model = COPIES[step](model)
    assert model.predict(WORDS, nbest=2) == wanted
    assert (model.files, model.notes) == (tuple(files), ())


def test_copies_are_independent_of_each_other() -> None:
    model = peephole.load(MODEL)
    for make in COPIES.values():
        other = make(model)
        other.config = other.config.with_values({"nbest": 3})
        assert len(other.predict(["cab"])[0]) == 3
        assert len(model.predict(["cab"])[0]) == 1


def test_a_copy_in_the_same_process_shares_the_file_and_the_packed_weights() -> None:
    model = peephole.load(MODEL)
    for make in (copy.copy, copy.deepcopy):
        [mine], [theirs] = model._weights.files, make(model)._weights.files
        assert mine.content is theirs.content
        assert mine.packed() is theirs.packed()


def test_a_pickle_holds_the_file_once_and_no_networks() -> None:
    model = peephole.load(MODEL)
    results(model)  # packs and builds all there is
    content = pickle.dumps(model)
    assert MODEL.stat().st_size < len(content) < MODEL.stat().st_size + 10_000
    assert b"torch" not in content


def test_a_packed_model_is_not_pickled() -> None:
    with pytest.raises(TypeError, match=r"^a PackedModel is memory of this process and cannot be pickled; pickle its "):
        pickle.dumps(PackedModel(MODEL))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_model_of_networks_is_copied_with_them(cell: str, dtype: torch.dtype, tmp_path: Path) -> None:
    toy = peephole.load(MODEL)
    config = Config().with_values({"cell": cell, "hidden_size": 6, "embedding_size": 3, "attention": "general"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_seq2seq(config.model, len(toy.source_symbols), len(toy.target_symbols)).eval().to(dtype)
    model = Model(config, toy.source_symbols, toy.target_symbols, [network], made={"peephole": "0.0.9"})
    how = {"nbest": 3, "notices": Notices()}
    wanted = model.predict(WORDS, **how)
    copies = [through_pickle(model), copy.deepcopy(model)]
    shallow = copy.copy(model)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(0.5)
    changed = model.predict(WORDS, **how)
    assert changed != wanted
    assert shallow.predict(WORDS, **how) == changed
    for number, other in enumerate(copies):
        assert other.predict(WORDS, **how) == wanted
        other.save(tmp_path / f"{number}.safetensors")
        assert peephole.load(tmp_path / f"{number}.safetensors").made == {"peephole": "0.0.9"}


@pytest.mark.parametrize("kind", ["characters", "whitespace", "bpe", "unigram"])
def test_every_symbol_table_is_copied(kind: str) -> None:
    texts = ["the cat sat on the mat", "한국 the cats 👩‍👧", "a mat"]
    table = learn_symbols(kind, texts, vocabulary_size=40, min_count=1, normalize="NFC")
    table.encode(texts[0])  # fills the cache
    for again in (pickle.loads(pickle.dumps(table)), copy.deepcopy(table), copy.copy(table)):
        assert again.to_json() == table.to_json()
        assert [again.segment(text) for text in texts] == [table.segment(text) for text in texts]
        assert again.token_ids(table.tokens(range(12))) == table.token_ids(table.tokens(range(12)))


def test_results_are_pickled() -> None:
    model = peephole.load(MODEL)
    [found] = model.predict(["cab"], nbest=2)
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found
    evaluation = peephole.evaluate(model, [("cab", "K AH B"), ("ba", "AH")])
    assert pickle.loads(pickle.dumps(evaluation)).to_dict() == evaluation.to_dict()


PROCESSES = """
import multiprocessing
import os
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor

import peephole


def predict(model, words):
    return [[best.text, best.log_prob] for [best] in model.predict(words, attention=False, threads=2)], os.getpid()


def imported(_):
    return sorted({"torch", "numpy"} & set(sys.modules))


class Method:
    def __init__(self, model):
        self.model = model

    def run(self, words):
        return predict(self.model, words)


def main():
    path, words = sys.argv[1], sys.argv[2:]
    model = peephole.load(path)
    wanted, here = predict(model, words)
    os.remove(path)
    os.chdir("/")
    for method in ("spawn", "forkserver", "fork"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            for task in (pool.submit(predict, model, words), pool.submit(Method(model).run, words)):
                found, there = task.result(timeout=120)
                assert found == wanted and there != here, (method, found, wanted)
            print(method, pool.submit(imported, 0).result())
    child = multiprocessing.get_context("spawn").Process(target=predict, args=(model, words))
    child.start()
    child.join()
    print(child.exitcode)


if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_model_is_sent_to_processes_of_every_kind(tmp_path: Path) -> None:
    """In a new process, whose model is used before its file is deleted and it is sent."""
    path, script = tmp_path / "m.safetensors", tmp_path / "processes.py"
    path.write_bytes(MODEL.read_bytes())
    script.write_text(PROCESSES)
    command = [sys.executable, script, path, *WORDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.stderr, done.returncode) == ("spawn []\nforkserver []\nfork []\n0\n", "", 0)


def test_copies_work_without_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = peephole.load(MODEL)
    wanted = model.predict(WORDS, **DEFINITION)
    content = pickle.dumps(model)
    monkeypatch.setattr("peephole.engine.abi.library_path", lambda: None)
    again: Model = pickle.loads(content)
    with pytest.warns(SlowSearchWarning):
        assert again.predict(WORDS, beam_size=1) == wanted


def test_symbols_of_a_copy_are_those_of_the_model() -> None:
    toy = peephole.load(MODEL)
    other = copy.deepcopy(toy)
    other.source_symbols = CharacterSymbols(list("gfedcba"), "NFC")
    assert [p.text for [p] in other.predict(["cab"])] != [p.text for [p] in toy.predict(["cab"])]
