"""Tests of the recipe summarise_debian: the pairs it makes from apt's indices, their split and the baseline."""

from hashlib import md5
from pathlib import Path

RECIPE = Path(__file__).parents[2] / "recipes" / "summarise_debian"
PROSE = " ".join(f"word{n}" for n in range(14))


def description(package, synopsis, text):
    checksum = md5(text.encode()).hexdigest()
    return f"Package: {package}\nDescription-md5: {checksum}\nDescription-en: {synopsis}\n {text}\n"


def test_the_longest_description_of_a_source_package_is_kept(prepare):
    sources = {"a0": "a", "a1": "a", "a2": "a", "b": "b", "c": "c"}
    packages = "\n".join(f"Package: {name}\nSource: {source} (1.0)\n" for name, source in sources.items())
    english = "\n".join(
        [
            description("a0", "one of these", f"{PROSE} at end."),
            description("a2", "a fast (small) tool, free", f"{PROSE} longer (than\n that).\n .\n A list:\n  * one"),
            description("a1", "short one here", f"{PROSE} end."),
            description("b", "only fourteen words", PROSE),
            description("c", "two words", f"{PROSE} of c."),
            description("gone", "not in the index", f"{PROSE} gone."),
        ]
    )
    assert prepare.read_summaries(packages, english) == [
        ("a", f"{PROSE} longer ( than that ) .", "a fast ( small ) tool , free")
    ]


def test_long_descriptions_are_cut(prepare):
    english = description("a", "a long story", " ".join(["word"] * 200))
    (found,) = prepare.read_summaries("Package: a\n", english)
    assert found.description.split() == ["word"] * 120


def test_split_by_package_without_known_descriptions(prepare):
    names = (f"package{n}" for n in range(2000))
    by_remainder = {int(md5(name.encode()).hexdigest(), 16) % 100: name for name in names}
    texts = {4: "one", 5: "two", 9: "three", 10: "four", 11: "one", 3: "five", 2: "five"}
    split = prepare.split_by_package([prepare.Summary(by_remainder[h], text, "s") for h, text in texts.items()])
    assert {name: [one.description for one in part] for name, part in split.items()} == {
        "train": ["four", "one"],
        "dev": ["two", "three"],
        "test": ["five"],
    }


def test_report_has_the_baseline_and_leaves_out_families(recipe, tmp_path):
    texts = [f"tool {n} , that does the {n} things of all of the other tools in here" for n in range(4)]
    (tmp_path / "test.tsv").write_text("".join(f"{text}\ttool {n}\n" for n, text in enumerate(texts)))
    (tmp_path / "test.packages.txt").write_text("rust-a\nb\nlibc-perl\nd\n")
    lines = recipe.report(tmp_path, tmp_path / "1-minutes").splitlines()
    assert "ROUGE-1, all (4)" in lines[0]
    assert "ROUGE-1, without families (2)" in lines[0]
    assert lines[2].startswith("| the first 12 words | 28.57 [28.57, 28.57] |")  # F1 of 2 of 12 words and 2 of 2
