"""What a batch costs on a short and on a long history, as ratios taken in one run.

Batches of new messages with their events, and late events for any message of the whole history, are
built in turn on each history. Printed: seconds by purpose, rows, peak memory, and the ratios that
matter: long against short history, and against a plain scan of raw records. Loading is not in it;
judging and publishing are, if they are asked for.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic
from types import MappingProxyType

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks.builds import COMPUTE, FIND, FOLD, OTHER, Build, build
from benchmarks.comparisons.differences import unlike_rows
from benchmarks.history import lengthen_history, write_batch, write_history
from benchmarks.publications import Publication, publish_batch

BATCH = 100_000
_SCANNED = 10_000_000


@dataclass
class History:
    """A warehouse with that many messages of history, and what was measured on it."""

    messages: int
    path: Path
    original: int | None = None
    refresh: Build | None = None
    batches: list[Build] = field(default_factory=list)
    touched: list[int] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    publications: list[Publication] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.messages / 1e6:g}M"

    def batches_before(self) -> int:
        """How many batches earlier runs have put upon it."""
        with self.open() as connection:
            (messages,) = connection.execute("select count(*) from raw.messages").fetchone()
        return (messages - self.messages) // BATCH

    def open(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(self.path))
        connection.execute("set preserve_insertion_order = false")
        # What this process holds on to is missing where the system keeps the file in memory.
        connection.execute("set memory_limit = '4GB'")
        return connection


def run(
    folder: Path,
    millions: list[float],
    batches: int,
    console: Console,
    *,
    memory: str,
    copies: bool,
    again: bool,
    publications: bool,
    made: Mapping[float, Path] = MappingProxyType({}),
    refreshed: Mapping[float, Build] = MappingProxyType({}),
) -> list[History]:
    """Makes the histories, measures, prints; returns what it measured.

    copies: a long history is made of the short one. again: the histories of an earlier run are
    measured once more, with what its batches left. publications: batches are judged and published.
    made: by millions of messages, warehouses that hold such a history, where it is not to be made
    in a folder of its size. refreshed: the full refreshes that have just made them.
    """
    histories = [
        History(
            round(size * 1e6), made.get(size, folder / f"{size:g}M" / "warehouse.duckdb"),
            refresh=refreshed.get(size),
        )
        for size in millions
    ]  # fmt: skip
    for history in histories:
        if history.refresh is None:
            _make(history, histories[0], console, memory, copies=copies, again=again)
    if publications:
        # Two files take turns, and the first publications make them.
        for history in histories * 2:
            publish_batch(history.path)
    scans = []
    first = max(history.batches_before() for history in histories) if again else 0
    for number in range(first, first + batches):
        for history in histories:
            with history.open() as connection:
                write_batch(connection, history.messages, number, BATCH, history.original)
            scans.append(_scan(histories[0]))
            history.batches.append(build(history.path, seeds=False, memory=memory, one_by_one=True))
            _count(history)
            if publications:
                history.publications.append(publish_batch(history.path))
            console.print(
                f"batch {number + 1} on {history.name}: {history.batches[-1].sql:.1f} s of SQL"
            )
    scan = median(scans)
    console.print(_table(histories, scan))
    for sentence in _ratios(histories, scan):
        console.print(sentence)
    for sentence in _differences(histories[0], memory):
        console.print(sentence)
    return histories


def _make(
    history: History, short: History, console: Console, memory: str, *, copies: bool, again: bool
) -> None:
    is_copy = copies and history is not short and history.messages % short.messages == 0
    if again:
        history.original = short.messages if is_copy else None
    elif is_copy:
        _lengthen(short, history, console)
    else:
        _prepare(history, console, memory)


def _prepare(history: History, console: Console, memory: str) -> None:
    history.path.parent.mkdir(parents=True, exist_ok=True)
    history.path.unlink(missing_ok=True)
    started = monotonic()
    with history.open() as connection:
        write_history(connection, history.messages)
    written = monotonic() - started
    history.refresh = build(history.path, seeds=True, memory=memory)
    console.print(
        f"history {history.name}: written in {written:.0f} s; first build "
        f"{history.refresh.sql:.0f} s of SQL, peak {history.refresh.peak:,} MiB"
    )


def _lengthen(short: History, long: History, console: Console) -> None:
    long.path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(short.path, long.path)
    started = monotonic()
    with long.open() as connection:
        lengthen_history(connection, short.messages, long.messages // short.messages)
    long.original = short.messages
    console.print(f"history {long.name}: copied from {short.name} in {monotonic() - started:.0f} s")


def _scan(history: History) -> float:
    """Seconds to read every column of this history's raw messages and events once."""
    with history.open() as connection:
        started = monotonic()
        for table in ("messages", "events"):
            columns = connection.execute(f"describe raw.{table}").fetchall()
            least = ", ".join(f"min({name})" for name, *_ in columns)
            connection.execute(f"select {least} from raw.{table}").fetchall()
        return monotonic() - started


def _count(history: History) -> None:
    with history.open() as connection:
        (batch,) = connection.execute("select max(batch_id) from raw.batches").fetchone()
        (touched,) = connection.execute(
            "select count(*) from restatement.touched_messages"
        ).fetchone()
        (changes,) = connection.execute(
            "select count(*) from facts.fct_messages_changes where batch_id = ?", [batch]
        ).fetchone()
        tables = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'parts'"
        ).fetchall()
        parts = sum(
            connection.execute(
                f"select count(*) from parts.{name} where batch_id = ?", [batch]
            ).fetchone()[0]
            for (name,) in tables
        )
    history.touched.append(touched)
    history.changes.append(changes)
    history.parts.append(parts)


def _of(history: History, purpose: str) -> float:
    return median(batch.seconds[purpose] for batch in history.batches)


def _sql(history: History) -> float:
    return median(batch.sql for batch in history.batches)


def _judging(history: History) -> float:
    return median(publication.gate for publication in history.publications)


def _publishing(history: History) -> float:
    return median(publication.publishing for publication in history.publications)


def _table(histories: list[History], scan: float) -> Table:
    table = Table(title=f"A batch of {BATCH:,} messages; medians of {len(histories[0].batches)}")
    table.add_column("what")
    for history in histories:
        table.add_column(f"{history.name} history", justify="right")
    rows = {
        "messages touched": lambda h: f"{median(h.touched):,.0f}",
        "rows of changes written": lambda h: f"{median(h.changes):,.0f}",
        "rows of marts written": lambda h: f"{median(h.parts):,.0f}",
        "find what is touched, s": lambda h: f"{_of(h, FIND):.2f}",
        "compute and compare, s": lambda h: f"{_of(h, COMPUTE):.2f}",
        "fold all marts, s": lambda h: f"{_of(h, FOLD):.2f}",
        "other models, s": lambda h: f"{_of(h, OTHER):.2f}",
        "SQL in all, s": lambda h: f"{_sql(h):.2f}",
        "wall of the dbt process, s": lambda h: f"{median(b.wall for b in h.batches):.1f}",
        "peak memory, MiB": lambda h: f"{max(b.peak for b in h.batches):,}",
        "first build, SQL s": lambda h: f"{h.refresh.sql:.1f}" if h.refresh else "copied",
        "first build, peak MiB": lambda h: f"{h.refresh.peak:,}" if h.refresh else "copied",
    }
    if histories[0].publications:
        rows["judge what was touched, s"] = lambda h: f"{_judging(h):.2f}"
        rows["publish, s"] = lambda h: f"{_publishing(h):.2f}"
    for what, value in rows.items():
        table.add_row(what, *(value(history) for history in histories))
    table.add_row(f"plain scan of {histories[0].name} and events, s", f"{scan:.2f}")
    return table


def _ratios(histories: list[History], scan: float) -> list[str]:
    short, long = histories[0], histories[-1]
    scan_of_ten = scan * _SCANNED / short.messages
    scaled = "" if short.messages == _SCANNED else f" (the scan of {short.name}, scaled)"
    found = _of(long, FIND) + _of(long, COMPUTE)
    sentences = [
        f"find and compute at {long.name} / scan of 10M{scaled}: {found / scan_of_ten:.2f}",
        f"fold all marts at {long.name} / scan of 10M{scaled}: {_of(long, FOLD) / scan_of_ten:.2f}",
    ]
    for history in histories:
        if history.refresh:
            sentences.append(
                f"batch / full refresh at {history.name}, all of whose days it touches: "
                f"{_sql(history) / history.refresh.sql:.3f}"
            )
    for history in histories:
        if history.publications:
            sentences += [
                f"publishing / SQL of the batch at {history.name}: "
                f"{_publishing(history) / _sql(history):.2f}",
                f"judging / SQL of the batch at {history.name}: "
                f"{_judging(history) / _sql(history):.2f}",
            ]
    if long is not short and long.publications:
        sentences.append(
            f"publishing, {long.name} / {short.name}: {_publishing(long) / _publishing(short):.2f}"
        )
    if long is not short:
        sentences += [
            f"SQL of the batch, {long.name} / {short.name}: {_sql(long) / _sql(short):.2f}",
            f"messages touched, {long.name} / {short.name}: "
            f"{median(long.touched) / median(short.touched):.4f}",
            f"rows of changes, {long.name} / {short.name}: "
            f"{median(long.changes) / median(short.changes):.4f}",
        ]
    return sentences


def _differences(history: History, memory: str) -> list[str]:
    """Whether the batches left what a full build of the same records makes."""
    refreshed = History(history.messages, history.path.with_name("refreshed") / "warehouse.duckdb")
    refreshed.path.parent.mkdir(exist_ok=True)
    refreshed.path.unlink(missing_ok=True)
    with history.open() as connection:
        connection.execute(f"attach '{refreshed.path}' as refreshed")
        connection.execute("create schema refreshed.raw")
        for table in ("messages", "events", "accounts", "batches", "files"):
            connection.execute(f"create table refreshed.raw.{table} as from raw.{table}")
        connection.execute("detach refreshed")
    build(refreshed.path, seeds=True, memory=memory)
    # Views name their tables by the file's name, so rows of the one are copied for the other.
    copies = refreshed.path.with_name("rows.duckdb")
    copies.unlink(missing_ok=True)
    with refreshed.open() as connection:
        tables = _compared(connection)
        connection.execute(f"attach '{copies}' as copies")
        for number, (name, _) in enumerate(tables):
            connection.execute(f"create table copies.copy_{number} as from {name}")
    with history.open() as connection:
        connection.execute(f"attach '{copies}' as copies (read_only)")
        unlike = {name for name, _ in {*_compared(connection)} ^ {*tables}}
        for number, (name, columns) in enumerate(tables):
            copy = f"copies.copy_{number}"
            if name not in unlike and unlike_rows(connection, name, copy, columns, columns):
                unlike.add(name)
    copies.unlink()
    return [
        f"incremental against full refresh at {history.name}, every row of {len(tables)} tables: "
        f"{', '.join(sorted(unlike)) or 'none'} differ{'' if unlike else 's'}"
    ]


def _compared(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, tuple[str, ...]]]:
    """Marts and facts, each with its columns."""
    names = connection.execute(
        "select table_schema || '.' || table_name from information_schema.tables "
        "where table_catalog = current_database() and table_schema = 'marts' order by all"
    ).fetchall()
    return [
        (name, tuple(column for column, *_ in connection.execute(f"describe {name}").fetchall()))
        for (name,) in [*names, ("facts.fct_messages",), ("facts.fct_url_clicks",)]
    ]
