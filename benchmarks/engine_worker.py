"""Train one of our models on the engine alone, in turns with the other systems; started by train_speed.py.

The model, its first weights and the settings are those of peephole_worker.py; each step is one call of the engine.
PyTorch only draws the first weights.
"""

import argparse
from pathlib import Path

import peephole

# isort: split
import torch
from peephole_worker import DROPOUT, KINDS, MODEL, TRAINING, count_operations, to_batches
from rounds import count_target_symbols, read_batches, take_turns

from peephole.engine import instruction_sets
from peephole.engine.step_settings import StepSettings
from peephole.engine.trainer import EngineTrainer
from peephole.nn import build_seq2seq
from peephole.nn.schema import Architecture
from peephole.symbols import SPECIALS


def main() -> None:
    """Build the model, then train on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("batches", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--instruction-set", default=instruction_sets()[0])
    parser.add_argument("--precision", default="32-true", help="as train.precision")
    arguments = parser.parse_args()
    torch.manual_seed(TRAINING.seed)

    batches = read_batches(arguments.batches)
    made = to_batches(batches)
    num_symbols = count_target_symbols(batches)
    config = MODEL(**KINDS[arguments.kind])
    sizes = [len(SPECIALS) + len(batches[side]) for side in ("source_symbols", "target_symbols")]
    network = build_seq2seq(config, *sizes)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    settings = StepSettings(
        DROPOUT,
        TRAINING.variational_dropout,
        TRAINING.label_smoothing,
        TRAINING.clip_norm,
        TRAINING.weight_decay,
        TRAINING.ema_decay,
        arguments.threads,
        arguments.precision,
        TRAINING.seed,
    )
    trainer: EngineTrainer | None = None
    steps = 0

    def train_pass() -> float:
        nonlocal steps, trainer
        if trainer is None:  # here, so that gradients and moments count as memory of training, as PyTorch's do
            trainer = EngineTrainer(Architecture.of(config), *sizes, weights, settings, arguments.instruction_set)
        total = 0.0
        for batch in made:
            arrays = batch.source, batch.source_lengths, batch.target, batch.examples
            how = {"learning_rate": TRAINING.learning_rate, "divisor": batch.num_symbols}
            total += trainer.step(*arrays, step=steps, **how).loss
            steps += 1
        return total / num_symbols

    facts = {
        "version": f"peephole {peephole.__version__}, engine {arguments.instruction_set} alone, {arguments.precision}",
        "parameters": sum(array.size for array in weights.values()),
        "steps": len(made),
        "symbols": num_symbols,
        "operations": count_operations(network, batches),
    }
    take_turns(train_pass, num_symbols, facts)


if __name__ == "__main__":
    main()
