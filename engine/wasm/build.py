"""Build the prediction half of the engine as WebAssembly.

    python engine/wasm/build.py [FOLDER]

Writes simd.wasm and plain.wasm to FOLDER, by default the package's own: the same sources with 128-bit vectors and
without. (A build with relaxed vectors was measured, too, and was no faster: neither fused multiply-adds nor the dot
product of bytes.) Needs `ziglang` of the version below,
which brings clang, the linker and the sources of the C and C++ libraries; the same version writes the same bytes.
Each file has a section `sources` with the digest of everything that it is built from.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

ZIG = "0.17.1"
HERE = Path(__file__).resolve().parent
ENGINE = HERE.parent
PACKAGE = ENGINE.parent / "src/peephole/export/web"
INSTRUCTION_SETS = {"simd": ["-msimd128"], "plain": []}

SOURCES = [  # of the engine, compiled once: all of src/ but training, threads and the kernels
    *("src/file/*.cpp", "src/predict/*.cpp", "src/simd/*.cpp"),
    *("src/runtime/instruction_sets.cpp", "src/runtime/prediction_abi.cpp", "src/runtime/prediction_checks.cpp"),
    *("src/runtime/trace_abi.cpp", "src/runtime/watch.cpp"),
    *("wasm/single_thread.cpp", "wasm/layouts.cpp"),
]
DIGESTED = ["include/*.h", "src/*/*.h", *SOURCES, "wasm/kernels.cpp", "wasm/single_thread/*", "wasm/exports.txt"]
STANDARD_LIBRARY = {  # built here, because the compiler's own copy has no exceptions
    "libcxx/src": "algorithm charconv exception functional hash memory new_helpers stdexcept string verbose_abort",
    "libcxxabi/src": "abort_message cxa_aux_runtime cxa_default_handlers cxa_exception cxa_exception_storage cxa_guard "
    "cxa_handlers cxa_personality cxa_virtual fallback_malloc private_typeinfo stdlib_exception stdlib_new_delete "
    "stdlib_stdexcept stdlib_typeinfo",
    "libunwind/src": "Unwind-wasm",
}
STANDARD_LIBRARY_SETTINGS = [
    *("_LIBCPP_ABI_NAMESPACE=__1", "_LIBCPP_ABI_VERSION=1", "_LIBCPP_HAS_FILESYSTEM=0", "_LIBCPP_HAS_LOCALIZATION=0"),
    *("_LIBCPP_HAS_MONOTONIC_CLOCK=1", "_LIBCPP_HAS_MUSL_LIBC=1", "_LIBCPP_HAS_RANDOM_DEVICE=0"),
    *("_LIBCPP_HAS_TERMINAL=0", "_LIBCPP_HAS_THREADS=0", "_LIBCPP_HAS_UNICODE=0", "_LIBCPP_HAS_WIDE_CHARACTERS=0"),
    *("_LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS=0", "_LIBCPP_HARDENING_MODE=_LIBCPP_HARDENING_MODE_NONE"),
    *("_LIBCPP_ASSERTION_SEMANTIC_DEFAULT=_LIBCPP_ASSERTION_SEMANTIC_IGNORE", "_LIBCPP_PSTL_BACKEND_SERIAL"),
    *("_LIBCPP_DISABLE_VISIBILITY_ANNOTATIONS", "_LIBCXXABI_DISABLE_VISIBILITY_ANNOTATIONS"),
]
BUILDS_STANDARD_LIBRARY = [
    *("LIBCXX_BUILDING_LIBCXXABI", "LIBCXXABI_NON_DEMANGLING_TERMINATE", "_LIBCPP_BUILDING_LIBRARY"),
    *("_LIBCXXABI_BUILDING_LIBRARY", "_LIBCXXABI_HAS_NO_THREADS", "_LIBUNWIND_HAS_NO_THREADS"),
    *("_LIBUNWIND_HIDE_SYMBOLS", "NDEBUG"),
]
LIBRARY_INCLUDES = [
    *("libcxx/include", "libcxxabi/include", "include", "libc/include/wasm-wasi-musl", "libc/include/generic-musl"),
    *("libc/include/wasm32-wasi-any", "libc/include/any-wasi-any"),
]
FLAGS = [
    *("-target", "wasm32-unknown-wasip1", "-mbulk-memory", "-mnontrapping-fptoint", "-msign-ext"),
    *("-fwasm-exceptions", "-ffp-contract=off", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"),
]
LINK = [
    *("-target", "wasm32-wasi", "-mcpu=generic+exception_handling", "-mexec-model=reactor", "-Os", "-s"),
    *("-Wl,--gc-sections", "-Wl,-z,stack-size=1048576"),
]


def digest() -> str:
    """Return a digest of all sources, this file and the compiler's version."""
    found = hashlib.sha256(ZIG.encode())
    for path in sorted({Path(__file__).resolve(), *(path for glob in DIGESTED for path in ENGINE.glob(glob))}):
        found.update(f"{path.relative_to(ENGINE).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


def digest_in(wasm: bytes) -> str | None:
    """Return the digest in the section `sources` of a .wasm file."""
    _, mark, rest = wasm.rpartition(b"\x07sources")
    return rest[:64].decode(errors="replace") if mark else None


def build() -> dict[str, bytes]:
    """Return the files by instruction set."""
    spec = find_spec("ziglang")
    if spec is None or importlib.metadata.version("ziglang") != ZIG:
        raise SystemExit(f"building WebAssembly: wanted ziglang {ZIG}; pip install ziglang=={ZIG}")
    library = Path(str(spec.origin)).parent / "lib"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        out = Path(folder)
        jobs = [(path, ["-Oz"]) for glob in SOURCES for path in sorted(ENGINE.glob(glob))]
        jobs += [(path, ["-Oz", *_library_flags(library)]) for path in _standard_library(library)]
        shared = [pool.submit(_compile, library, *job, out / f"{i}.o") for i, job in enumerate(jobs)]
        kernels = {
            name: pool.submit(_compile, library, HERE / "kernels.cpp", ["-O3", *flags], out / f"{name}.o")
            for name, flags in INSTRUCTION_SETS.items()
        }
        objects = [job.result() for job in shared]
        return {name: _link([*objects, kernel.result()], out / f"{name}.wasm") for name, kernel in kernels.items()}


def _standard_library(library: Path) -> list[Path]:
    endings = {"libunwind/src": ".c"}
    return [
        library / folder / f"{name}{endings.get(folder, '.cpp')}"
        for folder, names in STANDARD_LIBRARY.items()
        for name in names.split()
    ]


def _library_flags(library: Path) -> list[str]:
    includes = ["libcxx/src", "libcxx/libc", "libcxxabi/src", "libunwind/include"]
    return ["-w", *(f"-I{library / path}" for path in includes), *(f"-D{name}" for name in BUILDS_STANDARD_LIBRARY)]


def _compile(library: Path, source: Path, flags: list[str], to: Path) -> Path:
    standard = {"libcxx": "-std=c++23", "libcxxabi": "-std=c++20", "libunwind": "-std=c11"}
    own = standard.get(source.parent.parent.name, "-std=c++17") if source.is_relative_to(library) else "-std=c++17"
    include = ["-isystem", str(HERE / "single_thread"), f"-I{ENGINE / 'src'}", f"-I{ENGINE / 'include'}"]
    include += [word for path in LIBRARY_INCLUDES for word in ("-isystem", str(library / path))]
    paths = [f"-ffile-prefix-map={library}=zig", f"-ffile-prefix-map={ENGINE}=engine"]
    settings = [f"-D{name}" for name in STANDARD_LIBRARY_SETTINGS]
    _run("clang", *FLAGS, own, *flags, "-nostdinc", *include, *paths, *settings, "-c", str(source), "-o", str(to))
    return to


def _link(objects: list[Path], to: Path) -> bytes:
    exports = [f"-Wl,--export={name}" for name in (HERE / "exports.txt").read_text().split()]
    _run("cc", *LINK, *map(str, objects), *exports, "-o", str(to))
    section = b"\x07sources" + digest().encode()
    return to.read_bytes() + bytes([0, len(section)]) + section  # a custom section


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ziglang", *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"zig {' '.join(command)}\n{done.stderr}")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else PACKAGE
    folder.mkdir(exist_ok=True)
    for name, content in build().items():
        (folder / f"{name}.wasm").write_bytes(content)
        print(f"{folder / name}.wasm: {len(content):,} bytes")
