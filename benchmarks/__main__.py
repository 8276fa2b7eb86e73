"""`python -m benchmarks`: what `make bench` runs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import restatement


def main(
    history: Annotated[
        str, typer.Option(help="Sizes of history to compare, in millions of messages.")
    ] = "0.5,2",
    batches: Annotated[int, typer.Option(help="Batches on each history.", min=1)] = 5,
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
) -> None:
    """Measures restatement: batches on a short and on a long history."""
    sizes = [float(size) for size in history.split(",")]
    restatement.run(
        folder.absolute(),
        sizes,
        batches,
        Console(width=100),
        memory=memory,
        copies=copies,
        again=again,
        publications=publications,
    )


if __name__ == "__main__":
    typer.run(main)
