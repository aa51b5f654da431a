"""Tests of diagnoses against exhaustive search over all targets of a small vocabulary, and of the index of pairs."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import peephole
from contracts.changes import change_text
from contracts.trace_checks import make, oracle_of, tables
from contracts.trace_oracle import EOS, searched_by
from models.make import MODEL
from peephole.config import Config
from peephole.errors import ArgumentError, ConfigError, DataError, ModelFileError, PeepholeError
from peephole.inspect import DevErrors, Diagnosis, TrainingIndex, build_index
from peephole.model import Model, diagnosing
from peephole.model.training_index import count_errors
from rejection import rejected_by_comparison

MOST = 4  # symbols of a target, </s> included
ORDINARY = (4, 5, 6, 7)
SOURCES = ["ab", "b", "ca", "abc", "cb", "aa"]
SEEDS = range(4)
SETTINGS: dict[str, Any] = {"max_length_factor": 0, "max_length_extra": MOST}


@cache
def small(seed: int) -> tuple[Model, Any]:
    """Return a model of four ordinary target symbols and its oracle."""
    network, config = make(seed=40 + seed)
    oracle = oracle_of(network, config)
    return Model(Config(model=config), *tables(config), [network.float()]), oracle


@cache
def all_targets(seed: int, source: str) -> dict[tuple[int, ...], float]:
    """Return log p of every target of up to MOST symbols, by the oracle."""
    model, oracle = small(seed)
    search = searched_by(oracle, model.source_symbols.encode(source), max_length=MOST, beam_size=1)
    found = {}
    for length in range(MOST):
        for symbols in itertools.product(ORDINARY, repeat=length):
            path = (*symbols, EOS)
            found[path] = sum(search.next_log_probs(path[:t])[y] for t, y in enumerate(path))
    return found


@cache
def tree_of(seed: int, source: str, beam_size: int) -> dict[tuple[int, ...], tuple[float, float, str]]:
    model, oracle = small(seed)
    ids = model.source_symbols.encode(source)
    tree = searched_by(oracle, ids, max_length=MOST, beam_size=beam_size, top=100).tree()
    return {path: node for (_, path), node in tree.items()}


def lost_at(tree: dict[tuple[int, ...], tuple[float, float, str]], target: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the step at which a beam lost a target, and the rank of its extension there."""
    for length in range(1, len(target) + 1):
        _, score, fate = tree[target[:length]]
        if fate in ("RETURNED", "BEATEN"):
            return None
        if fate != "EXPANDED":
            rivals = [s for path, (_, s, f) in tree.items() if len(path) == length and f != "UNPREDICTABLE"]
            return length - 1, 1 + sum(s > score for s in rivals)
    raise AssertionError(f"{target} is neither lost nor found")


def check_diagnoses(beam_size: int, engine: str = "auto", seeds: Any = SEEDS) -> Counter[str]:
    """Diagnose each source with the best of all targets, and with one that is worse than the prediction."""
    kinds: Counter[str] = Counter()
    for seed, source in itertools.product(seeds, SOURCES):
        model, _ = small(seed)
        targets = all_targets(seed, source)
        tree = tree_of(seed, source, beam_size)
        predicted = next(path for path, (*_, fate) in tree.items() if fate in ("RETURNED", "UNFINISHED"))
        own = sum(tree[predicted[: t + 1]][0] for t in range(len(predicted)))
        ordered = sorted(targets, key=lambda path: -targets[path])
        for target in (ordered[0], ordered[len(ordered) // 2]):
            names = model.target_symbols.tokens(target[:-1])
            found = model.diagnose(source, names, beam_size=beam_size, engine=engine, **SETTINGS)
            wanted = "search error" if targets[target] > own else "model error"
            wanted = "correct" if target == predicted else wanted
            what = f"{source} {target} after {predicted}"
            assert found.kind == wanted, f"kind of {what}: {found.kind}, wanted {wanted}"
            kinds[found.kind] += 1
            assert abs(found.reference_log_prob - targets[target]) < 1e-5, f"log p of {what}"
            assert abs(found.prediction_log_prob - own) < 1e-5, f"log p of the prediction of {what}"
            if wanted != "correct":
                check_details(found, seed, source, tree, target, predicted)
    return kinds


def check_details(found: Diagnosis, seed: int, source: str, tree: Any, target: Any, predicted: Any) -> None:
    model, oracle = small(seed)
    lost = lost_at(tree, target)
    got = None if found.loss is None else (found.loss.step, found.loss.rank)
    assert got == lost, f"loss of {target}: {got}, wanted {lost}"
    step = next(t for t, symbol in enumerate(target) if (*predicted, None)[t] != symbol)
    assert found.parting is not None
    assert found.parting.step == step, f"parting of {target}: {found.parting.step}, wanted {step}"
    search = searched_by(oracle, model.source_symbols.encode(source), max_length=MOST, beam_size=1)
    row = search.next_log_probs(target[:step])
    best = sorted(row, key=lambda y: -row[y])
    assert [name for name, _ in found.parting.alternatives] == model.target_symbols.tokens(best[:5])
    assert found.parting.rank == 1 + best.index(target[step]), f"rank of {target}"
    assert abs(found.parting.log_prob - row[target[step]]) < 1e-5, f"log p at the parting of {target}"


@pytest.mark.parametrize("engine", ["auto", "off"])
@pytest.mark.parametrize("beam_size", [1, 2])
def test_diagnoses_equal_exhaustive_search(beam_size: int, engine: str) -> None:
    kinds = check_diagnoses(beam_size, engine, SEEDS if engine == "auto" else range(1))
    if engine == "auto":
        assert set(kinds) == {"search error", "model error", "correct"}


def test_a_beam_that_never_overflows_makes_no_search_errors() -> None:
    for seed, source in itertools.product(SEEDS, SOURCES):
        model, _ = small(seed)
        targets = all_targets(seed, source)
        names = model.target_symbols.tokens(max(targets, key=lambda path: targets[path])[:-1])
        assert model.diagnose(source, names, beam_size=400, **SETTINGS).kind == "correct"


WRONG = [
    (diagnosing.diagnose, "scores[1] <= scores[0]", "scores[1] >= scores[0]", "kind of"),
    (diagnosing.diagnose, '"model error" if', '"search error" if', "kind of"),
    (diagnosing.find_loss, "return Loss(index, rank if", "return Loss(index + 1, rank if", "loss of"),
    (diagnosing.find_loss, "rank = 1 +", "rank =", "loss of"),
    (
        diagnosing.find_loss,
        "beam.score[possible] > beam.score[best]",
        "beam.score[possible] >= beam.score[best]",
        "loss",
    ),
    (diagnosing.find_loss, "beam.fate[here] < Fate.UNPREDICTABLE", "beam.fate[here] < 100", "loss of"),
    (diagnosing.find_parting, "predicted[step] != wanted", "predicted[step + 1] != wanted", "parting of"),
    (diagnosing.find_parting, "int(fed.ranks[step])", "int(found.ranks[step])", "rank of"),
]


@pytest.mark.parametrize(("function", "right", "wrong", "seen_in"), WRONG, ids=[w[2] for w in WRONG])
def test_a_wrong_diagnosis_is_rejected(function: Any, right: str, wrong: str, seen_in: str, monkeypatch: Any) -> None:
    changed = change_text(function, right, wrong)
    where: Any = Model if function is diagnosing.diagnose else diagnosing
    monkeypatch.setattr(where, function.__name__, changed)
    with rejected_by_comparison(seen_in):
        check_diagnoses(1)


@pytest.mark.parametrize(
    ("settings", "reference", "obstacle"),
    [
        ({}, "K ? K", "it has symbols that were not seen in training"),
        (
            {"max_length_factor": 0, "max_length_extra": 2},
            "K K",
            "it has 3 symbols, and a target of this source at most 2",
        ),
        ({"min_length": 3}, "K", "it has 1 symbols, and search.min_length=3"),
        ({"no_repeat_ngram": 2}, "K EH K EH", "it repeats 2 symbols, and search.no_repeat_ngram=2"),
    ],
)
def test_references_that_no_search_returns_are_impossible(settings: Any, reference: str, obstacle: str) -> None:
    found = peephole.load(MODEL).diagnose("cab", reference, **settings)
    assert (found.kind, found.obstacle) == ("impossible", obstacle)
    assert found.unknown_reference == (("?",) if "?" in reference else ())


@pytest.mark.parametrize("settings", [{"length_penalty": 1.0}, {"length_reward": 0.5}, {"coverage_penalty": 0.3}])
def test_the_score_is_that_of_the_search(settings: Any) -> None:
    """A reference that a search with a wider beam ranks first has a higher score, or is what the narrow one found."""
    model = peephole.load(MODEL)
    for source in ("cab", "bad", "abba", "dada"):
        [[wide]] = model.predict([source], beam_size=30, **settings)
        found = model.diagnose(source, wide.tokens, beam_size=1, **settings)
        assert found.kind == ("correct" if found.prediction == wide.text else "search error")
        assert found.reference_score >= found.prediction_score


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    model = peephole.load(MODEL)
    letters = ["".join(word) for length in (1, 2, 3) for word in itertools.product("abcd", repeat=length)]
    return [(word, best.text) for word, [best] in zip(letters, model.predict(letters), strict=True)]


@pytest.mark.parametrize("engine", ["auto", "off"])
def test_neighbours_are_those_of_brute_force(engine: str, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    model = peephole.load(MODEL)
    if engine == "off":
        pairs = pairs[:24]
        network = model.networks[0].double()
        model = Model(model.config, model.source_symbols, model.target_symbols, [network])
    index = build_index(model, pairs, out=tmp_path / "index.safetensors")
    states = np.array([model.trace(source)["encoder.outputs"].mean(0) for source, _ in pairs], float)
    states -= states.mean(0)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    for place in (0, 7, 20):
        found = model.diagnose(pairs[place][0], "K K K", index=tmp_path / "index.safetensors", top=4).neighbours
        cosines = states @ states[place]
        wanted = np.argsort(-cosines, kind="stable")[:4]
        assert [(n.source, n.target) for n in found] == [pairs[i] for i in wanted]
        assert [n.similarity for n in found] == pytest.approx(cosines[wanted].tolist(), abs=2e-3)
        assert (found[0].source, found[0].similarity) == (pairs[place][0], pytest.approx(1, abs=2e-3))
    assert len(index.pairs) == len(pairs)


def test_errors_on_dev_are_counted(pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    model = peephole.load(MODEL)
    [[best]] = model.predict(["cab"])
    other = next(t for t in model.target_symbols.tokens(range(4, len(model.target_symbols))) if t not in best.tokens)
    wrong = " ".join([other, *best.tokens[1:]])
    dev = [("cab", wrong), ("cab", wrong), ("cab", best.text), ("cab", f"{best.text} {other}")]
    assert count_errors(model, dev) == Counter({(best.tokens[0], other): 2, (None, other): 1})
    index = build_index(model, pairs, dev=dev, out=tmp_path / "index.safetensors")
    found = model.diagnose("cab", wrong, index=TrainingIndex.load(tmp_path / "index.safetensors"))
    assert found.dev is not None
    assert found.dev == DevErrors(best.tokens[0], other, "substitution", count=2, of_kind=2, total=3)
    assert index.errors == count_errors(model, dev)
    tree = json.loads(json.dumps(found.to_dict()))
    assert (tree["format"], tree["version"], tree["kind"]) == ("peephole-diagnosis", 1, found.kind)
    assert tree["neighbours"][0]["similarity"] == pytest.approx(1, abs=2e-3)
    assert model.diagnose("cab", best.text, index=index).dev is None


def test_the_index_in_the_runs_folder_is_found_and_that_of_another_model_is_not(
    pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(MODEL.read_bytes())
    model = peephole.load(path)
    assert model.diagnose("cab", "K").neighbours == ()
    (tmp_path / "m.run").mkdir()
    build_index(model, pairs, most=20)
    assert len(TrainingIndex.load(tmp_path / "m.run" / "index.safetensors").pairs) == 20
    assert len(peephole.load(path).diagnose("cab", "K").neighbours) == 5
    index = TrainingIndex.load(tmp_path / "m.run" / "index.safetensors")
    index.model = "another"
    index.save(tmp_path / "m.run" / "index.safetensors")
    assert model.diagnose("cab", "K").neighbours == ()
    with pytest.raises(PeepholeError, match="index: wanted one of this model, got one of another"):
        model.diagnose("cab", "K", index=index)


def test_a_file_that_is_no_index_is_one_line(tmp_path: Path) -> None:
    model = peephole.load(MODEL)
    (tmp_path / "text").write_text("no index")
    for name in ("missing", "text"):
        with pytest.raises(ModelFileError, match=f"{name}: is no index of training pairs"):
            model.diagnose("cab", "K", index=tmp_path / name)
    with pytest.raises(ModelFileError, match="wanted an index of training pairs of version 1, got another file"):
        model.diagnose("cab", "K", index=MODEL)


@pytest.mark.usefixtures("annotations_unchecked")
def test_bad_input_is_one_line() -> None:
    model = peephole.load(MODEL)
    with pytest.raises(PeepholeError, match="diagnose: source 0 is empty; wanted at least one symbol"):
        model.diagnose("", "K")
    with pytest.raises(ConfigError, match=r"diagnose: wanted a beam search, got search.temperature=1"):
        model.diagnose("a", "K", temperature=1)
    with pytest.raises(ArgumentError, match="index: wanted an index or the name of its file, got 3"):
        model.diagnose("a", "K", index=3)
    with pytest.raises(DataError, match="build_index: wanted at least one pair, got none"):
        build_index(model, [])
    with pytest.raises(PeepholeError, match=r"diagnose: .*: wanted one model, got an ensemble of 2"):
        peephole.load(MODEL, MODEL).diagnose("a", "K")
