"""Tests of `peephole.calibrate` against a grid over the definition's scores in float64; wrong ones are rejected."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import peephole
from models.make import MODEL, STORED, pronounce, toy_words
from peephole.cli.evaluate import command
from peephole.errors import ConfigError, PeepholeError
from peephole.model import Model, calibrated
from peephole.model.calibrated import SCALED, divide_scores
from peephole.model.calibration import measure_reliability
from peephole.storage.model_file import load_model, save_model
from peephole.symbols import EOS
from rejection import rejected_by_comparison

WORDS = toy_words(40, seed=8)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with less certain scores than the toy model's, so that its samples hold errors."""
    path = tmp_path_factory.mktemp("calibration") / "flat.safetensors"
    save_model(path, divide_scores(load_model(MODEL), 4.0))
    return path


@pytest.fixture(scope="module")
def pairs(flat: Path) -> list[tuple[str, str]]:
    """Return targets drawn from the flat model at a temperature."""
    model = peephole.load(flat)
    drawn = model.predict(WORDS, temperature=1.5, nbest=3, seed=3)
    found = [
        (word, prediction.text)
        for word, predictions in zip(WORDS, drawn, strict=True)
        for prediction in predictions
        if prediction.text and prediction.finished and "<unk>" not in prediction.tokens
    ]
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def wanted(flat: Path, pairs: list[tuple[str, str]]) -> float:
    """Return the temperature with the lowest mean -log softmax(z ÷ T) of the definition's scores z, in float64."""
    model = peephole.load(flat)
    [network] = model.networks
    scores, gold = [], []
    with torch.no_grad():
        for source, target in pairs:
            ids = [*model.target_symbols.encode(target), EOS]
            read = torch.tensor([model.source_symbols.encode(source)])
            logits = network(read, torch.tensor([read.shape[1]]), torch.tensor([ids]))
            scores.append(logits[0].double().numpy())
            gold += ids
    z = np.concatenate(scores)

    def loss(temperature: float) -> float:
        scaled = z / temperature
        return float(np.mean(np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(z)), gold]))

    rough = min(np.exp(np.linspace(math.log(0.1), math.log(10), 80)), key=loss)
    return float(min(rough * np.exp(np.linspace(-0.06, 0.06, 100)), key=loss))


def check_temperature(flat: Path, pairs: list[tuple[str, str]], wanted: float, out: Path) -> None:
    found = peephole.calibrate(flat, pairs, out, threads=1, beam_size=1)
    assert found.temperature == pytest.approx(wanted, rel=0.004)


def test_the_temperature_is_that_of_a_grid_in_float64(
    flat: Path, pairs: list[tuple[str, str]], wanted: float, tmp_path: Path
) -> None:
    check_temperature(flat, pairs, wanted, tmp_path / "out.safetensors")


WRONG: dict[str, Any] = {
    "the bias is not divided": lambda file, t: replace(
        file, tensors={**file.tensors, SCALED[0]: file.tensors[SCALED[0]] / t}
    ),
    "scores are multiplied": lambda file, t: divide_scores(file, 1 / t),
    "the readout is divided": lambda file, t: replace(
        file, tensors={**file.tensors, "decoder.readout.weight": file.tensors["decoder.readout.weight"] / t}
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_temperatures_are_rejected(
    monkeypatch: pytest.MonkeyPatch, flat: Path, pairs: list[tuple[str, str]], wanted: float, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(calibrated, "divide_scores", WRONG[name])
    with rejected_by_comparison():
        check_temperature(flat, pairs, wanted, tmp_path / "out.safetensors")


def test_predictions_stay_the_same_and_probabilities_are_those_of_divided_scores(
    flat: Path, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    out, divided = tmp_path / "out.safetensors", tmp_path / "divided.safetensors"
    found = peephole.calibrate(flat, pairs, out)
    save_model(divided, divide_scores(load_model(flat), found.temperature))
    before, after, scorer = (peephole.load(path) for path in (flat, out, divided))
    assert after.config.search.calibration == found.temperature
    settings: dict[str, Any] = {"nbest": 3, "max_length_factor": 0, "max_length_extra": 3}  # some are unfinished
    old, new = (model.predict(WORDS, **settings) for model in (before, after))
    assert {p.finished for predictions in old for p in predictions} == {True, False}
    for word, ours, theirs in zip(WORDS, new, old, strict=True):
        assert [p.tokens for p in ours] == [p.tokens for p in theirs]
        for p, was in zip(ours, theirs, strict=True):
            assert len(p.symbol_log_probs) == len(p.tokens) + p.finished == len(was.symbol_log_probs)
            assert p.log_prob == pytest.approx(sum(p.symbol_log_probs), abs=1e-9)
            if p.finished:
                assert p.log_prob == pytest.approx(scorer.score([word], [p.tokens])[0], abs=1e-5)
            else:
                assert p.log_prob > scorer.score([word], [p.tokens])[0]
            assert (p.attention == was.attention).all()
    by_definition = after.predict(WORDS[:5], engine="off")
    for [p], [q] in zip(by_definition, after.predict(WORDS[:5]), strict=True):
        assert p.symbol_log_probs == pytest.approx(q.symbol_log_probs, abs=1e-5)
    sources, targets = map(list, zip(*pairs, strict=True))
    assert after.score(sources, targets) == pytest.approx(scorer.score(sources, targets), abs=1e-5)
    assert after.teacher_forced(sources, targets) == before.teacher_forced(sources, targets)
    num_symbols = sum(len(after.target_symbols.encode(target)) + 1 for target in targets)
    assert -sum(after.score(sources, targets)) / num_symbols == pytest.approx(found.loss_after, abs=1e-6)
    assert -sum(before.score(sources, targets)) / num_symbols == pytest.approx(found.loss_before, abs=1e-6)
    words = list(dict.fromkeys(sources))
    references = [[target for source, target in pairs if source == word] for word in words]
    best = [p[0] for p in after.predict(words)]
    assert (found.symbols_after, found.predictions_after) == measure_reliability(best, references, after)


def test_calibrating_again_finds_the_same_temperature(flat: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    first = peephole.calibrate(flat, pairs[:40], tmp_path / "1.safetensors", beam_size=1)
    assert peephole.calibrate(
        tmp_path / "1.safetensors", pairs[:40], tmp_path / "2.safetensors", beam_size=1
    ).to_dict() == first.to_dict() | {"model": str(tmp_path / "1.safetensors"), "out": str(tmp_path / "2.safetensors")}


def test_ensembles_and_networks_report_calibrated_probabilities() -> None:
    for model in (peephole.load(MODEL, MODEL), Model(*_parts(MODEL))):
        [[p]] = model.predict(["abc"], calibration=2.0)
        [[was]] = model.predict(["abc"])
        assert p.tokens == was.tokens
        assert p.log_prob == pytest.approx(model.score(["abc"], [p.tokens], calibration=2.0)[0], abs=1e-5)
        assert p.log_prob < was.log_prob


def _parts(path: Path) -> tuple[Any, ...]:
    model = peephole.load(path)
    return model.config, model.source_symbols, model.target_symbols, model.networks


def test_a_run_that_goes_on_forgets_the_temperature() -> None:
    from peephole.config import Config
    from peephole.training.start import starting_config

    assert starting_config(Config().with_values({"search.calibration": 0.7})) == Config()


def test_a_quantised_model_keeps_its_number_format(pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    for file in STORED["3"][1:]:
        out = tmp_path / file.name
        found = peephole.calibrate(file, pairs[:20], out, beam_size=1)
        before, after = load_model(file), load_model(out)
        assert after.stored == before.stored
        assert all((after.tensors[name] == tensor).all() for name, tensor in before.tensors.items())
        assert found.loss_after <= found.loss_before


def test_calibration_lowers_the_error_of_an_unsure_model(flat: Path, tmp_path: Path) -> None:
    """The flat model is right more often than it says; its temperature is below 1."""
    pairs = [(word, pronounce(word)) for word in WORDS]
    found = peephole.calibrate(flat, pairs, tmp_path / "out.safetensors")
    assert found.temperature < 1
    assert found.predictions_after.ece.value < found.predictions_before.ece.value
    assert found.symbols_after.ece.value < found.symbols_before.ece.value


def test_the_command_prints_and_writes(flat: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    test = tmp_path / "dev.tsv"
    test.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    out = tmp_path / "out.safetensors"
    done = CliRunner().invoke(command, [str(flat), str(test), "--calibrate", str(out), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["calibration"]
    assert found["temperature"] == peephole.calibrate(flat, test, tmp_path / "2.safetensors").temperature
    shown = CliRunner().invoke(command, [str(flat), str(test), "--calibrate", str(out)], env={"COLUMNS": "100"})
    assert f"{found['predictions_before']['ece']['value']:.2f} [" in shown.stdout
    assert f"temperature {found['temperature']:.3f}" in shown.stdout
    assert "at a limit" not in shown.stdout


def test_a_temperature_at_its_limit_is_said(flat: Path, tmp_path: Path) -> None:
    """The only pair is the model's own prediction, so that a higher probability of its symbols is always better."""
    [[found]] = peephole.load(flat).predict(WORDS[:1])
    (tmp_path / "one.tsv").write_text(f"{WORDS[0]}\t{found.text}\n", encoding="utf-8")
    arguments = [str(flat), str(tmp_path / "one.tsv"), "--calibrate", str(tmp_path / "out.safetensors")]
    shown = CliRunner().invoke(command, arguments, env={"COLUMNS": "100"})
    assert "temperature 0.100" in shown.stdout
    assert "at a limit of the fit (0.1 and 10): use more pairs" in shown.stdout


def test_models_that_cannot_be_calibrated_are_refused(flat: Path, tmp_path: Path) -> None:
    pairs = [("ab", "AH B")]
    with pytest.raises(ConfigError, match="wanted another file to write"):
        peephole.calibrate(flat, pairs, flat)
    with pytest.raises(PeepholeError, match="got an ensemble of 2"):
        peephole.calibrate(peephole.load(flat, MODEL), pairs, tmp_path / "out.safetensors")
    with pytest.raises(ConfigError, match="unknown setting 'beams'"):
        peephole.calibrate(flat, pairs, tmp_path / "out.safetensors", beams=3)
    assert not (tmp_path / "out.safetensors").exists()
    assert isinstance(peephole.load(flat), Model)
