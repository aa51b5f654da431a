"""Predict with a model of ours in turns with the other systems; started by predict_speed.py.

The systems: `engine` and `definition` are `Model.predict`, text to text; `onnx` is the search in Python over exported
graphs in ONNX Runtime.
"""

import argparse
from pathlib import Path
from typing import Any

from prediction_rounds import Predict, measured_words, read_pairs, take_turns

import peephole
from peephole.engine import instruction_sets
from peephole.engine.packed import PackedModel


def engine(model_file: Path, threads: int, instruction_set: str) -> tuple[Predict, str]:
    """Return a function that predicts with the engine, and versions."""
    model = peephole.load(model_file)
    for loaded in model._weights.files:
        loaded._packed = PackedModel(loaded.content, instruction_set)

    def predict(words: list[str], beam_size: int) -> list[list[str]]:
        found = model.predict(words, beam_size=beam_size, threads=threads, attention=False)
        return [best[0].tokens for best in found]

    return predict, f"peephole {peephole.__version__}, engine with {instruction_set}"


def definition(model_file: Path, threads: int) -> tuple[Predict, str]:
    """Return a function that predicts with the definition, and versions."""
    import torch

    torch.set_num_threads(threads)
    model = peephole.load(model_file)

    def predict(words: list[str], beam_size: int) -> list[list[str]]:
        found = model.predict(words, beam_size=beam_size, engine="off")
        return [best[0].tokens for best in found]

    return predict, f"peephole {peephole.__version__}, torch {torch.__version__}"


def onnx(folder: Path, threads: int) -> tuple[Predict, str]:
    """Return a function that predicts by a search over ONNX graphs, and versions."""
    import onnxruntime
    import torch

    from peephole.export.stepper import OnnxStepper
    from peephole.search import beam_search, greedy_search
    from peephole.search.torch import pad

    torch.set_num_threads(threads)
    stepper = OnnxStepper(folder, threads=threads)

    def predict(words: list[str], beam_size: int) -> list[list[str]]:
        source, lengths = pad([stepper.source_symbols.encode(word) for word in words])
        longest = 3 * lengths + 20
        if beam_size == 1:
            best = greedy_search(stepper, source, lengths, max_lengths=longest)
        else:
            settings = {"beam_size": beam_size, "nbest": 1}
            best = [found[0] for found in beam_search(stepper, source, lengths, max_lengths=longest, **settings)]
        return [stepper.target_symbols.tokens(hypothesis.ids) for hypothesis in best]

    return predict, f"onnxruntime {onnxruntime.__version__}"


def count_operations(model_file: Path, words_file: Path) -> dict[str, float]:
    """Return the operations a word that the definition's search requests, for each beam size and batch size."""
    from prediction_work import operations_per_word

    from peephole.search.torch import build_network, pad
    from peephole.storage.model_file import load_model

    file = load_model(model_file)
    network = build_network(file)
    words = [letters for letters, _ in read_pairs(words_file)]
    return {
        f"operations_{beam_size}_{batch_size}": operations_per_word(
            file,
            network,
            pad([file.source_symbols.encode(word) for word in measured_words(words, batch_size)]),
            beam_size,
        )
        for beam_size in (1, 5)
        for batch_size in (1, 64)
    }


SYSTEMS = {"engine": engine, "definition": definition, "onnx": onnx}


def main() -> None:
    """Load the model, then predict on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("model", type=Path)
    parser.add_argument("words", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--instruction-set", default=instruction_sets()[0], help="of the engine")
    arguments = parser.parse_args()
    chosen = [arguments.instruction_set] if arguments.system == "engine" else []
    predict, version = SYSTEMS[arguments.system](arguments.model, arguments.threads, *chosen)
    facts: dict[str, Any] = {"version": version}
    if arguments.system == "definition":
        facts |= count_operations(arguments.model, arguments.words)
    take_turns(predict, arguments.words, facts)


if __name__ == "__main__":
    main()
