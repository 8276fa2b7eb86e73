"""What the benchmark compares msgmetrics with computes the same, or it would compare nothing.

The naive SQL, pandas, polars and chdb each get the same hostile records as files, in a process of
its own as in the benchmark, and every row of what they leave is held against the warehouse.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import duckdb
import pytest
from hostile import Record, RecordSet, drawn, every_tie, side_by_side
from landing_files import write_landing as write_records
from small_warehouse import build, empty_warehouse, load

from benchmarks.comparisons.differences import compared_tables, differing_rows
from benchmarks.comparisons.ways import COMPARED, run_way
from benchmarks.records import write_landing

SETS = 400


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Some thousand messages: versions, repeats, ties, late and early events, missing values."""
    records = side_by_side(drawn(SETS, seed=7) + every_tie())
    of_letters = RecordSet(
        tuple(_with_addresses_of_letters(one) for one in records.messages),
        records.events,
        records.accounts,
    )
    folder = tmp_path_factory.mktemp("arrivals")
    write_records(folder / "landing", of_letters, Random(7))
    with empty_warehouse() as connection:
        load(connection, folder / "landing")
        build(connection)
        yield connection


@pytest.fixture(scope="module")
def landing(warehouse: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "landing"
    write_landing(warehouse, folder)
    return folder


def _with_addresses_of_letters(message: Record) -> Record:
    """Lower case beyond ASCII is each library's own, and so no part of the comparison."""
    return {
        name: value.encode("ascii", "replace").decode()
        if name in ("sender", "recipient") and type(value) is str
        else value
        for name, value in message.items()
    }


def test_the_records_are_hostile(warehouse: duckdb.DuckDBPyConnection) -> None:
    messages, versions, corrected, early, tied = warehouse.execute(
        """
        select
            (select count(distinct message_id) from raw.messages),
            (select count(*) from raw.messages),
            (select count(*) from (from raw.events select event_id group by event_id having
                count(distinct (event_type, occurred_at)) > 1)),
            (select count(*) from raw.events join raw.messages using (message_id)
                where occurred_at < sent_at),
            (select count(*) from (from raw.events select message_id, occurred_at
                group by all having count(distinct event_id) > 1))
        """
    ).fetchone()
    assert messages > 1000
    assert versions > messages
    assert min(corrected, early, tied) > 100


@pytest.mark.parametrize("way", COMPARED)
def test_every_row_is_that_of_the_warehouse(
    way: str, warehouse: duckdb.DuckDBPyConnection, landing: Path, tmp_path: Path
) -> None:
    taken = run_way(way, landing, tmp_path)
    assert taken.failure is None
    tables = compared_tables(way)
    assert differing_rows(warehouse, tmp_path, tables) == dict.fromkeys(tables, 0)


def test_a_row_that_differs_is_found(warehouse: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    for table, changed in (
        ("messages", "opens + 1 as opens"),
        ("hourly_by_status", "null as status"),
    ):
        warehouse.execute(
            f"copy (select * replace ({changed}) from marts.{table} limit 3) "
            f"to '{tmp_path / table}.parquet' (format parquet)"
        )
        (rows,) = warehouse.execute(f"select count(*) from marts.{table}").fetchone()
        assert differing_rows(warehouse, tmp_path, [table]) == {table: rows + 3}
