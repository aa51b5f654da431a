"""Tests of the recipes whose sources are files: features, splits, normal forms of texts, and the pixel baseline."""

import json
import random
import runpy
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


def program(recipe, name="prepare.py"):
    folder = str(RECIPES / recipe)
    sys.path.insert(0, folder)  # as for a program
    try:
        return SimpleNamespace(**runpy.run_path(f"{folder}/{name}"))
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def an4():
    return program("speech_an4")


@pytest.fixture(scope="module")
def fraktur():
    return program("print_fraktur")


def write_an4(folder, speakers):
    """Write a distribution of one utterance a speaker: 6 frames of cepstra each."""
    (folder / "etc").mkdir(parents=True)
    for part, names in speakers.items():
        for speaker in names:
            path = folder / f"feat/{part}_clstk/{speaker}/{speaker}-b.mfc"
            path.parent.mkdir(parents=True)
            values = np.arange(78) + len(speaker)
            path.write_bytes(struct.pack(">i78f", 78, *values))
        lists = folder / f"etc/an4_{part}"
        lists.with_suffix(".fileids").write_text("".join(f"{part}_clstk/{s}/{s}-b\n" for s in names))
        lists.with_suffix(".transcription").write_text("".join(f"<s> GO {s[0].upper()} </s> ({s}-b)\n" for s in names))


def test_an4_is_split_by_speaker_and_its_texts_are_plain(an4, tmp_path):
    write_an4(tmp_path / "an4", {"train": ["fash", "mscg2", "mdcs", "mdcs2"], "test": ["fcaw"]})
    command = [sys.executable, RECIPES / "speech_an4/prepare.py", tmp_path / "an4", "--out", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].endswith("1 utterances of 1 speakers, 0.0 minutes, 4 characters, 2 words")
    read = {name: (tmp_path / f"data/{name}.tsv").read_text().splitlines() for name in ("train", "dev", "test")}
    assert read == {
        "train": [f"features/train/{speaker}-b.npy\tgo {speaker[0]}" for speaker in ("fash", "mdcs", "mdcs2")],
        "dev": ["features/dev/mscg2-b.npy\tgo m"],
        "test": ["features/test/fcaw-b.npy\tgo f"],
    }
    features = np.load(tmp_path / "data/features/dev/mscg2-b.npy")
    assert (features.shape, features.dtype) == ((6, 39), np.float32)
    cepstra = np.arange(78.0).reshape(6, 13) + 5
    np.testing.assert_allclose(features[:, :13], cepstra - cepstra.mean(0))

    (tmp_path / "an4/feat/test_clstk/fcaw/fcaw-b.mfc").write_bytes(b"\0\0\0\x4e" + b"\0" * 311)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.endswith("wanted a count and as many numbers, 13 a frame; got 315 bytes\n")


def test_speakers_with_a_digit_are_with_their_namesakes(an4):
    names = [f"m{a}{b}" for a in "abcdefgh" for b in "cdst"]
    assert any(map(an4.is_dev, names))
    assert all(an4.is_dev(name) == an4.is_dev(f"{name}2") for name in names)


def test_deltas_are_slopes_of_a_line_through_five_frames(an4):
    frames = np.random.default_rng(1).standard_normal((9, 3))
    padded = np.concatenate([frames[:1], frames[:1], frames, frames[-1:], frames[-1:]])
    wanted = [[np.polyfit(range(5), padded[t : t + 5, f], 1)[0] for f in range(3)] for t in range(9)]
    np.testing.assert_allclose(an4.deltas(frames), wanted, atol=1e-12)
    found = an4.with_deltas(frames)
    np.testing.assert_allclose(found[:, 6:], an4.deltas(an4.deltas(frames)))


def test_fraktur_books_of_dev_are_in_no_training_line(fraktur, tmp_path):
    lines = {"training": ["egger_1", "zedlitz_1", "zedlitz_2"], "testing": ["egger_9", "zedlitz_9"]}
    for folder, names in lines.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.bin.png").write_bytes(b"")
            (tmp_path / folder / f"{name}.gt.txt").write_text(f" u\u0308ber  {name}\n", encoding="utf-8")
    split = fraktur.split_by_book(*(fraktur.read_folder(tmp_path / name) for name in ("training", "testing")))
    assert {name: [text for _, text in part] for name, part in split.items()} == {
        "train": ["über egger_1"],
        "dev": ["über zedlitz_1", "über zedlitz_2"],
        "test": ["über egger_9", "über zedlitz_9"],
        "unseen": ["über zedlitz_9"],
        "train_all": ["über egger_1", "über zedlitz_1", "über zedlitz_2"],
    }
    assert split["dev"][1][0] == tmp_path / "training/zedlitz_2.bin.png"
    (tmp_path / "testing/egger_9.bin.png").unlink()
    with pytest.raises(SystemExit, match=r"egger_9.bin.png: no such file$"):
        fraktur.read_folder(tmp_path / "testing")


@pytest.fixture(scope="module")
def emoji():
    pytest.importorskip("PIL")
    return program("caption_emoji")


NAMES = {
    "🙋": "person raising hand",
    "🙋1": "person raising hand: dark skin tone",
    "💁1": "person tipping hand: dark skin tone",
    "💁2": "person tipping hand: light skin tone",
    "🇰🇷": "flag: South Korea",
}


def test_new_combinations_have_known_parts(emoji, monkeypatch):
    """All names are candidates; parts of a name may be known from names that are not chosen only."""
    space = emoji.new_combinations.__globals__
    monkeypatch.setitem(space, "bucket", lambda name: 0 if "raising" in name or "flag" in name else 50)
    assert emoji.new_combinations(NAMES.values()) == {"person raising hand: dark skin tone"}
    monkeypatch.setitem(space, "bucket", lambda name: 0)
    assert emoji.new_combinations(NAMES.values()) == set()


def test_emoji_are_split_by_vendor_and_name(emoji, monkeypatch):
    space = emoji.new_combinations.__globals__
    monkeypatch.setitem(space, "bucket", lambda name: 0 if "raising" in name else 95 if "flag" in name else 50)
    split = emoji.split_by_name(NAMES, ("a", "b", "c"), "b", {"d": {"💁1", "🙋1"}, "e": {"💁1"}})
    train = [(vendor, one) for one in ("🙋", "💁1", "💁2", "🇰🇷") for vendor in "ac"]
    assert split == {
        "train": train,
        "train_more": [*train, ("d", "💁1"), ("e", "💁1")],
        "dev": [("b", "🇰🇷")],
        "vendor": [("b", "🙋"), ("b", "💁1"), ("b", "💁2")],
        "combinations": [("a", "🙋1"), ("c", "🙋1")],
        "both": [("b", "🙋1")],
    }


@pytest.fixture(scope="module")
def pictures():
    pytest.importorskip("PIL")
    return program("caption_emoji", "pictures.py")


def test_pictures_are_cut_and_centred(pictures):
    from PIL import Image

    picture = Image.new("RGBA", (72, 72))
    picture.paste((255, 0, 0, 255), (10, 10, 30, 50))  # 20 wide, 40 high
    found = np.asarray(pictures.on_square(picture))
    assert found.shape == (64, 64, 3)
    assert (found[:, 20:44] == [255, 0, 0]).all()
    assert (found[:, [0, 10, 53, 63]] == 255).all()


def test_icons_are_found_by_code_points_or_by_name(emoji, tmp_path):
    """An icon has the size of its set unless it has its own; the shaded set has the icon names of the flat one."""
    names = {"🦉": "owl", "🇰🇷": "flag: South Korea", "👒": "woman’s hat"}
    sets = {
        "fluent": ({"1f989": "bird", "1f1f0-1f1f7": "korea"}, {"bird": {"body": "<a/>"}}, {"width": 32, "height": 32}),
        "shaded": ({}, {"bird": {"body": "<b/>", "width": 8}, "owl": {"body": "<c/>"}}, {"height": 32}),
        "emojione": ({}, {"flag-for-south-korea": {"body": "<d/>"}, "womans-hat": {"body": "<e/>"}}, {}),
    }
    for name, (chars, icons, size) in sets.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "chars.json").write_text(json.dumps(chars))
        (tmp_path / name / "icons.json").write_text(json.dumps({"icons": icons, **size}))
    found = emoji.find_more({name: tmp_path / name for name in sets}, names)
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    assert found == {
        "fluent": {"🦉": f'<svg {links} viewBox="0 0 32 32"><a/></svg>'.encode()},
        "shaded": {"🦉": f'<svg {links} viewBox="0 0 8 32"><b/></svg>'.encode()},
        "emojione": {
            one: f'<svg {links} viewBox="0 0 16 16">{body}</svg>'.encode()
            for one, body in (("🇰🇷", "<d/>"), ("👒", "<e/>"))
        },
    }


def test_icons_are_found_by_other_names(pictures, tmp_path):
    """Without hyphens, by a name of Unicode, by an alias; an alias that turns its icon is another picture."""
    names = {"🚂": "locomotive", "🚴": "person biking", "🐻": "bear", "👉": "right", "🎃": "jack-o-lantern"}
    table = {
        "icons": {
            name: {"body": f"<{name}/>"} for name in ("steamlocomotive", "bicyclist", "bear-face", "jackolantern")
        },
        "aliases": {"bear": {"parent": "bear-face"}, "right": {"parent": "bear-face", "hFlip": True}},
    }
    (tmp_path / "chars.json").write_text("{}")
    (tmp_path / "icons.json").write_text(json.dumps(table))
    icons = pictures.icon_names(tmp_path, names)
    assert icons == {"🚂": "steamlocomotive", "🚴": "bicyclist", "🐻": "bear", "🎃": "jackolantern"}
    found = pictures.find_icons(tmp_path, icons)
    assert {emoji: picture.decode().split(">")[1] + ">" for emoji, picture in found.items()} == {
        "🚂": "<steamlocomotive/>",
        "🚴": "<bicyclist/>",
        "🐻": "<bear-face/>",
        "🎃": "<jackolantern/>",
    }


def test_earlier_drawings_of_the_unseen_vendor_are_not_training_data(emoji):
    more = {"noto1": set(NAMES), "fx": {"💁1"}}
    files = {
        unseen: emoji.split_by_name(NAMES, ("google", "twitter"), unseen, more) for unseen in ("google", "twitter")
    }
    assert {vendor for vendor, _ in files["google"]["train_more"]} == {"twitter", "fx"}
    assert {vendor for vendor, _ in files["twitter"]["train_more"]} == {"google", "fx", "noto1"}


def test_varied_pictures_keep_their_place_and_white(pictures):
    """A grey disc stays one: most of it is where it was, and its grey is kept if nothing is recoloured."""
    from PIL import Image, ImageDraw

    disc = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(disc).ellipse((12, 12, 52, 52), fill=(128, 128, 128))
    made = [pictures.vary(disc, random.Random(seed), recolour=0) for seed in range(40)]
    for picture in made:
        points = np.asarray(picture)
        assert (np.median(points[26:38, 26:38], (0, 1)) == 128).all()
        assert (points[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert len({picture.tobytes() for picture in made}) == 40
    again = pictures.vary(disc, random.Random(3), recolour=0)
    assert again.tobytes() == made[3].tobytes()
    recoloured = [np.asarray(pictures.vary(disc, random.Random(seed), recolour=0.35)) for seed in range(40)]
    assert all((points[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all() for points in recoloured)
    shades = [points[32, 32].astype(int) for points in recoloured]
    assert np.std(shades, axis=0).min() > 5
    assert max(np.ptp(shade) for shade in shades) > 10


@pytest.fixture(scope="module")
def prompts():
    pytest.importorskip("soundfile")
    return program("speech_prompts")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("C’est l'oiseau, «bleu» !", "c'est l'oiseau bleu"),
        ("Пожалуйста: 'да'", "пожалуйста да"),
        ("Call-Forward on Busy.", "call forward on busy"),
        ("IAX (does not say 2) on", "iax on"),
        ("e\u0301toile", "étoile"),
        ("press 12", None),
        ("[beep]", None),
        ("...", None),
    ],
)
def test_normal_texts_of_prompts(prompts, text, wanted):
    assert prompts.normal(text) == wanted


def test_prompts_of_sounds_and_texts(prompts, tmp_path):
    import soundfile

    for number, name in enumerate(["yes", "same", "fast", "dial", "silence/1"]):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.full(8000, 0.01 * (1 + number % 4 if name != "same" else 1)), 8000)
    texts = "; a comment\n\nyes: Yes: 1!\nsame: Yes.\nfast: a text of more than twenty five letters\ndial: *\n"
    texts += "none: No\nsilence/1: one\n"
    found, left_out = prompts.read_asterisk(texts, tmp_path)
    assert [(one.name, one.text) for one in found] == [("yes.wav", "yes one")]
    assert left_out == 4


def test_names_of_pictures_in_a_language(prompts, tmp_path):
    import soundfile

    (tmp_path / "fruit").mkdir()
    for number, name in enumerate(["apple_desc_fr", "apple_desc_ru", "pear_desc_fr", "apple"]):
        soundfile.write(tmp_path / f"fruit/{name}.wav", np.full(8000, 0.01 * number), 8000)
        (tmp_path / f"fruit/{name}.wav").rename(tmp_path / f"fruit/{name}.ogg")
    (tmp_path / "fruit/apple.txt").write_text("An apple.\nfr.utf8=Une pomme.\nru.utf8=Яблоко.\n", encoding="utf-8")
    found, left_out = prompts.read_tuxpaint(tmp_path, "fr")
    assert [(one.name, one.text) for one in found] == [("fruit/apple_desc_fr.ogg", "une pomme")]
    assert left_out == 1


def test_prompts_of_one_text_are_in_one_file(prompts):
    made = [prompts.Prompt(Path(f"{n}"), f"{n}", f"text {n % 100}") for n in range(300)]
    split = prompts.split_by_text(made)
    texts = {name: {one.text for one in part} for name, part in split.items()}
    assert sum(map(len, texts.values())) == 100
    assert all(texts.values())
    assert sum(map(len, split.values())) == 300
