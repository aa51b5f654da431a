"""Tests that products of bytes have the same bits with every instruction set: their sums are exact."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import numpy.typing as npt
import pytest

from peephole import engine

from .test_engine_model_file import ENGINE

compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(compiler is None or not engine.available(), reason="no compiler, or no engine")

SANITIZE = ["-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"]
AVX512_BF16 = [*AVX512, "-mavx512bf16", "-mavx512vnni"]
FLAGS = {  # as in engine/CMakeLists.txt
    "avx512_amx": [*AVX512_BF16, "-mamx-tile", "-mamx-bf16", "-mamx-int8", "-DPEEPHOLE_TILES"],
    "avx512_bf16": AVX512_BF16,
    "avx512": AVX512,
    "avx2": ["-mavx2", "-mfma"],
    "generic": [],
}
ROWS, DEPTH, COLUMNS = 39, 208, 75  # neither whole tiles nor whole panels

Array = npt.NDArray[np.float32]


ARM = (shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static"))


@pytest.fixture(scope="module", params=[*engine.instruction_sets(), *(["aarch64"] if all(ARM) else [])])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build the program that multiplies bytes, for one instruction set; return its command."""
    path = tmp_path_factory.mktemp("bytes") / request.param
    is_arm = request.param == "aarch64"
    special = [ARM[0], "-static"] if is_arm else [compiler, *SANITIZE, *FLAGS[request.param]]
    general = ["-std=c++17", "-Wall", "-Wextra", "-Wno-psabi", "-ffp-contract=off"]
    files = ["-I", ENGINE / "include", "-I", ENGINE / "src", ENGINE / "tests/multiply_bytes.cpp"]
    files += [ENGINE / "src/simd/memory.cpp", "-o", path]
    subprocess.run([*map(str, [*special, *general, *files])], check=True, capture_output=True)
    return [ARM[1] or "", str(path)] if is_arm else [str(path)]


def multiply(program: list[str], left: Array, right: Array, steps: Array) -> Array:
    """Return the product (rows, columns) of the left rows (rows, depth) and the columns (columns, depth)."""
    sizes = np.array([*left.shape, len(right)], np.int64)
    given = b"".join(np.ascontiguousarray(array).tobytes() for array in (sizes, left, right, steps))
    done = subprocess.run(program, input=given, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    return np.frombuffer(done.stdout, np.float32).reshape(len(left), len(right))


def expected(left: Array, right: Array, steps: Array) -> Array:
    """Round each row to 127 levels and each column to multiples of its step, add in integers, scale in float32."""
    most = np.abs(left).max(1, keepdims=True)
    levels = np.rint(left * (np.float32(63) / most)).astype(np.int64)
    weights = np.clip(np.rint(right * (1 / steps)[:, None]), -127, 127).astype(np.int64)
    return (levels @ weights.T).astype(np.float32) * (most / np.float32(63) * steps)


def draw(weights: str, rows: int = ROWS, depth: int = DEPTH) -> tuple[Array, Array, Array]:
    """Draw rows, columns and the columns' steps; weights are those of a network, large or the largest."""
    rng = np.random.default_rng(1)
    left = rng.normal(size=(rows, depth)).astype(np.float32)
    signs = np.sign(left[-1])
    left[: min(rows, 3)] = np.stack([np.ones(depth), -np.ones(depth), signs])[: min(rows, 3)]  # the ends of the range
    steps = rng.uniform(1e-3, 2e-3, COLUMNS).astype(np.float32)
    deviation = {"of a network": 30, "large": 60, "largest": 1e6}[weights]
    numbers = np.clip(np.rint(rng.normal(size=(COLUMNS, depth)) * deviation), -127, 127)
    numbers[0], numbers[1], numbers[2] = 127, -127, 127 * signs  # sums that 16 bits could not hold
    return left, (numbers * steps[:, None]).astype(np.float32), steps


@pytest.mark.parametrize("weights", ["of a network", "large", "largest"])
def test_products_equal_exact_sums(program: list[str], weights: str) -> None:
    given = draw(weights)
    np.testing.assert_array_equal(multiply(program, *given), expected(*given))


@pytest.mark.parametrize("rows", [1, 7, 8, 16, 17, 32])
@pytest.mark.parametrize("depth", [16, 48, 64, 1040])
def test_products_of_any_rows_and_depths_equal_exact_sums(program: list[str], rows: int, depth: int) -> None:
    left, right, steps = draw("largest", rows, depth)
    np.testing.assert_array_equal(multiply(program, left, right, steps), expected(left, right, steps))


@pytest.mark.parametrize("sum_of_four", [257, 258, 259, 260, 508])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_block_is_added_in_16_bits_only_if_it_fits(program: list[str], sign: int, sum_of_four: int) -> None:
    """In 16 bits are at most 127 · 258, in either direction, for the four weights of one half word."""
    left = np.array([[1], [-1]], np.float32).repeat(16, 1)
    parts = np.clip(sum_of_four - 127 * np.arange(4), 0, 127) * sign
    for half_word in ([0, 1, 4, 5], [2, 3, 6, 7], [10, 11, 14, 15]):
        right = np.zeros((2, 16), np.float32)
        right[1, half_word] = parts
        steps = np.ones(2, np.float32)
        np.testing.assert_array_equal(multiply(program, left, right, steps), expected(left, right, steps))


def test_nan_becomes_a_level_like_any_other(program: list[str]) -> None:
    """The lowest bits of NaN are arbitrary; as a level above 127 they would overflow in some instruction sets only."""
    left, right, steps = draw("largest")
    nan = left.copy()
    nan[3, :2] = np.array([0x7FC00090], np.uint32).view(np.float32)  # + 64, in 7 bits: 16 above 0
    left[3, :2] = np.abs(left[3, 2:]).max() * 16 / 63
    np.testing.assert_array_equal(multiply(program, nan, right, steps), expected(left, right, steps))


def test_infinite_rows_do_not_change_other_rows(program: list[str]) -> None:
    left, right, steps = draw("largest")
    damaged = left.copy()
    damaged[3, 5] = np.inf
    others = [row for row in range(ROWS) if row != 3]
    found = multiply(program, damaged, right, steps)
    np.testing.assert_array_equal(found[others], expected(left, right, steps)[others])
