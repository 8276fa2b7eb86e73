"""The same raw records for everybody: raw tables of a warehouse, and files as they land.

What the records are like lives in `history.py`; here some of them arrive twice or are corrected,
as records do, and all of them are written as Parquet by day, and some as JSON Lines by hour.
"""

import json
import shutil
from pathlib import Path

import duckdb

from benchmarks.history import END, write_history
from orchestration.batches import open_batch
from orchestration.loading.records import streams
from orchestration.warehouse import create_raw_tables, hashes_of_ids

# By what a record's file is named: when it says that something happened.
TIMES = {"messages": "sent_at", "events": "occurred_at"}
# Of a hundred events one arrives twice; of two hundred records one is corrected.
_AGAIN = """
insert into raw.events select * from raw.events where event_hash % 100 = 7;

insert into raw.events
select * replace (occurred_at + interval 1 minute as occurred_at)
from raw.events where event_hash % 200 = 13;

insert into raw.messages
select * replace (sent_at + interval 1 hour as updated_at, 'corrected' as campaign_reference_id)
from raw.messages where message_hash % 200 = 17;
"""
# One JSON Lines file in so many holds a record that is refused.
_BROKEN_FILE = 24
_BROKEN_RECORD = {"messages": {"message_id": "broken"}, "events": {"event_id": "broken"}}


def write_records(warehouse: Path, messages: int) -> None:
    """A new warehouse with the raw records of about that many messages, and nothing else."""
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    warehouse.unlink(missing_ok=True)
    with opened(warehouse) as connection:
        write_history(connection, messages)
        open_batch(connection, cause="load", as_of=END, now=END)
        connection.execute(_AGAIN)


def opened(warehouse: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A connection with the settings under which the product writes a warehouse."""
    connection = duckdb.connect(str(warehouse), read_only=read_only)
    connection.execute("set preserve_insertion_order = false")
    connection.execute("set timezone = 'UTC'")
    # What this process holds on to is missing where the system keeps the file in memory.
    connection.execute("set memory_limit = '4GB'")
    return connection


def write_landing(connection: duckdb.DuckDBPyConnection, landing: Path) -> None:
    """All raw messages and events as Parquet, `<stream>/dt=<day>/*.parquet`, as they came."""
    shutil.rmtree(landing, ignore_errors=True)
    landing.mkdir(parents=True)
    for stream, time in TIMES.items():
        connection.execute(
            f"copy (select {_columns(stream)}, {time}::date as dt from raw.{stream}) "
            f"to '{landing / stream}' (format parquet, compression zstd, partition_by (dt))"
        )


def write_landing_to_load(
    connection: duckdb.DuckDBPyConnection, landing: Path, kind: str, messages: int
) -> None:
    """The first raw messages, so many, and as large a share of the events, in files by hour.

    kind: parquet, or jsonl, of which some files hold a line that is to be refused.
    """
    shutil.rmtree(landing, ignore_errors=True)
    landing.mkdir(parents=True)
    (all_messages,) = connection.execute("select count(*) from raw.messages").fetchone()
    for stream, time in TIMES.items():
        (records,) = connection.execute(f"select count(*) from raw.{stream}").fetchone()
        rows = round(records * min(1, messages / all_messages))
        written, form = _FORMS[kind]
        columns = written(stream)
        connection.execute(
            f"copy (select {columns}, {time}::date as dt, hour({time}) as hr "
            f"from (from raw.{stream} order by rowid limit {rows})) "
            f"to '{landing / stream}' (format {form}, partition_by (dt, hr))"
        )
        if kind == "jsonl":
            _break_some(landing / stream, _BROKEN_RECORD[stream])


def read_landing(connection: duckdb.DuckDBPyConnection, landing: Path) -> None:
    """Fills new raw tables from the files of `write_landing`, as they are: nothing is judged."""
    create_raw_tables(connection)
    open_batch(connection, cause="load", as_of=END, now=END)
    for stream in TIMES:
        hashes = "".join(f", {sql} as {name}" for name, sql in hashes_of_ids(stream).items())
        connection.execute(
            f"insert into raw.{stream} by name select *, 1 as file_id, 1 as batch_id{hashes} "
            f"from {files(landing, stream)}"
        )
    connection.execute("checkpoint")


def files(landing: Path, stream: str) -> str:
    """SQL: all records of a stream of `write_landing`."""
    return f"read_parquet('{landing / stream}/**/*.parquet', hive_partitioning = false)"


def _columns(stream: str) -> str:
    """SQL of the fields of the arrival contract; a time has an offset there."""
    return ", ".join(
        f"{field.name} at time zone 'UTC' as {field.name}"
        if field.kind == "timestamp"
        else field.name
        for field in streams()[stream].fields
    )


def _line(stream: str) -> str:
    """SQL of the same as a line of JSON."""
    members = ", ".join(
        f"{field.name} := strftime({field.name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
        if field.kind == "timestamp"
        else f"{field.name} := {field.name}"
        for field in streams()[stream].fields
    )
    return f"to_json(struct_pack({members}))::varchar as line"


# How a kind of file is written. DuckDB's own JSON writer knows no partitions; a line of JSON has no
# control character in it, so it is also a row of CSV without quotes.
_FORMS = {
    "parquet": (_columns, "parquet, compression zstd"),
    "jsonl": (_line, "csv, header false, quote '', delimiter '\x01', file_extension jsonl"),
}


def _break_some(folder: Path, record: dict[str, str]) -> None:
    for path in sorted(folder.rglob("*.jsonl"))[::_BROKEN_FILE]:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
