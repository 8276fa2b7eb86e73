"""Nightly maintenance: order and room of the published file and of the warehouse, and what is kept.

It changes no number. When it runs stands in `schedules.py`; what a pass does in any case, such as
the removal of published files past keeping, in `publishing.py`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb

from msgmetrics.settings import Settings
from orchestration import progress
from orchestration.asset_keys import FACTS
from orchestration.dbt import drop_old_artefacts
from orchestration.failures import TRIED_AGAIN, explained
from orchestration.loading.system import is_without_room, no_room
from orchestration.published_rows import published_snapshot
from orchestration.publishing import publish, sync
from orchestration.resources import Writer
from orchestration.restatement import (
    forget_old_changes,
    is_published_in_order,
    remember_in_order,
    remember_published,
    unfinished,
)
from orchestration.runs import drop_old_records
from orchestration.warehouse import warehouse

_COPY = "compacted"


@dataclass(frozen=True)
class Room:
    """Bytes of a file before and after it was written anew."""

    before: int
    after: int


@dg.op(
    retry_policy=TRIED_AGAIN,
    description="Order and room of the files, and what is kept of changes and runs.",
)
def maintain(context: dg.OpExecutionContext, writer: Writer) -> None:
    """One night's maintenance; the right to write the warehouse is held throughout."""
    settings, now = writer.settings, datetime.now(UTC)
    with explained(context, settings):
        found: dict[str, object] = {}
        with warehouse(settings) as connection:
            left = unfinished(connection, settings)
            found["change_rows_dropped"] = forget_old_changes(connection, settings, now)
            if left:
                context.log.info(f"The published file is left as it is: {left[0]}")
            elif room := restore_order(connection, settings, now):
                found |= {"published_bytes_before": room.before, "published_bytes": room.after}
        if room := compact(settings):
            found |= {"warehouse_bytes_before": room.before, "warehouse_bytes": room.after}
        dropped = 0
        while some := drop_old_records(context.instance, settings, FACTS, now=now):
            dropped += some
        found["run_records_dropped"] = dropped
        drop_old_artefacts(settings)
    context.add_output_metadata(found)


def restore_order(
    connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime
) -> Room | None:
    """Publishes the same rows once more, in reading order and without the room of replaced ones.

    The marts must be those that are published. Returns None where nothing was brought forward since
    they were written in order. Raises UserError where the disk is full.
    """
    last = published_snapshot(connection, settings)
    if last is None or is_published_in_order(connection, last["batch_id"]):
        return None
    before = settings.published_path.stat().st_size
    snapshot = publish(
        connection,
        settings,
        now=now,
        checks_passed=last["checks_passed"],
        checks_warned=last["checks_warned"],
        anew=True,
        progress=lambda done, total: progress.tell("writing tables in order", done, total),
    )
    remember_published(connection)
    remember_in_order(connection, snapshot.batch_id)
    return Room(before, settings.published_path.stat().st_size)


def compact(settings: Settings) -> Room | None:
    """Writes the warehouse file anew if more of it is free than MSGMETRICS_COMPACT_ABOVE.

    DuckDB fills free blocks again, but gives none back. A copy is made beside the file, looked
    through, and takes its name in one step, while the old one still is held: a process that is
    killed leaves the old file or the new one, whole. The caller has the right to write. Raises
    UserError where the disk is full.
    """
    path = settings.warehouse_path
    fresh = path.with_suffix(f".{_COPY}")
    _remove(fresh)
    with warehouse(settings) as connection:
        connection.execute("checkpoint")
        if free_share(connection) <= settings.compact_above or _log_of(path).exists():
            return None
        before = path.stat().st_size
        try:
            _copy(connection, fresh)
            sync(fresh)
            after = fresh.stat().st_size
            fresh.replace(path)
        except (duckdb.Error, OSError) as error:
            _remove(fresh)
            if is_without_room(error):
                raise no_room(path.parent) from None
            raise
        sync(path.parent)
    return Room(before, after)


def free_share(connection: duckdb.DuckDBPyConnection) -> float:
    """The share of the connection's file that holds nothing."""
    ((free, total),) = connection.execute(
        "select free_blocks, total_blocks from pragma_database_size() "
        "where database_name = current_database()"
    ).fetchall()
    return free / max(total, 1)


def _copy(connection: duckdb.DuckDBPyConnection, fresh: Path) -> None:
    """Copies tables, views and what they say of themselves, each table in the order it has."""
    (home,) = connection.execute("select current_database()").fetchone()
    quoted_path = str(fresh).replace("'", "''")
    connection.execute(f"attach '{quoted_path}' as {_COPY}")
    connection.execute("set preserve_insertion_order = true")
    connection.execute(f"copy from database {home} to {_COPY}")
    held, copied = (_tables(connection, database) for database in (home, _COPY))
    if held != copied:
        unlike = sorted(held.items() ^ copied.items())[0]
        raise RuntimeError(f"the copy of the warehouse differs from it in {unlike}")
    connection.execute(f"checkpoint {_COPY}")
    connection.execute(f"detach {_COPY}")


def _tables(connection: duckdb.DuckDBPyConnection, database: str) -> dict[str, tuple]:
    """Rows, columns and comments of each table, and the text of each view, by name."""
    tables = connection.execute(
        "select schema_name || '.' || table_name, column_count, comment from duckdb_tables() "
        "where database_name = ? and not temporary",
        [database],
    ).fetchall()
    views = connection.execute(
        "select schema_name || '.' || view_name, sql, comment from duckdb_views() "
        "where database_name = ? and not internal and not temporary",
        [database],
    ).fetchall()
    found: dict[str, tuple] = {name: (sql, comment) for name, sql, comment in views}
    for name, columns, comment in tables:
        rows = connection.execute(f"select count(*) from {database}.{name}").fetchone()
        found[name] = (rows, columns, comment)
    return found


def _log_of(path: Path) -> Path:
    """Where DuckDB keeps what is not in the file itself yet."""
    return Path(f"{path}.wal")


def _remove(fresh: Path) -> None:
    for path in (fresh, _log_of(fresh)):
        path.unlink(missing_ok=True)
