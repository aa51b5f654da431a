"""`peephole train`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from peephole.cli.options import build_config, given, parse_assignments, setting_options, settings_text
from peephole.config import SEARCH_SPACE, Config, read_toml
from peephole.errors import check_path, printable
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
@click.option("--search", is_flag=True, help="Search settings in half of --minutes, then train the best to the end.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run or --search: print plan or trials as JSON.")
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
    search: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on TRAIN, a file of pairs: source and target.

    TRAIN is a TSV or CSV of two columns, JSONL or Parquet with columns source and target, or two parallel files written
    A,B; all but Parquet also as .gz or .zst. Its sources are texts or, in a manifest, names of files of sound, images
    or numbers. With --set data.horizon=STEPS it is a table of series, a column each, to forecast; with --set
    model.input=none texts, one a line, for a language model. The kind of symbols (characters, words, subwords) is
    chosen by the data and printed. Without a budget training takes 20 epochs, or 3,000 updates if these are more; with
    --from 20 epochs.

    With --from, the new model begins with the weights, symbols and settings of another one, except its budget. Without
    TRAIN it is trained on that model's own data, which its run folder names.

    Next to MODEL a folder MODEL.run stores what --resume needs after Ctrl-C, a kill or a power cut. With --dry-run
    nothing is trained or left on the disk, and --out is not needed.

    With --search, half of --minutes is for trials of other sizes and settings, which end early if they are bad; then
    the best trial is trained on to the end. Settings given by --set stay; a table [search_space] in the TOML file
    changes what is searched.
    """
    if resume_folder is not None:
        others = (train_file, from_model, out, assignments, config_path, overwrite, dry_run, search, as_json)
        if any((*others, *options.values())):
            raise click.UsageError("--resume uses the run's own settings; give nothing else but --data and --dev")
        from peephole.training.run_file import read_run

        check_path("--resume", resume_folder)
        read_run(Path(resume_folder))  # before PyTorch is imported, which takes seconds
        from peephole.training import resume

        resume(resume_folder, data=data, dev=dev)
        return
    if data is not None:
        raise click.UsageError("--data is an option of --resume; a new training reads TRAIN")
    if as_json and not (dry_run or search):
        raise click.UsageError("--json is an option of --dry-run and of --search")
    if search and (dry_run or from_model is not None):
        raise click.UsageError("--search begins with initial weights; give it neither --from nor --dry-run")
    if dry_run and from_model is not None:
        raise click.UsageError("--dry-run plans a new model; give it TRAIN without --from")
    if (train_file is None and from_model is None) or (out is None and not dry_run):
        raise click.UsageError("wanted TRAIN and --out MODEL, or --from MODEL and --out MODEL, or --resume RUN")
    if search:
        assert train_file is not None
        assert out is not None
        search_settings(train_file, dev, out, config_path, parse_assignments(assignments) | given(options), overwrite)
        if as_json:
            from peephole.cli.info import describe_search  # imports NumPy, which --help does without
            from peephole.training.run_file import run_folder

            describe_search(run_folder(out), as_json=True)
        return
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
    from peephole.training import train

    train(train_file, dev, out, from_model=from_model, config=config, overwrite=overwrite)


def search_settings(
    train_file: str, dev: str | None, out: str, config_path: str | None, settings: dict[str, Any], overwrite: bool
) -> None:
    """Search settings and train the best ones; those of --set and of the options are fixed."""
    config = None if config_path is None else Config.from_toml(config_path)
    space = {} if config_path is None else read_toml(config_path).get(SEARCH_SPACE, {})
    from peephole.training.tuning.space import check_search

    check_search(config, space, settings)  # before PyTorch is imported, which takes seconds
    from peephole.training import tune

    tune(train_file, dev, out, search_space=space, config=config, overwrite=overwrite, **settings)
