"""The marts as Parquet files partitioned by day, for tools that read lakes.

DIR/<table>/day=YYYY-MM-DD/data_0.parquet. Of an earlier export only the days that changed since are
written again; `_export.json` says which snapshot it holds. Each file is replaced in one step.
"""

import json
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from msgmetrics.console import plain
from msgmetrics.damage import is_damaged
from msgmetrics.errors import UserError
from msgmetrics.published_tables import CHANGES, MESSAGES, URL_CLICKS, VIEWS, marts
from msgmetrics.running import published
from msgmetrics.settings import Settings

_STATE = "_export.json"
_BEING_WRITTEN = ".being-written"
# Tables without a time: one small file each, written every time.
_WHOLE = ("accounts", "channels", "countries", "networks", "metrics", "dimensions")


def export(
    settings: Settings,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Writes what changed since the last export; says the snapshot, days and files written.

    While it writes, and where it was killed, `.being-written` stands beside the tables.
    Raises UserError where the folder cannot be written or holds something else, and where the
    published file is damaged.
    """
    state = _state_of(folder)
    with published(settings) as connection:
        (snapshot_id, as_of) = connection.execute(
            "select snapshot_id, as_of from snapshots"
        ).fetchone()
        days = _changed_days(connection, state["snapshot"]) if state else None
        being_written = folder / _BEING_WRITTEN
        try:
            shutil.rmtree(being_written, ignore_errors=True)
            being_written.mkdir(parents=True)
            files = 0
            tables = _tables(connection)
            for done, (table, time) in enumerate(tables.items()):
                progress(done, len(tables))
                files += _write(connection, folder, table, time, days)
            progress(len(tables), len(tables))
            fresh = folder / f"{_STATE}.next"
            fresh.write_text(json.dumps({"snapshot": snapshot_id, "as_of": plain(as_of)}), "utf-8")
            fresh.replace(folder / _STATE)
            shutil.rmtree(being_written)
        except (OSError, duckdb.IOException) as error:
            if is_damaged(error):  # what is read, not what is written
                raise
            raise UserError(
                f"--to {folder} cannot be written ({str(error).splitlines()[0]}): make room or "
                "give another folder; the next export goes on from the last one that ended."
            ) from None
    return {
        "snapshot": snapshot_id,
        "as_of": as_of,
        "since": state["snapshot"] if state else None,
        "days": None if days is None else len(days),
        "files": files,
        "folder": str(folder),
    }


def _state_of(folder: Path) -> dict[str, str] | None:
    """What the last export wrote of itself; None for a fresh folder."""
    try:
        return json.loads((folder / _STATE).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder / _STATE} cannot be read ({error}): export to another folder."
        ) from None
    if folder.exists() and (not folder.is_dir() or set(os.listdir(folder)) - {_BEING_WRITTEN}):
        has_begun = folder.is_dir() and (folder / _BEING_WRITTEN).exists()
        if not has_begun:
            raise UserError(f"--to {folder} holds something else: give a folder of its own.")
    return None


def _changed_days(connection: duckdb.DuckDBPyConnection, since: str) -> list[date] | None:
    """The days of sending that changed after this snapshot; None if that is not known any more."""
    row = connection.execute(
        "select max(batch_id) from (select snapshot_id, batch_id from earlier_snapshots "
        "union all select snapshot_id, batch_id from snapshots) as known where snapshot_id = ?",
        [since],
    ).fetchone()
    if row is None or row[0] is None:
        return None
    changed = " union ".join(
        f"select sent_at::date as day from {changes} where batch_id > $after"
        for changes in CHANGES.values()
    )
    rows = connection.execute(f"{changed} order by day", {"after": row[0]}).fetchall()
    return [day for (day,) in rows]


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    """Every table to write, with the column of its time."""
    timed = {**dict.fromkeys([*marts(), *VIEWS], "period_start")}
    timed |= {MESSAGES: "sent_at", URL_CLICKS: "sent_at"}
    return {**timed, **dict.fromkeys(_WHOLE)}


def _write(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    table: str,
    time: str | None,
    days: list[date] | None,
) -> int:
    """Writes a table's days, all if None; returns how many files."""
    fresh, target = folder / _BEING_WRITTEN / table, folder / table
    quoted = str(fresh).replace("'", "''")
    target.mkdir(exist_ok=True)
    if time is None:
        fresh.mkdir()
        connection.execute(f"copy {table} to '{quoted}/data_0.parquet' (format parquet)")
        (fresh / "data_0.parquet").replace(target / "data_0.parquet")
        return 1
    if days == []:
        return 0
    condition = ""
    if days is not None:
        listed = ", ".join(f"date '{day}'" for day in days)
        condition = f"where {time}::date in ({listed}) and {time} >= date '{days[0]}'"
    # One thread writes one file a day.
    (threads,) = connection.execute("select current_setting('threads')").fetchone()
    connection.execute("set threads = 1")
    try:
        connection.execute(
            f"copy (select {_columns(table)}, {time}::date as day from {table} {condition} "
            f"order by {time}) "
            f"to '{quoted}' (format parquet, partition_by (day), filename_pattern 'data_{{i}}')"
        )
    finally:
        connection.execute(f"set threads = {threads}")
    written = sorted(fresh.glob("day=*/*.parquet")) if fresh.exists() else []
    for file in written:
        place = target / file.parent.name
        place.mkdir(exist_ok=True)
        file.replace(place / file.name)
    for place in {target / file.parent.name for file in written}:
        kept = {file.name for file in written if file.parent.name == place.name}
        for file in place.iterdir():
            if file.name not in kept:
                file.unlink()
    _drop_empty(target, {file.parent.name for file in written}, days)
    return len(written)


def _columns(table: str) -> str:
    """All columns; sums of costs in the type of the catalogue, for that in which a published file
    keeps them need not be that of the next, and all files of a table are read together."""
    mart = marts().get(table.replace("_by_account", "_by_channel"))
    types = mart.types if mart else {}
    decimals = [name for name, kind in types.items() if kind.startswith("decimal")]
    replaced = ", ".join(f"{name}::{types[name]} as {name}" for name in decimals)
    return f"* replace ({replaced})" if replaced else "*"


def _drop_empty(target: Path, written: set[str], days: list[date] | None) -> None:
    """Days that have no row any more."""
    for place in target.glob("day=*"):
        is_looked_at = days is None or place.name in {f"day={day}" for day in days}
        if is_looked_at and place.name not in written:
            shutil.rmtree(place)
