"""`peephole quantize`."""

from __future__ import annotations

import json
import sys

import click

from peephole.cli.evaluate import ReadingPrinter
from peephole.cli.lines import print_note
from peephole.cli.progress import progress_bars
from peephole.data.files import shown_name
from peephole.errors import printable
from peephole.model.quantization import FORMATS, Quantization, quantize


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--to", "to", type=click.Choice(list(FORMATS)), required=True, help="Number format of the matrices.")
@click.option("--out", metavar="FILE", help="Where to write.  [default: MODEL with .int8 or .bf16 in its name]")
@click.option("--evaluate", "pairs", metavar="PAIRS", help="Measure the loss of accuracy on a file of pairs.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(model: str, to: str, out: str | None, pairs: str | None, as_json: bool) -> None:
    """Write MODEL with its matrices as int8, a quarter of the size, or as bf16 (bfloat16), half of it.

    Predictions differ slightly from those of MODEL; --evaluate measures the difference.
    """
    with progress_bars(f"reading {model}") as progress:
        result = quantize(
            model,
            to,  # type: ignore[arg-type]  # click checks it
            out,
            pairs=pairs,
            progress=progress,
            on_read=ReadingPrinter(shown_name(str(pairs))),
        )
    for note in result.notes:
        print_note(note)
    if as_json:
        sys.stdout.write(json.dumps(result.to_dict(), ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(printable(line) + "\n" for line in describe(result))


def describe(result: Quantization) -> list[str]:
    """Return the result as lines of text."""
    before, after = result.bytes_before, result.bytes_after
    lines = [
        f"{result.model}: {before:,} bytes",
        f"{result.out}: {after:,} bytes, {100 * after / before:.0f} % of it",
        f"largest rounding error: {100 * result.largest_rounding_error:.2f} % of the largest weight in its row "
        f"({result.largest_rounding_error_tensor})",
    ]
    if result.before is not None and result.after is not None:
        for name, score in result.before.scores.items():
            unit = " %" if score.unit == "%" else ""
            after_value = result.after.scores[name].value
            lines.append(f"{name}: {score.value:.2f}{unit} before, {after_value:.2f}{unit} after")
        if result.num_different is not None:
            lines.append(f"predictions that differ: {result.num_different} of {len(result.before.sources)}")
    return lines
