"""How the command line speaks: answers on standard output, everything for eyes on standard error.

No command lives here.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# A file or pipe has no edge at which lines would have to be broken.
_ENDLESS = 10_000
eyes = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 160)


def console_for_answers() -> Console:
    """Standard output, for tables that are the answer of a command."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _ENDLESS)


def say(text: str) -> None:
    """A line for eyes."""
    eyes.print(text, markup=False, soft_wrap=True)


def plain(value: Any) -> Any:
    """A value as JSON can hold it; moments are UTC and end in Z."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object, alone, on standard output."""
    print(json.dumps(value, default=plain, ensure_ascii=False))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on standard error."""
    eyes.print(table_of(title, columns, rows), markup=False)


def table_of(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table for eyes; numbers stand to the right."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for position, column in enumerate(columns):
        is_number = bool(rows) and all(
            isinstance(row[position], int | float | Decimal | None) for row in rows
        )
        table.add_column(
            column,
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=is_number or column == "label",
        )
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Decimal):
        return f"{value.normalize():,f}"
    if isinstance(value, datetime | date):
        return plain(value)
    # A record's text may hold control characters that would move the cursor.
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value))


@contextmanager
def progress_bars() -> Iterator[Any]:
    """Yields a function (stage, done, total) that keeps one bar for each stage."""
    tasks: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description}", justify="left"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        console=eyes,
    ) as bars:

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for earlier in tasks.values():
                    bars.stop_task(earlier)
                tasks[stage] = bars.add_task(stage, total=max(total, 1))
            bars.update(tasks[stage], completed=done if total else 1, total=max(total, 1))

        yield tell
