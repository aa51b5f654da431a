"""Tests that the WebAssembly in the package is built from this source, and is small."""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from peephole.export.browser import BUILDS

from .conftest import WEB

SCRIPT = Path(__file__).parents[2] / "engine/wasm/build.py"
MOST_BYTES = 200_000  # compressed: of an engine and all scripts


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_wasm", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("build", BUILDS)
def test_each_build_names_the_digest_of_its_sources(script: ModuleType, build: str) -> None:
    assert script.digest_in((WEB / f"{build}.wasm").read_bytes()) == script.digest(), "run engine/wasm/build.py"


def test_the_digest_changes_with_every_source(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real, before = Path.read_bytes, script.digest()
    paths = [p for glob in script.DIGESTED for p in script.ENGINE.glob(glob)]
    assert len({path.suffix for path in paths}) == 4  # .h, .cpp, .txt and the header without a suffix
    for changed in paths:
        monkeypatch.setattr(Path, "read_bytes", lambda path, changed=changed: real(path) + b" " * (path == changed))
        assert script.digest() != before, changed


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_building_again_gives_the_same_files(script: ModuleType) -> None:
    """Up to the order of the ends of some nested `try` blocks, 14 bytes here, which clang chooses by addresses."""
    assert importlib.metadata.version("ziglang") == script.ZIG
    built = script.build()
    assert built.keys() == set(BUILDS)
    for name, content in built.items():
        packaged = (WEB / f"{name}.wasm").read_bytes()
        assert len(content) == len(packaged), f"{name}.wasm: run engine/wasm/build.py"
        different = sum(one != other for one, other in zip(content, packaged, strict=True))
        assert different <= 64, f"{name}.wasm: {different} bytes differ; run engine/wasm/build.py"


@pytest.mark.parametrize("build", BUILDS)
def test_the_engine_and_its_scripts_are_small(build: str) -> None:
    files = [WEB / f"{build}.wasm", *WEB.glob("*.js")]
    assert sum(len(gzip.compress(path.read_bytes(), 9)) for path in files) < MOST_BYTES
