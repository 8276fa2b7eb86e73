"""Webhooks on their way: from the lines of an archive into the raw tables and quarantine.

What a request means is `orchestration.webhooks`' affair. Here results are collected, their records
are judged by the same SQL as all others, and each result is loaded, set aside or refused.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa

from orchestration.loading import readers
from orchestration.loading.arrived import rules
from orchestration.loading.landing import UnreadableFileError, text_lines
from orchestration.loading.records import WEBHOOKS, Stream, judged_sql, streams, told_messages
from orchestration.warehouse import hashes_to_insert
from orchestration.webhooks.reading import KNOWN, Event, Message
from orchestration.webhooks.requests import Source, StrayFileError, outcomes, source_of

_BATCH_RESULTS = 50_000
_BATCH_CHARACTERS = 64 << 20
_RESULT_COLUMNS = {
    "result": pa.int64(),
    "entry": pa.int64(),
    "file_id": pa.int32(),
    "row_number": pa.int64(),
    "result_number": pa.int32(),
    "path": pa.string(),
    "provider": pa.string(),
    "account_key": pa.string(),
    "received_at": pa.string(),
    "kind": pa.string(),
    "is_set_aside": pa.bool_(),
    "kept": pa.large_string(),
    "unread": pa.string(),
}


class Line(NamedTuple):
    """A request as a file holds it. entry: of quarantine, if it was refused before."""

    file_id: int
    path: str
    row_number: int
    text: str
    entry: int | None = None


@dataclass(slots=True)
class Taken:
    """What became of the results of a file."""

    loaded: int = 0
    set_aside: int = 0
    quarantined: int = 0

    @property
    def results(self) -> int:
        return self.loaded + self.set_aside + self.quarantined


# --- files -----------------------------------------------------------------------------------


def check_file(path: Path, name: str, format_: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Raises UnreadableFileError for a file that cannot be read, or lies where it means nothing."""
    try:
        source_of(name)
    except StrayFileError as error:
        raise UnreadableFileError(str(error)) from None
    if format_ == "parquet":
        columns = dict(readers.parquet_columns(connection, path))
        if "body" not in columns:
            raise UnreadableFileError("has no column body")
        if "file_row_number" in map(str.lower, columns):  # DuckDB's own name for rows
            raise UnreadableFileError("has a column file_row_number: call it otherwise")
        _parquet_query(columns)
    else:
        for _ in text_lines(path):
            pass


def lines_of(
    connection: duckdb.DuckDBPyConnection, path: Path, name: str, format_: str, file_id: int
) -> Iterator[Line]:
    """The requests of a file that is whole. Raises UnreadableFileError."""
    if format_ == "parquet":
        yield from _parquet_lines(connection, path, name, file_id)
        return
    for number, line in text_lines(path):
        line = line.rstrip("\r\n")
        if line.strip(" \t\r\n"):
            yield Line(file_id, name, number, line)


def _parquet_query(columns: dict[str, str]) -> str:
    """SQL: (row, received_at, body as text, whether that is JSON of a nested column)."""
    type_ = columns.get("received_at")
    received_at = "null"
    if type_ == "TIMESTAMP WITH TIME ZONE":
        # a cursor has the machine's time zone, not that of its connection
        received_at = "strftime(received_at at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"
    elif type_ is not None:
        received_at = "received_at::varchar"
    is_text = columns["body"] in ("VARCHAR", "JSON")
    body = "body::varchar" if is_text else "to_json(body)::varchar"
    return (
        f"select file_row_number + 1, {received_at}, {body}, {not is_text} from read_parquet(?, "
        "binary_as_string = true, hive_partitioning = false, file_row_number = true)"
    )


def _as_json(body: str) -> orjson.Fragment:
    """A nested column as DuckDB spells it, with null for the numbers that JSON has no word for."""
    if "NaN" in body or "Infinity" in body:
        body = json.dumps(json.loads(body, parse_constant=lambda _: None))
    return orjson.Fragment(body)


def _parquet_lines(
    connection: duckdb.DuckDBPyConnection, path: Path, name: str, file_id: int
) -> Iterator[Line]:
    columns = dict(readers.parquet_columns(connection, path))
    try:
        with connection.cursor() as cursor:
            rows = cursor.execute(_parquet_query(columns), [str(path)])
            while some := rows.fetchmany(10_000):
                for number, received_at, body, is_json in some:
                    posted = _as_json(body) if is_json and body else body
                    request = {"received_at": received_at, "body": posted}
                    yield Line(file_id, name, number, orjson.dumps(request).decode())
    except duckdb.Error as error:
        raise readers.unreadable_parquet(error, path) from None


# --- results ---------------------------------------------------------------------------------


class Intake:
    """Takes requests into the raw tables, in a transaction of the caller's.

    latest: the moment after which a timestamp is refused.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        batch_id: int,
        now: datetime,
        latest: datetime,
    ) -> None:
        self._connection = connection
        self._batch_id = batch_id
        self._now = now
        self._latest = latest

    def take(self, lines: Iterable[Line]) -> dict[int, Taken]:
        """Loads new requests; what is refused goes to quarantine. Returns the files' accounts."""
        taken: dict[int, Taken] = {}
        for batch in _batches(lines):
            batch.judge(self._connection, self._latest)
            self._insert_read("reason is null")
            self._insert_refused()
            for file_id, loaded, set_aside, quarantined in self._connection.execute(
                """
                select
                    file_id,
                    count(*) filter (where reason is null and not is_set_aside),
                    count(*) filter (where reason is null and is_set_aside),
                    count(reason)
                from results group by file_id
                """
            ).fetchall():
                file = taken.setdefault(file_id, Taken())
                file.loaded += loaded
                file.set_aside += set_aside
                file.quarantined += quarantined
            _drop_results(self._connection)
        return taken

    def take_again(self, lines: Iterable[Line]) -> list[int]:
        """Judges refused requests again and loads those of which nothing is refused any more;
        brings their files' accounts up to date. Returns the entries that were taken in."""
        entries: list[int] = []
        for batch in _batches(lines):
            batch.judge(self._connection, self._latest)
            self._insert_read("entry not in (select entry from results where reason is not null)")
            entries += [
                entry
                for (entry,) in self._connection.execute(
                    "select entry from results group by entry having count(reason) = 0"
                ).fetchall()
            ]
            self._connection.execute(
                """
                update raw.files
                set
                    records = files.records + taken.results - taken.entries,
                    loaded = files.loaded + taken.results - taken.set_aside,
                    set_aside = files.set_aside + taken.set_aside,
                    quarantined = files.quarantined - taken.entries
                from (
                    select
                        file_id,
                        count(*) as results,
                        count(distinct entry) as entries,
                        count(*) filter (where is_set_aside) as set_aside
                    from results
                    where entry not in (select entry from results where reason is not null)
                    group by file_id
                ) as taken
                where files.file_id = taken.file_id
                """
            )
            self._connection.execute(
                """
                update raw.quarantine as entry
                set reason = refused.reason, valid_from = refused.valid_from, judged_by = $rules
                from (
                    select
                        entry,
                        string_agg(distinct reason, '; ' order by reason) as reason,
                        case when count(valid_from) = count(*) then max(valid_from) end
                            as valid_from
                    from results where reason is not null group by entry
                ) as refused
                where entry.quarantine_id = refused.entry
                """,
                {"rules": rules()},
            )
            _drop_results(self._connection)
        return entries

    def _insert_read(self, which: str) -> None:
        """The results for which `which` holds: their records and what was posted."""
        for stream in (told_messages(), streams()["events"]):
            names = ", ".join(stream.field_names)
            hash_names, hash_values = hashes_to_insert(stream.name)
            self._connection.execute(
                f"insert into raw.{stream.name} "
                f"({names}, source_rank, file_id, batch_id{hash_names}) "
                f"select {names}, source_rank, file_id, $batch_id{hash_values} "
                f"from told_{stream.name} "
                f"where row_number in (select result from results where {which})",
                {"batch_id": self._batch_id},
            )
        self._connection.execute(
            f"""
            insert into raw.webhooks (
                file_id, batch_id, row_number, result_number, provider, account_key, received_at,
                kind, outcome, body
            )
            select
                file_id, $batch_id, row_number, result_number, provider, account_key,
                make_timestamp(epoch_us(received_at::timestamptz)), kind,
                case when is_set_aside then 'set aside' else 'loaded' end, kept
            from results where {which}
            """,
            {"batch_id": self._batch_id},
        )

    def _insert_refused(self) -> None:
        self._connection.execute(
            """
            insert into raw.quarantine (
                quarantine_id, file_id, stream, path, row_number, raw_text, reason, batch_id,
                quarantined_at, valid_from, judged_by
            )
            select
                (select coalesce(max(quarantine_id), 0) from raw.quarantine)
                + row_number() over (order by result),
                file_id, $stream, path, row_number,
                case
                    when unread is not null then kept
                    else '{"received_at":"' || received_at || '","body":[' || kept || ']}'
                end,
                reason, $batch_id, $now, valid_from, $rules
            from results
            where reason is not null
            """,
            {
                "stream": WEBHOOKS,
                "batch_id": self._batch_id,
                "now": self._now,
                "rules": rules(),
            },
        )


class _Batch:
    """Results with their records, not judged yet: rows of what _RESULT_COLUMNS and _told_columns
    name."""

    def __init__(self) -> None:
        self.size = 0
        self._results: list[tuple[Any, ...]] = []
        self._told: dict[str, list[tuple[Any, ...]]] = {"messages": [], "events": []}

    def __len__(self) -> int:
        return len(self._results)

    def add(self, line: Line, source: Source) -> None:
        """The results of one request."""
        self.size += len(line.text)
        entry, file_id, row_number = line.entry, line.file_id, line.row_number
        for number, outcome in enumerate(outcomes(line.text, source), start=1):
            result, reading = len(self._results), outcome.reading
            self._results.append(
                (
                    *(result, entry, file_id, row_number, number, line.path),
                    *(source.provider.NAME, source.account_key, outcome.received_at),
                    reading.kind if reading else None,
                    reading.is_set_aside if reading else False,
                    outcome.kept,
                    outcome.reason,
                )
            )
            if reading is not None:
                for message in reading.messages:
                    self._told["messages"].append((result, file_id, *message))
                for event in reading.events:
                    self._told["events"].append((result, file_id, *event))

    def judge(self, connection: duckdb.DuckDBPyConnection, latest: datetime) -> None:
        """Makes temp tables: told_messages, told_events, and results with reason, valid_from."""
        for stream in (told_messages(), streams()["events"]):
            self._judge_records(connection, stream, latest)
        connection.register("batch", _table(_RESULT_COLUMNS, self._results))
        connection.execute(
            """
            create or replace temp table results as
            with refused as (
                select
                    row_number as result,
                    string_agg(distinct reason, '; ' order by reason) as reason,
                    case when count(valid_from) = count(*) then max(valid_from) end as valid_from
                from (
                    select row_number, reason, valid_from from told_messages
                    where reason is not null
                    union all
                    select row_number, reason, valid_from from told_events
                    where reason is not null
                )
                group by row_number
            )
            select batch.*, coalesce(unread, refused.reason) as reason, refused.valid_from
            from batch
            left join refused using (result)
            """
        )
        connection.unregister("batch")

    def _judge_records(
        self, connection: duckdb.DuckDBPyConnection, stream: Stream, latest: datetime
    ) -> None:
        columns = _told_columns(stream)
        connection.register("batch", _table(columns, self._told[stream.name]))
        source = (
            "select file_id, row_number, null::varchar as raw, null::varchar as extra, "
            "null::varchar as refused, "
            + ("" if "source_rank" in columns else f"{KNOWN}::utinyint as source_rank, ")
            + "* exclude (file_id, row_number) from batch"
        )
        connection.execute(
            f"create or replace temp table told_{stream.name} as "
            + judged_sql(stream, source, carried=("source_rank",)),
            {"latest": latest},
        )
        connection.unregister("batch")


def _told_columns(stream: Stream) -> dict[str, pa.DataType]:
    """The columns of what is told of messages or events, each with the result that tells it."""
    fields = (Message if stream.name == "messages" else Event)._fields
    columns = dict.fromkeys(("row_number", "file_id", *fields), pa.large_string())
    types = {"row_number": pa.int64(), "file_id": pa.int32(), "source_rank": pa.uint8()}
    return {name: types.get(name, type_) for name, type_ in columns.items()}


def _table(columns: Mapping[str, pa.DataType], rows: list[tuple[Any, ...]]) -> pa.Table:
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    named = zip(columns.items(), values, strict=True)
    return pa.table(
        {
            # most fields are told by no result of a batch
            name: pa.nulls(len(rows), type_)
            if column.count(None) == len(rows)
            else pa.array(column, type_)
            for (name, type_), column in named
        }
    )


def _batches(lines: Iterable[Line]) -> Iterator[_Batch]:
    """Results of many lines at a time."""
    batch = _Batch()
    for line in lines:
        batch.add(line, source_of(line.path))
        if len(batch) >= _BATCH_RESULTS or batch.size > _BATCH_CHARACTERS:
            yield batch
            batch = _Batch()
    if len(batch):
        yield batch


def _drop_results(connection: duckdb.DuckDBPyConnection) -> None:
    for table in ("results", "told_messages", "told_events"):
        connection.execute(f"drop table if exists {table}")


def requests_again(pending: list[tuple[int, int, str, int, str]]) -> Iterator[Line]:
    """Entries of quarantine, (id, file_id, path, row number, raw text), as requests."""
    for entry, file_id, path, row_number, text in pending:
        yield Line(file_id, path, row_number, text, entry)


def count_kinds(connection: duckdb.DuckDBPyConnection, batch_id: int) -> dict[str, int]:
    """Results that a batch set aside, by provider and kind."""
    return dict(
        connection.execute(
            "select provider || ': ' || kind, count(*) from raw.webhooks "
            "where batch_id = ? and outcome = 'set aside' group by all order by all",
            [batch_id],
        ).fetchall()
    )
