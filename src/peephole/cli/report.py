"""`peephole report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from peephole.cli.info import to_json
from peephole.cli.lines import print_note
from peephole.cli.progress import progress_bars
from peephole.errors import check_path


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--test", metavar="PAIRS", help="Also measure the model on these pairs.")
@click.option(
    "--out", "-o", metavar="FILE.html", help="The page to write; default: RUN's name, ending in .report.html."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the report as one JSON object; --out alone writes the page."
)
def command(run: str, test: str | None, out: str | None, as_json: bool) -> None:
    """Report a training: RUN is its folder, MODEL.run, also of one that still trains or was stopped.

    Writes one file of HTML: curves, data, metrics with intervals on dev and test, errors, calibration, exposure gap and
    speed. It needs no other file and sends no request.
    """
    from peephole.inspect.report import report

    check_path("RUN", run)
    page = out if as_json or out is not None else str(Path(run).with_suffix(".report.html"))
    with progress_bars(f"reading {run}") as progress:
        found = report(run, test, page, progress=progress)
    if as_json:
        sys.stdout.write(to_json(json.loads(json.dumps(found.to_dict(), default=str))) + "\n")
    for line in found.missing:
        print_note(line)
    if page is not None:
        print_note(f"wrote {page}")
