"""What the warehouse still owes its readers, and what a build restated: counts and sentences.

How a restatement is computed is dbt's affair (`dbt_project/models`). It keeps its own accounts,
which are read here: `facts.marks`, how far each relation has come, and
`facts.fct_messages_changes`, what each batch changed. An earlier release made neither.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb

from msgmetrics.errors import UserError
from msgmetrics.settings import Settings
from orchestration.dbt import fingerprint_of_project
from orchestration.published_rows import published_snapshot

NOTHING_LOADED = "Nothing is loaded yet: run `msgmetrics run` first."

# The mark of whole builds that ended well: models, tests and all.
_BUILD = "build"
# Stand while something is owed: a build that compares every row, a gate that does, a published file
# that is made anew.
_EVERY_ROW = "every row"
_EVERY_ROW_JUDGED = "every row judged"
_PUBLISHED_ANEW = "published anew"
# Its definition is the batch up to which the published file was written in reading order.
_IN_ORDER = "published in order"
# Batches that ask for something: records to take in, days to recompute.
_ASKING = """
select batch_id, coalesce(cause, 'load') as cause, from_day, to_day, loaded
from raw.batches
left join (
    select batch_id, sum(loaded)::bigint as loaded from raw.files group by batch_id
) as files using (batch_id)
where batch_id > $after and (coalesce(cause, 'load') <> 'load' or loaded > 0)
order by batch_id
"""


def unfinished(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """Why dbt has to run, a sentence each; nothing if the published marts are those of the records.

    Raises UserError where nothing was loaded yet.
    """
    _need_batches(connection)
    marks = _marks(connection)
    if not marks:
        return ["Nothing is built yet."]
    reasons = [f"{text} is not built yet." for text in _asking(connection, min(marks))]
    if _project_of_marts(connection) != fingerprint_of_project(settings):
        reasons.append("The models or the reference data are others than those of the last build.")
    if owes_every_row(connection):
        reasons.append("Every row is to be compared: the last build that did so did not end well.")
    if owes_published_anew(connection):
        reasons.append("The published file is to be made anew.")
    published = published_snapshot(connection, settings)
    if published is None:
        reasons.append("Nothing is published yet.")
    elif published["batch_id"] < max(marks):
        reasons.append(
            f"Batch {max(marks)} is built, but what was published last is batch "
            f"{published['batch_id']}: its checks are repeated."
        )
    return reasons


def owe_every_row(connection: duckdb.DuckDBPyConnection) -> None:
    """Notes that every row is to be compared, until a build that did so has ended well, and by the
    gate, until what it passed is published.

    So that what the nightly comparison refused is not published by the next pass, which compares
    less.
    """
    _owe(connection, _EVERY_ROW)
    _owe(connection, _EVERY_ROW_JUDGED)


def owes_every_row(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a comparison of every row was begun and has not ended well."""
    return _owes(connection, _EVERY_ROW)


def judges_every_row(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the gate is to look at every row, and not only at what was touched."""
    return _owes(connection, _EVERY_ROW_JUDGED)


def owe_published_anew(connection: duckdb.DuckDBPyConnection) -> None:
    """Notes that the published file is to be made anew from the warehouse, until it is."""
    _owe(connection, _PUBLISHED_ANEW)


def owes_published_anew(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the published file is to be made anew from the warehouse."""
    return _owes(connection, _PUBLISHED_ANEW)


def remember_published(connection: duckdb.DuckDBPyConnection) -> None:
    """Notes that what the gate passed is published."""
    if _exists(connection, "facts", "marks"):
        connection.execute(
            "delete from facts.marks where relation in (?, ?)", [_EVERY_ROW_JUDGED, _PUBLISHED_ANEW]
        )


def is_published_in_order(connection: duckdb.DuckDBPyConnection, batch_id: int) -> bool:
    """Whether the published file was written in reading order with all batches up to this one."""
    if not _exists(connection, "facts", "marks"):
        return False
    row = connection.execute(
        "select definition from facts.marks where relation = ?", [_IN_ORDER]
    ).fetchone()
    return row == (str(batch_id),)


def remember_in_order(connection: duckdb.DuckDBPyConnection, batch_id: int) -> None:
    """Notes that the published file was written in reading order, with all up to this batch."""
    connection.execute("delete from facts.marks where relation = ?", [_IN_ORDER])
    connection.execute(
        "insert into facts.marks (relation, definition) values (?, ?)", [_IN_ORDER, str(batch_id)]
    )


def _owe(connection: duckdb.DuckDBPyConnection, what: str) -> None:
    if _exists(connection, "facts", "marks") and not _owes(connection, what):
        connection.execute("insert into facts.marks (relation) values (?)", [what])


def _owes(connection: duckdb.DuckDBPyConnection, what: str) -> bool:
    if not _exists(connection, "facts", "marks"):
        return False
    found = connection.execute(
        "select count(*) from facts.marks where relation = ?", [what]
    ).fetchone()
    return found != (0,)


def remember_build(
    connection: duckdb.DuckDBPyConnection, settings: Settings, *, every_row: bool = False
) -> None:
    """Notes that a build has ended well, and by which models and reference data."""
    connection.execute("begin transaction")
    if every_row:
        connection.execute("delete from facts.marks where relation = ?", [_EVERY_ROW])
    connection.execute("delete from facts.marks where relation = ?", [_BUILD])
    connection.execute(
        "insert into facts.marks (relation, batch_id, definition) "
        "select ?, max(batch_id), ? from facts.marks",
        [_BUILD, fingerprint_of_project(settings)],
    )
    connection.execute("commit")


def _project_of_marts(connection: duckdb.DuckDBPyConnection) -> str | None:
    row = connection.execute(
        "select definition from facts.marks where relation = ?", [_BUILD]
    ).fetchone()
    return row[0] if row else None


def forget_old_changes(
    connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime
) -> int:
    """Drops the changes of single messages that no snapshot still kept can ask for.

    What they came to by hour stays for MSGMETRICS_TRAIL_DAYS (`facts.restatements`). A mart that
    lacked some of them would be made anew, by their mark. Returns how many rows went.
    """
    needed_since = now - timedelta(hours=settings.snapshot_hours)
    last = connection.execute(
        """
        select max(batch_id)
        from raw.batches
        where
            started_at < $needed_since
            and batch_id <= (
                select min(batch_id) from facts.marks
                where batch_id is not null and not ends_with(relation, '_changes')
            )
        """,
        {"needed_since": needed_since.replace(tzinfo=None)},
    ).fetchone()
    if last is None or last[0] is None:
        return 0
    forgotten = 0
    connection.execute("begin transaction")
    for table in ("fct_messages_changes", "fct_url_clicks_changes"):
        (rows,) = connection.execute(
            f"delete from facts.{table} where batch_id <= ?", last
        ).fetchone() or (0,)
        forgotten += rows
        if rows:
            connection.execute("delete from facts.marks where relation = ?", [table])
            connection.execute(
                "insert into facts.marks (relation, batch_id) values (?, ?)", [table, *last]
            )
    connection.execute(
        "delete from facts.restated_hours where batch_id <= "
        "(select max(batch_id) from raw.batches where started_at < ?)",
        [(now - timedelta(days=settings.trail_days)).replace(tzinfo=None)],
    )
    connection.execute("commit")
    return forgotten


def unpublished(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """The batches that no published snapshot holds yet, a few words each."""
    if not _exists(connection, "raw", "batches"):
        return []
    published = published_snapshot(connection, settings)
    return _asking(connection, published["batch_id"] if published else 0)


def _asking(connection: duckdb.DuckDBPyConnection, after: int) -> list[str]:
    return [
        f"Batch {batch_id} ({_asks_for(cause, first, last, loaded)})"
        for batch_id, cause, first, last, loaded in connection.execute(
            _ASKING, {"after": after}
        ).fetchall()
    ]


def _asks_for(cause: str, first: date | None, last: date | None, loaded: int | None) -> str:
    if cause == "backfill":
        return f"days {first} to {last} anew" if first else "every day anew"
    return f"{cause} of {loaded or 0:,} records"


def _marks(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """How far each restated table and mart has come; nothing before the first build.

    How far changes are folded together, which is marked there too, owes nobody anything.
    """
    if not _exists(connection, "facts", "marks"):
        return []
    rows = connection.execute(
        "select batch_id from facts.marks where batch_id is not null "
        "and not ends_with(relation, '_changes') and relation <> ?",
        [_BUILD],
    ).fetchall()
    return [batch_id for (batch_id,) in rows]


def _need_batches(connection: duckdb.DuckDBPyConnection) -> None:
    if not _exists(connection, "raw", "batches"):
        raise UserError(NOTHING_LOADED)


def _exists(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> bool:
    found = connection.execute(
        "select count(*) from information_schema.tables "
        "where table_catalog = current_database() and table_schema = ? and table_name = ?",
        [schema, table],
    ).fetchone()
    return found != (0,)


# --- what was restated ----------------------------------------------------------------------


@dataclass(frozen=True)
class RestatedDay:
    """One day of sending that a build changed; counts are of messages.

    rows: those that stand in the day now. new and removed: those that came into it and left it,
    from or to another day too. changed: those whose outcome became another. batch_id: the newest
    batch that did it.
    """

    day: date
    rows: int
    new: int
    changed: int
    removed: int
    batch_id: int


def told_up_to(connection: duckdb.DuckDBPyConnection, settings: Settings) -> int:
    """The newest batch whose restated days readers know of: the published one; 0 if none is."""
    published = published_snapshot(connection, settings)
    return published["batch_id"] if published else 0


def restated_days(connection: duckdb.DuckDBPyConnection, after: int) -> list[RestatedDay]:
    """The days that the batches after this one changed, in order.

    Every day that has messages, if the table was made anew since, which leaves no changes.
    """
    if not _exists(connection, "facts", "marks"):
        return []
    made_anew = connection.execute(
        "select max(rebuilt_batch_id) from facts.marks where relation = 'fct_messages'"
    ).fetchone()
    if made_anew is None or made_anew[0] is None or made_anew[0] > after:
        return _every_day(connection)
    rows = connection.execute(
        """
        with

        outcomes as (

            select
                sent_at::date as day, batch_id, message_id,
                count(*) filter (where sign > 0) as brought,
                count(*) filter (where sign < 0) as held
            from facts.fct_messages_changes
            where batch_id > $after
            group by all

        ),

        changes as (

            select
                day,
                count(*) filter (where held = 0) as new,
                count(*) filter (where held > 0 and brought > 0) as changed,
                count(*) filter (where brought = 0) as removed,
                max(batch_id) as batch_id
            from outcomes
            group by day

        ),

        standing as (

            select sent_at::date as day, count(*) as rows
            from facts.fct_messages
            where
                sent_at >= (select min(day) from changes)
                and sent_at < (select max(day) from changes) + interval 1 day
            group by day

        )

        select day, coalesce(rows, 0), new, changed, removed, batch_id
        from changes left join standing using (day)
        order by day
        """,
        {"after": after},
    ).fetchall()
    return [RestatedDay(*row) for row in rows]


def _every_day(connection: duckdb.DuckDBPyConnection) -> list[RestatedDay]:
    rows = connection.execute(
        """
        select
            sent_at::date as day, count(*) as rows, count(*) as new, 0, 0,
            (select max(batch_id) from raw.batches)
        from facts.fct_messages
        group by day
        order by day
        """
    ).fetchall()
    return [RestatedDay(*row) for row in rows]
