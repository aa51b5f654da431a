"""Tests the count of pairs that CTC cannot align, and a training with CTC from its first line to its model."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

import peephole
from peephole.config import Config
from peephole.data import Corpus, Pair, Report
from peephole.nn.schema import Architecture, num_places
from peephole.training import alignment, plan
from peephole.training.alignment import count_unalignable, ctc_notice

from .toy import CAPITALS, LETTERS, TINY, write_pairs


def needed(target):
    """Return the encoder outputs that a target needs."""
    return len(target) + sum(a == b for a, b in pairwise(target))


@pytest.mark.parametrize("pyramid", [0, 1, 2])
def test_pairs_without_a_path_are_counted(tmp_path, monkeypatch, pyramid):
    rng = np.random.default_rng(pyramid)

    def word(letters):
        return "".join(rng.choice(list(letters[:2]), rng.integers(1, 9)))

    pairs = [Pair(word("ab"), word("AB"), line) for line in range(300)]
    corpus = Corpus.build(pairs, LETTERS, CAPITALS, tmp_path, max_length=100, report=Report("toy"))
    config = Config().with_values({"model.ctc": True, "encoder_layers": 3, "encoder_pyramid": pyramid})
    architecture = Architecture.of(config.model)
    wanted = sum(num_places(architecture, len(pair.source)) < needed(pair.target) for pair in pairs)
    assert 50 < wanted < 290
    for window in (alignment.WINDOW, 7):
        monkeypatch.setattr(alignment, "WINDOW", window)
        assert count_unalignable(corpus, architecture) == wanted
    notice = ctc_notice(config, corpus)
    assert notice is not None
    assert f"0.7 attention + 0.3 CTC; of {wanted} of the 300 training pairs" in notice
    assert ctc_notice(Config(), corpus) is None


def test_a_training_with_ctc(tmp_path, capsys):
    data, out = write_pairs(tmp_path / "train.tsv"), tmp_path / "m.safetensors"
    settings = {"ctc": True, "ctc_weight": 0.5, "evaluations": 2, "steps": 30, "learning_rate": 0.02, **TINY}
    model = peephole.train(data, out=out, **settings)
    printed = capsys.readouterr().err
    [line] = [line for line in printed.splitlines() if line.startswith("loss: ")]
    assert line.startswith("loss: 0.5 attention + 0.5 CTC; of ")  # words with two equal letters side by side
    assert "ctc loss" in printed
    assert line in plan(data, **settings).report
    lines = [json.loads(line) for line in (tmp_path / "m.run" / "log.jsonl").read_text().splitlines()]
    first, last = [line["dev"]["ctc_loss"] for line in lines if "dev" in line]
    assert 0 < last < first
    assert model.config.model.ctc
    assert peephole.load(out).made["training"]["dev_scores"].keys() >= {"loss", "ctc_loss"}


def test_a_ctc_output_without_its_loss_is_refused():
    with pytest.raises(peephole.errors.ConfigError, match=r"train\.ctc_weight: wanted a number above 0 .* got 0"):
        Config().with_values({"model.ctc": True, "train.ctc_weight": 0})
