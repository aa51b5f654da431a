"""Models that several files of tests predict with."""

from __future__ import annotations

from pathlib import Path

import pytest

import peephole
from model.stepwise import ARCHITECTURES, half_trained
from peephole.model import Model


@pytest.fixture(scope="module")
def toy(toy_file: Path) -> Model:
    return peephole.load(toy_file)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def any_model(request: pytest.FixtureRequest) -> Model:
    return half_trained(request.param)
