"""What tests read of published files: every row, as it is and as of earlier snapshots."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
from small_warehouse import Row, rows_of

from msgmetrics.published_tables import tables_as_of
from msgmetrics.settings import Settings
from orchestration.published_rows import Snapshot, published_tables
from orchestration.publishing import publish

_CLOCK = {"seconds": 0}


def publish_now(settings: Settings, *, anew: bool = False) -> Snapshot:
    """Publishes what the warehouse holds; a second later each time."""
    _CLOCK["seconds"] += 1
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        return publish(
            connection,
            settings,
            now=datetime.fromtimestamp(1_780_000_000 + _CLOCK["seconds"], UTC),
            checks_passed=1,
            checks_warned=0,
            anew=anew,
        )


def warehouse_rows(settings: Settings) -> dict[str, list[Row]]:
    """Every row that readers are to see."""
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        tables = published_tables(connection)
        return {table: rows_of(connection, f"{schema}.{table}") for schema, table in tables}


def published_rows(settings: Settings) -> dict[str, list[Row]]:
    """Every row of every table under the stable name that the warehouse has, too."""
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        known = [table for _, table in published_tables(connection)]
    with duckdb.connect(str(settings.published_path), read_only=True) as file:
        return {table: rows_of(file, table) for table in sorted(known)}


def rows_as_of(settings: Settings, snapshot_id: str) -> dict[str, list[Row]]:
    """The same as they were then, by the file's own macros, but for reference data and accounts."""
    with duckdb.connect(str(settings.published_path), read_only=True) as file:
        return {
            table: rows_of(file, f"{table}_as_of('{snapshot_id}')") for table in tables_as_of("0")
        }
