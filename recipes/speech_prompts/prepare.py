"""Write recorded prompts and their texts as train, dev and test files: four small sets of read speech.

    python recipes/speech_prompts/prepare.py

Downloads Debian's packages asterisk-core-sounds-en (texts, 23 kB), asterisk-core-sounds-en-wav (18 MB) and
tuxpaint-stamps-default (161 MB) with apt-get, without root rights, and installs nothing.

    asterisk_en    prompts of a telephone system, one speaker, WAV of 8 kHz
    tuxpaint_fr    names of pictures in a children's program (une pomme), OGG of 44.1 kHz
    tuxpaint_ru
    tuxpaint_es

Writes recipes/speech_prompts/data/asterisk_en/{train,dev,test}.tsv and the same for the others: the path of a sound
file below the folder, a tab, its text.

Texts are in small letters without punctuation and brackets; a hyphen becomes a space. Digits of English prompts are
written as words (`press one`). Left out and counted are tones and silence, texts with other symbols (`*`, a number of
several digits), sounds that another file has, too, and sounds with more than 25 characters a second, which are not of
their text or cut off.

The split is by this text: md5(text) % 100 below 10 test, 10 to 19 dev. So no text of dev or test is in training.
"""

import argparse
import re
import shutil
import sys
import tempfile
import unicodedata
from collections.abc import Iterable
from hashlib import md5
from pathlib import Path
from typing import NamedTuple

import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import debian_package, run

DATA = Path(__file__).parent / "data"
MOST_CHARACTERS = 25  # a second
LANGUAGES = ("fr", "ru", "es")
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class Prompt(NamedTuple):
    """Hold a sound file, its name in the data, and its text."""

    sound: Path
    name: str
    text: str


def normal(text: str) -> str | None:
    """Return a text in small letters without punctuation and brackets; None if no letters or other symbols are left.

    >>> normal("Bitte, l'Oiseau-mouche !"), normal("press *"), normal("[beep]")
    ("bitte l'oiseau mouche", None, None)
    """
    plain = unicodedata.normalize("NFC", re.sub(r"[(\[].*?[)\]]", " ", text)).replace("’", "'").lower()
    plain = " ".join(re.sub(r"[.,;:!?¡¿\"«»-]|(?<!\w)'|'(?!\w)", " ", plain).split())
    return plain if plain and all(c.isalpha() or c in " '" for c in plain) else None


def with_words(text: str) -> str:
    """Return an English text whose numbers of one digit are words.

    >>> with_words("press 1, or 23")
    'press one, or 23'
    """
    return re.sub(r"(?<!\d)\d(?!\d)", lambda found: DIGITS[int(found[0])], text)


def read_asterisk(texts: str, sounds: Path) -> tuple[list[Prompt], int]:
    """Return the English prompts, and the number of those left out (of spoken ones).

    Args:
        texts: lines `name: text`.
        sounds: folder of `name.wav`.
    """
    lines = [line.split(":", 1) for line in texts.splitlines() if line.strip() and not line.startswith(";")]
    spoken = [(name, text) for name, text in lines if not name.startswith("silence/")]
    return kept((sounds / f"{name}.wav", f"{name}.wav", normal(with_words(text))) for name, text in spoken)


def read_tuxpaint(stamps: Path, language: str) -> tuple[list[Prompt], int]:
    """Return the names of pictures in a language, and the number of those left out."""
    found = []
    ending = f"_desc_{language}.ogg"
    for sound in sorted(stamps.rglob(f"*{ending}")):
        texts = sound.with_name(sound.name.removesuffix(ending) + ".txt")
        lines = texts.read_text(encoding="utf-8").splitlines() if texts.is_file() else []
        named = [line.partition("=")[2] for line in lines if line.startswith(f"{language}.utf8=")]
        found.append((sound, sound.relative_to(stamps).as_posix(), normal(named[0]) if named else None))
    return kept(found)


def kept(found: Iterable[tuple[Path, str, str | None]]) -> tuple[list[Prompt], int]:
    """Return the prompts that the module's docstring keeps, and the number of the others."""
    prompts: dict[bytes, Prompt] = {}
    number = 0
    for sound, name, text in found:
        number += 1
        if text is not None and sound.is_file() and len(text) <= MOST_CHARACTERS * soundfile.info(str(sound)).duration:
            prompts.setdefault(sound.read_bytes(), Prompt(sound, name, text))
    return list(prompts.values()), number - len(prompts)


def split_by_text(prompts: Iterable[Prompt]) -> dict[str, list[Prompt]]:
    """Send each prompt to train, dev or test by the md5 of its text."""
    split: dict[str, list[Prompt]] = {"train": [], "dev": [], "test": []}
    for one in prompts:
        h = int(md5(one.text.encode()).hexdigest(), 16) % 100
        split["test" if h < 10 else "dev" if h < 20 else "train"].append(one)
    return split


def main() -> None:
    """Write the sounds and the files, and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (texts,) = debian_package("asterisk-core-sounds-en", folder).glob("usr/share/doc/*/core-sounds-en.txt.gz")
        (sounds,) = debian_package("asterisk-core-sounds-en-wav", folder).glob("usr/share/asterisk/sounds/*")
        stamps = debian_package("tuxpaint-stamps-default", folder) / "usr/share/tuxpaint/stamps"
        sets = {"asterisk_en": read_asterisk(run(["gzip", "-dc", str(texts)]), sounds)}
        sets |= {f"tuxpaint_{language}": read_tuxpaint(stamps, language) for language in LANGUAGES}
        for name, (prompts, left_out) in sets.items():
            target = arguments.out / name
            for one in prompts:
                (target / one.name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(one.sound, target / one.name)
            counts = []
            for part, chosen in split_by_text(prompts).items():
                lines = "".join(f"{one.name}\t{one.text}\n" for one in chosen)
                (target / f"{part}.tsv").write_text(lines, encoding="utf-8")
                counts.append(f"{len(chosen):,} {part}")
            print(f"{target}: {', '.join(counts)}; {left_out:,} left out")


if __name__ == "__main__":
    main()
