"""Tests of the tables of recipes/g2p_cmudict/run.py: WER and PER are those of `peephole evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from peephole.evaluation import evaluate_predictions
from peephole.symbols import WhitespaceSymbols

RECIPE = Path(__file__).parents[2] / "recipes" / "g2p_cmudict"
TEST = "AB\tAH B\nAB\tEY B IY\nBA\tB AH\nCAB\tK AE B\n"
REFERENCES = [["AH B", "EY B IY"], ["B AH"], ["K AE B"]]
FACTS = '{"weights": 1, "minutes": 1, "updates": 1, "passes": 1, "symbols_per_second": 1, "memory": 1}'


def write(folder: Path, seed: int, predictions: list[str]) -> None:
    """Write what a training of three encoder layers leaves."""
    (folder / f"three.{seed}.beam5.test.txt").write_text("".join(f"{text}\n" for text in predictions))
    (folder / f"three.{seed}.json").write_text(FACTS)


def test_the_tables_of_what_has_run(recipe, tmp_path, monkeypatch):
    (tmp_path / "test.tsv").write_text(TEST)
    made = []

    def predict(models, sources, path, options):
        made.append(([model.name for model in models], sources, options))
        path.write_text("EY B IY\nB AH\nK AE B\n")

    monkeypatch.setitem(recipe.report.__globals__, "predict", predict)
    write(tmp_path, 1, first := ["EY B", "B AH", "K B"])
    lines = recipe.report(tmp_path, tmp_path, 1).splitlines()
    found = evaluate_predictions(
        ["AB", "BA", "CAB"],
        first,
        REFERENCES,
        WhitespaceSymbols([], "NFC"),
        ["sequence_error_rate", "symbol_error_rate"],
    )
    cells = [f"{s.value:.2f} [{s.low:.2f}, {s.high:.2f}]" for s in found.scores.values()]
    assert lines[2] == f"| 448 units, three encoder layers, beam 5 | {cells[0]} | {cells[1]} |"
    assert [line for line in lines if "ensemble" in line] == []
    write(tmp_path, 3, ["EY B IY", "B AH", "K B"])
    [line] = [line for line in recipe.report(tmp_path, tmp_path, 2).splitlines() if "ensemble" in line]
    assert line == "| ensemble of these 2, beam 5 | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] |"
    assert made == [
        (["three.1.safetensors", "three.3.safetensors"], ["AB", "BA", "CAB"], {"threads": 2, "beam_size": 5})
    ]


def test_a_missing_folder_is_named(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run.py", "--data", str(tmp_path)])
    with pytest.raises(SystemExit):
        recipe.main()
    assert "wanted the folder of the published files; see prepare.py --help" in capsys.readouterr().err
