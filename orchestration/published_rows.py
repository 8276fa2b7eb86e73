"""What is written into a published file: all of it, or only what changed since a batch.

A mart is brought forward by the parts that were appended to it since, messages and clicks by their
signed changes; so a publication costs what it changes. What the tables are stands in
`msgmetrics/published_tables.py`; which file is written, and when it shows, in `publishing.py`.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from msgmetrics.published_tables import (
    CHANGES,
    KEYS,
    VIEWS,
    Mart,
    changes_of_mart,
    comments,
    marts,
    tables_as_of,
)
from msgmetrics.settings import Settings
from orchestration.warehouse import side_by_side

# Reading order: an account's rows stand together, in time.
_ORDER = ("account_key", "period_start", "sent_at")
_NOT_PUBLISHED = ("drop_reasons", "event_types")
_FACTS = {"messages": "fct_messages", "url_clicks": "fct_url_clicks"}
# So many scattered rows DuckDB finds by their positions; of more it reads all between.
_MOST_SCATTERED = 20_000
# Rows that DuckDB reads together.
_VECTOR = 2048
# A mart of which more than this share is new is written whole: no slower, and in reading order.
_SHARE_WRITTEN_WHOLE = 0.5
# A table of more is work enough for all threads of DuckDB, and for its memory.
_FEW_ROWS = 1_000_000

# Is shown a mart and SQL of rows of it, for that connection: keys and measures at least. Several
# threads may call it at once.
Seen = Callable[[duckdb.DuckDBPyConnection, Mart, str], None]


@dataclass(frozen=True)
class Snapshot:
    """What a published file says of itself; times are in UTC, without a zone.

    definition: of the models and reference data that it was made by. generation: the first snapshot
    from which this one was reached by changes alone, so that it can lead back there.
    """

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
    definition: str
    generation: str


_SNAPSHOT_COLUMNS = """
    snapshot_id varchar not null, as_of timestamp not null, published_at timestamp not null,
    stale boolean not null, checks_passed integer not null, checks_warned integer not null,
    batch_id integer not null, messages bigint, records_loaded bigint, records_quarantined bigint,
    files_loaded bigint, files_unreadable bigint, events_waiting bigint, definition varchar,
    generation varchar
"""
_SNAPSHOT_DESCRIPTIONS = {
    "stale": "Whether the newest message was older than MSGMETRICS_STALE_AFTER.",
    "checks_passed": "Checks that passed before it was published.",
    "checks_warned": "Checks that warned.",
    "messages": "Messages that it holds.",
    "records_loaded": "Records taken in so far, repeats included.",
    "records_quarantined": "Refused records that wait to be mended.",
    "files_loaded": "Files taken in so far.",
    "files_unreadable": "Files that could not be read and wait to be mended.",
    "events_waiting": "Events whose message is not known.",
    "definition": "Fingerprint of the models and reference data that made it.",
    "generation": "The first snapshot from which changes alone lead to it.",
}


def describe(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    *,
    snapshot_id: str,
    now: datetime,
    checks_passed: int,
    checks_warned: int,
    last: dict[str, Any] | None,
) -> Snapshot:
    """The snapshot that the warehouse makes now; `last`: the one that is published."""
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
    definition = _definition(connection)
    leads_on = (
        last is not None
        and last.get("generation")
        and last.get("definition") == definition
        and can_be_brought_forward(connection, last["batch_id"])
    )
    newest_allowed = as_of - timedelta(seconds=settings.stale_after)
    return Snapshot(
        snapshot_id=snapshot_id,
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
        definition=definition,
        generation=last["generation"] if last and leads_on else snapshot_id,
    )


def said_by(path: Path, made_here: Collection[str] | None = None) -> dict[str, Any] | None:
    """What a published file says of itself; None if it cannot be read.

    made_here: the snapshots of which it is to be; None is returned for a file of any other.
    """
    try:
        with duckdb.connect(str(path), read_only=True) as published:
            cursor = published.execute("select * from snapshots")
            names = [column[0] for column in cursor.description]
            row = cursor.fetchone()
    except duckdb.Error:
        return None
    if row is None:
        return None
    said = dict(zip(names, row, strict=True))
    return said if made_here is None or said["snapshot_id"] in made_here else None


def published_snapshot(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> dict[str, Any] | None:
    """What the published file says of itself.

    None where there is none that can be read, or none that was made of this warehouse.
    """
    if not settings.published_path.exists():
        return None
    return said_by(settings.published_path, made_here(connection))


def made_here(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The snapshots whose files were made of this warehouse, and are still there.

    Not so a file of the time between a copy and when the warehouse was put back from it: batches
    have been given its numbers again, and nothing leads from it to what is there now.
    """
    try:
        rows = connection.execute("select snapshot_id from raw.published_files").fetchall()
    except duckdb.CatalogException:  # a warehouse of an earlier release
        return set()
    return {snapshot_id for (snapshot_id,) in rows}


def remember_made(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    """Notes that a file is made of this warehouse; its name must not be there before this is."""
    connection.execute(
        "insert into raw.published_files values (?, ?)", [snapshot.snapshot_id, snapshot.batch_id]
    )


def forget_all_but(connection: duckdb.DuckDBPyConnection, snapshot_ids: list[str]) -> None:
    """Forgets files that are there no more."""
    connection.execute(
        "delete from raw.published_files where not list_contains(?, snapshot_id)", [snapshot_ids]
    )


def _marks(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[Any, ...]]:
    """(batch_id, rebuilt_batch_id, definition) by relation; nothing where dbt did not build."""
    try:
        rows = connection.execute(
            "select relation, batch_id, rebuilt_batch_id, definition from facts.marks"
        ).fetchall()
    except duckdb.CatalogException:
        return {}
    return {relation: tuple(values) for relation, *values in rows}


def _definition(connection: duckdb.DuckDBPyConnection) -> str:
    mark = _marks(connection).get("build")
    return mark[2] if mark else ""


def can_be_brought_forward(connection: duckdb.DuckDBPyConnection, batch_id: int) -> bool:
    """Whether the warehouse still holds all that changed since this batch."""
    marks = _marks(connection)
    for facts in _FACTS.values():
        if facts not in marks or marks[facts][1] > batch_id:
            return False
        folded = marks.get(f"{facts}_changes")
        if folded and folded[0] > batch_id:
            return False
    return bool(_definition(connection))


def published_tables(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """(schema, table) of every table or view that readers see: marts and reference data."""
    return connection.execute(
        "select table_schema, table_name from information_schema.tables "
        "where table_catalog = current_database() and table_schema in ('marts', 'reference') "
        "and not list_contains($hidden, table_name) order by table_schema, table_name",
        {"hidden": list(_NOT_PUBLISHED)},
    ).fetchall()


# --- all of it ---------------------------------------------------------------------------------


def write(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    snapshot: Snapshot,
    last: dict[str, Any] | None,
    replaced: str | None,
    progress: Callable[[int, int], None],
) -> None:
    """Writes every table of the attached, empty database `published`, in reading order.

    replaced: the database with what leads from `last` back to earlier snapshots; without it there
    are none.
    """
    tables = [names for names in published_tables(connection) if names[1] not in VIEWS]
    sizes, with_parts = _sizes_in_warehouse(connection), names_with_parts(connection)
    known = marts()

    def write_table(cursor: duckdb.DuckDBPyConnection, schema: str, table: str) -> None:
        if table in known:
            _write_mart(cursor, known[table], with_parts)
        else:
            _write_table(cursor, schema, table)

    large = [names for names in tables if sizes.get(names[1], 0) > _FEW_ROWS]
    for done, (schema, table) in enumerate(large):
        progress(done, len(tables))
        write_table(connection, schema, table)
    side_by_side(
        connection,
        [
            partial(write_table, schema=schema, table=table)
            for schema, table in tables
            if (schema, table) not in large
        ],
        lambda done: progress(len(large) + done, len(tables)),
    )
    for table, changes in CHANGES.items():
        connection.execute(
            f"create table published.{changes} as "
            f"select 0::integer as batch_id, 0::tinyint as sign, * from published.{table} limit 0"
        )
    earlier: list[dict[str, Any]] = []
    if replaced is not None and last is not None:
        for changes in CHANGES.values():
            connection.execute(f"insert into published.{changes} by name from {replaced}.{changes}")
        earlier = _earlier(connection, settings, snapshot, last, replaced)
        _add_changes(connection, last["batch_id"], earlier)
    for table in ("snapshots", "earlier_snapshots"):
        connection.execute(f"create table published.{table} ({_SNAPSHOT_COLUMNS})")
        with _in_published(connection):
            _comment(connection, table, stated=_SNAPSHOT_DESCRIPTIONS)
    with _in_published(connection):
        for table, select in VIEWS.items():
            connection.execute(f"create view {table} as {select}")
            _comment(connection, table, "view")
        for changes in CHANGES.values():
            _comment(connection, changes)
    _write_snapshots(connection, snapshot, earlier)
    with _in_published(connection):
        batch = _BATCH_OF_SNAPSHOT.format(snapshot="of_snapshot")
        for table, select in tables_as_of(batch).items():
            connection.execute(f"create macro {table}_as_of(of_snapshot) as table {select}")
        after, upto = (_BATCH_OF_SNAPSHOT.format(snapshot=name) for name in ("since", "upto"))
        for name, mart in known.items():
            select = changes_of_mart(mart, after, upto)
            connection.execute(f"create macro changes_of_{name}(since, upto) as table {select}")


_BATCH_OF_SNAPSHOT = """(
    select
        case
            when count(*) = 0 then error('No snapshot of that id is held.')::integer
            else max(batch_id)
        end
    from (
        select snapshot_id, batch_id from main.earlier_snapshots
        union all
        select snapshot_id, batch_id from main.snapshots
    ) as known_snapshots
    where snapshot_id = {snapshot}
)"""


def _write_mart(
    connection: duckdb.DuckDBPyConnection, mart: Mart, with_parts: Collection[str]
) -> None:
    kept_as = _decimals(connection, f"parts.{mart.name}") if mart.name in with_parts else {}
    connection.execute(mart.create(f"published.{mart.name}", kept_as))
    _fill_mart(connection, mart, with_parts)
    with _in_published(connection):
        _comment(connection, mart.name)


def _fill_mart(
    connection: duckdb.DuckDBPyConnection, mart: Mart, with_parts: Collection[str]
) -> None:
    """Writes every row of a mart; the table and what it says of itself stay."""
    columns = ", ".join(mart.stored)
    source = f"select {columns} from marts.{mart.name}"
    if are_parts_rows(connection, mart, with_parts):
        source = mart.named(f"select * from parts.{mart.name} where {mart.is_row}", "reference")
    connection.execute(f"truncate published.{mart.name}")
    connection.execute(
        f"insert into published.{mart.name} ({columns}) "
        f"select * from ({source}) as every_row order by account_key, period_start"
    )


def _decimals(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """As what a table keeps decimals; those of up to 18 digits are read much quicker."""
    columns = connection.execute(f"describe {table}").fetchall()
    return {name: kind for name, kind, *_ in columns if kind.startswith("DECIMAL")}


def _is_kept_as(connection: duckdb.DuckDBPyConnection, mart: Mart) -> bool:
    """Whether the published mart keeps decimals as its parts do."""
    kept = _decimals(connection, f"published.{mart.name}")
    return _decimals(connection, f"parts.{mart.name}").items() <= kept.items()


def are_parts_rows(
    connection: duckdb.DuckDBPyConnection, mart: Mart, with_parts: Collection[str]
) -> bool:
    """Whether each key of a mart has one part in the warehouse, which so is its row: all of them
    are of one batch. with_parts: the names of marts that have parts."""
    if mart.name not in with_parts:
        return False
    ((first, last),) = connection.execute(
        f"select min(batch_id), max(batch_id) from parts.{mart.name}"
    ).fetchall()
    return first is not None and first == last


def names_with_parts(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The marts that have parts in the warehouse; in one query, as it looks at every table."""
    rows = connection.execute(
        "select table_name from duckdb_tables() where database_name = current_database() "
        "and schema_name = 'parts'"
    ).fetchall()
    return {name for (name,) in rows}


def _write_table(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> None:
    columns = [name for (name, *_) in connection.execute(f"describe {schema}.{table}").fetchall()]
    order = ", ".join(column for column in _ORDER if column in columns)
    connection.execute(
        f"create table published.{table} as select * from {schema}.{table}"
        + (f" order by {order}" if order and schema == "marts" else "")
    )
    stated = _stated(connection, table) if schema == "reference" else {}
    with _in_published(connection):
        _comment(connection, table, stated=stated)


def _stated(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """What dbt says of a reference table, under "", and of its columns."""
    where = "where database_name = current_database() and schema_name = 'reference'"
    rows = connection.execute(
        f"select '', comment from duckdb_tables() {where} and table_name = $table union all "
        f"select column_name, comment from duckdb_columns() {where} and table_name = $table",
        {"table": table},
    ).fetchall()
    return {name: comment for name, comment in rows if comment}


class _in_published:  # noqa: N801
    """Names without a database are those of the published file meanwhile, also in what is made."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        (self._home,) = connection.execute("select current_database()").fetchone()

    def __enter__(self) -> None:
        self._connection.execute("use published")

    def __exit__(self, *_: object) -> None:
        self._connection.execute(f"use {self._home}")


def _comment(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    kind: str = "table",
    stated: dict[str, str] | None = None,
) -> None:
    columns = [name for (name, *_) in connection.execute(f"describe {table}").fetchall()]
    connection.execute(";".join(comments(kind, table, columns, stated)) or "select 1")


def _write_snapshots(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, earlier: list[dict[str, Any]]
) -> None:
    for table, rows in (("snapshots", [asdict(snapshot)]), ("earlier_snapshots", earlier)):
        connection.execute(f"truncate published.{table}")
        for values in rows:
            marks = ", ".join(f"${name}" for name in values)
            connection.execute(
                f"insert into published.{table} ({', '.join(values)}) values ({marks})", values
            )


def _earlier(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    snapshot: Snapshot,
    last: dict[str, Any],
    replaced: str,
) -> list[dict[str, Any]]:
    """The snapshots that can still be asked for: replaced no longer ago than they are kept."""
    cursor = connection.execute(f"select * from {replaced}.earlier_snapshots order by snapshot_id")
    names = [column[0] for column in cursor.description]
    listed = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    listed = [row for row in listed if row["generation"] == snapshot.generation] + [last]
    keep_since = snapshot.published_at - timedelta(hours=settings.snapshot_hours)
    followers = [*(row["published_at"] for row in listed[1:]), snapshot.published_at]
    return [
        row for row, replaced_at in zip(listed, followers, strict=True) if replaced_at > keep_since
    ]


# --- what changed --------------------------------------------------------------------------------


def bring_forward(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    batch_id: int,
    snapshot: Snapshot,
    last: dict[str, Any],
    current: str,
    progress: Callable[[int, int], None],
    seen: Seen = lambda connection, mart, rows: None,
) -> None:
    """Brings the attached database `published` from this batch to what the warehouse holds.

    last: what the current file says of itself; current: the database that it is attached as. seen:
    is shown every row that is written to a mart, as long as it is at hand.
    """
    known = marts()
    if batch_id < snapshot.batch_id:
        days = _backfilled_days(connection, batch_id)
        marks = _marks(connection)
        sizes = _sizes_of_published(connection)
        with_parts = names_with_parts(connection)

        def bring_forward_mart(cursor: duckdb.DuckDBPyConnection, mart: Mart) -> None:
            _, rebuilt, _ = marks[mart.name]
            if rebuilt > batch_id and not _is_kept_as(cursor, mart):
                _write_mart(cursor, mart, with_parts)
                seen(cursor, mart, f"published.{mart.name}")
            elif rebuilt > batch_id or not _bring_mart_forward(
                cursor, mart, batch_id, days, sizes[mart.name], seen
            ):
                _fill_mart(cursor, mart, with_parts)
                seen(cursor, mart, f"published.{mart.name}")

        by_size = sorted(known.values(), key=lambda mart: -sizes[mart.name])
        works = [partial(_bring_rows_forward, table=table, batch_id=batch_id) for table in _FACTS]
        works += [partial(bring_forward_mart, mart=mart) for mart in by_size]
        side_by_side(connection, works, lambda done: progress(done, len(works)))
    earlier = _earlier(connection, settings, snapshot, last, current)
    _add_changes(connection, batch_id, earlier)
    connection.execute("truncate published.accounts")
    connection.execute(
        "insert into published.accounts by name select * from marts.accounts order by account_key"
    )
    _write_snapshots(connection, snapshot, earlier)


def _backfilled_days(connection: duckdb.DuckDBPyConnection, batch_id: int) -> str:
    """SQL of whether a period lies in days that a backfill replaced in the marts since."""
    rows = connection.execute(
        "select from_day, to_day from raw.batches "
        "where cause = 'backfill' and from_day is not null and batch_id > ?",
        [batch_id],
    ).fetchall()
    conditions = [
        f"(period_start >= date '{first}' and period_start < date '{last}' + interval 1 day)"
        for first, last in rows
    ]
    return " or ".join(conditions)


def _sizes_of_published(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """About how many rows each table has; in one query, which looks through all of them anyway."""
    rows = connection.execute(
        "select table_name, estimated_size from duckdb_tables() where database_name = 'published'"
    ).fetchall()
    return dict(rows)


def _sizes_in_warehouse(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """About how many rows stand behind each published table."""
    rows = connection.execute(
        "select table_name, estimated_size from duckdb_tables() "
        "where database_name = current_database() and schema_name in ('parts', 'facts')"
    ).fetchall()
    sizes = dict(rows)
    return sizes | {table: sizes.get(facts, 0) for table, facts in _FACTS.items()}


def _bring_mart_forward(
    connection: duckdb.DuckDBPyConnection,
    mart: Mart,
    batch_id: int,
    days: str,
    held: int,
    seen: Seen,
) -> bool:
    """Whether it was done; not where most of the mart would be written. held: about how many rows
    there are."""
    key_columns, measures = ", ".join(mart.key_columns), ", ".join(mart.measures)
    columns = ", ".join(mart.stored)
    parts = (
        f"from parts.{mart.name} where batch_id > {batch_id} {f'and not ({days})' if days else ''}"
    )
    (changed,) = connection.execute(f"select count(*) {parts}").fetchone()
    if changed > held * _SHARE_WRITTEN_WHOLE:
        return False
    if days:
        connection.execute(f"delete from published.{mart.name} where {days}")
        connection.execute(
            f"insert into published.{mart.name} ({columns}) select {columns} "
            f"from marts.{mart.name} where {days} order by account_key, period_start"
        )
        seen(connection, mart, f"(select * from published.{mart.name} where {days})")
    if not changed:
        return True
    # By keys alone first: the measures are read of the rows that were found, not of all.
    connection.execute(
        "create or replace temp table publishing_held as select held.rowid as row_id "
        f"from published.{mart.name} as held semi join (select {key_columns} {parts}) as new_parts "
        f"on {mart.same_key('held', 'new_parts')}"
    )
    with found_by_position(connection, "publishing_held", f"published.{mart.name}"):
        connection.execute(
            f"""
            create or replace temp table publishing_new as
            select {key_columns}, {mart.sums()}
            from (
                select {key_columns}, {measures} from published.{mart.name}
                where rowid in (select row_id from publishing_held)
                union all
                select {key_columns}, {measures} {parts}
            ) as held_and_new
            group by all
            having {mart.has_messages}
            """
        )
    _delete(connection, mart.name)
    seen(connection, mart, "publishing_new")
    new_rows = mart.named("select * from publishing_new", "reference")
    connection.execute(
        f"insert into published.{mart.name} ({columns}) "
        f"select * from ({new_rows}) as new_rows order by account_key, period_start"
    )
    return True


@contextmanager
def found_by_position(
    connection: duckdb.DuckDBPyConnection, places: str, table: str
) -> Iterator[None]:
    """For a statement that reads rows of a table by the positions (row_id) in another: where these
    leave vectors of it unread, DuckDB is let list them, which in any other statement costs more."""
    ((found, held),) = connection.execute(
        f"select (select count(*) from {places}), (select count(*) from {table})"
    ).fetchall()
    if found * _VECTOR < held and found <= _MOST_SCATTERED:
        connection.execute(f"set dynamic_or_filter_threshold = {_MOST_SCATTERED}")
    try:
        yield
    finally:
        connection.execute("reset dynamic_or_filter_threshold")


def _bring_rows_forward(connection: duckdb.DuckDBPyConnection, table: str, batch_id: int) -> None:
    """Replaces the messages, or clicks, that changed by what they are now."""
    keys = KEYS[table]
    key_columns = ", ".join(keys)
    changes = f"facts.{_FACTS[table]}_changes"
    # The published row is the one that the first change since took away: so its sent_at is known,
    # and of all that is held only that narrow column need be read.
    connection.execute(
        f"create or replace temp table publishing_gone as "
        f"select {key_columns}, sent_at from {changes} where batch_id > {batch_id} "
        f"qualify batch_id = min(batch_id) over (partition by {key_columns}) and sign < 0"
    )
    connection.execute(
        "create or replace temp table publishing_places as "
        f"select rowid as row_id from published.{table} "
        "where sent_at in (select sent_at from publishing_gone)"
    )
    (places,) = connection.execute("select count(*) from publishing_places").fetchone()
    same = " and ".join(f"held.{key} = gone.{key}" for key in keys)
    connection.execute(f"set dynamic_or_filter_threshold = {_MOST_SCATTERED}")
    connection.execute(
        "create or replace temp table publishing_held as select held.row_id from ("
        f"select rowid as row_id, {key_columns} from published.{table} "
        "where rowid in (select row_id from publishing_places)"
        f") as held semi join publishing_gone as gone on {same}"
    )
    connection.execute("reset dynamic_or_filter_threshold")
    if places:
        _delete(connection, table)
    columns = ", ".join(
        name for (name, *_) in connection.execute(f"describe published.{table}").fetchall()
    )
    connection.execute(
        f"insert into published.{table} ({columns}) select {columns} from ("
        f"select * from {changes} where batch_id > {batch_id} "
        f"qualify batch_id = max(batch_id) over (partition by {key_columns})"
        ") as last_changes where sign > 0 order by account_key, sent_at"
    )


def _delete(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(
        f"delete from published.{table} where rowid in (select row_id from publishing_held)"
    )


def _add_changes(
    connection: duckdb.DuckDBPyConnection, batch_id: int, earlier: list[dict[str, Any]]
) -> None:
    """Adds the changes after this batch, and drops those that lead to no snapshot any more."""
    oldest = min((row["batch_id"] for row in earlier), default=None)
    for table, changes in CHANGES.items():
        columns = ", ".join(
            name for (name, *_) in connection.execute(f"describe published.{changes}").fetchall()
        )
        if oldest is not None:
            connection.execute(f"delete from published.{changes} where batch_id <= {oldest}")
            connection.execute(
                f"insert into published.{changes} ({columns}) select {columns} "
                f"from facts.{_FACTS[table]}_changes "
                f"where batch_id > {max(batch_id, oldest)} order by batch_id, account_key, sent_at"
            )
        else:
            connection.execute(f"delete from published.{changes}")
