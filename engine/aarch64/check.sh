#!/usr/bin/env bash
# Cross-compile the wheel for aarch64 and run the tests of an installed package with it, under emulation.
#
#     sudo apt-get install cmake g++-aarch64-linux-gnu qemu-user-static && pip install wheel
#     engine/aarch64/check.sh
#
# The emulated Python and its libraries are Debian's, the packages are wheels from PyPI; both are downloaded into
# build/aarch64, without root rights and without changing what is installed. The wheel is left there. This shows that
# the code for NEON computes what the other instruction sets compute; emulation says nothing about its speed.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=3.11
work=$PWD/build/aarch64
mkdir -p "$work"/{apt/lists/partial,debs,wheels}

echo "+ the wheel"
CMAKE_ARGS="-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++" \
  python3 -m pip wheel --quiet --no-deps --wheel-dir "$work" .
python3 -m wheel tags --remove --platform-tag linux_aarch64 "$work"/peephole-*-linux_x86_64.whl
wheel=$(ls "$work"/peephole-*-py3-none-linux_aarch64.whl)
ls -sh "$wheel"

if [ ! -x "$work/root/usr/bin/python$python" ]; then
  echo "+ Python $python for arm64"
  apt=(apt-get -qq -o "APT::Architectures::=amd64" -o "APT::Architectures::=arm64"
    -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt")
  "${apt[@]}" update
  (cd "$work/debs" && "${apt[@]}" download "python$python-minimal:arm64" "libpython$python-minimal:arm64" \
    "libpython$python-stdlib:arm64" {libc6,libstdc++6,libgcc-s1,zlib1g,libexpat1,libssl3,libffi8,libbz2-1.0,liblzma5}:arm64)
  for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/root"; done
fi
if [ ! -d "$work/site/pytest" ]; then
  echo "+ packages for aarch64"
  mapfile -t packages < <(python3 - <<'CODE'
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], "pytest", sep="\n")
CODE
  )
  python3 -m pip download --quiet --only-binary=:all: --python-version "$python" --implementation cp \
    --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 --dest "$work/wheels" "${packages[@]}"
  for package in "$work"/wheels/*.whl; do python3 -m zipfile -e "$package" "$work/site"; done
fi
rm -rf "$work/site/peephole"
python3 -m zipfile -e "$wheel" "$work/site"

# The tests start Python again by the name of the running one, which must be a program of this machine.
cat >"$work/python" <<CODE
#!/bin/sh
exec qemu-aarch64-static -L "$work/root" "$work/root/usr/bin/python$python" "\$@"
CODE
chmod +x "$work/python"
echo "import sys; sys.executable = '$work/python'" >"$work/site/sitecustomize.py"
echo "+ pytest tests/runtime, under emulation"
PYTHONPATH=$work/site PEEPHOLE_WITHOUT_TORCH=1 "$work/python" -m pytest -p no:cacheprovider \
  --confcutdir=tests/runtime tests/runtime
