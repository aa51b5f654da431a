"""Tests of the recipe timing: its streams, its networks, its statistics, and that it continues after a kill."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

RECIPE = Path(__file__).parents[2] / "recipes" / "timing"
MODULES = ("tasks", "network", "report")


@pytest.fixture(scope="module")
def recipe():
    """Return the recipe's modules, imported with their folder on the path; unload them afterwards."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(RECIPE))
    for name in MODULES:
        patch.delitem(sys.modules, name, raising=False)
    run = SimpleNamespace(**runpy.run_path(str(RECIPE / "run.py")))
    yield SimpleNamespace(run=run, **{name: sys.modules[name] for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)
    patch.undo()


def streams(recipe, kind, num_intervals=3, batch=2):
    return recipe.tasks.draw(recipe.tasks.Task(kind, 4), num_intervals, torch.Generator().manual_seed(2), batch)


def test_spike_distances(recipe):
    drawn = streams(recipe, "msd", 40)
    delays = set()
    for inputs, targets, has_target in zip(*drawn, strict=True):
        spikes = inputs.nonzero()[:, 0]
        assert len(spikes) == 40
        distances = torch.diff(spikes, prepend=torch.tensor([0]))
        assert (targets[spikes] == distances - 4).all()
        assert torch.equal(has_target, inputs == 1)
        delays |= set((distances - 4).tolist())
    assert delays == {0, 1}


def test_timed_spikes_are_spike_distances_reversed(recipe):
    measured, generated = streams(recipe, "msd", 40, 8), streams(recipe, "gts", 40, 8)
    assert torch.equal(generated.targets, measured.inputs)
    assert set(generated.inputs[:, 0].tolist()) == {0, 1}
    for inputs, targets, has_target in zip(*generated, strict=True):
        spikes = targets.nonzero()[:, 0]
        starts = torch.cat([torch.tensor([0]), spikes[:-1]])
        assert torch.equal(inputs[starts], torch.diff(spikes, prepend=torch.tensor([0])) - 4.0)
        assert inputs.sum() == inputs[starts].sum()
        assert torch.equal(has_target.nonzero()[:, 0], torch.arange(spikes[-1] + 1))


@pytest.mark.parametrize("kind", ["cos", "tri", "rect"])
def test_periodic_functions_have_no_input(recipe, kind):
    drawn = streams(recipe, kind)
    assert not drawn.inputs.any()
    assert drawn.has_target.all()
    one = {"cos": [0, 0.5, 1, 0.5], "tri": [0, 0.5, 1, 0.5], "rect": [0, 0, 1, 1]}[kind]
    assert torch.allclose(drawn.targets, torch.tensor([one * 3] * 2, dtype=torch.float32), rtol=0, atol=1e-6)


def test_first_wrong_output(recipe):
    drawn = streams(recipe, "cos")
    outputs = drawn.targets.clone()
    assert recipe.tasks.first_errors(outputs, drawn, 0.3).tolist() == [12, 12]
    outputs[0, 5:7] += 0.31
    outputs[1, 3] += 0.29
    outputs[1, 9] = torch.nan
    assert recipe.tasks.first_errors(outputs, drawn, 0.3).tolist() == [5, 9]
    spikes = streams(recipe, "msd")
    outputs = torch.where(spikes.has_target, spikes.targets, 7.0)  # other steps have no target
    assert recipe.tasks.first_errors(outputs, spikes, 0.49).tolist() == [spikes.targets.shape[1]] * 2


@pytest.mark.parametrize(("form", "weights"), [("none", 14), ("diagonal", 17), ("full", 17)])
def test_one_cell_has_the_weights_of_the_article(recipe, form, weights):
    network = recipe.network.Network(recipe.tasks.Task("gts", 10), form, 1)
    assert sum(weight.numel() for weight in network.parameters()) == weights
    assert network.lstm.layers[0][0].bias.tolist() == [0, -2, 0, 2]
    assert network(torch.rand(3, 5)).shape == (3, 5)


def settings(recipe, **changes):
    values = {"form": "none", "cells": 4, "learning_rate": 0.02, "seed": 1, "updates": 50}
    return recipe.network.Settings(recipe.tasks.Task("cos", 4), **values | changes)


def test_a_run_depends_on_its_settings_alone(recipe):
    state = torch.random.get_rng_state()
    found = [recipe.network.updates_needed(settings(recipe, updates=600)) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0] % recipe.network.CHECK_EVERY == 0
    assert recipe.network.updates_needed(settings(recipe, updates=found[0] - 1)) is None
    assert torch.equal(torch.random.get_rng_state(), state)


def test_finished_runs_are_read_and_a_half_line_is_cut_off(recipe, tmp_path, monkeypatch, capsys):
    path, wanted = tmp_path / "runs.jsonl", [settings(recipe, updates=2), settings(recipe, updates=3)]
    monkeypatch.setattr(recipe.run.run_all.__globals__["multiprocessing"], "get_context", lambda _: None)
    monkeypatch.setitem(recipe.run.run_all.__globals__, "ProcessPoolExecutor", InThisProcess)
    first = recipe.run.run_all(wanted[:1], path, 1)
    line = path.read_text()
    path.write_text(line + line[:30])
    found = recipe.run.run_all(wanted, path, 2)
    assert found[0] == first[0]
    assert [run.settings for run in found] == wanted
    assert path.read_text().startswith(line)
    assert [json.loads(text)["settings"]["updates"] for text in path.read_text().splitlines()] == [2, 3]
    assert capsys.readouterr().out.count("1 of 1 runs") == 2


class InThisProcess:
    """An executor that runs each task at once."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*arguments))
        return future


def runs_of(recipe, solved):
    """Return runs of ten seeds for each form and number of cells; `solved` has the updates needed, None: not solved."""
    return [
        recipe.report.Run(
            settings(recipe, form=form, cells=cells, seed=seed, updates=5000)._replace(
                task=recipe.tasks.Task(kind, 10)
            ),
            updates,
            1.0,
        )
        for kind in ("msd", "gts", "cos")
        for (form, cells), needed in solved.items()
        for seed, updates in enumerate(needed, 1)
    ]


def test_tables(recipe):
    solved = {
        ("none", 4): [None] * 10,
        ("diagonal", 4): [1000] * 9 + [None],
        ("full", 4): [500] * 10,
        ("none", 1): [None] * 10,
        ("diagonal", 1): [None] * 10,
    }
    runs = runs_of(recipe, solved)
    table = recipe.report.results_table(runs)
    assert "| msd 10 | none, 4 cells | 0 of 10 | [0, 31] | 5,000 [5,000, 5,000] |" in table
    assert "| gts 10 | diagonal, 4 cells | 9 of 10 | [55, 100] | 1,400 [1,000," in table
    differences = recipe.report.differences_table(runs)
    assert "| timed spikes: diagonal, 4 cells against none | 10 | 9 | 0 | 0.004 | -3,600 [" in differences
    assert "| timed spikes: full, 4 cells against diagonal | 10 | 1 | 0 | 1.000 | -900 [" in differences
    assert "| timed spikes: diagonal, 1 cell against none | 10 | 0 | 0 | 1.000 | +0 [+0, +0] | 1.0000 |" in differences


def test_the_best_rate_solves_most_then_needs_the_fewest_updates(recipe):
    base = settings(recipe, updates=5000)
    needed = {0.003: [900, None], 0.01: [2000, 3000], 0.03: [2500, 2600]}
    runs = [
        recipe.report.Run(base._replace(learning_rate=rate, seed=seed), updates, 1.0)
        for rate, both in needed.items()
        for seed, updates in enumerate(both)
    ]
    assert recipe.report.best_rates(runs) == {("none", 4): 0.01}
    assert "| none, 4 cells | 1 of 2, 2,950 | **2 of 2, 2,500** | 2 of 2, 2,550 |" in recipe.report.sweep_table(runs)


@pytest.mark.parametrize(
    ("solved", "total", "low", "high"),
    [(0, 10, 0, 0.30850), (5, 10, 0.18709, 0.81291), (9, 10, 0.55498, 0.99747), (10, 10, 0.69150, 1)],
)
def test_exact_interval_of_a_share(recipe, solved, total, low, high):
    """Compare with the published tables of Clopper and Pearson's intervals."""
    assert recipe.report.share_interval(solved, total) == pytest.approx((low, high), abs=1e-5)
