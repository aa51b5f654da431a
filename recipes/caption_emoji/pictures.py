"""Find the pictures of emoji in the vendors' packages, draw them, and vary them for training."""

import io
import json
import math
import random
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

SIZE = 64  # points of a side
DRAWN_SIZE = 144  # of an SVG, before it is cut
CELLS = 4  # of a side of the grid by which a picture is bent

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


def slug(name: str) -> str:
    """Return an English name as icon sets write it.

    >>> slug("woman’s hat"), slug("kiss: man, man, dark skin tone"), slug("flag: Côte d’Ivoire")
    ('womans-hat', 'kiss-man-man-dark-skin-tone', 'flag-c-te-divoire')
    """
    return re.sub("[^a-z0-9]+", "-", re.sub("[’']", "", name.lower())).strip("-")


def find_files(folder: Path, pattern: str) -> dict[str, bytes]:
    """Return emoji → its picture, of files that are named by code points."""
    found = {emoji_of(path.name): path for path in sorted(folder.glob(pattern))}
    return {emoji: path.read_bytes() for emoji, path in found.items() if emoji is not None}


def icon_names(folder: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Return emoji → the name of its icon in a set of Iconify.

    Args:
        folder: of the set, with icons.json, and chars.json, which holds code points → name of an icon, or nothing.
        names: emoji → English name; where chars.json holds nothing, icons are found by these names and by Unicode's.
    """
    chars = json.loads((folder / "chars.json").read_text(encoding="utf-8"))
    if chars:
        by_code = {emoji_of(code): name for code, name in chars.items()}
        return {emoji: name for emoji, name in by_code.items() if emoji is not None}
    table = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    icons = {name.replace("-", ""): name for name in (*table["icons"], *_aliases(table))}
    found = {}
    for emoji, name in names.items():
        other = unicodedata.name(emoji, "") if len(emoji) == 1 else ""
        for possible in (slug(name), slug(name).replace("flag-", "flag-for-"), slug(other)):
            if possible.replace("-", "") in icons:
                found[emoji] = icons[possible.replace("-", "")]
                break
    return found


def find_icons(folder: Path, icons: Mapping[str, str]) -> dict[str, bytes]:
    """Return emoji → its picture as SVG, of a set of Iconify.

    Args:
        folder: of the set, with icons.json.
        icons: emoji → name of an icon, which the set may lack.
    """
    table = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    known = table["icons"] | {name: table["icons"][parent] for name, parent in _aliases(table).items()}
    found = {}
    for emoji, name in icons.items():
        if name in known:
            icon = {**table, **known[name]}
            size = f"{icon.get('width', 16)} {icon.get('height', 16)}"
            links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            found[emoji] = f'<svg {links} viewBox="0 0 {size}">{icon["body"]}</svg>'.encode()
    return found


def _aliases(table: Mapping[str, Any]) -> dict[str, str]:
    """Return other name → name of the same icon; without those that turn it."""
    aliases = table.get("aliases", {}).items()
    return {
        name: other["parent"] for name, other in aliases if [*other] == ["parent"] and other["parent"] in table["icons"]
    }


def draw(picture: bytes) -> Image.Image:
    """Return a picture, PNG or SVG, as it is written: cut, on a white square.

    Raises:
        SystemExit: it is SVG, and resvg-py is not installed.
    """
    if not picture.startswith(b"\x89PNG"):
        try:
            import resvg_py
        except ImportError:
            raise SystemExit("resvg-py is not installed: pip install resvg-py") from None
        text = picture.decode()
        picture = bytes(resvg_py.svg_to_bytes(svg_string=text, width=DRAWN_SIZE, height=DRAWN_SIZE))
    return on_square(Image.open(io.BytesIO(picture)).convert("RGBA"))


def on_square(picture: Image.Image) -> Image.Image:
    """Cut a picture to what is not transparent, centre it on a white square, and scale this to SIZE × SIZE."""
    drawn = picture.crop(picture.getchannel("A").getbbox())
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def vary(picture: Image.Image, generator: random.Random, *, recolour: float) -> Image.Image:
    """Return a picture bent, turned and recoloured at random, so little that its name still fits.

    Not mirrored, since some names have a direction. White stays white.

    Args:
        picture: of SIZE × SIZE points.
        generator: of random numbers.
        recolour: how much colours change; 0: not at all. Small for names that depend on a shade, as skin tones do.
    """
    lines = generator.random()  # drawn by some vendors around each shape, by others not
    if lines < 0.25:
        picture = picture.filter(ImageFilter.MaxFilter(3))
    elif lines < 0.35:
        picture = picture.filter(ImageFilter.MinFilter(3))
    picture = bend(picture, generator)
    lines = generator.random()
    if lines < 0.15:
        edges = picture.convert("L").filter(ImageFilter.SMOOTH).filter(ImageFilter.FIND_EDGES)
        picture.paste("black", mask=ImageOps.expand(ImageOps.crop(edges, 1), 1, 0))  # the filter marks the border
    elif lines < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(generator.uniform(0.4, 1)))
    picture = ImageEnhance.Color(picture).enhance(generator.uniform(1 - recolour, 1 + recolour))
    brightness, table = generator.uniform(-recolour, recolour), []
    for _ in range(3):
        exponent = 2 ** (brightness + generator.uniform(-recolour, recolour) / 2)
        table += [round(255 * (value / 255) ** exponent) for value in range(256)]
    return picture.point(table)


def bend(picture: Image.Image, generator: random.Random) -> Image.Image:
    """Return a picture turned, stretched, sheared, shifted, and bent by moving the corners of a grid at random."""
    angle = math.radians(generator.uniform(-14, 14))
    across, down = (generator.uniform(0.87, 1.25) for _ in range(2))
    shear = generator.uniform(-0.12, 0.12)
    shift = [generator.uniform(-0.06, 0.06) * SIZE for _ in range(2)]
    step, corners = SIZE // CELLS, {}
    for row in range(CELLS + 1):
        for column in range(CELLS + 1):
            x, y = column * step - SIZE / 2, row * step - SIZE / 2
            x, y = x * across + y * shear, y * down
            x, y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
            moved = (generator.uniform(-0.035, 0.035) * SIZE for _ in range(2))
            corners[row, column] = [1.5 * SIZE + a + b + c for a, b, c in zip((x, y), shift, moved, strict=True)]
    mesh = [
        (
            (column * step, row * step, (column + 1) * step, (row + 1) * step),
            [
                *corners[row, column],
                *corners[row + 1, column],
                *corners[row + 1, column + 1],
                *corners[row, column + 1],
            ],
        )
        for row in range(CELLS)
        for column in range(CELLS)
    ]
    framed = ImageOps.expand(picture, SIZE, "white")
    return framed.transform(picture.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
