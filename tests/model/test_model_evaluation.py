"""Tests of `peephole.evaluate` and `peephole.quantize`: results equal to the command line's, and errors."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

import peephole
from models.make import MODEL, STORED, pronounce, toy_words
from peephole.cli.evaluate import command as evaluate_command
from peephole.cli.quantize import command as quantize_command
from peephole.engine.packed import PackedSearch
from peephole.errors import ConfigError, DataError, ModelFileError, PeepholeError
from peephole.evaluation import exposure_gap
from peephole.evaluation.metrics import corpus_score
from peephole.model import Model
from peephole.model.evaluation import Reading, describe_gap, measure_gap
from peephole.storage.model_file import read_tensors, write_tensors

WORDS = toy_words(40, seed=8)
PAIRS = [(word, pronounce(word)) for word in WORDS] + [(word, "B " + pronounce(word)) for word in WORDS[:5]]
INT8 = STORED["2"][0]


@pytest.fixture
def test_file(tmp_path: Path) -> Path:
    path = tmp_path / "test.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS), encoding="utf-8")
    return path


def run_json(command: Any, *arguments: object) -> dict[str, Any]:
    """Run a command in this process; return the JSON that it prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        command.main([*map(str, arguments), "--json"], standalone_mode=False)
    return dict(json.loads(output.getvalue()))


def plain(tree: Any) -> Any:
    """Return a tree as JSON reads it back: tuples become lists."""
    return json.loads(json.dumps(tree))


def test_the_command_prints_what_evaluate_returns(toy: Model, test_file: Path) -> None:
    found = peephole.evaluate(toy, test_file, against=INT8, worst=3, beam_size=2, threads=1)
    options = ("--against", INT8, "--worst", 3, "--beam-size", 2, "--threads", 1)
    assert plain(found.to_dict()) == run_json(evaluate_command, MODEL, test_file, *options)
    assert found.to_dict().keys() >= {"model", "test", "scores", "worst", "exposure_gap", "against", "confidence"}
    best = [p[0].text for p in toy.predict(WORDS, beam_size=2)]
    assert (found.sources, found.predictions) == (WORDS, best)
    right = sum(text == pronounce(word) for word, text in zip(WORDS, best, strict=True))
    assert found.scores["exact_match"].value >= 100 * right / 40
    assert found.comparison is not None
    assert len(found.worst) <= 3


def test_evaluate_takes_pairs_from_python(toy: Model, test_file: Path) -> None:
    for pairs in (PAIRS, iter(PAIRS), [list(pair) for pair in PAIRS]):
        found = peephole.evaluate(toy, pairs)
        assert found.test is None
        of_file = peephole.evaluate(str(MODEL), str(test_file))
        assert {**found.to_dict(), "test": str(test_file)} == of_file.to_dict()
    assert found.references[0] == (PAIRS[0][1], PAIRS[40][1])


@pytest.mark.parametrize("threads", [1, 3])
def test_results_do_not_depend_on_threads(toy: Model, threads: int) -> None:
    found = peephole.evaluate(toy, PAIRS[:9], threads=threads, batch_size=4)
    assert found.to_dict() == peephole.evaluate(toy, PAIRS[:9]).to_dict()
    scores = toy.score(*map(list, zip(*PAIRS, strict=True)))
    assert toy.score(*map(list, zip(*PAIRS, strict=True)), threads=threads, batch_size=4) == scores


def test_progress_covers_every_source_in_every_part(toy: Model) -> None:
    calls: list[tuple[str, int, int]] = []
    peephole.evaluate(toy, PAIRS, against=INT8, batch_size=4, progress=lambda *call: calls.append(call))
    parts = list(dict.fromkeys(part for part, *_ in calls))
    assert parts == ["beam search", "greedy search", str(INT8)]
    for part in parts:
        part_calls = [call for call in calls if call[0] == part]
        assert part_calls[0] == (part, 0, 40)
        assert sum(done for _, done, _ in part_calls) == 40
        assert len(part_calls) > 2


def test_notices_are_passed_on_before_the_search(toy: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the order of the calls of `find`, which searches, and of `on_read`."""
    order: list[Any] = []
    find = PackedSearch.find
    monkeypatch.setattr(PackedSearch, "find", lambda *args, **kw: order.append("search") or find(*args, **kw))
    pairs = [("ab", "AH B"), ("xb", "B"), ("xb", "AH"), ("qx", "B")]
    found = peephole.evaluate(toy, pairs, against=INT8, on_read=order.append)
    assert [type(event) for event in order] == [Reading, str, str, Reading, str]
    assert [order[0], order[3]] == [
        Reading(found.notices, [1, 2, 4], []),
        Reading(found.notices_against, [1, 2, 4], []),
    ]
    assert found.notices.unknown == {"x": 2, "q": 1}
    order.clear()
    peephole.quantize(MODEL, "int8", tmp_path / "m.safetensors", pairs=pairs, on_read=order.append)
    assert [type(event) for event in order] == [Reading, str, str]


def test_notices_are_returned(toy: Model) -> None:
    found = peephole.evaluate(toy, [("ab", "AH B"), ("xb", "B"), ("xb", "AH"), ("qx", "B")], exposure_gap=False)
    assert found.exposure_gap is None
    assert [(n.source_index, n.unknown, found.lines[n.source_index]) for n in found.notices.texts] == [
        (1, ("x",), 2),
        (2, ("q", "x"), 4),
    ]


def test_notes_on_the_files_are_returned(tmp_path: Path) -> None:
    tensors, metadata = read_tensors(MODEL)
    del metadata["checksum"]
    for name in ("a", "b"):
        config = json.loads(metadata["config"])
        config["train"][f"moon_{name}"] = 3
        write_tensors(tmp_path / f"{name}.safetensors", tensors, metadata | {"config": json.dumps(config)})
    files = [str(tmp_path / f"{name}.safetensors") for name in ("a", "b")]
    found = peephole.evaluate(files[0], PAIRS[:3], against=files[1], exposure_gap=False)
    wanted = [
        f"{file}: config: unknown key train.moon_{name} is ignored" for file, name in zip(files, "ab", strict=True)
    ]
    assert list(found.notes) == wanted
    assert peephole.quantize(files[0], "int8", tmp_path / "c.safetensors").notes == found.notes[:1]


def test_repr_shows_the_scores(toy: Model) -> None:
    found = peephole.evaluate(toy, PAIRS, against=INT8)
    lines = repr(found).splitlines()
    assert lines[0] == f"{MODEL} on pairs: 40 sources"
    score = found.scores["exact_match"]
    assert lines[1] == f"  exact match {score.value:.2f} % [{score.low:.2f}, {score.high:.2f}]"
    assert lines[4].startswith("  exposure gap ")
    assert lines[5].startswith(f"  exact match of {INT8}: ")


@pytest.mark.usefixtures("annotations_unchecked")
def test_exposure_gap_compares_the_predicted_tokens() -> None:
    """A greedy prediction split differently from the reference has wrong symbols, as under teacher forcing."""

    class SplittingModel:
        """Predicts "ab" as two symbols where the table has one; is always right under teacher forcing."""

        class target_symbols:
            split = staticmethod(str.split)

        @staticmethod
        def predict(sources: list[str], **_: Any) -> list[list[peephole.Prediction]]:
            return [[peephole.Prediction("ab", ["a", "b"], 0.0, [], True, [], None)] for _ in sources]

        @staticmethod
        def teacher_forced(sources: list[str], targets: list[str], **_: Any) -> list[list[str]]:
            return [target.split() for target in targets]

    gap = measure_gap(SplittingModel, ["x"], [("ab",)], {}, None)  # type: ignore[arg-type]  # has only the attributes used
    assert gap.teacher_forced == 100
    assert gap.free_running == 100 * (1 - 2 / 1)


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        ([], DataError, "pairs: wanted at least one pair, got none"),
        ([("a", "b"), ("a",)], PeepholeError, r"pairs: wanted two texts, got \('a',\) as number 2"),
        (["ab"], PeepholeError, "pairs: wanted two texts, got 'ab' as number 1"),
        ([("a", 3)], PeepholeError, r"pairs: wanted two texts, got \('a', 3\) as number 1"),
        ([("a", " ")], DataError, "pairs, number 1: wanted two texts that are not empty"),
        (7, PeepholeError, "pairs: wanted the name of a file or pairs of texts, got 7"),
        ("no.tsv", DataError, "no.tsv: no such file"),
    ],
)
def test_bad_pairs_are_reported_in_one_line(toy: Model, pairs: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=f"^{message}") as caught:
        peephole.evaluate(toy, pairs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nbest": 2}, "evaluate: unknown setting 'nbest'; wanted one of beam_size, "),
        ({"temperature": 1.0}, "evaluate: unknown setting 'temperature'; wanted one of "),
        ({"beam_siz": 2}, "evaluate: unknown setting 'beam_siz'; .*; did you mean 'beam_size'?"),
        ({"beam_size": 0}, "evaluate, search.beam_size: wanted a number from 1 to 1000000, got 0"),
        (
            {"metrics": ["exact_mach"]},
            "evaluation: unknown metric 'exact_mach'; wanted one of .*, rouge_l; did you mean 'exact_match'?",
        ),
    ],
)
def test_settings_are_checked_before_anything_is_predicted(
    toy: Model, settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "predict", None)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        peephole.evaluate(toy, PAIRS, **settings)


def test_no_percentage_in_the_text_of_a_gap_is_below_0() -> None:
    """A prediction of 50 wrong symbols for a reference of 10 has a symbol error rate of 500 %."""
    gap = exposure_gap(forced=[["a" * 10]], predictions=["b" * 50], references=[["a" * 10]])
    assert gap.free_running == -400
    rates = "symbol error rate 500.00 % when fed its own symbols, 0.00 % when fed gold"
    assert describe_gap(gap) == f"exposure gap 500.00 [500.00, 500.00]: {rates}"


@pytest.mark.parametrize(
    ("worst", "message"),
    [(-1, "wanted a whole number from 0 to 1000000000, got -1"), (2**64, "got 18446744073709551616")],
)
def test_the_number_of_worst_errors_has_a_range(toy: Model, worst: int, message: str) -> None:
    with pytest.raises(PeepholeError, match=f"^worst: .*{message}$"):
        peephole.evaluate(toy, PAIRS, worst=worst)


@pytest.mark.parametrize("to", ["int8", "bf16"])
def test_the_command_prints_what_quantize_returns(to: Any, test_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    found = peephole.quantize(MODEL, to, out, pairs=test_file)
    written = out.read_bytes()
    assert plain(found.to_dict()) == run_json(
        quantize_command, MODEL, "--to", to, "--out", out, "--evaluate", test_file
    )
    assert out.read_bytes() == written
    assert found.before is not None
    assert found.after is not None
    texts = [p[0].text for p in peephole.load(out).predict(WORDS)]
    assert found.after.predictions == texts
    assert found.num_different == sum(a != b for a, b in zip(texts, found.before.predictions, strict=True))
    references = found.before.references
    symbols = peephole.load(MODEL).target_symbols
    for name in ("exact_match", "symbol_error_rate"):
        assert found.after.scores[name].value == corpus_score(name, texts, references, symbols.split)


def test_quantize_takes_a_model_and_generated_pairs(toy: Model, tmp_path: Path) -> None:
    copy = tmp_path / "toy.safetensors"
    toy.save(copy)
    found = peephole.quantize(peephole.load(copy), "int8", pairs=iter(PAIRS))
    assert found.out == str(tmp_path / "toy.int8.safetensors")
    assert found.before is not None
    assert found.before.sources == WORDS
    assert found.to_dict()["evaluation"]["pairs"] is None
    assert peephole.quantize(copy, "bf16").before is None


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((MODEL, "int4"), ConfigError, "to: wanted int8 or bf16, got 'int4'; did you mean 'int8'?"),
        ((MODEL, 8), ConfigError, "to: wanted int8 or bf16, got 8"),
        ((MODEL, ["int8"]), ConfigError, "to: wanted int8 or bf16, got ['int8']; did you mean 'int8'?"),
        ((8, "int8"), PeepholeError, "model: wanted a Model or the name of its file, got 8"),
        ((MODEL, "int8", 8), PeepholeError, "out: wanted the name of a file, got 8"),
        ((INT8, "bf16"), ModelFileError, f"{INT8}: wanted a model with float32 weights, got one with int8"),
    ],
)
def test_invalid_arguments_of_quantize(arguments: Any, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        peephole.quantize(*arguments)
    assert str(caught.value) == message


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beam_siz": 2}, "quantize: unknown setting 'beam_siz'; wanted one of beam_size, "),
        ({"beam_size": 0}, "quantize, search.beam_size: wanted a number from 1 to 1000000, got 0"),
        ({"pairs": "no.tsv"}, "no.tsv: no such file"),
        ({"pairs": [("a", "b"), ("a",)]}, "pairs: wanted two texts, got ('a',) as number 2"),
        ({"pairs": iter([])}, "pairs: wanted at least one pair, got none"),
        ({"pairs": 7}, "pairs: wanted the name of a file or pairs of texts, got 7"),
    ],
    ids=["unknown setting", "impossible setting", "no file", "no pair", "no pairs", "no iterable"],
)
def test_everything_is_checked_before_quantize_writes(arguments: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(PeepholeError, match=f"^{re.escape(message)}"):
        peephole.quantize(MODEL, "int8", tmp_path / "small.safetensors", **{"pairs": PAIRS, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_one_file_cannot_be_quantized(toy: Model) -> None:
    in_memory = Model(toy.config, toy.source_symbols, toy.target_symbols, toy.networks)
    for model, count in ((in_memory, 0), (peephole.load(MODEL, MODEL), 2)):
        with pytest.raises(PeepholeError, match=f"^quantize: wanted a model with one file, got one with {count}$"):
            peephole.quantize(model, "int8")
