"""`python -m benchmarks`: what `make bench` runs. How to read what it prints: `README.md`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import restatement
from benchmarks.disk import measure_room
from benchmarks.loading import measure_loading
from benchmarks.passes import smallest_passes, whole_pass
from benchmarks.plot import write_plot
from benchmarks.side_by_side import SideBySide, measure
from benchmarks.table import Figures, Size, table
from msgmetrics.settings import PROJECT_ROOT

PARTS = ("loading", "compare", "pass", "overhead", "batches", "questions")
_RESULTS = Path(__file__).parent
# Up to so many messages each way is measured as often as was asked for, beyond them once.
_OFTEN = 2_000_000
_WIDTH = 110


def main(
    history: Annotated[
        str, typer.Option(help="Sizes of history to compare, in millions of messages.")
    ] = "1,10",
    batches: Annotated[int, typer.Option(help="Batches on each history.", min=1)] = 5,
    repetitions: Annotated[
        int, typer.Option(help="Turns of the comparisons; 0: three, above 2M messages one.", min=0)
    ] = 0,
    folder: Annotated[Path, typer.Option(help="Where the warehouses are made.")] = Path(
        "var/benchmarks"
    ),
    copies: Annotated[
        bool, typer.Option(help="Make longer histories of copies of the first, not by a build.")
    ] = False,
    again: Annotated[
        bool, typer.Option(help="Measure on the histories of an earlier run with these options.")
    ] = False,
    publications: Annotated[bool, typer.Option(help="Judge and publish each batch, too.")] = False,
    memory: Annotated[str, typer.Option(help="MSGMETRICS_MEMORY of the builds.")] = "",
    parts: Annotated[
        str, typer.Option(help=f"What to measure, of {','.join(PARTS)}.")
    ] = ",".join(PARTS),
    seconds: Annotated[int, typer.Option(help="Of questions, for each number and way.")] = 5,
    save: Annotated[
        bool, typer.Option(help="Write the table and its plot to benchmarks/results.{txt,svg}.")
    ] = False,
) -> None:
    """Measures msgmetrics, and beside it what else one could write; prints one table."""
    console = Console(width=_WIDTH)
    folder, chosen = folder.absolute(), _chosen(parts)
    millions = [float(size) for size in history.split(",")]
    figures = Figures([Size(f"{size:g}M") for size in millions])
    failures: list[str] = []
    refreshed = {}
    for number, (size, of_size) in enumerate(zip(millions, figures.sizes, strict=True)):
        if copies and number:
            continue
        home = folder / of_size.name
        messages = round(size * 1e6)
        turns = repetitions or (3 if messages <= _OFTEN else 1)
        side_by_side = SideBySide(messages, home, memory)
        if {"compare", "loading", "pass"} & chosen:
            prepare(side_by_side, console, again=again)
        if "loading" in chosen:
            of_size.loads = measure_loading(side_by_side.records, home / "loading", messages, turns)
        if "compare" in chosen:
            measure(side_by_side, turns, console)
            of_size.side_by_side = side_by_side
            failures += side_by_side.failures()
            refreshed[size] = side_by_side.refreshes[-1]
    _print(figures, console, save=save)


if __name__ == "__main__":
    typer.run(main)
