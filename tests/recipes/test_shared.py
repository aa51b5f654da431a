"""Tests of what the recipes share: downloads, stages and tables."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from peephole.evaluation import compare, evaluate_predictions
from peephole.symbols import CharacterSymbols

RECIPES = Path(__file__).parents[2] / "recipes"
SYMBOLS = CharacterSymbols([], "NFC")
METRICS = ("character_error_rate", "exact_match")


@pytest.fixture(scope="module")
def shared():
    """Return the definitions of the shared modules; unload them afterwards."""
    sys.path.insert(0, str(RECIPES))
    yield SimpleNamespace(
        **{
            name: SimpleNamespace(**runpy.run_path(str(RECIPES / f"{name}.py")))
            for name in ("fetch", "run_options", "tables")
        },
        stages=__import__("stages"),
    )
    sys.path.remove(str(RECIPES))
    for name in ("fetch", "run_options", "stages", "tables"):
        sys.modules.pop(name, None)


@pytest.fixture
def test_set(shared):
    sources = [f"s{i}" for i in range(40)]
    return shared.stages.TestSet(sources, [[f"text number {i}", f"text {i}"] for i in range(40)])


def answers(test, step):
    """Return predictions of which every `step`-th is wrong."""
    return [f"tixt {i}" if i % step == 0 else choices[i % 2] for i, choices in enumerate(test.references)]


def test_score_of_one_seed_is_that_of_the_library(shared, test_set):
    found = shared.tables.score(test_set, [answers(test_set, 3)], METRICS)
    wanted = evaluate_predictions(test_set.sources, answers(test_set, 3), test_set.references, SYMBOLS, METRICS).scores
    assert {name: cell[:3] for name, cell in found.items()} == {
        name: pytest.approx((score.value, score.low, score.high)) for name, score in wanted.items()
    }


def test_score_of_seeds_is_their_mean_with_the_same_resamples(shared, test_set):
    one, other = answers(test_set, 2), answers(test_set, 5)
    cell = shared.tables.score(test_set, [one, other], ["exact_match"])["exact_match"]
    assert cell.seeds == (50.0, 80.0)
    assert cell.value == 65
    twice = shared.tables.score(test_set, [one, one], ["exact_match"])["exact_match"]
    once = shared.tables.score(test_set, [one], ["exact_match"])["exact_match"]
    assert twice[:3] == once[:3]
    # Two seeds that are wrong in turn have the same mean in every resample of the same sources
    right = [choices[0] for choices in test_set.references]
    turns = [[text if i % 2 == side else "" for i, text in enumerate(right)] for side in (0, 1)]
    assert shared.tables.score(test_set, turns, ["exact_match"])["exact_match"][:3] == (50.0, 50.0, 50.0)


def test_difference_of_one_seed_is_that_of_the_library(shared, test_set):
    ours, theirs = answers(test_set, 7), answers(test_set, 2)
    found = shared.tables.difference(test_set, "character_error_rate", [ours], [theirs])
    wanted = compare(
        test_set.sources, theirs, ours, test_set.references, SYMBOLS, ["character_error_rate"]
    ).differences["character_error_rate"]
    assert found[:3] == pytest.approx((wanted.difference, wanted.low, wanted.high))


def test_scores_table_has_a_column_for_each_part_and_metric(shared, test_set):
    rows = {"right": [[choices[0] for choices in test_set.references]], "half": [answers(test_set, 2)]}
    parts = {"even": range(0, 40, 2), "odd": range(1, 40, 2)}
    lines = shared.tables.scores_table(test_set, rows, ["exact_match"], parts).splitlines()
    assert lines[0] == "| 40 test sources | exact match, even (20) | exact match, odd (20) |"
    assert lines[2:] == [
        "| right | 100.00 [100.00, 100.00] | 100.00 [100.00, 100.00] |",
        "| half | 0.00 [0.00, 0.00] | 100.00 [100.00, 100.00] |",
    ]


def test_tables_of_what_has_run(shared, tmp_path):
    stages = shared.stages
    systems = (
        stages.System("a", "one", seeds=2, searches=(stages.GREEDY,)),
        stages.System("b", "other", searches=(stages.GREEDY, stages.BEAM)),
    )
    facts = {"weights": 2e6, "minutes": 1.0, "updates": 10, "passes": 0.5, "symbols_per_second": 9.0, "memory": 2**30}
    for seed in (1, 2):
        stages.model_path(tmp_path, systems[0], seed).with_suffix(".json").write_text(
            json.dumps(facts | {"minutes": seed}), encoding="utf-8"
        )
        stages.predictions_path(tmp_path, systems[0], seed, stages.GREEDY).write_text(f"x{seed}\n\n", encoding="utf-8")
    assert shared.tables.rows_of(tmp_path, systems) == {"one, greedy": [["x1", ""], ["x2", ""]]}
    assert shared.tables.facts_table(tmp_path, systems).splitlines()[2:] == [
        "| one | 2 | 2.0 million | 1.5 | 10 | 0.50 | 9 | 1,024 MB |"
    ]


def test_read_test_groups_references_and_finds_files(shared, tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("a.png\tb\nc.png\td\na.png\te\n", encoding="utf-8")
    assert shared.stages.read_test(path) == (["a.png", "c.png"], [["b", "e"], ["d"]])
    assert shared.stages.read_test(path, files=True).sources == [str(tmp_path / "a.png"), str(tmp_path / "c.png")]
    with pytest.raises(SystemExit, match=r"dev.tsv: no such file; run prepare.py first$"):
        shared.stages.read_test(tmp_path / "dev.tsv")


def test_peak_memory_of_a_stage(tmp_path):
    hold = "import time; held = bytearray({} << 20); held[::4096] = bytes(len(held[::4096])); time.sleep(0.3)"
    command = f"run_logged([sys.executable, '-c', {hold.format(200)!r}], Path({str(tmp_path / 'log')!r}))"
    program = f"import sys; sys.path.insert(0, {str(RECIPES)!r}); from stages import *; print({command})"
    # The program that starts the stage holds more itself, which must not count
    done = subprocess.run(
        [sys.executable, "-c", f"{hold.format(600)}; {program}"], capture_output=True, text=True, check=True
    )
    assert 200 << 20 < int(done.stdout.split()[-1]) < 400 << 20


@pytest.fixture
def training(shared, tmp_path, monkeypatch):
    """Return the commands of trainings that end at once, and a function that runs the systems."""
    stages, commands = shared.stages, []

    def run_logged(command, log):
        commands.append(command)
        return 2**20

    def predict(models, sources, path, options):
        if not path.is_file():
            [model] = models
            commands.append((model.name, sources, options))
            path.write_text("x\n", encoding="utf-8")

    monkeypatch.setattr(stages, "run_logged", run_logged)
    monkeypatch.setattr(stages, "training_facts", lambda model: {"weights": 1})
    monkeypatch.setattr(stages, "predict", predict)

    def start(*systems, **options):
        commands.clear()
        return stages.run_systems(
            systems, {"test": ["s"]}, Path("c.toml"), data=tmp_path, minutes=0.5, threads=1, **options
        ), list(commands)

    return start


def test_stages_train_each_seed_and_skip_what_is_finished(shared, training, tmp_path):
    stages = shared.stages
    systems = (
        stages.System("a", "one", ("model.context=last",), seeds=2, searches=(stages.BEAM,)),
        stages.System("b", "other", train_file="all.tsv", searches=()),
    )
    results, commands = training(*systems)
    assert results == tmp_path / "0.5-minutes"
    assert [command[4:9] for command in commands if isinstance(command, list)] == [
        [str(tmp_path / "train.tsv"), "--dev", str(tmp_path / "dev.tsv"), "--out", str(results / "a.1.safetensors")],
        [str(tmp_path / "all.tsv"), "--dev", str(tmp_path / "dev.tsv"), "--out", str(results / "b.1.safetensors")],
        [str(tmp_path / "train.tsv"), "--dev", str(tmp_path / "dev.tsv"), "--out", str(results / "a.2.safetensors")],
    ]
    settings = [word for word in commands[3] if "=" in word]
    assert settings == [
        "train.epochs=none", "train.minutes=0.5", "train.steps=none", "train.threads=1", "model.context=last",
        "train.seed=2",
    ]  # fmt: skip
    assert commands[1] == ("a.1.safetensors", ["s"], {"threads": 1, "beam_size": 5})
    assert json.loads((results / "b.1.json").read_text()) == {"weights": 1, "memory": 2**20}
    assert training(*systems)[1] == []

    (results / "a.1.json").unlink()
    (results / "a.1.run").mkdir()
    assert training(*systems)[1] == [[sys.executable, "-m", "peephole", "train", "--resume", str(results / "a.1.run")]]


def test_trainings_of_so_many_updates(shared, training, tmp_path):
    system = shared.stages.System("a", "one", ("model.context=last",), searches=())
    results, [command] = training(system, steps=70, settings=("data.batch_symbols=9",))
    assert results == tmp_path / "70-steps"
    assert [word for word in command if "=" in word] == [
        "train.epochs=none", "train.minutes=none", "train.steps=70", "train.threads=1", "data.batch_symbols=9",
        "model.context=last", "train.seed=1",
    ]  # fmt: skip


def test_a_missing_package_ends_the_program_at_once(shared):
    shared.stages.check_packages("json", "rouge_score")
    with pytest.raises(SystemExit) as caught:
        shared.stages.check_packages("json", "no_such_package")
    assert str(caught.value) == "this recipe needs no_such_package: pip install no_such_package"


def test_minutes_or_steps_but_not_both(shared, capsys):
    parser = shared.run_options.recipe_parser("a recipe", Path("data"), 30)
    assert [getattr(parser.parse_args([]), name) for name in ("minutes", "steps")] == [30, None]
    with pytest.raises(SystemExit):
        parser.parse_args(["--steps", "5", "--minutes", "1"])
    assert "argument --minutes: not allowed with argument --steps" in capsys.readouterr().err


def test_fewer_seeds_are_trained_first(shared, training):
    system = shared.stages.System("a", "one", seeds=3, searches=())
    made = []
    for seeds in (1, 2, None):
        made.append([command[8] for command in training(system, seeds=seeds)[1]])
    assert [[Path(model).name for model in models] for models in made] == [
        ["a.1.safetensors"], ["a.2.safetensors"], ["a.3.safetensors"]
    ]  # fmt: skip


def test_a_recipe_prepares_its_data_once_and_prints_its_report(shared, training, tmp_path, monkeypatch, capsys):
    stages, data = shared.stages, tmp_path / "data"
    (tmp_path / "prepare.py").write_text(
        "import pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[2]); folder.mkdir()\n"
        "(folder / 'test.tsv').write_text('s\\tt\\ns\\tu\\n'); print(sys.argv[1], 'prepared')\n"
    )
    monkeypatch.setattr(sys, "argv", ["run.py", "--minutes", "2", "--data", str(data)])
    arguments = (tmp_path, "a recipe", [stages.System("a", "one")], lambda data, results: f"{data}: {results.name}")
    for prepared in ("--out prepared\n\n", ""):
        stages.run_recipe(*arguments, data=tmp_path / "usual", minutes=30)
        assert capsys.readouterr().out == f"{prepared}{data}: 2-minutes\n"
        assert (data / "2-minutes" / "report.md").read_text() == f"{data}: 2-minutes"
    assert (data / "2-minutes" / "a.1.beam5.test.txt").read_text() == "x\n"


def test_a_language_model_reads_the_targets(shared, tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(shared.stages, "run_logged", lambda command, log: commands.append(command[4:]))
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text(f"a.wav\t{name} one\nb.wav\t{name} two\n", encoding="utf-8")
    model = tmp_path / "results" / "a.1.safetensors"
    model.parent.mkdir()
    files = tmp_path / "train.tsv", tmp_path / "dev.tsv"
    found = shared.stages.train_language_model(model, *files, 2, 1)
    assert found == model.with_name("language.safetensors")
    train, dev = model.with_name("language.train.txt"), model.with_name("language.dev.txt")
    assert commands[0][:5] == [str(train), "--dev", str(dev), "--out", str(found)]
    assert f"symbols.of={model}" in commands[0]
    assert train.read_text() == "train one\ntrain two\n"
    found.with_suffix(".run").mkdir()
    shared.stages.train_language_model(model, *files, 2, 1)
    assert commands[1] == ["--resume", str(found.with_suffix(".run"))]


def test_a_missing_or_failing_program_is_one_line(shared):
    with pytest.raises(SystemExit, match=r"^no-such-program not found: give the file instead$"):
        shared.fetch.run(["no-such-program"], hint="give the file instead")
    with pytest.raises(SystemExit, match=r"^sh -c echo first >&2; echo last >&2; exit 3: last; give the file instead$"):
        shared.fetch.run(["sh", "-c", "echo first >&2; echo last >&2; exit 3"], hint="give the file instead")
