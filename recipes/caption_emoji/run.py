"""Run the whole recipe: prepare the pictures, train on two vendors, name the third's, print the tables.

    python recipes/caption_emoji/run.py                    30 minutes for each training
    python recipes/caption_emoji/run.py --minutes 2        a short trial
    python recipes/caption_emoji/run.py --unseen google    one vendor only

Trains two models of English names for each vendor as the unseen one, one on the two others alone and one on further
sets of drawings, too; and two of Korean names with Twitter's unseen. Prints the share of pictures whose whole name is
right: the unseen vendor's pictures of known names, new combinations by the known vendors, and both. The baseline is the
name of the nearest picture of the two vendors (sum of the squared differences of all points, at 32 × 32 points); it has
no new combination.

All files are written below recipes/caption_emoji/data/VENDOR/LANGUAGE/30-minutes (the name follows the minutes). After
Ctrl-C or a kill, the same command continues.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from prepare import DATA, VENDORS

sys.path.insert(0, str(Path(__file__).parents[1]))
from fetch import run
from run_options import recipe_parser
from stages import BEAM, System, publish, read_test, run_systems
from tables import facts_table, rows_of, scores_table

HERE = Path(__file__).parent
PARTS = {"vendor": "unseen vendor", "combinations": "new combinations", "both": "both"}
TASKS = (*((vendor, "en") for vendor in VENDORS), ("twitter", "ko"))
SYSTEMS = (
    System("two", "two vendors", searches=(BEAM,)),
    System("more", "two vendors and further sets", train_file="train_more.tsv", searches=(BEAM,)),
)
SIZE = 32  # points of a side for the baseline


def points(paths: Sequence[str]) -> NDArray[np.float32]:
    """Return the points of pictures, one row each, from 0 to 1."""
    pictures = (Image.open(path).resize((SIZE, SIZE), Image.Resampling.BOX) for path in paths)
    return np.stack([np.asarray(picture, np.float32).ravel() / 255 for picture in pictures])


def nearest(rows: NDArray[np.float32], known: NDArray[np.float32]) -> list[int]:
    """Return for each row the index of the known row at the least distance.

    >>> nearest(np.array([[0.9, 0.1]], np.float32), np.array([[0, 0], [1, 0]], np.float32))
    [1]
    """
    distances = (known**2).sum(1) - 2 * rows @ known.T
    return [int(index) for index in distances.argmin(1)]


def kinds(names: Sequence[str]) -> dict[str, list[int]]:
    """Return kind of picture → the indices of its English names.

    >>> kinds(["flag: Japan", "owl", "raised fist: dark skin tone"])
    {'all': [0, 1, 2], 'flags': [0], 'skin tones': [2], 'others': [1]}
    """
    flags = [i for i, name in enumerate(names) if name.startswith("flag: ")]
    tones = [i for i, name in enumerate(names) if "skin tone" in name]
    others = sorted({*range(len(names))} - {*flags, *tones})
    return {"all": [*range(len(names))], "flags": flags, "skin tones": tones, "others": others}


def report(title: str, data: Path, results: Path) -> str:
    """Return the tables of a vendor and a language."""
    train = read_test(data / "train.tsv", files=True)
    drawn = [i for i, source in enumerate(train.sources) if "." not in Path(source).stem]  # not the varied ones
    known = points([train.sources[i] for i in drawn])
    text = f"{title}\n\n"
    for part, what in PARTS.items():
        test = read_test(data / f"{part}.tsv", files=True)
        closest = [train.references[drawn[i]][0] for i in nearest(points(test.sources), known)]
        rows = {"nearest picture": [closest], **rows_of(results, SYSTEMS, part)}
        english = [names[0] for names in read_test(data.parent / "en" / f"{part}.tsv", files=True).references]
        found = {kind: chosen for kind, chosen in kinds(english).items() if chosen}
        text += f"{what}\n\n{scores_table(test, rows, ['exact_match'], found)}\n"
    return text + facts_table(results, SYSTEMS)


def main() -> None:
    """Run the stages that are not finished, and print the tables."""
    parser = recipe_parser(__doc__, DATA, 30)
    parser.add_argument("--unseen", action="append", choices=VENDORS, help="only this vendor (repeatable)")
    arguments = parser.parse_args()
    if not all((arguments.data / vendor / language / "both.tsv").is_file() for vendor, language in TASKS):
        print(run([sys.executable, str(HERE / "prepare.py"), "--out", str(arguments.data)]))
    for vendor, language in TASKS:
        if arguments.unseen and vendor not in arguments.unseen:
            continue
        data = arguments.data / vendor / language
        results = run_systems(
            SYSTEMS,
            {part: read_test(data / f"{part}.tsv", files=True).sources for part in PARTS},
            HERE / "config.toml",
            data=data,
            minutes=arguments.minutes,
            threads=arguments.threads,
            steps=arguments.steps,
            seeds=arguments.seeds,
        )
        publish(results, report(f"{vendor} unseen, names in {language}", data, results))


if __name__ == "__main__":
    main()
