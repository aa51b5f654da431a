"""Tests that a model which the engine cannot run is not exported for browsers."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.random_models import model_config, write_model
from peephole.engine.kinds import PREDICTION_KINDS
from peephole.errors import ModelFileError
from peephole.export import export_web


@pytest.mark.parametrize("members", [1, 2])
def test_a_kind_that_the_engine_lacks_is_refused_by_name(
    members: int, tmp_path: Path, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if `dot` had been added in Python alone; an ensemble is refused for any of its members."""
    kinds = [kind for kind in PREDICTION_KINDS["attention"] if kind != "dot"]
    monkeypatch.setitem(PREDICTION_KINDS, "attention", kinds)
    names = [
        write_model(tmp_path / f"{kind}.safetensors", model_config(attention=kind, hidden_size=14))
        for kind in ("additive", "dot")
    ][-members:]
    with pytest.raises(ModelFileError, match=r"dot\.safetensors: --to web: the engine has no attention of kind 'dot'$"):
        export_web(names, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    assert export_web([toy_file], tmp_path / "folder")
