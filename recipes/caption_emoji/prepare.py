"""Write pictures of emoji by three vendors and their names, in English and in Korean, as train, dev and test files.

    python recipes/caption_emoji/prepare.py

Downloads packages of npm (emoji-datasource-google and -twitter 16.0.0, openmoji 17.0.0; 140 MB) and the names of
Unicode's CLDR 48.2.0 (cldr-annotations-full, cldr-annotations-derived-full). OpenMoji's pictures are SVG, which PyPI's
resvg-py draws: pip install resvg-py.

Writes pictures of 64 × 64 points below recipes/caption_emoji/data/images, and for each vendor as the unseen one and
each language a folder as data/twitter/en with train, dev, vendor, combinations and both.tsv: the path of a picture, a
tab, its name (`woman firefighter: medium skin tone`).

The program keeps the 3,786 emoji that all three vendors draw and CLDR names. Each picture is cut to what is drawn,
centred on a white square and scaled, so that the vendors' margins do not matter. Of each training picture there are
five more, a little turned, shifted, scaled, stretched and recoloured, some with their edges drawn dark.

A name is a new *combination* if it consists of a base and attributes (`kiss: man, man, dark skin tone`), md5(name) %
100 of the English name is below 10, and training has its base and each of its attributes in other names. So flags are
none: no other name has the country.

    train           two vendors, without the new combinations
    dev             the unseen vendor, names of training with md5 90 to 99
    vendor          the unseen vendor, the other names of training: a new drawing of a known thing
    combinations    two vendors, new combinations: a known style, a name never seen
    both            the unseen vendor, new combinations
"""

import argparse
import io
import json
import math
import random
import sys
import tempfile
from collections.abc import Collection, Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import npm_package

DATA = Path(__file__).parent / "data"
VENDORS = {"google": "emoji-datasource-google@16.0.0", "twitter": "emoji-datasource-twitter@16.0.0"}
VENDORS["openmoji"] = "openmoji@17.0.0"
NAMES = {"annotations": "cldr-annotations-full@48.2.0", "annotationsDerived": "cldr-annotations-derived-full@48.2.0"}
LANGUAGES = ("en", "ko")
SIZE = 64  # points of a side
DRAWN_SIZE = 144  # of an SVG, before it is cut
VARIED = 5  # more pictures of each for training

Names = dict[str, str]


def emoji_of(file_name: str) -> str | None:
    """Return the emoji of a file named by its code points, without variation selectors; None for other files.

    >>> emoji_of("1f469-200d-2764-fe0f-200d-1f468.png") == "👩‍❤‍👨", emoji_of("logo.svg")
    (True, None)
    """
    try:
        points = [int(code, 16) for code in file_name.rsplit(".", 1)[0].split("-")]
    except ValueError:
        return None
    return plain("".join(map(chr, points)))


def plain(emoji: str) -> str:
    """Return an emoji without variation selectors, which the vendors set differently."""
    return emoji.replace("\ufe0f", "")


def read_names(folders: Mapping[str, Path], language: str) -> Names:
    """Return emoji → its name in a language, from CLDR's two tables."""
    names: Names = {}
    for table, folder in folders.items():
        text = (folder / table / language / "annotations.json").read_text(encoding="utf-8")
        entries = json.loads(text)[table]["annotations"]
        names.update({plain(emoji): entry["tts"][0] for emoji, entry in entries.items() if "tts" in entry})
    return names


def find_pictures(vendor: str, folder: Path) -> dict[str, Path]:
    """Return emoji → its picture."""
    pattern = "color/svg/*.svg" if vendor == "openmoji" else f"img/{vendor}/64/*.png"
    found = {emoji_of(path.name): path for path in sorted(folder.glob(pattern))}
    return {emoji: path for emoji, path in found.items() if emoji is not None}


def draw(path: Path) -> Image.Image:
    """Return a picture, PNG or SVG, as it is written: cut, on a white square."""
    source: Any = path
    if path.suffix == ".svg":
        try:
            import resvg_py
        except ImportError:
            raise SystemExit("resvg-py is not installed: pip install resvg-py") from None
        source = io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=DRAWN_SIZE, height=DRAWN_SIZE)))
    return on_square(Image.open(source).convert("RGBA"))


def on_square(picture: Image.Image) -> Image.Image:
    """Cut a picture to what is not transparent, centre it on a white square, and scale this to SIZE × SIZE."""
    drawn = picture.crop(picture.getchannel("A").getbbox())
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def vary(picture: Image.Image, generator: random.Random) -> Image.Image:
    """Return a picture turned, shifted, scaled and recoloured at random, so little that its name still fits.

    Not mirrored, since some names have a direction. Colours change little, since names have skin tones.
    """
    angle = math.radians(generator.uniform(-12, 12))
    width, height = (generator.uniform(0.85, 1.2) for _ in range(2))
    across, down = (SIZE / 2 + generator.uniform(-0.07, 0.07) * SIZE for _ in range(2))
    a, b = math.cos(angle) / width, math.sin(angle) / width
    d, e = -math.sin(angle) / height, math.cos(angle) / height
    matrix = (a, b, SIZE / 2 - a * across - b * down, d, e, SIZE / 2 - d * across - e * down)
    turned = picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor="white"
    )
    for enhancer in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        turned = enhancer(turned).enhance(generator.uniform(0.85, 1.15))
    if generator.random() < 0.3:
        edges = turned.convert("L").filter(ImageFilter.SMOOTH).filter(ImageFilter.FIND_EDGES)
        turned.paste("black", mask=ImageOps.expand(ImageOps.crop(edges, 1), 1, 0))  # the filter marks the border
    return turned


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


def split_by_name(names: Names, vendors: Collection[str], unseen: str) -> dict[str, list[tuple[str, str]]]:
    """Return for each file its pictures, (vendor, emoji), in the order of the names.

    Args:
        names: emoji → English name.
        vendors: all three.
        unseen: the vendor of dev, vendor and both.
    """
    new = new_combinations(names.values())
    split: dict[str, list[tuple[str, str]]] = {file: [] for file in ("train", "dev", "vendor", "combinations", "both")}
    for emoji, name in names.items():
        for vendor in vendors:
            if vendor != unseen:
                file = "combinations" if name in new else "train"
            elif name in new:
                file = "both"
            else:
                file = "dev" if bucket(name) >= 90 else "vendor"
            split[file].append((vendor, emoji))
    return split


def picture_name(vendor: str, emoji: str, version: int = 0) -> str:
    """Return the path of a picture below the folder of the data, version 0, or of one of its varied versions.

    >>> picture_name("google", "©"), picture_name("google", "©", 2)
    ('images/google/a9.png', 'images/google/a9.2.png')
    """
    points = "-".join(f"{ord(point):x}" for point in emoji)
    return f"images/{vendor}/{points}{f'.{version}' if version else ''}.png"


def lines_of(file: str, part: Collection[tuple[str, str]], names: Names) -> list[str]:
    """Return the lines of a file of pairs."""
    versions = range(VARIED + 1 if file == "train" else 1)
    return [
        f"../../{picture_name(vendor, emoji, version)}\t{names[emoji]}\n"
        for vendor, emoji in part
        for version in versions
    ]


def main() -> None:
    """Write the pictures and the files, and print the files' counts, which are the same for each unseen vendor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA, help=f"folder to write (default: {DATA})")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = {table: npm_package(package, folder) for table, package in NAMES.items()}
        names = {language: read_names(tables, language) for language in LANGUAGES}
        pictures = {vendor: find_pictures(vendor, npm_package(package, folder)) for vendor, package in VENDORS.items()}
        kept = [emoji for emoji in names["en"] if all(emoji in found for found in (*pictures.values(), names["ko"]))]
        for vendor, found in pictures.items():
            (arguments.out / "images" / vendor).mkdir(parents=True, exist_ok=True)
            for emoji in kept:
                picture, generator = draw(found[emoji]), random.Random(f"{vendor} {emoji}")
                picture.save(arguments.out / picture_name(vendor, emoji))
                for version in range(1, VARIED + 1):
                    vary(picture, generator).save(arguments.out / picture_name(vendor, emoji, version))

    english = {emoji: names["en"][emoji] for emoji in kept}
    for unseen in VENDORS:
        split = split_by_name(english, VENDORS, unseen)
        for language in LANGUAGES:
            folder = arguments.out / unseen / language
            folder.mkdir(parents=True, exist_ok=True)
            for file, part in split.items():
                lines = lines_of(file, part, names[language])
                (folder / f"{file}.tsv").write_text("".join(lines), encoding="utf-8")
    for file, part in split.items():
        print(f"{file}.tsv: {len(part):,} pictures of {len({emoji for _, emoji in part}):,} emoji")


if __name__ == "__main__":
    main()
