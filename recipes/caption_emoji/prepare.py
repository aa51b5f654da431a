"""Write pictures of emoji by three vendors and their names, in English and in Korean, as train, dev and test files.

    python recipes/caption_emoji/prepare.py

Downloads packages of npm (emoji-datasource-google and -twitter 16.0.0, openmoji 17.0.0; 140 MB), the names of Unicode's
CLDR 48.2.0 (cldr-annotations-full, cldr-annotations-derived-full), and more drawings for training, of sets that do not
have every emoji: Microsoft's Fluent (flat, shaded, and black and white), EmojiOne 2 and 1, Mozilla's FxEmojis, and
version 1 of Google's Noto emoji (@iconify-json/…). PyPI's resvg-py draws pictures that are SVG: pip install resvg-py.

Writes pictures of 64 × 64 points below recipes/caption_emoji/data/images, and for each vendor as the unseen one and
each language a folder as data/twitter/en with train, train_more, dev, vendor, combinations and both.tsv: the path of a
picture, a tab, its name (`woman firefighter: medium skin tone`).

The program keeps the 3,786 emoji that all three vendors draw and CLDR names. Each picture is cut to what is drawn,
centred on a white square and scaled, so that the vendors' margins do not matter. Of each training picture there are
up to eight more, bent, turned, stretched and recoloured at random, some with thicker or thinner lines or their edges
drawn dark.

A name is a new *combination* if it consists of a base and attributes (`kiss: man, man, dark skin tone`), md5(name) %
100 of the English name is below 10, and training has its base and each of its attributes in other names. So flags are
none: no other name has the country.

    train           two vendors, without the new combinations
    train_more      these, and the same emoji by the further sets, but for earlier drawings of the unseen vendor
    dev             the unseen vendor, names of training with md5 90 to 99
    vendor          the unseen vendor, the other names of training: a new drawing of a known thing
    combinations    two vendors, new combinations: a known style, a name never seen
    both            the unseen vendor, new combinations
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Collection, Mapping
from hashlib import md5
from pathlib import Path

from pictures import Names, draw, find_files, find_icons, icon_names, plain, vary

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import npm_package

DATA = Path(__file__).parent / "data"
VENDORS = {"google": "emoji-datasource-google@16.0.0", "twitter": "emoji-datasource-twitter@16.0.0"}
VENDORS["openmoji"] = "openmoji@17.0.0"
FILES = {"google": "img/google/64/*.png", "twitter": "img/twitter/64/*.png", "openmoji": "color/svg/*.svg"}
# The icons of the second have the same names as those of the first, which has the table of code points
MORE = {"fluent": "@iconify-json/fluent-emoji-flat@1.2.6", "shaded": "@iconify-json/fluent-emoji@1.2.7"}
MORE |= {"contrast": "@iconify-json/fluent-emoji-high-contrast@1.2.6", "emojione": "@iconify-json/emojione@1.2.3"}
MORE |= {"emojione1": "@iconify-json/emojione-v1@1.2.3", "fx": "@iconify-json/fxemoji@1.2.2"}
MORE["noto1"] = "@iconify-json/noto-v1@1.2.5"
OWN = {"google": "noto1"}  # vendor → the set that it drew itself
NAMES = {"annotations": "cldr-annotations-full@48.2.0", "annotationsDerived": "cldr-annotations-derived-full@48.2.0"}
LANGUAGES = ("en", "ko")
VARIED = 8  # more versions of a picture for training
VARIED_SKIN = 3  # of one with a skin tone, whose shapes are those of the other tones
FEWER = {"fluent": 5, "shaded": 3, "contrast": 3}  # of sets that draw the same shapes
RECOLOUR, RECOLOUR_SKIN = 0.35, 0.05


def read_names(folders: Mapping[str, Path], language: str) -> Names:
    """Return emoji → its name in a language, from CLDR's two tables."""
    names: Names = {}
    for table, folder in folders.items():
        text = (folder / table / language / "annotations.json").read_text(encoding="utf-8")
        entries = json.loads(text)[table]["annotations"]
        names.update({plain(emoji): entry["tts"][0] for emoji, entry in entries.items() if "tts" in entry})
    return names


def find_more(folders: Mapping[str, Path], names: Names) -> dict[str, dict[str, bytes]]:
    """Return for each set of MORE emoji → its picture.

    Args:
        folders: of the sets.
        names: emoji → English name.
    """
    found = {name: find_icons(folder, icon_names(folder, names)) for name, folder in folders.items()}
    return found | {"shaded": find_icons(folders["shaded"], icon_names(folders["fluent"], names))}


def parts_of(name: str) -> list[str]:
    """Return the base of an English name and its attributes.

    >>> parts_of("kiss: man, man, dark skin tone"), parts_of("footprints")
    (['kiss', 'man', 'man', 'dark skin tone'], ['footprints'])
    """
    base, _, attributes = name.partition(": ")
    return [base, *(attributes.split(", ") if attributes else [])]


def bucket(name: str) -> int:
    """Return md5(name) modulo 100."""
    return int(md5(name.encode()).hexdigest(), 16) % 100


def new_combinations(names: Collection[str]) -> set[str]:
    """Return the English names that are new combinations, as the module's docstring defines them."""
    chosen = {name for name in names if bucket(name) < 10 and len(parts_of(name)) > 1}
    while True:
        known = {part for name in names if name not in chosen for part in parts_of(name)}
        unknown = {name for name in chosen if not known.issuperset(parts_of(name))}
        if not unknown:
            return chosen
        chosen -= unknown


def split_by_name(
    names: Names, vendors: Collection[str], unseen: str, more: Mapping[str, Collection[str]]
) -> dict[str, list[tuple[str, str]]]:
    """Return for each file its pictures, (vendor, emoji), in the order of the names.

    Args:
        names: emoji → English name.
        vendors: all three.
        unseen: the vendor of dev, vendor and both.
        more: other set → emoji that it draws.
    """
    new = new_combinations(names.values())
    files = ("train", "train_more", "dev", "vendor", "combinations", "both")
    split: dict[str, list[tuple[str, str]]] = {file: [] for file in files}
    for emoji, name in names.items():
        for vendor in vendors:
            if vendor != unseen:
                file = "combinations" if name in new else "train"
            elif name in new:
                file = "both"
            else:
                file = "dev" if bucket(name) >= 90 else "vendor"
            split[file].append((vendor, emoji))
        if name not in new:
            others = [other for other, drawn in more.items() if emoji in drawn and other != OWN.get(unseen)]
            split["train_more"] += [(other, emoji) for other in others]
    split["train_more"] = split["train"] + split["train_more"]
    return split


def picture_name(vendor: str, emoji: str, version: int = 0) -> str:
    """Return the path of a picture below the folder of the data, version 0, or of one of its varied versions.

    >>> picture_name("google", "©"), picture_name("google", "©", 2)
    ('images/google/a9.png', 'images/google/a9.2.png')
    """
    points = "-".join(f"{ord(point):x}" for point in emoji)
    return f"images/{vendor}/{points}{f'.{version}' if version else ''}.png"


def count_varied(vendor: str, name: str) -> int:
    """Return the number of varied versions of a picture for training, by its English name.

    >>> count_varied("google", "owl"), count_varied("shaded", "owl"), count_varied("google", "ear: dark skin tone")
    (8, 3, 3)
    """
    return min(FEWER.get(vendor, VARIED), VARIED_SKIN if "skin tone" in name else VARIED)


def lines_of(file: str, part: Collection[tuple[str, str]], names: Names, english: Names) -> list[str]:
    """Return the lines of a file of pairs.

    Args:
        file: its name, without a suffix.
        part: (vendor, emoji) of its pictures.
        names: emoji → name.
        english: emoji → English name.
    """
    return [
        f"../../{picture_name(vendor, emoji, version)}\t{names[emoji]}\n"
        for vendor, emoji in part
        for version in range(count_varied(vendor, english[emoji]) + 1 if file.startswith("train") else 1)
    ]


def write_pictures(folder: Path, vendor: str, pictures: Mapping[str, bytes], names: Names) -> None:
    """Write a vendor's pictures of the named emoji, each with its varied versions."""
    (folder / "images" / vendor).mkdir(parents=True, exist_ok=True)
    for emoji, name in names.items():
        if emoji in pictures:
            picture, generator = draw(pictures[emoji]), random.Random(f"{vendor} {emoji}")
            picture.save(folder / picture_name(vendor, emoji))
            recolour = RECOLOUR_SKIN if "skin tone" in name else RECOLOUR
            for version in range(1, count_varied(vendor, name) + 1):
                vary(picture, generator, recolour=recolour).save(folder / picture_name(vendor, emoji, version))


def main() -> None:
    """Write the pictures and the files, and print the files' counts for each unseen vendor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = {table: npm_package(package, folder) for table, package in NAMES.items()}
        names = {language: read_names(tables, language) for language in LANGUAGES}
        vendors = {vendor: npm_package(package, folder) for vendor, package in VENDORS.items()}
        more = find_more({other: npm_package(package, folder) for other, package in MORE.items()}, names["en"])
        pictures = {vendor: find_files(found, FILES[vendor]) for vendor, found in vendors.items()}
    kept = [emoji for emoji in names["en"] if all(emoji in found for found in (*pictures.values(), names["ko"]))]
    english = {emoji: names["en"][emoji] for emoji in kept}
    for vendor, found in (pictures | more).items():
        write_pictures(arguments.out, vendor, found, english)

    for unseen in VENDORS:
        split = split_by_name(english, VENDORS, unseen, more)
        for language in LANGUAGES:
            folder = arguments.out / unseen / language
            folder.mkdir(parents=True, exist_ok=True)
            for file, part in split.items():
                lines = lines_of(file, part, names[language], english)
                (folder / f"{file}.tsv").write_text("".join(lines), encoding="utf-8")
    for file, part in split.items():
        print(f"{file}.tsv: {len(part):,} pictures of {len({emoji for _, emoji in part}):,} emoji")


if __name__ == "__main__":
    main()
