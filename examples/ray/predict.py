"""Predict the lines of a text file with Ray Data, on this machine or on a cluster.

    pip install ../.. 'ray[data]'
    python predict.py MODEL SOURCES.txt OUT_FOLDER

Each worker loads the model once and predicts blocks of lines. OUT_FOLDER receives Parquet files with the columns `text`
and `target`, with rows in the order of the lines.
"""

import argparse
from pathlib import Path

import ray

import peephole


class Predictor:
    """Hold the model of a worker and predict blocks of lines."""

    def __init__(self, model_file: str) -> None:
        self.model = peephole.load(model_file)

    def __call__(self, batch: dict) -> dict:
        """Return a block of lines with the column of targets added."""
        found = self.model.predict(list(batch["text"]), threads=1, attention=False)
        return {"text": batch["text"], "target": [best[0].text for best in found]}


def main() -> None:
    """Predict the lines of the text file and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("sources")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=1, help="each takes a core; one core is left for reading")
    arguments = parser.parse_args()
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    lines = ray.data.read_text(str(Path(arguments.sources).resolve()), drop_empty_lines=False)
    predicted = lines.map_batches(
        Predictor,
        fn_constructor_args=(str(Path(arguments.model).resolve()),),
        batch_size=1024,
        concurrency=arguments.workers,
    )
    predicted.write_parquet(str(Path(arguments.out).resolve()))


if __name__ == "__main__":
    main()
