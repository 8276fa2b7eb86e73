"""The published file: one whole DuckDB file a snapshot, and the stable name that points to it.

A snapshot is built beside the others under a name of its own, and becomes visible when the stable
name, a symbolic link, is replaced in one step: no reader ever sees a part of it, and one that has
the old file open keeps it. When to publish is Dagster's affair (`assets/published.py`).
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
from ulid import ULID

from msgmetrics.catalogue import Catalogue, catalogue
from msgmetrics.settings import Settings
from orchestration.progress import remark

# Reading order: an account's rows stand together, in time.
_ORDER = ("account_key", "period_start", "sent_at")
_NOT_PUBLISHED = ("drop_reasons", "event_types")
# Marts that are views of another, in the published file as in the warehouse.
_VIEWS = {
    f"{grain}_by_account": f"select * exclude (channel_name) from {grain}_by_channel"
    for grain in ("hourly", "daily")
}


@dataclass(frozen=True)
class Snapshot:
    """What a published file says of itself; times are in UTC, without a zone."""

    snapshot_id: str
    as_of: datetime
    published_at: datetime
    stale: bool
    checks_passed: int
    checks_warned: int
    batch_id: int
    messages: int
    records_loaded: int
    records_quarantined: int
    files_loaded: int
    files_unreadable: int
    events_waiting: int


def publish(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    *,
    now: datetime,
    checks_passed: int,
    checks_warned: int,
    marts_are_published: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Snapshot:
    """Publishes what the warehouse holds now as a new snapshot, and drops snapshots past keeping.

    The connection is one to the warehouse; its writer must be at rest. `marts_are_published`: the
    marts are those of the current snapshot, so only what it says of itself is written anew.
    """
    settings.snapshots_dir.mkdir(parents=True, exist_ok=True)
    for left_behind in settings.snapshots_dir.glob("*.building*"):
        left_behind.unlink()
    snapshot = _describe(connection, settings, now, checks_passed, checks_warned)
    building = settings.snapshots_dir / f"{snapshot.snapshot_id}.building"
    if marts_are_published:
        _clone(settings.published_path, building)
        with duckdb.connect(str(building)) as published:
            _write_snapshot_row(published, snapshot)
    else:
        _write(connection, building, snapshot, progress)
    finished = settings.snapshots_dir / f"{snapshot.snapshot_id}.duckdb"
    _sync(building)
    building.rename(finished)
    _point(settings.published_path, finished)
    try:
        _drop_old(settings, finished, now)
    except OSError as error:
        remark(
            f"An old snapshot could not be removed ({error}); it is tried again at the next run."
        )
    return snapshot


def _describe(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    now: datetime,
    checks_passed: int,
    checks_warned: int,
) -> Snapshot:
    row = connection.execute(
        """
        select
            (select max(as_of) from raw.batches),
            (select max(batch_id) from raw.batches),
            (select count(*) from marts.messages),
            (select max(sent_at) from marts.messages),
            (select coalesce(sum(loaded), 0)::bigint from raw.files),
            (
                select count(*) from raw.quarantine
                where closed_at is null and row_number is not null
            ),
            (select count(*) from raw.files where status = 'loaded'),
            (select count(*) from raw.quarantine where closed_at is null and row_number is null),
            (select coalesce(sum(events), 0)::bigint from facts.waiting_events)
        """
    ).fetchone()
    assert row is not None
    as_of, batch_id, messages, last_sent_at, loaded, refused, files, unreadable, waiting = row
    newest_allowed = as_of - timedelta(seconds=settings.stale_after)
    return Snapshot(
        snapshot_id=str(ULID.from_datetime(now)),
        as_of=as_of,
        published_at=now.replace(tzinfo=None),
        stale=last_sent_at is None or last_sent_at < newest_allowed,
        checks_passed=checks_passed,
        checks_warned=checks_warned,
        batch_id=batch_id,
        messages=messages,
        records_loaded=loaded,
        records_quarantined=refused,
        files_loaded=files,
        files_unreadable=unreadable,
        events_waiting=waiting,
    )


def published_tables(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """(schema, table) of every table or view that readers see: marts and reference data."""
    return connection.execute(
        "select table_schema, table_name from information_schema.tables "
        "where table_catalog = current_database() and table_schema in ('marts', 'reference') "
        "and not list_contains($hidden, table_name) order by table_schema, table_name",
        {"hidden": list(_NOT_PUBLISHED)},
    ).fetchall()


def _write(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    snapshot: Snapshot,
    progress: Callable[[int, int], None],
) -> None:
    tables = published_tables(connection)
    quoted_path = str(path).replace("'", "''")
    connection.execute(f"attach '{quoted_path}' as published")
    try:
        connection.execute("set preserve_insertion_order = true")
        connection.execute("begin transaction")
        for done, (schema, table) in enumerate(tables):
            progress(done, len(tables))
            columns = [
                name for (name, *_) in connection.execute(f"describe {schema}.{table}").fetchall()
            ]
            order = ", ".join(column for column in _ORDER if column in columns)
            if table not in _VIEWS:
                connection.execute(
                    f"create table published.{table} as select * from {schema}.{table}"
                    + (f" order by {order}" if order and schema == "marts" else "")
                )
                _comment(connection, "table", table, columns)
        for table, select in _VIEWS.items():
            _create_view(connection, table, select)
        (home,) = connection.execute("select current_database()").fetchone()
        connection.execute("use published")
        _write_snapshot_row(connection, snapshot)
        connection.execute(f"use {home}")
        connection.execute("commit")
        progress(len(tables), len(tables))
    finally:
        connection.execute("set preserve_insertion_order = false")
        connection.execute("detach published")


def _write_snapshot_row(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    connection.execute(
        """
        create or replace table snapshots (
            snapshot_id varchar, as_of timestamp, published_at timestamp, stale boolean,
            checks_passed integer, checks_warned integer, batch_id integer, messages bigint,
            records_loaded bigint, records_quarantined bigint, files_loaded bigint,
            files_unreadable bigint, events_waiting bigint
        );
        comment on table snapshots is 'What this file holds. One row.';
        """
    )
    values = asdict(snapshot)
    names = ", ".join(values)
    marks = ", ".join(f"${name}" for name in values)
    connection.execute(f"insert into snapshots ({names}) values ({marks})", values)


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, select: str) -> None:
    """A view that names no database: readers open the file under names of their own."""
    (home,) = connection.execute("select current_database()").fetchone()
    connection.execute("use published")
    connection.execute(f"create view {name} as {select}")
    connection.execute(f"use {home}")
    _comment(connection, "view", name, [])


def _comment(
    connection: duckdb.DuckDBPyConnection, kind: str, table: str, columns: list[str]
) -> None:
    """Says in the file itself what a table or view and its columns are."""

    def text(words: str) -> str:
        return "'" + words.replace("'", "''") + "'"

    if words := table_description(table, catalogue()):
        connection.execute(f"comment on {kind} published.{table} is {text(words)}")
    described = column_descriptions(catalogue())
    for column in columns:
        if words := described.get(column):
            connection.execute(f"comment on column published.{table}.{column} is {text(words)}")


def table_description(table: str, known: Catalogue) -> str | None:
    """What a published table holds and its grain; None for reference tables."""
    for grain, period in (("hourly", "hour"), ("daily", "day")):
        if table.startswith(f"{grain}_by_"):
            mart = table.removeprefix(f"{grain}_by_")
            keys = [d.column for d in known.dimensions.values() if d.mart == mart and not d.name_of]
            others = [key for key in keys if key not in ("account_key", "channel_code")]
            named = ", ".join(["account", "channel", *others])
            return (
                f"Measures and metrics by {period} of sending (UTC). One row per {period}, {named}."
            )
    return {
        "minutely": "Measures by minute of sending (UTC). One row per minute, account, channel.",
        "messages": "Messages with their outcome, no end user's address. One row per message.",
        "url_clicks": "Links clicked in messages. One row per message and link.",
        "accounts": "Accounts with their parent and plan. One row per account.",
    }.get(table)


def column_descriptions(known: Catalogue) -> dict[str, str]:
    """Descriptions of the columns that the catalogue knows, by column name."""
    return {
        "period_start": "Start of the period of sending, in UTC.",
        "message_id": "The message.",
        "sent_at": "When it was submitted, or received if inbound, in UTC.",
        **{d.column: d.description for d in known.dimensions.values()},
        **{m.name: m.description for m in known.measures.values()},
        **{m.column: f"{m.title}: {m.description}" for m in known.metrics.values()},
    }


# ioctl of Linux file systems that share blocks between files until one of them is written.
_FICLONE = 0x40049409


def _clone(source: Path, target: Path) -> None:
    """Copies a file, in no time where the file system can share its blocks."""
    with source.open("rb") as read, target.open("wb") as written:
        try:
            fcntl.ioctl(written, _FICLONE, read.fileno())
        except OSError:
            shutil.copyfileobj(read, written, 16 << 20)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _point(name: Path, target: Path) -> None:
    """Lets the stable name point to the file, in one step."""
    fresh = name.with_suffix(".next")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(target, name.parent))
    fresh.replace(name)


def _drop_old(settings: Settings, current: Path, now: datetime) -> None:
    """Removes snapshots that were replaced longer ago than they are kept."""
    keep_since = (now - timedelta(hours=settings.snapshot_hours)).timestamp()
    files = sorted(settings.snapshots_dir.glob("*.duckdb"))  # ULIDs sort by time
    for file, successor in zip(files, files[1:], strict=False):
        if file != current and successor.stat().st_mtime < keep_since:
            file.unlink(missing_ok=True)
