"""Whether another way came to the same rows as the warehouse, to the last digit."""

from pathlib import Path

import duckdb

from benchmarks.comparisons.rules import shared_marts
from msgmetrics.published_tables import VIEWS, marts


def differing_rows(
    connection: duckdb.DuckDBPyConnection, results: Path, tables: list[str]
) -> dict[str, int]:
    """By table, how many rows stand on one side alone: the warehouse's, or `<table>.parquet`'s.

    connection: to a warehouse in which all marts are built. Every row counts, repeats too.
    """
    found = {}
    for table in tables:
        columns = _compared(table)
        ours = f"select {', '.join(columns)} from marts.{table}"
        theirs = _as_ours(connection, columns, table, results / f"{table}.parquet")
        found[table] = 0
        if _print(connection, ours) != _print(connection, theirs):
            (found[table],) = connection.execute(
                f"select (select count(*) from ({ours} except all {theirs}))"
                f" + (select count(*) from ({theirs} except all {ours}))"
            ).fetchone()
    return found


def _print(connection: duckdb.DuckDBPyConnection, rows: str) -> tuple[int, int]:
    """How many rows, and the sum of a hash of each: alike where the rows are, in whatever order.

    To sort out millions of wide rows takes longer than to compute them.
    """
    return connection.execute(
        f"select count(*), sum(hash(one)::hugeint) from ({rows}) as one"
    ).fetchone()


def compared_tables(way: str) -> list[str]:
    """The tables that a way leaves: the naive one all marts, every other the shared ones."""
    if way == "naive":
        return ["messages", *(name for name in marts() if name != "minutely"), *VIEWS]
    return ["messages", *shared_marts()]


def _compared(table: str) -> list[str]:
    """Keys and measures; metrics are divided from these when they are read."""
    if table == "messages":
        return ["*"]
    mart = marts()[table.replace("_by_account", "_by_channel")]
    return [*mart.key_columns, *mart.measures]


def _as_ours(
    connection: duckdb.DuckDBPyConnection, columns: list[str], table: str, path: Path
) -> str:
    """SQL of the file's rows in the types of our table; a value that has none is an error."""
    types = {
        name: type_ for name, type_, *_ in connection.execute(f"describe marts.{table}").fetchall()
    }
    names = list(types) if columns == ["*"] else columns
    values = ", ".join(f"{name}::{types[name]} as {name}" for name in names)
    return f"select {values} from read_parquet('{path}')"
