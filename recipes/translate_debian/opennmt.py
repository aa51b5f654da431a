"""Train OpenNMT-py 3.5.1 on the recipe's data, with the same subwords, layer sizes and minutes.

    python recipes/translate_debian/run.py                                     first
    python recipes/translate_debian/opennmt.py --onmt-python onmt/bin/python

benchmarks/README.md describes how to make an environment with OpenNMT-py. Give --to, --minutes and --threads the same
values as for run.py. Finished stages are skipped; to train again, remove the files named opennmt* in the folder of the
results. The program prints all tables again, with OpenNMT-py included.

The model is OpenNMT-py's own of the same shape: a bidirectional LSTM as encoder, an LSTM decoder with additive
attention and input feeding. It uses the subwords of the recipe's attention model, so the vocabularies are the same, and
so are batch size (in target symbols), dropout and label smoothing. The optimiser is Adam with OpenNMT-py's default
clipping (5) and uniform initial weights (0.1). The learning rate rises for 5 % of the minutes and then falls to 0 along
a cosine, as in the recipe; this is set here because OpenNMT-py's own schedules count updates, not minutes. The moving
average of the weights is used, as for the recipe's model. The number format is float32, the only one in which
OpenNMT-py trains on a CPU.

Both searches rank by the mean log-probability of a symbol (OpenNMT-py's `avg`, the recipe's length_penalty 1).
OpenNMT-py's minutes hold only training; the recipe's include its evaluations on dev and its checkpoints.
"""

import json
import subprocess
from pathlib import Path

from report import OPENNMT, SYSTEMS, report
from run import shared_options
from run_options import results_folder
from stages import model_path, predictions_path, read_test, run_logged, write_text

from peephole import Model, load
from peephole.symbols import SPECIALS, Symbols
from peephole.symbols.learning import SPACE

WORKER = Path(__file__).parent / "opennmt_worker.py"


def write_segmented(path: Path, texts: list[str], symbols: Symbols) -> None:
    """Write texts as subwords separated by spaces, one text a line; both systems write `<unk>` for unknown ones."""
    write_text(path, "".join(f"{' '.join(symbols.tokens(symbols.encode(text)))}\n" for text in texts))


def join_subwords(line: str) -> str:
    """Return the text of a line of subwords, as peephole joins its own.

    >>> join_subwords("▁una ▁libre ria ▁C")
    'una libreria C'
    """
    return line.replace(" ", "").replace(SPACE, " ").strip()


def ordinary_symbols(symbols: Symbols) -> list[str]:
    """Return all symbols but the special ones, in the order of their ids."""
    return symbols.tokens(range(len(SPECIALS), len(symbols)))


def write_task(folder: Path, data: Path, model: Model, minutes: float, learning_rate: float) -> None:
    """Write the worker's input: the segmented files and task.json."""
    pairs = [line.split("\t") for line in (data / "train.tsv").read_text(encoding="utf-8").splitlines()]
    write_segmented(folder / "train.src", [english for english, _ in pairs], model.source_symbols)
    write_segmented(folder / "train.tgt", [translated for _, translated in pairs], model.target_symbols)
    write_segmented(folder / "test.src", read_test(data / "test.tsv").sources, model.source_symbols)
    config = model.config
    if (config.model.attention, config.model.encoder_layers, config.model.decoder_layers) != ("additive", 1, 1):
        raise SystemExit("opennmt.py: wanted a model of one layer each with additive attention")
    task = {
        "source_symbols": ordinary_symbols(model.source_symbols),
        "target_symbols": ordinary_symbols(model.target_symbols),
        "pairs": len(pairs),
        "hidden_size": config.model.hidden_size,
        "embedding_size": config.model.embedding_size,
        "dropout": config.model.dropout,
        "label_smoothing": config.train.label_smoothing,
        "batch_symbols": config.data.batch_symbols,
        "warmup": config.train.warmup,
        "average_decay": 1 - config.train.ema_decay,
        "learning_rate": learning_rate,
        "minutes": minutes,
        "seed": config.train.seed,
    }
    write_text(folder / "task.json", json.dumps(task, ensure_ascii=False))


def translate(python: str, folder: Path, beam_size: int, threads: int) -> list[str]:
    """Translate the test sentences with OpenNMT-py's own program."""
    out = folder / f"test.{beam_size}.tgt"
    command = [python, "-m", "onmt.bin.translate", "-model", str(folder / "model.pt"), "-src", str(folder / "test.src")]
    command += ["-output", str(out), "-beam_size", str(beam_size), "-batch_size", "64", "-length_penalty", "avg"]
    command += ["-max_length_ratio", "3", "-max_length", "250"]  # far above any sentence here, as in the recipe
    run_logged(command, folder / "translate.log", {"OMP_NUM_THREADS": str(threads)})
    return [join_subwords(line) for line in out.read_text(encoding="utf-8").split("\n")[:-1]]


def main() -> None:
    """Run the stages that are not finished."""
    parser = shared_options(__doc__)
    parser.add_argument("--onmt-python", metavar="PATH", required=True, help="Python of OpenNMT-py's environment")
    parser.add_argument("--learning-rate", type=float, default=0.001, help="Adam's (default: 0.001, its usual)")
    arguments = parser.parse_args()
    tried = subprocess.run([arguments.onmt_python, "-c", "import onmt"], capture_output=True, check=False)
    if tried.returncode:
        parser.error(f"--onmt-python {arguments.onmt_python}: cannot import onmt")
    if arguments.steps:
        parser.error("--steps: OpenNMT-py is trained for minutes here")
    data = arguments.data / f"en-{arguments.to}"
    results = results_folder(data, arguments.minutes, None)
    trained = model_path(results, SYSTEMS[0], seed=1)
    if not trained.with_suffix(".json").is_file():
        parser.error(f"{results}: no finished training there; run run.py first, with the same options")
    folder = results / "opennmt"
    folder.mkdir(exist_ok=True)
    model = load(trained)
    facts = model_path(results, OPENNMT, seed=1).with_suffix(".json")
    if not facts.is_file():
        write_task(folder, data, model, arguments.minutes, arguments.learning_rate)
        found = folder / "facts.json"
        command = [arguments.onmt_python, str(WORKER), str(folder), str(found), "--threads", str(arguments.threads)]
        memory = run_logged(command, folder / "train.log", {"OMP_NUM_THREADS": str(arguments.threads)})
        measured = json.loads(found.read_text(encoding="utf-8")) | {"memory": memory}
        write_text(facts, json.dumps(measured, indent=1) + "\n")
    for search in OPENNMT.searches:
        path = predictions_path(results, OPENNMT, 1, search)
        if not path.is_file():
            lines = translate(arguments.onmt_python, folder, search.options["beam_size"], arguments.threads)
            write_text(path, "".join(f"{line}\n" for line in lines))
    report(results, data / "test.tsv")


if __name__ == "__main__":
    main()
