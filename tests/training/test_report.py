"""Tests the output of a training: log.jsonl, TensorBoard events and lines on stderr."""

from __future__ import annotations

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from peephole.errors import RunError
from peephole.training.loop import Step
from peephole.training.report import LOG_EVERY, Report, cut_log


def step(number, *, of=120, loss=2.0, symbols=10):
    return Step(number, 0, number / of, loss, 0.001 * number, 0.5, symbols, 2.0 * number)


def write(folder, first, last, best=None, of=120):
    with Report(folder, first - 1, "exact_match", best) as report:
        for number in range(first, last + 1):
            report.step(step(number, of=of, loss=float(number), symbols=1 + number % 2))


def read(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_line_holds_the_mean_per_symbol_since_the_last_line(tmp_path):
    write(tmp_path, 1, 120)
    lines = read(tmp_path)
    assert [line["step"] for line in lines] == [50, 100, 120]  # the last update is logged too
    assert LOG_EVERY == 50
    for line, numbers in zip(lines, (range(1, 51), range(51, 101), range(101, 121)), strict=True):
        weights = [1 + number % 2 for number in numbers]
        assert line["loss"] == pytest.approx(sum(n * w for n, w in zip(numbers, weights, strict=True)) / sum(weights))
    assert lines[1] | {"loss": 0, "symbols_per_second": 0} == {
        "step": 100,
        "epoch": 0,
        "progress": round(100 / 120, 5),
        "loss": 0,
        "learning_rate": 0.1,
        "gradient_norm": 0.5,
        "symbols_per_second": 0,
        "seconds": 200.0,
    }
    assert 0.5 <= lines[1]["symbols_per_second"] <= 1.0  # 1 or 2 symbols in 2 seconds


def test_an_evaluation_is_logged_with_the_last_step(tmp_path, capsys):
    with Report(tmp_path, 0, "exact_match", None) as report:
        report.step(step(1))
        report.evaluation({"loss": 1.25, "exact_match": 40.0}, True)
        report.step(step(2))
        report.evaluation({"loss": 1.5, "exact_match": 30.0}, False)
    assert read(tmp_path) == [
        {"step": 1, "dev": {"loss": 1.25, "exact_match": 40.0}, "best": True},
        {"step": 2, "dev": {"loss": 1.5, "exact_match": 30.0}, "best": False},
    ]
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "step 1: dev loss 1.250, exact match 40.000  (best)",
        "step 2: dev loss 1.500, exact match 30.000",
    ]
    assert shown.out == ""


def test_tensorboard_holds_losses_rates_and_evaluations(tmp_path):
    with Report(tmp_path, 0, "loss", None) as report:
        for number in range(1, 101):
            report.step(step(number, loss=3.5))
        report.evaluation({"loss": 1.25}, True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(50, 3.5), (100, 3.5)]
    assert [(event.step, event.value) for event in events.Scalars("dev/loss")] == [(100, 1.25)]
    assert {"train/learning_rate", "train/gradient_norm", "train/symbols_per_second"} <= set(events.Tags()["scalars"])


def test_flushed_curves_outlive_a_kill(tmp_path):
    """A run that is killed after a checkpoint does not report the updates before it again."""
    with Report(tmp_path, 0, "exact_match", None) as report:
        report.step(step(50))
        report.flush()
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()  # what a kill would leave
        assert [event.step for event in events.Scalars("train/loss")] == [50]


def test_resuming_drops_log_lines_after_the_checkpoint(tmp_path):
    write(tmp_path, 1, 119)
    write(tmp_path, 71, 120)  # the checkpoint was of step 70
    assert [line["step"] for line in read(tmp_path)] == [50, 100, 120]
    assert [line["seconds"] for line in read(tmp_path)] == [100.0, 200.0, 240.0]


def test_tensorboard_shows_each_update_once_when_a_resumed_run_repeats_some(tmp_path):
    write(tmp_path, 1, 119)
    write(tmp_path, 71, 120)  # the checkpoint was of step 70
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [50, 100, 120]


def test_cutting_keeps_only_complete_lines_up_to_the_step(tmp_path):
    path = tmp_path / "log.jsonl"
    damaged = ["5", "[]", '{"loss": 1}', '{"step": "a"}', "\udcff"]
    lines = [
        '{"step": 50, "loss": 1}',
        '{"step": 60, "dev": {}}',
        *damaged,
        '{"step": 61, "dev": {}}',
        '{"step": 100, "lo',
    ]
    path.write_text("\n".join(lines), errors="surrogateescape")
    cut_log(path, 60)
    assert path.read_text() == "".join(line + "\n" for line in lines[:2])
    assert [file.name for file in tmp_path.iterdir()] == ["log.jsonl"]
    cut_log(tmp_path / "missing.jsonl", 60)
    assert not (tmp_path / "missing.jsonl").exists()


def test_a_last_line_without_newline_is_completed(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 50, "loss": 1}')
    cut_log(path, 60)
    assert path.read_text() == '{"step": 50, "loss": 1}\n'


def test_other_processes_than_the_first_write_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Report(None, 0, "loss", None) as report:
        report.print_line("hello")
        for number in range(1, 51):
            report.step(step(number))
        report.evaluation({"loss": 1.0}, True)
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_progress_line_contains_the_best_value_before_resuming(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("peephole.training.report.LINE_EVERY", 0.0)
    with Report(tmp_path, 59, "exact_match", 43.21) as report:
        report.step(step(60, loss=1.5))
    line = capsys.readouterr().err
    assert line.split("  ") == [
        " 50 %",
        "step 60",
        "epoch 1",
        "loss 1.500",
        "0 symbols/s",
        "best dev exact match 43.21",
        "2:00 left\n",
    ]


def test_of_the_last_weights_no_evaluation_is_called_the_best(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("peephole.training.report.LINE_EVERY", 0.0)
    with Report(tmp_path, 0, "loss", None, keep="last") as report:
        report.evaluation({"loss": 1.25}, True)
        report.step(step(60))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "step 0: dev loss 1.250"
    assert "  last dev loss 1.25  " in second


def report_once(folder, spoil):
    """Report one evaluation after `spoil(report)`."""
    with Report(folder, 0, "loss", None) as report:
        spoil(report)
        report.evaluation({"loss": 1.0}, True)


def test_a_full_disk_is_a_one_line_error_and_the_log_is_closed(tmp_path):
    opened = []

    def spoil(report):
        report.log.close()
        report.log = open("/dev/full", "w")  # noqa: SIM115
        opened.append(report.log)

    with pytest.raises(RunError, match=r"the log cannot be written: No space left on device$") as caught:
        report_once(tmp_path, spoil)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert opened[0].closed


def test_a_full_disk_for_tensorboard_is_a_one_line_error(tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    def spoil(report):
        report.board.close()
        report.board.add_scalar = report.board.close = full

    with pytest.raises(RunError, match=r"the log cannot be written: No space left on device$"):
        report_once(tmp_path, spoil)
    assert len(read(tmp_path)) == 1


def test_a_log_that_cannot_be_opened_is_an_error(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(RunError, match="the log cannot be written: Is a directory"), Report(tmp_path, 0, "loss", None):
        pass
