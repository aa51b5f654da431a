"""Read the descriptions of Debian's packages from apt's own indices."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fetch import run

HELPER = "/usr/lib/apt/apt-helper"
HINT = "this recipe gets its data with apt, Debian's own"


def download_indices(*languages: str) -> list[str]:
    """Download apt's indices with its own client into a temporary folder.

    The package sources are those that the machine is configured with; its own lists do not change.

    Args:
        languages: of the descriptions, as apt names them.

    Returns:
        The text of the index Packages, then of Translation-xx for each language; all package sources together.

    Raises:
        SystemExit: apt is missing or failed, or its sources have no descriptions in a language.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "Dir::State": folder,
            "Dir::State::lists": f"{folder}/lists",
            "Dir::Cache": f"{folder}/cache",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "Acquire::Languages": ",".join(languages),
            "APT::Sandbox::User": "root",  # otherwise root's apt becomes a user without access to the folder
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        for needed in ("lists/partial", "cache/archives/partial"):
            (Path(folder) / needed).mkdir(parents=True)
        run(["apt-get", *options, "update"], hint=HINT)
        form = "$(CREATED_BY)\t$(LANGUAGE)\t$(FILENAME)"
        listed = run(["apt-get", *options, "indextargets", "--format", form], hint=HINT)
        texts: dict[tuple[str, ...], list[str]] = {}
        wanted = [("Packages",), *(("Translations", language) for language in languages)]
        for kind, of_language, path in (line.split("\t") for line in listed.splitlines()):
            key = (kind, of_language) if kind == "Translations" else (kind,)
            if key in wanted:
                texts.setdefault(key, []).append(run([HELPER, *options, "cat-file", path], hint=HINT))
    for key in wanted:
        if key not in texts:
            raise SystemExit(f"apt's sources have no index {key[0] if len(key) == 1 else f'Translation-{key[1]}'}")
    return ["\n\n".join(texts[key]) for key in wanted]


def read_stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yield the stanzas of an index as field → value; further lines of a value keep their first space."""
    for stanza in re.split(r"\n\n+", text.strip("\n")):
        yield {
            name: value.strip("\n").removeprefix(" ")
            for name, value in (field.split(":", 1) for field in re.split(r"\n(?! )", stanza.strip("\n")))
        }


def read_descriptions(text: str, language: str) -> dict[str, tuple[str, str]]:
    """Read an index Translation-xx and return md5 of the English description → (package, description)."""
    return {
        fields["Description-md5"]: (fields["Package"], fields[f"Description-{language}"])
        for fields in read_stanzas(text)
    }


def read_sources(text: str) -> dict[str, str]:
    """Read an index Packages and return package → its source package."""
    return {
        fields["Package"]: fields.get("Source", fields["Package"]).split()[0]  # a version may follow
        for fields in read_stanzas(text)
    }


def split_description(description: str) -> tuple[str, list[list[str]]]:
    """Return the synopsis and the paragraphs, a list of lines each."""
    synopsis, *lines = description.split("\n")
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == ".":
            paragraphs.append([])
        else:
            paragraphs[-1].append(line[1:])
    return clean(synopsis), [lines for lines in paragraphs if lines]


def clean(text: str) -> str:
    """Return the text with each run of whitespace replaced by one space, and none at the ends."""
    return " ".join(text.split())
