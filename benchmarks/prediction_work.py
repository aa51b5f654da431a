"""Count the floating point operations of the engine's search for a word."""

from typing import Any

import torch
from torch import Tensor

from peephole.nn import Seq2SeqStepper
from peephole.search import beam_search, greedy_search
from peephole.storage.model_file import ModelFile

State = tuple[Any, Tensor, Tensor]  # the stepper's, the source length and the parent of each row


class CountingStepper:
    """Wrap a stepper and count the work that a search requests.

    `rows` counts the hypotheses stepped, `parents` the different rows that they follow from, `attended` the source
    symbols that the parents attend to, and `source` the source symbols read.
    """

    def __init__(self, stepper: Seq2SeqStepper) -> None:
        self.stepper = stepper
        self.source = self.rows = self.parents = self.attended = 0

    def start(self, source: Tensor, source_lengths: Tensor) -> State:
        """Read the sources."""
        self.source += int(source_lengths.sum())
        return self.stepper.start(source, source_lengths), source_lengths, torch.arange(len(source))

    def places(self, source_lengths: Tensor) -> Tensor:
        """Return the places that the model attends to in each source."""
        return self.stepper.places(source_lengths)

    def step(self, state: State, previous: Tensor) -> tuple[Tensor, State, Tensor | None]:
        """Step each row; the rows of the next step store it as their parent."""
        inner, lengths, parents = state
        first = parents.unique(return_inverse=True)[1]
        length_of = {int(parent): int(length) for parent, length in zip(first, lengths, strict=True)}
        self.rows += len(lengths)
        self.parents += len(length_of)
        self.attended += sum(length_of.values())
        log_probs, inner, attention = self.stepper.step(inner, previous)
        return log_probs, (inner, lengths, torch.arange(len(lengths))), attention

    def reorder(self, state: State, rows: Tensor) -> State:
        """Select rows."""
        inner, lengths, parents = state
        return self.stepper.reorder(inner, rows), lengths[rows], parents[rows]


def operations_per_word(file: ModelFile, network: Any, sources: tuple[Tensor, Tensor], beam_size: int) -> float:
    """Return the mean number of operations in a source's products, for models with attention and one layer a side.

    They are counted as the engine computes them: products with embeddings are tables; rows that follow from one row
    share attention and [context ; h] W. A product with a matrix (O, K) is 2 O K operations for each row; gates and
    softmax are not counted.

    Args:
        file: the model.
        network: its network in PyTorch.
        sources: symbol ids (B, T) and lengths (B,).
        beam_size: 1 is greedy search.
    """
    stepper = CountingStepper(Seq2SeqStepper(network))
    longest = 3 * sources[1] + 20  # far above the length of any word
    if beam_size == 1:
        greedy_search(stepper, *sources, max_lengths=longest)
    else:
        beam_search(stepper, *sources, max_lengths=longest, beam_size=beam_size, nbest=1)
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    units = file.config.model.hidden_size
    symbols = shapes["decoder.output.weight"][0]
    attention, memory = shapes["decoder.attention.weight_keys"]
    is_full = "decoder.layers.0.weight_peephole" in shapes and shapes["decoder.layers.0.weight_peephole"][1] == units
    peephole_size = units * units if is_full else 0
    recurrent = [
        shape[0] * shape[1]
        for name, shape in shapes.items()
        if name.startswith("encoder.recurrent")
        and (name.endswith("weight_hidden") or (is_full and name.endswith("weight_peephole")))
    ]
    of_source = sum(recurrent) + attention * memory
    of_parent = 4 * units * (memory + units) + attention * units + units * memory + 2 * peephole_size
    of_row = peephole_size + units * units + symbols * units
    products = stepper.source * of_source + stepper.parents * of_parent + stepper.rows * of_row
    return 2 * (products + stepper.attended * (attention + memory)) / len(sources[1])
