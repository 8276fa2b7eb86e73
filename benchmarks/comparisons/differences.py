"""Whether two ways came to the same rows, to the last digit."""

from collections.abc import Iterable
from pathlib import Path

import duckdb

from benchmarks.comparisons.rules import shared_marts
from msgmetrics.published_tables import VIEWS, Mart, marts

ROWS_OF_A_PART = 1_000_000


def differing_rows(
    connection: duckdb.DuckDBPyConnection, results: Path, tables: list[str]
) -> dict[str, int]:
    """By table, how many rows stand on one side alone: the warehouse's, or `<table>.parquet`'s.

    connection: to a warehouse in which all marts are built. Every row counts, repeats too.
    """
    return {
        table: _differing(connection, table, _as_ours(connection, table, results))
        for table in tables
    }


def _differing(connection: duckdb.DuckDBPyConnection, table: str, theirs: str) -> int:
    columns, keys = _compared(connection, table), _keys(table)
    return unlike_rows(connection, f"marts.{table}", f"({theirs})", columns, keys)


def unlike_rows(
    connection: duckdb.DuckDBPyConnection,
    ours: str,
    theirs: str,
    compared: Iterable[str],
    keys: Iterable[str],
) -> int:
    """How often rows stand on one side that do not stand on the other; both are SQL to read from.

    It is what EXCEPT ALL both ways would count, in one grouping, which sorts nothing; and in parts,
    by some of the columns, so that millions of wide rows need not be held at once.
    """
    columns, keys = ", ".join(compared), ", ".join(keys)
    (rows,) = connection.execute(f"select count(*) from {ours}").fetchone()
    parts = 1 + rows // ROWS_OF_A_PART
    differing = 0
    for part in range(parts):
        (found,) = connection.execute(f"""
            select coalesce(sum(abs(surplus)), 0) from (
                select sum(side) as surplus from (
                    select 1 as side, {columns} from {ours}
                    where hash({keys}) % {parts} = {part}
                    union all
                    select -1 as side, {columns} from {theirs}
                    where hash({keys}) % {parts} = {part}
                ) group by {columns}
            )
        """).fetchone()
        differing += int(found)
    return differing


def compared_tables(way: str) -> list[str]:
    """The tables that a way leaves: the naive one all marts, every other the shared ones."""
    if way == "naive":
        return ["messages", *(name for name in marts() if name != "minutely"), *VIEWS]
    return ["messages", *shared_marts()]


def _keys(table: str) -> tuple[str, ...]:
    """What names a row."""
    return ("message_id",) if table == "messages" else _mart(table).key_columns


def _compared(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Keys and measures; metrics are divided from these when they are read."""
    if table == "messages":
        return list(_types(connection, table))
    return [*_keys(table), *_mart(table).measures]


def _mart(table: str) -> Mart:
    return marts()[table.replace("_by_account", "_by_channel")]


def _types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    return {
        name: type_ for name, type_, *_ in connection.execute(f"describe marts.{table}").fetchall()
    }


def _as_ours(connection: duckdb.DuckDBPyConnection, table: str, results: Path) -> str:
    """SQL of the file's rows in the types of our table; a value that has none is an error."""
    types = _types(connection, table)
    values = ", ".join(f"{name}::{types[name]} as {name}" for name in _compared(connection, table))
    return f"select {values} from read_parquet('{results / table}.parquet')"
