"""`python -m benchmarks`: what `make bench` runs. How to read what it prints: `README.md`."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import restatement
from benchmarks.disk import measure_room
from benchmarks.loading import measure_loading
from benchmarks.passes import refresh_of, smallest_passes, whole_pass
from benchmarks.plot import write_plot
from benchmarks.questions import ask_questions
from benchmarks.side_by_side import SideBySide, measure, measure_alone, prepare
from benchmarks.table import Figures, Size, table

# What there is to measure, in this order.
PARTS = ("loading", "comparisons", "pass", "overhead", "batches", "questions")
_RESULTS = Path(__file__).with_name("results")
# Up to so many messages the ways take turns three times, beyond them once.
_OFTEN = 2_000_000
_WIDTH = 110


@dataclass(frozen=True)
class Options:
    """What was asked for, as `main` describes it."""

    millions: tuple[float, ...]
    compared: tuple[float, ...]
    parts: frozenset[str]
    folder: Path
    batches: int
    repetitions: int
    seconds: int
    memory: str
    copies: bool
    again: bool
    publications: bool

    def turns(self, messages: int) -> int:
        return self.repetitions or (3 if messages <= _OFTEN else 1)

    def home(self, size: Size) -> Path:
        return self.folder / size.name

    def passed(self, size: Size) -> Path:
        """Where the whole pass over a size publishes."""
        return self.home(size) / "pass"

    def published(self) -> list[Path]:
        """The homes that an earlier run has left published, from the smallest."""
        homes = [self.passed(Size(f"{size:g}M")) for size in self.millions]
        return [home for home in homes if (home / "published" / "msgmetrics.duckdb").exists()]

    def has_questions_to_ask(self) -> bool:
        """Whether there will be something published when questions are to be asked, if any are."""
        if "questions" not in self.parts or "pass" in self.parts:
            return True
        return self.again and bool(self.published())


def main(
    history: Annotated[
        str, typer.Option(help="Sizes of history to compare, in millions of messages.")
    ] = "1,10",
    compared: Annotated[
        str, typer.Option(help="At which of them others are measured, too; unless said, the first.")
    ] = "",
    batches: Annotated[int, typer.Option(help="Batches on each history.", min=1)] = 5,
    repetitions: Annotated[
        int, typer.Option(help="Turns of the ways; 0: three, above 2M messages one.", min=0)
    ] = 0,
    folder: Annotated[Path, typer.Option(help="Where the warehouses are made.")] = Path(
        "var/benchmarks"
    ),
    copies: Annotated[
        bool,
        typer.Option(
            help="Make longer histories of copies of the first, not by a build, if they are so "
            "many times as long; of those the batches alone are measured."
        ),
    ] = False,
    again: Annotated[
        bool, typer.Option(help="Measure on the histories of an earlier run with these options.")
    ] = False,
    publications: Annotated[bool, typer.Option(help="Judge and publish each batch, too.")] = False,
    memory: Annotated[str, typer.Option(help="MSGMETRICS_MEMORY of the builds.")] = "",
    parts: Annotated[str, typer.Option(help=f"What to measure, of {','.join(PARTS)}.")] = "all",
    seconds: Annotated[
        int, typer.Option(help="Of questions, for each number of clients and way.", min=1)
    ] = 5,
    save: Annotated[
        bool, typer.Option(help="Write the table and its plot to benchmarks/results.{txt,svg}.")
    ] = False,
) -> None:
    """Measures msgmetrics, and beside it what else one could write; prints one table."""
    millions = _sizes("--history", history)
    if not millions:
        raise typer.BadParameter("--history names no size.")
    others = _sizes("--compared", compared) or millions[:1]
    if unknown := [size for size in others if size not in millions]:
        raise typer.BadParameter(f"--compared names {unknown[0]:g}, which --history does not.")
    options = Options(
        millions, others, _chosen(parts), folder.absolute(), batches, repetitions, seconds, memory,
        copies, again, publications,
    )  # fmt: skip
    if not options.has_questions_to_ask():
        raise typer.BadParameter(
            "The part `questions` asks what a whole pass has published: name the part `pass` as "
            "well, or give --again after a run that had both."
        )
    console = Console(width=_WIDTH, highlight=False)
    figures = Figures([Size(f"{size:g}M") for size in options.millions])
    try:
        _measure(figures, options, console)
    finally:  # what was measured is shown, whatever failed after it
        console.print()
        console.print(table(figures))
    failures = [f for one in figures.sizes if one.side_by_side for f in one.side_by_side.failures()]
    for sentence in failures:
        console.print(sentence)
    if save:
        _save(figures)
    differs = any(any(of.values()) for one in figures.sizes for of in one.differing().values())
    raise typer.Exit(1 if differs else 0)


def _sizes(option: str, text: str) -> tuple[float, ...]:
    """The sizes that an option names. Raises BadParameter where one is no such number."""
    try:
        sizes = tuple(float(size) for size in text.split(",") if size)
    except ValueError:
        sizes = (0.0,)
    if any(not 1e-6 <= size < math.inf for size in sizes):
        raise typer.BadParameter(f"{option} takes millions of messages, as 1,10; not {text!r}.")
    return sizes


def _chosen(parts: str) -> frozenset[str]:
    named = [part for part in parts.split(",") if part]
    chosen = frozenset(PARTS if named == ["all"] else named)
    if unknown := sorted(chosen - set(PARTS)):
        raise typer.BadParameter(f"There is no part {unknown[0]}: use some of {','.join(PARTS)}.")
    if not chosen:
        raise typer.BadParameter(f"--parts names none: use some of {','.join(PARTS)}.")
    return chosen


def _measure(figures: Figures, options: Options, console: Console) -> None:
    """Fills in the figures, part by part."""
    # A copied history has no files and no refresh of its own.
    for size, millions in list(zip(figures.sizes, options.millions, strict=True)):
        if not options.copies or millions == options.millions[0]:
            _measure_size(size, millions, options, console)
    if "overhead" in options.parts:
        figures.smallest = smallest_passes(options.folder / "smallest")
        console.print("the smallest passes are over")
    if "batches" in options.parts:
        _measure_batches(figures, options, console)
    if "questions" in options.parts:
        passed = [options.passed(size) for size in figures.sizes if size.whole_pass]
        homes = passed or options.published()
        figures.questions = ask_questions(homes[-1], options.seconds)


def _measure_size(size: Size, millions: float, options: Options, console: Console) -> None:
    """What needs the records of one size: loading, the ways side by side, a whole pass.

    Where no others are measured, the refresh is that of the pass, and loading is left out: at any
    size it is of as many records.
    """
    if not options.parts & {"loading", "comparisons", "pass"}:
        return
    messages, others = round(millions * 1e6), millions in options.compared
    ways = SideBySide(messages, options.home(size), options.memory)
    turns = options.turns(messages)
    prepare(ways, console, again=options.again)
    if "loading" in options.parts and others:
        size.loads = measure_loading(ways.records, options.home(size) / "loading", messages, turns)
        console.print(f"{size.name}: loaded {turns} times from either kind of files")
    if "comparisons" in options.parts and others:
        measure(ways, turns, console)
        size.side_by_side = ways
    if "pass" in options.parts:
        home = options.passed(size)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        shutil.copyfile(ways.records, home / "warehouse.duckdb")
        size.whole_pass = whole_pass(home, options.memory)
        published = home / "published" / "msgmetrics.duckdb"
        size.room = measure_room(messages, ways.landing, home / "warehouse.duckdb", published)
        console.print(f"{size.name}: the whole pass is over")
    if "comparisons" in options.parts and not others:
        taken = size.whole_pass and refresh_of(size.whole_pass, options.passed(size))
        measure_alone(ways, taken)
        size.side_by_side = ways


def _measure_batches(figures: Figures, options: Options, console: Console) -> None:
    """On top of the whole passes, where there are any: what they published is brought forward."""
    made, refreshed = {}, {}
    for size, millions in zip(figures.sizes, options.millions, strict=True):
        passed = options.passed(size) / "warehouse.duckdb"
        if size.whole_pass or (options.again and passed.exists()):
            made[millions] = passed
        if size.whole_pass:
            refreshed[millions] = refresh_of(size.whole_pass, passed.parent)
        elif size.side_by_side:
            refreshed[millions] = size.side_by_side.refreshes[-1]
    histories = restatement.run(
        options.folder,
        list(options.millions),
        options.batches,
        console,
        memory=options.memory,
        copies=options.copies,
        again=options.again,
        publications=options.publications,
        made=made,
        refreshed=refreshed,
    )
    for size, history in zip(figures.sizes, histories, strict=True):
        size.history = history


def _save(figures: Figures) -> None:
    with _RESULTS.with_suffix(".txt").open("w", encoding="utf-8") as file:
        Console(width=_WIDTH, file=file).print(table(figures))
    write_plot(figures, _RESULTS.with_suffix(".svg"))


if __name__ == "__main__":
    typer.run(main)
