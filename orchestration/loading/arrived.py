"""Judged records on their way: from the temp table `arrived` into the raw tables and quarantine.

Whoever fills `arrived` (with `records.judged_sql`) also opens the transaction.
"""

import hashlib
from datetime import datetime
from pathlib import Path

import duckdb

from msgmetrics.settings import PROJECT_ROOT
from orchestration import webhooks
from orchestration.loading import readers, records
from orchestration.loading.records import Stream, judged_sql, streams
from orchestration.warehouse import hashes_to_insert


def rules() -> str:
    """A fingerprint of all that decides whether a record is valid, and as what it is read.

    It changes with the reference data and the release; that a record might be judged otherwise is
    all that a change means.
    """
    sql = [judged_sql(stream, "") for stream in streams().values()]
    paths = [Path(module.__file__ or "") for module in (readers, records)]
    paths += sorted(Path(webhooks.__file__ or "").parent.glob("*.py"))
    paths += sorted((PROJECT_ROOT / "seeds" / "webhooks").glob("*.csv"))
    code = [path.read_text("utf-8") for path in paths]
    parts = "\0".join([duckdb.__version__, *sql, *code])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def insert_valid(
    connection: duckdb.DuckDBPyConnection, stream: Stream, *, batch_id: int, file_ids: list[int]
) -> None:
    """The valid records of these files, into the stream's raw table."""
    names = ", ".join(stream.field_names)
    hash_names, hash_values = hashes_to_insert(stream.name)
    connection.execute(
        f"insert into raw.{stream.name} ({names}, extra, file_id, batch_id{hash_names}) "
        f"select {names}, extra, file_id, $batch_id{hash_values} from arrived "
        "where reason is null and list_contains($file_ids::integer[], file_id)",
        {"batch_id": batch_id, "file_ids": file_ids},
    )


def insert_refused(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    path: str,
    *,
    batch_id: int,
    now: datetime,
) -> None:
    """The refused records, each as an open entry; `path` is their file's."""
    connection.execute(
        f"""
        insert into raw.quarantine (
            quarantine_id, file_id, stream, path, row_number, raw_text, reason, batch_id,
            quarantined_at, record_id, version, valid_from, judged_by
        )
        select
            (select coalesce(max(quarantine_id), 0) from raw.quarantine)
            + row_number() over (order by row_number),
            file_id, $stream, $path, row_number, raw, reason, $batch_id,
            $now, {stream.key}, version, valid_from, $rules
        from arrived
        where reason is not null
        """,
        {
            "stream": stream.name,
            "path": path,
            "batch_id": batch_id,
            "now": now,
            "rules": rules(),
        },
    )
