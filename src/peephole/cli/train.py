"""`peephole train`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from peephole.cli.options import build_config, setting_options, settings_text
from peephole.errors import printable
from peephole.training.waiting import waiting


@click.command(epilog=settings_text())
@click.argument("train_file", metavar="TRAIN", required=False)
@click.option("--dev", metavar="FILE", help="Pairs that select the best weights; default: held-out sources of TRAIN.")
@click.option("--out", metavar="MODEL", help="The model file to write, ending in .safetensors.")
@click.option("--from", "from_model", metavar="MODEL", help="Go on with a trained model instead of initial weights.")
@setting_options("train.minutes", "train.epochs", "train.steps")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Change a setting, listed below.")
@click.option("--config", "config_path", metavar="FILE", help="Read settings from a TOML file.")
@click.option("--resume", "resume_folder", metavar="RUN", help="Resume a run, given its folder.")
@click.option("--data", metavar="FILE", help="With --resume: the training file, if it was moved; --dev likewise.")
@click.option("--overwrite", is_flag=True, help="Replace the model and its run folder if they exist.")
@click.option("--dry-run", is_flag=True, help="Only read the data, choose the symbols, and estimate memory and time.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print the plan as one JSON object.")
def command(
    train_file: str | None,
    dev: str | None,
    out: str | None,
    from_model: str | None,
    assignments: tuple[str, ...],
    config_path: str | None,
    resume_folder: str | None,
    data: str | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on TRAIN, a file of pairs: source and target.

    TRAIN is a TSV of two columns, JSONL or Parquet with columns source and target, or two parallel files written
    A,B; .tsv and .jsonl also as .gz or .zst. The kind of symbols (characters, words, subwords) is chosen by the data
    and printed. Without a budget training takes 20 epochs.

    With --from, the new model begins with the weights, symbols and settings of another one, except its budget. Without
    TRAIN it is trained on that model's own data, which its run folder names.

    Next to MODEL a folder MODEL.run stores what --resume needs after Ctrl-C, a kill or a power cut. With --dry-run
    nothing is trained or left on the disk, and --out is not needed.
    """
    if resume_folder is not None:
        others = (train_file, from_model, out, assignments, config_path, overwrite, dry_run, as_json, *options.values())
        if any(others):
            raise click.UsageError("--resume uses the run's own settings; give nothing else but --data and --dev")
        from peephole.training.run_file import read_run

        read_run(Path(resume_folder))  # before PyTorch is imported, which takes seconds
        with waiting("loading PyTorch"):
            from peephole.training import resume

        resume(resume_folder, data=data, dev=dev)
        return
    if data is not None:
        raise click.UsageError("--data is an option of --resume; a new training reads TRAIN")
    if as_json and not dry_run:
        raise click.UsageError("--json is an option of --dry-run")
    if dry_run and from_model is not None:
        raise click.UsageError("--dry-run plans a new model; give it TRAIN without --from")
    if (train_file is None and from_model is None) or (out is None and not dry_run):
        raise click.UsageError("wanted TRAIN and --out MODEL, or --from MODEL and --out MODEL, or --resume RUN")
    if from_model is None:
        config = build_config(config_path, assignments, options)
    else:
        from peephole.training.start import config_of_model

        config = build_config(config_path, assignments, options, config_of_model(from_model))
    if dry_run:
        from peephole.training import plan

        assert train_file is not None
        with waiting(f"reading {train_file}"):
            found = plan(train_file, dev, out, config=config, overwrite=overwrite)
        lines = [json.dumps(found.to_dict(), ensure_ascii=False)] if as_json else map(printable, found.lines())
        sys.stdout.writelines(line + "\n" for line in lines)
        return
    assert out is not None
    with waiting("loading PyTorch"):
        from peephole.training import train

    train(train_file, dev, out, from_model=from_model, config=config, overwrite=overwrite)
