"""Train one of our models in turns with the other systems; started by train_speed.py.

The model, the loss, the optimiser and the step are those of `peephole train`: `build_seq2seq` and `train_step`.
"""

import argparse
from functools import partial
from pathlib import Path

import peephole  # before PyTorch, as in `peephole train`: it sets how PyTorch's idle threads wait

# isort: split
import numpy
import torch
from lightning_fabric import Fabric
from rounds import Batches, count_target_symbols, read_batches, take_turns

from peephole.config import ModelConfig, TrainConfig
from peephole.data.batch import Batch, make_batch
from peephole.engine.choice import engine_in_use
from peephole.nn import Seq2Seq, build_seq2seq, use_engine
from peephole.symbols import SPECIALS
from peephole.training.loop import train_step
from peephole.training.state import TrainState
from peephole.training.torch_executor import TorchExecutor

KINDS = {
    **{form: {"peephole": form} for form in ("full", "diagonal", "none")},
    "zoneout": {"zoneout_hidden": 0.1, "zoneout_cell": 0.05},
    "norm": {"layer_norm": True},
}
"""The kinds of recurrent layers: settings of ModelConfig; the last two have full peepholes."""
DROPOUT = 0.2
MODEL = partial(ModelConfig, hidden_size=256, embedding_size=128, dropout=DROPOUT)
TRAINING = TrainConfig(
    learning_rate=0.001,
    schedule="constant",
    warmup=0.0,
    weight_decay=0.0,
    clip_norm=5.0,
    label_smoothing=0.0,
    ema_decay=0.0,
)


def to_batches(batches: Batches) -> list[Batch]:
    """Return the batches as the corpus yields them."""
    source_ids = {s: i for i, s in enumerate(batches["source_symbols"], len(SPECIALS))}
    target_ids = {s: i for i, s in enumerate(batches["target_symbols"], len(SPECIALS))}
    made = []
    for batch in batches["batches"]:
        sources = [numpy.array([source_ids[s] for s in letters], numpy.int32) for letters, _ in batch]
        targets = [numpy.array([target_ids[s] for s in phones.split()], numpy.int32) for _, phones in batch]
        made.append(make_batch(sources, targets, numpy.arange(len(batch))))
    return made


def count_operations(network: Seq2Seq, batches: Batches) -> int:
    """Count the floating point operations of all matrix products of a pass, forward and backward, over real symbols.

    A matrix (O, K) that multiplies a row takes 2 O K of them, and as many for each of its two gradients. The bridge's
    products, the gates, the softmax, embeddings and the optimiser are left out.
    """
    pairs = [pair for batch in batches["batches"] for pair in batch]
    of_source = sum(len(letters) for letters, _ in pairs)
    of_target = sum(len(phones.split()) + 1 for _, phones in pairs)
    attended = sum(len(letters) * (len(phones.split()) + 1) for letters, phones in pairs)
    products = 0
    for name, weight in network.named_parameters():
        is_matrix = weight.ndim == 2 and weight.shape[0] > 3  # 3: diagonal peepholes
        if is_matrix and "embedding" not in name:
            rows = of_source if name.startswith("encoder.") or name.endswith("weight_keys") else of_target
            products += rows * weight.numel()
    keys, memory = network.decoder.attention.weight_keys.shape
    return 3 * 2 * (products + attended * (keys + memory))


def main() -> None:
    """Build the model, then train on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("batches", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--instruction-set", default="auto", help="of the engine; auto: the best; off: none")
    parser.add_argument("--precision", default="32-true", help="as train.precision")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(TRAINING.seed)

    batches = read_batches(arguments.batches)
    made = to_batches(batches)
    num_symbols = count_target_symbols(batches)
    network = build_seq2seq(
        MODEL(**KINDS[arguments.kind]),
        len(SPECIALS) + len(batches["source_symbols"]),
        len(SPECIALS) + len(batches["target_symbols"]),
    )
    fabric = Fabric(accelerator="cpu", devices=1, precision=arguments.precision)
    state = TrainState(TorchExecutor(fabric, network, TRAINING, DROPOUT))

    def train_pass() -> float:
        total = 0.0
        for batch in made:
            loss, _, _ = train_step(state, batch, TRAINING, progress=0.5)
            state.position.step += 1
            total += loss * batch.num_symbols
        return total / num_symbols

    with use_engine(arguments.instruction_set):
        used = f"engine {engine_in_use()}" if engine_in_use() else "no engine"
        facts = {
            "version": f"peephole {peephole.__version__}, {used}, {arguments.precision}, torch {torch.__version__}",
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "steps": len(made),
            "symbols": num_symbols,
            "operations": count_operations(network, batches),
        }
        take_turns(train_pass, num_symbols, facts)


if __name__ == "__main__":
    main()
